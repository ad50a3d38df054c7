//! The writer's two steps: take a ticket, fill its slot. No lock, two round trips.
//!
//! A writer that writes one entry after the other takes the next entry's ticket in the round trip that fills this
//! one's slot, so each costs it one. Such a ticket is like any that a writer holds between its steps, and no older than
//! those may be.
//!
//! Why it is safe: `incr` gives every writer its own slot; `add` stores only into an empty one; and both
//! happen on one connection, which a restart of the server would have cut. See the [module](super) for the
//! states and failures.

use std::time::{Duration, Instant};

use crate::failpoint::{self, Step};

use super::connection::{Connection, Lifetime, add, increment};
use super::error::Error;
use super::names::Keys;
use super::start::start_queue;
use super::ticket::Ticket;

/// A ticket older than this is not used any more: the reader looks at an empty slot again for an hour, and a writer
/// that was stopped must not come near that.
const TICKET_LIFE: Duration = Duration::from_secs(5);

/// An entry that comes so soon after the last is taken to be followed by another.
const IN_A_ROW: Duration = Duration::from_millis(10);

/// How many tickets a writer tries. A slot that is filled already is rare: it takes a legacy writer that has set the
/// counter back to 0 while entries of before are queued.
const ATTEMPTS: u32 = 32;

/// Appends entries to the queue and returns once the server has acknowledged every one. All of them together take
/// two round trips, one for the tickets and one for the slots.
///
/// # Errors
/// [`Error::NoFreeSlot`] after too many filled slots. Any other [`Error`] leaves the outcome unknown: each entry may
/// or may not be in the queue.
pub fn enqueue(connection: &mut Connection, keys: &Keys, entries: &[impl AsRef<[u8]>]) -> Result<(), Error> {
    let mut open: Vec<&[u8]> = entries.iter().map(AsRef::as_ref).collect();
    connection.ahead.keep_to(keys);
    let in_a_row = connection.ahead.wrote.is_some_and(|at| at.elapsed() < IN_A_ROW);
    for _ in 0..ATTEMPTS {
        let Some(further) = (open.len() as u64).checked_sub(1) else { return Ok(()) };
        let single = further == 0;
        let ahead = if single { connection.ahead.ticket.take() } else { None };
        let (last, taken) = match ahead.filter(|(_, taken)| taken.elapsed() <= TICKET_LIFE) {
            Some(ahead) => ahead,
            None => {
                let taken = Instant::now();
                (take_tickets(connection, keys, further + 1)?, taken)
            }
        };
        failpoint::pass(Step::TicketsTaken);
        if taken.elapsed() > TICKET_LIFE {
            continue;
        }
        let first = Ticket::from_counter(last.value().saturating_sub(further));
        let slots: Vec<_> = (0..=further).map(|step| keys.slot(first.plus(step))).collect();
        let mut adds: Vec<_> = slots.iter().zip(&open).map(|(key, entry)| add(key, entry, Lifetime::Forever)).collect();
        if single && in_a_row {
            adds.push(increment(&keys.curr(), 1));
        }
        let asked = Instant::now();
        let answers = connection.exchange(&adds, &slots[0])?;
        // What the counter answers is nothing to the entries, which are in their slots by now.
        let next = answers.get(slots.len()).and_then(|answer| connection.incremented(&keys.curr(), answer).ok()?);
        connection.ahead.ticket = next.map(|next| (Ticket::from_counter(next), asked)).or(connection.ahead.ticket);
        let mut refused = Vec::new();
        for ((answer, key), entry) in answers.iter().zip(&slots).zip(&open) {
            if connection.added(key, answer)? {
                tracing::trace!("memcached {}: {} bytes as {key}", connection.address(), entry.len());
            } else {
                tracing::trace!("memcached {}: {key} is filled already, taking another ticket", connection.address());
                refused.push(*entry);
            }
        }
        failpoint::pass(Step::SlotsFilled);
        open = refused;
        connection.ahead.wrote = Some(Instant::now());
    }
    if open.is_empty() { Ok(()) } else { Err(no_free_slot(connection)) }
}

/// Takes so many tickets in a row and returns the last of them.
fn take_tickets(connection: &mut Connection, keys: &Keys, count: u64) -> Result<Ticket, Error> {
    let key = keys.curr();
    for _ in 0..ATTEMPTS {
        let answers = connection.exchange(&[increment(&key, count)], &key)?;
        match answers.first().map(|answer| connection.incremented(&key, answer)).transpose()?.flatten() {
            Some(value) => return Ok(Ticket::from_counter(value)),
            None => start_queue(connection, keys)?,
        }
    }
    Err(no_free_slot(connection))
}

fn no_free_slot(connection: &Connection) -> Error {
    Error::NoFreeSlot { server: connection.address().clone(), attempts: ATTEMPTS }
}
