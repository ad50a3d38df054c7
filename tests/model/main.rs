//! A model of the queue's protocol, checked in every interleaving: writers, flushers, scripts of the old notes, memcached and
//! the database, each a small machine whose steps are those of the code (each module says which functions it mirrors).
//!
//! The checker (`stateright`) walks through every state that these machines and the faults of a [`config::Config`] can
//! reach. Faults strike between any two steps, as often as the configuration says: a process dies; a memcached
//! server restarts, which takes all it had and every connection to it; a key is evicted; a request or an answer is
//! lost; memcached has no memory for what is to be stored; a transaction aborts, or commits unheard, or drifts on until
//! the database makes up its mind, or answers OK and commits nothing; the database is put back to an earlier state.
//!
//! What must hold is in [`properties`]; that it would be noticed if it did not is shown in [`seeded`]; that nobody goes
//! round for ever in [`ends`].
//!
//! # What the model takes for granted
//! - A hole is read again for longer than anybody holds a ticket (`LOOKS` and `TICKET_LIFE`), and every flush reads all
//!   holes, but for the early ones of a configuration that keeps entries.
//! - Fewer tickets are in flight than slots are looked through behind an epoch that was left (`EMPTY_RUN`).
//! - A lock is taken over only from a holder that is dead, and a script that found no lock is not met by another script
//!   before it has stored its first message.
//! - With scripts about, neither the lock, the counter nor `P-legacy` is evicted: the scripts would begin the numbers anew.
//! - With scripts about, a server has memory for what the scripts' lock and counter hold.
//! - With `keep`, an entry that was committed after the state to which the database goes back is not due before it does.
//! - Of a voter's own transaction the answer is believed.
//!
//! # What it leaves out
//! Polls and their definitions, totals, ballots that are refused, several ballots in one entry, several servers behind
//! one address, how often a hole is read again, and `--locked`, whose writer does what a script and a voter do.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]

mod actions;
mod config;
mod database;
mod ends;
mod flusher;
mod flusher_course;
mod flusher_steps;
mod memcached;
mod properties;
mod script;
mod seeded;
mod voter;
mod world;

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::{CALM, Config, Start};

/// Checks every state. A property that fails is told with the shortest path there.
fn holds(config: Config) {
    let checker = config.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1000, "hardly anything was checked");
}

#[test]
fn without_faults() {
    holds(CALM);
    holds(Config { flushers: 2, voters: 1, ..CALM });
}

#[test]
fn processes_die() {
    holds(Config { deaths: 1, flushes: 2, ..CALM });
    holds(Config { deaths: 1, flushers: 2, voters: 1, ..CALM });
}

#[test]
fn memcached_restarts() {
    holds(Config { restarts: 1, attempts: 2, ..CALM });
    holds(Config { restarts: 1, flushers: 2, voters: 1, ..CALM });
    holds(Config { start: Start::Nothing, restarts: 2, deaths: 1, voters: 1, flushes: 2, ..CALM });
}

#[test]
fn any_key_is_evicted() {
    holds(Config { evictions: 1, voters: 1, flushes: 2, window: 4, ..CALM });
    holds(Config { evictions: 1, deaths: 1, voters: 1, flushes: 2, window: 4, ..CALM });
    holds(Config { evictions: 1, voters: 2, attempts: 1, window: 3, ..CALM });
}

#[test]
fn any_key_is_evicted_under_a_counter_that_a_script_began() {
    holds(Config { start: Start::Legacy, evictions: 1, attempts: 2, voters: 1, window: 3, ..CALM });
    holds(Config { start: Start::Legacy, evictions: 1, deaths: 1, voters: 1, flushes: 2, window: 4, ..CALM });
}

#[test]
fn answers_are_lost_and_transactions_fail() {
    holds(Config { cuts: 1, database_faults: 1, voters: 1, flushes: 2, ..CALM });
    holds(Config { database_faults: 1, flushers: 2, voters: 1, ..CALM });
    holds(Config { database_faults: 2, flushes: 3, attempts: 1, ..CALM });
}

#[test]
fn a_voter_falls_back_from_server_to_server_to_database_to_spool() {
    holds(Config { servers: 2, cuts: 2, database_faults: 1, voters: 1, flushes: 2, attempts: 1, ..CALM });
    holds(Config { servers: 2, restarts: 1, voters: 1, attempts: 2, ..CALM });
}

#[test]
fn two_copies() {
    holds(Config { servers: 2, copies: 2, restarts: 1, deaths: 1, voters: 1, ..CALM });
    holds(Config { servers: 2, copies: 2, restarts: 1, deaths: 1, voters: 1, attempts: 1, flushes: 2, ..CALM });
    holds(Config { servers: 2, copies: 2, cuts: 1, voters: 1, attempts: 1, flushes: 2, ..CALM });
}

