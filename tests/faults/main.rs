//! What the promise is worth when real processes die: acknowledged ballots are counted, counted ones were cast, each once,
//! and tallies are what a recount gives.
//!
//! | file | job |
//! |---|---|
//! | `steps` | every named step of writers and flush, one by one: the process dies there, or stops and goes on |
//! | `schedule` | faults drawn from a seed |
//! | `stage` | the servers of a lane, and what befalls them |
//! | `proxy` | what lies before a server and delays, holds back, cuts |
//! | `voters` | those who vote meanwhile, and what befalls them |
//! | `child` | this test binary run again, as a program that writes through the library's batcher |
//! | `ledger` | what voters tried and what they were told; the check at the end |
//! | `hung_up` | what they found |
//! | `run` | many schedules, several lanes of them at once |
//!
//! `WEIR_FAULTS_SEED=7 cargo test --test faults schedules` runs the schedule of one seed: the same faults in the same order.
//! When exactly they meet which process is the machine's doing, so a failure may need several runs to come again. The soak:
//! `WEIR_FAULTS_COUNT=1000 cargo test --test faults soak -- --ignored --nocapture`.
//!
//! # What is promised
//! A vote that was acknowledged with copies on N servers is counted unless all N were killed with it unflushed. What a
//! server that is killed holds is read out before, when nothing can come in any more, so only those votes are excused, and
//! only when they had no copy elsewhere. What was stored or spooled is excused by nothing.
//!
//! The servers are those of `tests/it/support`.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]
#![allow(clippy::print_stderr, reason = "progress, seeds and figures")]

mod child;
mod hung_up;
mod ledger;
mod process;
mod proxy;
mod run;
mod schedule;
mod stage;
mod steps;
#[allow(dead_code, unused_imports, reason = "the other test target uses more of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod voters;

/// How many schedules every run of the tests has.
const SHORT_COUNT: u64 = 50;

/// Where the seeds of these begin: a change is tried by the same faults as the one before.
const SHORT_SEED: u64 = 20_081_001;

/// How many schedules run at once: they mostly wait.
const LANES: usize = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn schedules_of_faults_lose_and_double_nothing() {
    match number("WEIR_FAULTS_SEED") {
        Some(seed) => run::run(&[seed], 1),
        None => {
            eprintln!("{SHORT_COUNT} schedules from seed {SHORT_SEED} on");
            run::run(&(SHORT_SEED..SHORT_SEED + SHORT_COUNT).collect::<Vec<_>>(), LANES);
        }
    }
}

#[test]
#[ignore = "takes an hour: WEIR_FAULTS_COUNT schedules, 1000 unless told otherwise"]
fn soak_of_many_schedules() {
    let first = number("WEIR_FAULTS_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let count = number("WEIR_FAULTS_COUNT").unwrap_or(1000);
    eprintln!("{count} schedules from WEIR_FAULTS_SEED={first} on");
    run::run(&(first..first + count).collect::<Vec<_>>(), LANES);
}
