//! Schedules run one after the other, several lanes of them beside each other, and judged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::ledger::{Ledger, Sums};
use crate::schedule::Schedule;
use crate::stage::{Lane, Stage};
use crate::voters::{Counts, Hall, count, template};

/// What many schedules came to.
#[derive(Default)]
pub(crate) struct Tally {
    faults: Counts,
    sums: Mutex<(u64, Sums)>,
}

/// Told to end when dropped, also by a panic: those who wait for it would wait for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn run_one(lane: &mut Lane, schedule: &Schedule, faults: &Counts) -> Sums {
    let mut stage = Stage::set(lane, schedule);
    let (site, ledger, ends) = (template(&stage.site), Mutex::new(Ledger::default()), AtomicBool::new(false));
    let hall = Hall {
        site: &site,
        servers: stage.addresses(),
        copies: schedule.copies,
        scripts: schedule.has_scripts(),
        folder: stage.site.path(""),
        ledger: &ledger,
        counts: faults,
        ends: &ends,
    };
    std::thread::scope(|scope| {
        let ends = Ends(&ends);
        for (kind, seed) in &schedule.voters {
            let hall = &hall;
            scope.spawn(move || hall.run(*kind, *seed));
        }
        for event in &schedule.events {
            let until = Instant::now() + event.pause;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                std::thread::sleep(left.min(std::time::Duration::from_millis(10)));
                stage.lift_due();
            }
            if stage.begin(event.fault, event.lasts) {
                count(faults, event.fault.kind());
            }
            ledger.lock().unwrap().losses.append(&mut stage.losses);
        }
        stage.lift_all();
        drop(ends);
    });
    stage.settle();
    let log = stage.service_log();
    for said in ["is full", "--read-only option", "database is locked", "no answer in time", "out of memory"] {
        if log.contains(said) {
            count(faults, format!("schedule whose flush service was told of or said: {said}"));
        }
    }
    ledger.into_inner().unwrap().check(&stage.site).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs the schedules of these seeds, `lanes` at a time. Fails after all have ended if one has failed.
pub(crate) fn run(seeds: &[u64], lanes: usize) {
    let (tally, next, failed) = (Tally::default(), AtomicU64::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..lanes.min(seeds.len()) {
            scope.spawn(|| {
                let mut lane = Lane::start();
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let schedule = Schedule::draw(*seed);
                    match catch_unwind(AssertUnwindSafe(|| run_one(&mut lane, &schedule, &tally.faults))) {
                        Ok(sums) => tally.add(sums, seeds.len(), begun),
                        Err(_) => {
                            eprintln!("FAILED: WEIR_FAULTS_SEED={seed} cargo test --test faults\n{schedule:#?}");
                            failed.lock().unwrap().push(*seed);
                            // Nobody knows what state its servers are in.
                            lane = Lane::start();
                        }
                    }
                }
            });
        }
    });
    tally.tell();
    tally.expect_enough(seeds.len() as u64);
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "schedules failed; to run one again: WEIR_FAULTS_SEED={failed:?} cargo test --test faults"
    );
}

/// What a schedule has at least on average: runs in which nothing happened prove nothing.
const ACKNOWLEDGED_MIN: u64 = 100;
const FAULTS_MIN: u64 = 3;

impl Tally {
    fn expect_enough(&self, schedules: u64) {
        let (sums, faults) = (self.sums.lock().unwrap().1, self.faults.lock().unwrap().values().sum::<u64>());
        assert!(
            sums.acknowledged >= schedules * ACKNOWLEDGED_MIN && faults >= schedules * FAULTS_MIN,
            "hardly anything was tested: {sums:?}, {faults} faults"
        );
    }

    fn add(&self, one: Sums, of: usize, begun: Instant) {
        let (schedules, sums) = &mut *self.sums.lock().unwrap();
        *schedules += 1;
        sums.tried += one.tried;
        sums.acknowledged += one.acknowledged;
        sums.counted += one.counted;
        sums.lost_with_servers += one.lost_with_servers;
        if *schedules % 10 == 0 {
            eprintln!("{schedules} of {of} schedules in {} s: {sums:?}", begun.elapsed().as_secs());
        }
    }

    fn tell(&self) {
        let (schedules, sums) = *self.sums.lock().unwrap();
        let faults: &BTreeMap<_, _> = &self.faults.lock().unwrap();
        eprintln!("{schedules} schedules kept the promise: {sums:?}");
        faults.iter().for_each(|(fault, times)| eprintln!("{times:>7}  {fault}"));
    }
}
