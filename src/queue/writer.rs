//! The writer's two steps: take a ticket, fill its slot. No lock, two round trips.
//!
//! Why it is safe: `incr` gives every writer its own slot; `add` stores only into an empty one; and both
//! happen on one connection, which a restart of the server would have cut. See the [room](super) for the
//! states and failures.

use std::time::{Duration, Instant};

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

/// Appends `entry` to the queue and returns its ticket once the server has acknowledged it. `between` is called
/// between the two steps.
///
/// # Errors
/// [`Error::Starved`] after too many closed slots. Any other [`Error`] leaves the outcome unknown: the entry
/// may or may not be in the queue.
pub fn enqueue(
    connection: &mut Connection,
    keys: &Keys,
    entry: &[u8],
    between: &mut dyn FnMut(Ticket),
) -> Result<Ticket, Error> {
    for _ in 0..ATTEMPTS {
        let taken = Instant::now();
        let ticket = take_ticket(connection, keys)?;
        between(ticket);
        if taken.elapsed() > TICKET_LIFE {
            continue;
        }
        let key = keys.slot(ticket);
        let answers = connection.exchange(&[add(&key, entry, Lifetime::Forever)], &key)?;
        if answers.first().map(|answer| connection.added(&key, answer)).transpose()? == Some(true) {
            tracing::trace!("memcached {}: {} bytes under ticket {ticket}", connection.address(), entry.len());
            return Ok(ticket);
        }
        tracing::trace!("memcached {}: ticket {ticket} was closed, taking another", connection.address());
    }
    Err(Error::Starved { server: connection.address().clone(), attempts: ATTEMPTS })
}

fn take_ticket(connection: &mut Connection, keys: &Keys) -> Result<Ticket, Error> {
    let key = keys.curr();
    for _ in 0..ATTEMPTS {
        let answers = connection.exchange(&[increment(&key)], &key)?;
        match answers.first().map(|answer| connection.incremented(&key, answer)).transpose()?.flatten() {
            Some(value) => return Ok(Ticket::from_counter(value)),
            None => ensure_queue(connection, keys)?,
        }
    }
    Err(Error::Starved { server: connection.address().clone(), attempts: ATTEMPTS })
}
