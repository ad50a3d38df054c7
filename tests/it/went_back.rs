//! A database that goes back to an earlier state while votes come in: a backup is restored.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use weir::poll::batcher::{Batcher, Limits};
use weir::poll::drain::Holes;
use weir::poll::flush::{Flusher, Report};
use weir::poll::site::Site as Backend;
use weir::poll::vote::{Outcome, Place};

use crate::batcher::vote;
use crate::support::{Memcached, Site, backend, stderr, stdout, wait_until};

/// Puts the site's database back to the state that `saved` has.
fn restore(site: &Site, saved: &Path) {
    let path = site.path("polls.sqlite");
    for ending in ["-wal", "-shm"] {
        // SQLite may have removed them already.
        let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
    }
    std::fs::copy(saved, path).unwrap();
}

fn save(site: &Site, name: &str) -> std::path::PathBuf {
    let saved = site.path(name);
    let database = rusqlite::Connection::open(site.path("polls.sqlite")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute("VACUUM INTO ?1", [saved.display().to_string()]).unwrap();
    saved
}

/// Flushes again and again until `until`; what it reported as missing.
fn flush_until(backend: &Backend, until: &AtomicBool) -> u64 {
    let mut flusher = Flusher::new(backend.clone());
    let mut missing = 0;
    while !until.load(Ordering::Relaxed) {
        let mut report = Report::default();
        flusher.flush(Holes::Due, &mut report, &mut |_| {}).unwrap();
        missing += report.missing;
    }
    missing
}

struct Spike {
    acknowledged: BTreeSet<String>,
    counted: BTreeSet<String>,
    missing: u64,
}

/// Voters and a flusher; the database is saved at some moment and put back at a later one.
fn spike(memcached: &mut Memcached, seed: u64, keep: Duration) -> Spike {
    memcached.restart();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let site = Site::new(&[memcached]);
    site.create_now();
    let backend = Backend { keep, ..backend(memcached, &site) };
    let batcher = Batcher::start(&backend, Limits::default()).unwrap();
    let (over, mut missing) = (AtomicBool::new(false), 0);
    let votes: Vec<u64> = (0..3).map(|_| random.random_range(20..120)).collect();
    let acknowledged = std::thread::scope(|scope| {
        let voters: Vec<_> = (0..3)
            .map(|number| {
                let (batcher, over, pause) = (&batcher, &over, Duration::from_micros(random.random_range(0..500)));
                scope.spawn(move || {
                    let (mut acknowledged, mut number_of_vote) = (Vec::new(), 0);
                    while !over.load(Ordering::Relaxed) {
                        number_of_vote += 1;
                        let name = format!("{number} {number_of_vote}");
                        let answer = batcher.cast(vote("yes", Some(&name))).unwrap();
                        let Outcome::Taken(Place::Queued, identity) = answer.outcome else { panic!("{answer:?}") };
                        acknowledged.push(identity.to_string());
                        std::thread::sleep(pause);
                    }
                    acknowledged
                })
            })
            .collect();
        let mut phase = |milliseconds: u64| {
            let end = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let flusher = scope.spawn(|| flush_until(&backend, &end));
                std::thread::sleep(Duration::from_millis(milliseconds));
                end.store(true, Ordering::Relaxed);
                missing += flusher.join().unwrap();
            });
        };
        phase(votes[0]);
        let saved = save(&site, "saved.sqlite");
        phase(votes[1]);
        restore(&site, &saved);
        phase(votes[2]);
        over.store(true, Ordering::Relaxed);
        voters.into_iter().flat_map(|voter| voter.join().unwrap()).collect()
    });
    drop(batcher);
    let mut report = Report::default();
    Flusher::new(backend).flush(Holes::All, &mut report, &mut |_| {}).unwrap();
    let counted = site.counted("now").into_iter().collect();
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    Spike { acknowledged, counted, missing: missing + report.missing }
}

#[test]
fn no_vote_is_lost_in_a_database_that_goes_back_by_less_than_entries_are_kept() {
    let mut memcached = Memcached::start();
    let mut votes = 0;
    for seed in 0..100 {
        let Spike { acknowledged, counted, missing } = spike(&mut memcached, seed, Duration::from_secs(60));
        assert_eq!((acknowledged.difference(&counted).count(), missing), (0, 0), "seed {seed}");
        votes += acknowledged.len();
    }
    assert!(votes > 2_000, "only {votes} votes were cast");
}

#[test]
fn votes_that_a_database_lost_by_going_back_further_than_entries_are_kept_are_reported() {
    let mut memcached = Memcached::start();
    let mut lost_in_all = 0;
    for seed in 0..20 {
        let Spike { acknowledged, counted, missing } = spike(&mut memcached, seed, Duration::ZERO);
        let lost = acknowledged.difference(&counted).count() as u64;
        assert_eq!(missing > 0, lost > 0, "seed {seed}: {lost} votes are lost and {missing} entries reported");
        lost_in_all += lost;
    }
    assert!(lost_in_all > 0, "no vote was lost, so nothing was tested");
}

#[test]
fn flush_and_status_say_how_much_is_missing_until_it_is_cleared() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]).with("WEIR_KEEP", "0s");
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    let saved = save(&site, "saved.sqlite");
    (0..5).for_each(|_| drop(site.ok(&["poll", "vote", "now", "no"])));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(5));
    restore(&site, &saved);
    let flush = site.run(&["poll", "flush", "--json"]);
    assert_eq!(flush.status.code(), Some(4), "{}", stderr(&flush));
    assert!(stderr(&flush).contains("5 entries") && stderr(&flush).contains(&memcached.address()));
    // The next flush has nothing new to say.
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    let check = site.run(&["poll", "status", "--check"]);
    assert_eq!(check.status.code(), Some(1), "{}", stdout(&check));
    assert!(stdout(&check).contains("5 entries"), "{}", stdout(&check));
    site.ok(&["poll", "status", "--clear-missing"]);
    site.ok(&["poll", "status", "--check"]);
}

#[test]
fn what_is_missing_is_reported_although_the_server_was_full_when_it_was_deleted() {
    let memcached = Memcached::start_with_memory(4);
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    let saved = save(&site, "saved.sqlite");
    (0..5).for_each(|_| assert!(site.ok(&["poll", "vote", "now", "no"]).starts_with("queued ")));
    memcached.fill_up(0);
    // A full server keeps nothing.
    assert!(stdout(&site.run(&["poll", "flush"])).contains("5 counted"));
    restore(&site, &saved);
    let flush = site.run(&["poll", "flush"]);
    assert_eq!(flush.status.code(), Some(4), "{}", stderr(&flush));
    assert!(stderr(&flush).contains("5 entries"), "{}", stderr(&flush));
}

#[test]
fn a_database_file_that_is_replaced_under_a_flush_service_is_opened_again() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut service = site.start(&["--quiet", "poll", "flush", "--every", "50ms"]);
    let vote_until_counted = |total: usize| {
        (0..5).for_each(|_| assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued ")));
        wait_until("the votes are counted", || site.counted("now").len() == total);
    };
    vote_until_counted(5);
    let saved = save(&site, "saved.sqlite");
    vote_until_counted(10);
    for ending in ["-wal", "-shm"] {
        // SQLite may have removed them already.
        let _ = std::fs::remove_file(format!("{}{ending}", site.path("polls.sqlite").display()));
    }
    std::fs::rename(saved, site.path("polls.sqlite")).unwrap();
    vote_until_counted(15);
    kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
    assert!(service.wait().unwrap().success());
}
