//! Starting a queue: the lock of legacy writers, the counter, and a record of the epoch that the counter begins.
//!
//! Every process that finds no counter may start the queue, so after a restart under load many do at once. The first
//! to record its epoch creates the counter, and the others wait for it, so that one epoch begins and not one per
//! process. The wait is only an economy: a process that waits in vain begins an epoch of its own, which costs a later
//! flush some reads and nothing else.
//!
//! The order is: record the epoch, create the lock, create the counter. A legacy writer that finds no lock sets the
//! counter to 0, so it must not find a counter without a lock; one that looked for the lock a moment earlier does it
//! all the same, and then the record is what leads the reader to the entries of the epoch.

use std::time::{Duration, Instant};

use memcache::exp::ReturnCode;

use crate::failpoint::{self, Step};

use super::connection::{Connection, get};
use super::error::Error;
use super::names::Keys;
use super::number::{create_number, number_or};
use super::reader::create_record;
use super::server_id::server_id;
use super::ticket::Ticket;

/// How many records of epochs are read in one round trip. One that was evicted does not hide the later ones.
const RECORDS: usize = 16;

/// How long a process waits at most for the counter of another one that has recorded its epoch first. It leaves itself
/// half of the time that it has.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The pause between two looks at the counter.
const PAUSE: Duration = Duration::from_millis(2);

/// Creates the lock (free) and the counter (in a fresh epoch) where they are missing.
///
/// # Errors
/// [`Error`], naming the key.
pub(super) fn start_queue(connection: &mut Connection, keys: &Keys) -> Result<(), Error> {
    let (lock, curr) = (keys.lock(), keys.curr());
    if connection.get(&curr)?.is_some() {
        return number_or(connection, &lock, 0).map(|_| ());
    }
    let start = Ticket::fresh_epoch().value();
    let mut waited_for = 0;
    loop {
        let newest = recorded_epochs(connection, keys)?.last().map_or(0, |(number, _)| *number);
        // Whoever recorded the newest epoch may be about to create the counter.
        if newest > std::mem::replace(&mut waited_for, newest) && counter_appears(connection, keys)? {
            return Ok(());
        }
        if number_or(connection, &keys.epoch(newest + 1), start)? == start {
            break;
        }
    }
    let commands = [create_number(&lock, 0), create_number(&curr, start)];
    for (answer, key) in connection.exchange(&commands, &curr)?.iter().zip([&lock, &curr]) {
        if !matches!(answer.rc(), ReturnCode::Va | ReturnCode::Hd) {
            return Err(connection.unexpected(key, answer));
        }
    }
    // While there is memory: a flush must find these on a server that has been filled since.
    let server = server_id(connection, keys)?;
    create_record(connection, keys, server)?;
    failpoint::pass(Step::QueueBegun);
    Ok(())
}

fn counter_appears(connection: &mut Connection, keys: &Keys) -> Result<bool, Error> {
    let until = Instant::now() + (connection.time_left() / 2).min(WAIT_MAX);
    while connection.get(&keys.curr())?.is_none() {
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

/// The epochs that weir has begun on this server since it started: the number of each record and ticket 0 of its epoch,
/// in the order of the records.
///
/// # Errors
/// [`Error`], naming the key.
pub(super) fn recorded_epochs(connection: &mut Connection, keys: &Keys) -> Result<Vec<(usize, Ticket)>, Error> {
    let mut found = Vec::new();
    loop {
        let from = found.last().map_or(1, |(number, _)| number + 1);
        let names: Vec<_> = (from..from + RECORDS).map(|number| keys.epoch(number)).collect();
        let looks: Vec<_> = names.iter().map(|name| get(name)).collect();
        let before = found.len();
        for ((answer, name), number) in connection.exchange(&looks, &names[0])?.iter().zip(&names).zip(from..) {
            let Some(value) = answer.value() else { continue };
            found.push((number, connection.ticket(name, value)?));
        }
        if found.len() == before {
            return Ok(found);
        }
    }
}
