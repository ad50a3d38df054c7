//! weir on what operators keep their databases on: three Galera nodes with a flusher on each, and a primary with a replica.
//!
//! | file | job |
//! |---|---|
//! | `schedule` | faults drawn from a seed |
//! | `run` | one schedule, and the count on every node at its end |
//! | `voters` | those who vote meanwhile |
//! | `host` | one host: its settings, its spool, its flush service |
//! | `server`, `galera` | the servers, and what befalls them |
//! | `not_ready` | nodes that run and take no statements, nodes that lag |
//! | `replication` | a read-only primary, a replica that takes over |
//!
//! An acknowledged vote is counted once, on every node, and the tallies are those of a recount. Nothing excuses a vote
//! that is missing: memcached runs throughout, a node's disk is never lost, and when all nodes are killed the one that got
//! furthest starts the cluster again.
//!
//! `WEIR_CLUSTER_SEED=7 cargo test --test cluster schedules` runs one schedule, `WEIR_CLUSTER_SOAK=500` in its place that many.
//! When exactly a fault meets which process depends on the machine, so a failure may need several runs to come again.
//!
//! The ledger and the processes are those of `tests/faults`, memcached and the binary's settings those of `tests/it/support`.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]
#![allow(clippy::print_stderr, reason = "progress, seeds and figures")]

mod galera;
mod host;
#[allow(dead_code, reason = "tests/faults uses more of it")]
#[path = "../faults/ledger.rs"]
mod ledger;
mod not_ready;
#[allow(dead_code, reason = "tests/faults uses more of it")]
#[path = "../faults/process.rs"]
mod process;
mod replication;
mod run;
mod schedule;
mod server;
#[allow(dead_code, unused_imports, reason = "other test targets use more of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod voters;

use std::time::{Duration, Instant};

use galera::Shared;
use run::{Counts, Manner};
use schedule::Schedule;

/// How many schedules every run of the tests has.
const SHORT_COUNT: u64 = 20;

/// How many faults must have come about in a schedule, on average over the run: a slow machine may skip one, and a run
/// in which nothing happened proves nothing.
const FAULTS_MIN: u64 = 3;

/// Where the seeds of these begin: a change is tried by the same faults as the one before.
const SHORT_SEED: u64 = 20_261_101;

/// How often the mistakes that are put in on purpose are looked for.
const ATTEMPTS: u64 = 6;

pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn schedules_of_faults_in_a_cluster_lose_and_double_nothing() {
    let seeds: Vec<u64> = match (number("WEIR_CLUSTER_SEED"), number("WEIR_CLUSTER_SOAK")) {
        (Some(seed), None) => vec![seed],
        (seed, Some(count)) => {
            let first = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
            eprintln!("{count} schedules from WEIR_CLUSTER_SEED={first} on");
            (first..first + count).collect()
        }
        (None, None) => (SHORT_SEED..SHORT_SEED + SHORT_COUNT).collect(),
    };
    let shared = Shared::get();
    let mut cluster = shared.lock();
    let (begun, mut failed, mut faults) = (Instant::now(), Vec::new(), Counts::new());
    let (mut acknowledged, mut counted) = (0, 0);
    for seed in &seeds {
        let (schedule, started) = (Schedule::draw(*seed), Instant::now());
        let outcome = run::run(&mut cluster, &schedule, &Manner::NORMAL);
        eprintln!("seed {seed}: {} s, {:?}, {:?}", started.elapsed().as_secs(), outcome.faults, outcome.sums);
        if !outcome.is_good() {
            eprintln!(
                "FAILED: WEIR_CLUSTER_SEED={seed} cargo test --test cluster schedules\n{schedule:#?}\n{outcome:#?}"
            );
            failed.push(*seed);
        }
        outcome.faults.into_iter().for_each(|(kind, times)| *faults.entry(kind).or_default() += times);
        acknowledged += outcome.sums.acknowledged;
        counted += outcome.sums.counted;
    }
    eprintln!(
        "{} schedules in {} s: {acknowledged} acknowledged, {counted} counted",
        seeds.len(),
        begun.elapsed().as_secs()
    );
    faults.iter().for_each(|(fault, times)| eprintln!("{times:>7}  {fault}"));
    assert!(failed.is_empty(), "to run one again: WEIR_CLUSTER_SEED={failed:?} cargo test --test cluster schedules");
    let happened: u64 = faults.values().sum();
    // A seed run again on its own may have fewer than the average.
    let wanted = if seeds.len() == 1 { 1 } else { FAULTS_MIN * seeds.len() as u64 };
    assert!(happened >= wanted, "only {happened} faults came about in {} schedules: {faults:?}", seeds.len());
}

/// A check of the schedules themselves: with arrays of rows forced on, and the transaction believed, they find the wrong
/// count that a cluster is known to give then.
#[test]
fn a_flush_that_believes_its_transaction_is_found_out() {
    let shared = Shared::get();
    let mut cluster = shared.lock();
    let flushers = &[("WEIR_FORCE_BULK", "1"), ("WEIR_SKIP_TRANSACTION_CHECK", "1")];
    let manner = Manner { flushers, patience: Duration::from_secs(3) };
    for attempt in 0..ATTEMPTS {
        let schedule = Schedule::undisturbed(SHORT_SEED - 1 - attempt, Duration::from_secs(4));
        let outcome = run::run(&mut cluster, &schedule, &manner);
        if let Some(miscount) = outcome.miscount {
            eprintln!("found at attempt {}: {miscount}", attempt + 1);
            return;
        }
    }
    panic!(
        "{ATTEMPTS} runs with arrays of rows and unchecked transactions counted well: do they still reach the flush?"
    );
}
