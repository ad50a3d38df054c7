//! The writer's two steps: take a ticket, fill its slot. No lock, two round trips.
//!
//! Why it is safe: `incr` gives every writer its own slot; `add` stores only into an empty one; and both
//! happen on one connection, which a restart of the server would have cut. See the [room](super) for the
//! states and failures.

use std::time::{Duration, Instant};

use crate::failpoint::{self, Step};

use super::connection::{Connection, Lifetime, add, increment};
use super::error::Error;
use super::lock::ensure_queue;
use super::names::Keys;
use super::ticket::Ticket;

/// A ticket older than this is not used any more: the reader's tombstone on its slot lasts an hour, and a
/// writer that was stopped must not come near that.
const TICKET_LIFE: Duration = Duration::from_secs(5);

/// How many tickets a writer tries. A closed slot is already rare: it takes a reader that passes between the
/// two steps.
const ATTEMPTS: u32 = 32;

/// Appends entries to the queue and returns once the server has acknowledged every one. All of them together take
/// two round trips, one for the tickets and one for the slots. `between` is called between the two.
///
/// # Errors
/// [`Error::Starved`] after too many closed slots. Any other [`Error`] leaves the outcome unknown: each entry may
/// or may not be in the queue.
pub fn enqueue(
    connection: &mut Connection,
    keys: &Keys,
    entries: &[impl AsRef<[u8]>],
    between: &mut dyn FnMut(Ticket),
) -> Result<(), Error> {
    let mut open: Vec<&[u8]> = entries.iter().map(AsRef::as_ref).collect();
    for _ in 0..ATTEMPTS {
        let Some(further) = (open.len() as u64).checked_sub(1) else { return Ok(()) };
        let taken = Instant::now();
        let last = take_tickets(connection, keys, further + 1)?;
        between(last);
        failpoint::pass(Step::TicketsTaken);
        if taken.elapsed() > TICKET_LIFE {
            continue;
        }
        let first = Ticket::from_counter(last.value().saturating_sub(further));
        let slots: Vec<_> = (0..=further).map(|step| keys.slot(first.plus(step))).collect();
        let adds: Vec<_> = slots.iter().zip(&open).map(|(key, entry)| add(key, entry, Lifetime::Forever)).collect();
        let mut closed = Vec::new();
        for ((answer, key), entry) in connection.exchange(&adds, &slots[0])?.iter().zip(&slots).zip(&open) {
            if connection.added(key, answer)? {
                tracing::trace!("memcached {}: {} bytes as {key}", connection.address(), entry.len());
            } else {
                tracing::trace!("memcached {}: {key} was closed, taking another ticket", connection.address());
                closed.push(*entry);
            }
        }
        failpoint::pass(Step::SlotsFilled);
        open = closed;
    }
    if open.is_empty() { Ok(()) } else { Err(starved(connection)) }
}

/// Takes so many tickets in a row and returns the last of them.
fn take_tickets(connection: &mut Connection, keys: &Keys, count: u64) -> Result<Ticket, Error> {
    let key = keys.curr();
    for _ in 0..ATTEMPTS {
        let answers = connection.exchange(&[increment(&key, count)], &key)?;
        match answers.first().map(|answer| connection.incremented(&key, answer)).transpose()?.flatten() {
            Some(value) => return Ok(Ticket::from_counter(value)),
            None => ensure_queue(connection, keys)?,
        }
    }
    Err(starved(connection))
}

fn starved(connection: &Connection) -> Error {
    Error::Starved { server: connection.address().clone(), attempts: ATTEMPTS }
}