#[test]
fn one_person_votes_twice_at_once() {
    holds(Config { one_person: true, restarts: 1, attempts: 2, ..CALM });
    holds(Config { one_person: true, deaths: 1, evictions: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn scripts_of_the_notes_take_part() {
    holds(Config { start: Start::Legacy, scripts: 1, messages: 2, voters: 1, deaths: 1, window: 4, ..CALM });
    holds(Config { start: Start::Legacy, scripts: 1, voters: 1, evictions: 1, attempts: 2, window: 4, ..CALM });
    holds(Config { scripts: 2, voters: 1, deaths: 1, attempts: 2, window: 5, ..CALM });
}

#[test]
fn a_script_begins_the_queue() {
    let begins = Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    holds(Config { deaths: 1, ..begins });
    holds(Config { deaths: 1, flushes: 2, voters: 0, ..begins });
    holds(Config { start: Start::Legacy, messages: 2, restarts: 1, ..begins });
}

#[test]
fn first_flushes_meet_over_a_shadow_epoch() {
    holds(Config { start: Start::Nothing, flushers: 2, voters: 1, attempts: 1, window: 3, ..CALM });
    holds(Config { start: Start::Legacy, flushers: 2, voters: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn servers_are_full() {
    holds(Config { no_memory: 1, voters: 2, attempts: 2, flushes: 2, ..CALM });
    holds(Config { start: Start::Nothing, no_memory: 2, voters: 2, attempts: 1, ..CALM });
    holds(Config { no_memory: 2, deaths: 1, flushers: 2, voters: 1, attempts: 1, ..CALM });
    holds(Config { no_memory: 1, one_person: true, attempts: 1, ..CALM });
}

#[test]
fn servers_are_full_of_legacy_messages() {
    holds(Config { start: Start::Legacy, scripts: 1, no_memory: 2, voters: 1, attempts: 1, window: 4, ..CALM });
    holds(Config { start: Start::Nothing, scripts: 1, no_memory: 1, voters: 1, attempts: 1, window: 4, ..CALM });
}

#[test]
fn commits_do_nothing() {
    holds(Config { noop_commits: 1, flushes: 2, attempts: 2, ..CALM });
    holds(Config { noop_commits: 2, flushers: 2, voters: 1, attempts: 1, ..CALM });
    holds(Config { servers: 2, noop_commits: 1, cuts: 2, voters: 1, attempts: 1, ..CALM });
    holds(Config { start: Start::Legacy, scripts: 1, noop_commits: 1, deaths: 1, voters: 1, window: 4, ..CALM });
}

#[test]
fn the_database_goes_back_and_entries_are_kept() {
    holds(Config { keep: true, goes_back: true, flushes: 3, attempts: 1, ..CALM });
    holds(Config { keep: true, goes_back: true, flushers: 2, flushes: 2, voters: 1, attempts: 1, ..CALM });
    holds(Config { keep: true, goes_back: true, deaths: 1, flushes: 3, ..CALM });
}

#[test]
fn the_database_goes_back_further_than_entries_are_kept() {
    holds(Config { goes_back: true, flushes: 2, attempts: 1, ..CALM });
    holds(Config { goes_back: true, flushers: 2, voters: 1, attempts: 1, ..CALM });
    holds(Config { goes_back: true, deaths: 1, flushes: 3, ..CALM });
}

#[test]
fn entries_are_kept() {
    holds(Config { keep: true, flushes: 2, attempts: 1, ..CALM });
    holds(Config { keep: true, evictions: 1, voters: 1, flushes: 3, attempts: 1, window: 3, ..CALM });
    holds(Config {
        keep: true,
        start: Start::Legacy,
        scripts: 1,
        voters: 1,
        flushes: 2,
        attempts: 1,
        window: 4,
        ..CALM
    });
}

/// Minutes of a release build, hours of a debug build.
#[test]
#[ignore = "takes long; run with --release"]
fn more_of_everything() {
    let larger = Config { flushers: 2, attempts: 2, window: 5, ..CALM };
    holds(Config { deaths: 2, database_faults: 1, flushes: 2, voters: 1, ..larger });
    holds(Config { restarts: 1, deaths: 1, cuts: 1, voters: 1, ..larger });
    holds(Config { evictions: 1, deaths: 1, voters: 1, ..larger });
    holds(Config { evictions: 1, flushers: 1, flushes: 2, ..larger });
    holds(Config { start: Start::Legacy, scripts: 1, deaths: 1, voters: 1, ..larger });
    holds(Config { start: Start::Legacy, evictions: 1, attempts: 2, window: 4, ..CALM });
    holds(Config { start: Start::Legacy, flushers: 2, voters: 1, attempts: 2, window: 3, ..CALM });
    holds(Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 3, flushes: 2, window: 4, ..CALM });
    holds(Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, flushers: 2, window: 4, ..CALM });
    holds(Config { start: Start::Nothing, no_memory: 2, deaths: 1, voters: 1, window: 3, ..larger });
    holds(Config { keep: true, goes_back: true, flushes: 2, window: 2, ..larger });
    holds(Config { goes_back: true, deaths: 1, flushers: 2, flushes: 2, ..CALM });
    holds(Config { cuts: 2, flushes: 2, voters: 1, ..larger });
}
