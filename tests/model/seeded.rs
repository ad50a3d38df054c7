//! Mistakes put in on purpose: for each, the checker must find the property that it breaks.

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::{Bug, CALM, Config, Start};
use crate::properties::{COUNTED, FORWARD, HONEST, ONCE, QUIET, REPORTED, RIGHTFUL, SPARE};

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
fn a_ticket_that_outlives_its_hole() {
    finds(Bug::TicketsLiveForever, COUNTED, Config { voters: 1, flushes: 2, ..CALM });
}

#[test]
fn a_mark_that_lasts_from_the_beginning() {
    finds(Bug::ConfirmFirst, HONEST, Config { one_person: true, deaths: 1, ..CALM });
}

#[test]
fn tickets_that_begin_anew_after_a_restart() {
    finds(Bug::TicketsRepeat, COUNTED, Config { evictions: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn two_copies_on_one_server() {
    finds(Bug::OneServerTwice, SPARE, Config { servers: 2, copies: 2, restarts: 1, voters: 1, attempts: 1, ..CALM });
}

#[test]
fn deleting_before_the_commit() {
    finds(Bug::DeleteBeforeCommit, COUNTED, Config { database_faults: 1, voters: 1, ..CALM });
}

#[test]
fn deleting_on_the_word_of_the_commit() {
    finds(Bug::DeleteOnCommit, COUNTED, Config { noop_commits: 1, voters: 1, ..CALM });
}

#[test]
fn holes_deleted_with_the_range_around_them() {
    finds(Bug::DeleteHoles, COUNTED, Config { attempts: 1, ..CALM });
}

#[test]
fn tombstones_on_a_full_server() {
    finds(Bug::Tombstones, COUNTED, Config { no_memory: 1, voters: 1, attempts: 1, ..CALM });
}

#[test]
fn empty_slots_passed_by() {
    finds(Bug::NoHoles, COUNTED, Config { voters: 1, ..CALM });
}

#[test]
fn holes_of_epoch_0_kept_when_its_numbers_begin_anew() {
    let config = Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    finds(Bug::LegacyHolesStay, ONCE, config);
}

#[test]
fn a_shadow_forgotten_before_what_was_read_under_it_is_deleted() {
    let config = Config { start: Start::Nothing, scripts: 1, voters: 0, deaths: 1, flushes: 2, window: 3, ..CALM };
    finds(Bug::ForgetShadowFirst, ONCE, config);
}

/// Some minutes of a debug build.
#[test]
#[ignore = "takes long; run with --release"]
fn holes_of_epoch_0_forgotten_before_its_numbers_are_read_anew() {
    let scripts = Config { start: Start::Legacy, scripts: 1, messages: 2, voters: 0, window: 3, ..CALM };
    finds(Bug::ForgetHolesFirst, COUNTED, Config { flushers: 2, deaths: 1, ..scripts });
}

#[test]
fn deletions_not_recorded() {
    finds(Bug::NoRecord, REPORTED, Config { goes_back: true, voters: 1, attempts: 2, ..CALM });
}

#[test]
fn deletions_recorded_after_they_were_made() {
    finds(Bug::RecordAfter, REPORTED, Config { goes_back: true, deaths: 1, voters: 1, ..CALM });
}

#[test]
fn deletions_recorded_without_the_server() {
    finds(Bug::RecordWithoutId, QUIET, Config { evictions: 1, voters: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn missing_entries_told_by_tickets() {
    finds(Bug::AlarmByTicket, REPORTED, Config { goes_back: true, flushes: 2, attempts: 1, ..CALM });
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
fn rows_compared_by_their_heads() {
    finds(Bug::RowByHead, RIGHTFUL, Config { flushers: 2, voters: 1, ..CALM });
}

#[test]
fn rows_without_a_primary_key() {
    finds(Bug::NoPrimaryKey, ONCE, Config { cuts: 1, voters: 1, ..CALM });
}

#[test]
fn a_row_read_after_the_counter() {
    finds(Bug::HeadAfterCounter, FORWARD, Config { flushers: 2, voters: 1, ..CALM });
}

#[test]
fn epochs_read_after_the_counter() {
    finds(Bug::EpochsAfterCounter, COUNTED, Config { evictions: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn an_epoch_left_and_not_read_on() {
    finds(Bug::NoSalvage, COUNTED, Config { evictions: 1, attempts: 1, window: 3, ..CALM });
}

#[test]
fn a_head_past_the_end_of_an_epoch() {
    finds(Bug::HeadPastTheEnd, FORWARD, Config { start: Start::Nothing, voters: 1, flushes: 2, ..CALM });
}

#[test]
fn recorded_epochs_ignored() {
    let config = Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    finds(Bug::IgnoreEpochs, COUNTED, config);
}

#[test]
fn epoch_0_left_with_an_epoch_unread() {
    let config = Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    finds(Bug::LeaveUnread, COUNTED, config);
}

#[test]
fn epoch_0_left_on_the_word_of_the_commit() {
    let config =
        Config { start: Start::Legacy, scripts: 1, noop_commits: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    finds(Bug::LeaveOnCommit, COUNTED, config);
}

#[test]
fn an_entry_found_in_a_hole_that_stays_one() {
    let config = Config { start: Start::Nothing, scripts: 1, no_memory: 1, voters: 1, attempts: 1, window: 4, ..CALM };
    finds(Bug::FoundStaysHole, ONCE, config);
}

#[test]
fn holes_of_epoch_0_and_of_its_shadow_taken_for_the_same() {
    let config = Config { start: Start::Legacy, evictions: 1, attempts: 1, window: 3, ..CALM };
    finds(Bug::OneNumbering, COUNTED, config);
}

#[test]
fn tickets_of_scripts_kept_as_they_are() {
    let scripts = Config { start: Start::Legacy, scripts: 1, messages: 2, voters: 0, ..CALM };
    finds(Bug::NoShadow, COUNTED, Config { restarts: 1, ..scripts });
}

#[test]
fn epoch_0_left_and_not_read_on() {
    let config = Config { start: Start::Legacy, evictions: 1, voters: 1, attempts: 2, window: 3, ..CALM };
    finds(Bug::NoLegacySalvage, COUNTED, config);
}

#[test]
fn more_tickets_in_flight_than_are_looked_for() {
    let config = Config { evictions: 1, attempts: 1, window: 1, ..CALM };
    let checker = config.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_any_discovery(COUNTED);
}
