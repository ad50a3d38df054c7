//! Mistakes put in on purpose: for each, the checker must find the property that it breaks.

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::{Bug, CALM, Config, Start};
use crate::properties::{COUNTED, FORWARD, HONEST, ONCE, RIGHTFUL};

/// Looks for a counterexample of `property`. Without the mistake the same configuration must hold.
fn finds(bug: Bug, property: &'static str, config: Config) {
    let path = |bug| {
        let checked = Config { bug, ..config.clone() };
        let checker = checked.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let paths = checker.discoveries();
        paths.into_iter().map(|(name, path)| (name, path.to_string())).collect::<Vec<_>>()
    };
    let found = path(bug);
    assert!(found.iter().any(|(name, _)| *name == property), "{bug:?} did not break {property:?}: {found:?}");
    let sound = path(Bug::None);
    assert!(sound.is_empty(), "without {bug:?}: {sound:?}");
}

#[test]
fn a_writer_that_re_adds_on_a_new_connection() {
    finds(Bug::ReAddOnNewConnection, COUNTED, Config { restarts: 1, voters: 1, ..CALM });
}

#[test]
fn a_writer_that_sets() {
    finds(Bug::SetForAdd, COUNTED, Config { voters: 1, ..CALM });
}

#[test]
fn a_ticket_that_outlives_its_tombstone() {
    finds(Bug::TicketsLiveForever, COUNTED, Config { evictions: 1, voters: 1, window: 4, ..CALM });
}

#[test]
fn a_mark_that_lasts_from_the_beginning() {
    finds(Bug::ConfirmFirst, HONEST, Config { one_person: true, deaths: 1, ..CALM });
}

#[test]
fn tickets_that_begin_anew_after_a_restart() {
    finds(Bug::TicketsRepeat, COUNTED, Config { restarts: 1, attempts: 1, ..CALM });
}

#[test]
fn deleting_before_the_commit() {
    finds(Bug::DeleteBeforeCommit, COUNTED, Config { database_faults: 1, voters: 1, ..CALM });
}

#[test]
fn empty_slots_left_open() {
    finds(Bug::NoTombstone, COUNTED, Config { voters: 1, ..CALM });
}

#[test]
fn tombstones_deleted() {
    finds(Bug::DeleteTombstones, COUNTED, Config { attempts: 1, ..CALM });
}

#[test]
fn a_head_committed_apart_from_the_rows() {
    finds(Bug::HeadApart, COUNTED, Config { database_faults: 1, voters: 1, ..CALM });
}

#[test]
fn rows_written_without_the_row_lock() {
    finds(Bug::NoRowLock, RIGHTFUL, Config { flushers: 2, voters: 1, ..CALM });
}

#[test]
fn rows_without_a_primary_key() {
    finds(Bug::NoPrimaryKey, ONCE, Config { cuts: 1, voters: 1, ..CALM });
}

#[test]
fn a_head_read_after_the_counter() {
    finds(Bug::HeadAfterCounter, FORWARD, Config { flushers: 2, voters: 1, ..CALM });
}

#[test]
fn a_counter_left_missing() {
    finds(Bug::LeaveCounterMissing, FORWARD, Config { restarts: 1, flushes: 2, voters: 1, ..CALM });
}

#[test]
fn epochs_read_after_the_counter() {
    let config = Config { evictions: 1, flushers: 2, voters: 1, window: 1, attempts: 1, ..CALM };
    finds(Bug::EpochsAfterCounter, FORWARD, Config { window: 2, ..config });
}

#[test]
fn an_epoch_left_and_not_read_on() {
    finds(Bug::NoSalvage, COUNTED, Config { evictions: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn noted_epochs_ignored() {
    finds(Bug::IgnoreEpochs, COUNTED, Config { start: Start::Nothing, scripts: 1, voters: 1, window: 4, ..CALM });
}

#[test]
fn tickets_of_scripts_kept_as_they_are() {
    finds(
        Bug::NoShadow,
        COUNTED,
        Config { start: Start::Legacy, scripts: 1, messages: 2, voters: 0, restarts: 1, ..CALM },
    );
}

#[test]
fn epoch_0_left_and_not_read_on() {
    let config = Config { start: Start::Legacy, evictions: 1, attempts: 1, window: 3, ..CALM };
    finds(Bug::NoLegacySalvage, COUNTED, config);
}

#[test]
fn more_tickets_in_flight_than_are_looked_for() {
    let config = Config { evictions: 1, attempts: 1, window: 1, ..CALM };
    let checker = config.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_any_discovery(COUNTED);
}
