//! What an operator looks at: how much waits where, since when, and what is wrong with it.
//!
//! It only looks: no lock is taken, no slot is closed, nothing is written.

use std::time::Duration;

use serde::Serialize;

use crate::queue::health::{Health, health};
use crate::queue::{self, Address, Connection, Keys, Ticket};
use crate::store::{self, Store};

use super::ballot::time_text;
use super::drain::queue_name;
use super::spool::{Spool, SpoolError};
use super::wire;

/// How many slots behind the head are looked at for the oldest entry.
const OLDEST_SLOTS: u64 = 64;

/// One server and its queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerStatus {
    /// `host:port`.
    pub server: String,
    /// Why nothing below is known.
    pub error: Option<String>,
    /// Tickets handed out and not flushed: at most so many entries wait.
    pub depth: Option<u64>,
    /// How long the oldest entry has waited, in milliseconds.
    pub oldest_ms: Option<i64>,
    /// Whether somebody holds the notes' lock just now.
    pub locked: Option<bool>,
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// Bytes it may use.
    pub limit_bytes: Option<u64>,
    /// Items evicted since it started.
    pub evictions: Option<u64>,
    /// Whether it evicts when full, that is, runs without `-M`.
    pub may_evict: Option<bool>,
    /// When the queue was last flushed with something in it: RFC 3339.
    pub flushed_at: Option<String>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Every server, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// Why nothing is known of the database.
    pub database_error: Option<String>,
    /// Files waiting in the spool.
    pub spool_files: u64,
    /// Dead letters in the database.
    pub dead_letters: Option<u64>,
    /// Ballots that came after their poll had ended, over all polls.
    pub refused: Option<u64>,
}

/// Looks at everything. Failures are part of the status.
///
/// # Errors
/// [`SpoolError`] when the spool is there but cannot be read.
pub fn status(
    addresses: &[Address],
    keys: &Keys,
    timeout: Duration,
    store: Result<Box<dyn Store>, store::Error>,
    spool: &Spool,
) -> Result<Status, SpoolError> {
    let database = store.and_then(|mut store| {
        let refused = store
            .polls()?
            .iter()
            .map(|poll| store.tally(poll).map(|tally| tally.refused))
            .sum::<Result<u64, store::Error>>()?;
        Ok((store.queue_heads()?, store.dead_letter_count()?, refused))
    });
    let heads = database.as_ref().map(|(heads, ..)| heads.as_slice()).unwrap_or_default();
    let servers = addresses.iter().map(|address| {
        let name = queue_name(keys, address);
        let head = heads.iter().find(|head| head.name == name);
        let ticket = head.map(|head| Ticket::from_counter(head.head.unsigned_abs()));
        let flushed_at = head.map(|head| time_text(head.flushed_at_ms));
        look(address, keys, timeout, ticket, flushed_at)
    });
    Ok(Status {
        servers: servers.collect(),
        spool_files: spool.files()?.len() as u64,
        dead_letters: database.as_ref().ok().map(|(_, dead_letters, _)| *dead_letters),
        refused: database.as_ref().ok().map(|(.., refused)| *refused),
        database_error: database.err().map(|error| error.to_string()),
    })
}

fn look(
    address: &Address,
    keys: &Keys,
    timeout: Duration,
    head: Option<Ticket>,
    flushed_at: Option<String>,
) -> ServerStatus {
    let seen = health(address, timeout).and_then(|health| {
        let mut connection = Connection::open(address, timeout)?;
        Ok((health, Queue::look(&mut connection, keys, head)?))
    });
    let error = seen.as_ref().err().map(ToString::to_string);
    let (health, queue) = seen.ok().unzip();
    let of_health = |read: fn(&Health) -> u64| health.as_ref().map(read);
    ServerStatus {
        server: address.to_string(),
        error,
        depth: queue.as_ref().map(|queue| queue.depth),
        oldest_ms: queue.as_ref().and_then(|queue| queue.oldest_ms),
        locked: queue.as_ref().map(|queue| queue.locked),
        used_bytes: of_health(|health| health.used_bytes),
        limit_bytes: of_health(|health| health.limit_bytes),
        evictions: of_health(|health| health.evictions),
        may_evict: health.as_ref().map(|health| health.may_evict),
        flushed_at,
    }
}

struct Queue {
    depth: u64,
    oldest_ms: Option<i64>,
    locked: bool,
}

impl Queue {
    fn look(connection: &mut Connection, keys: &Keys, head: Option<Ticket>) -> Result<Queue, queue::Error> {
        let last = connection.counter(&keys.curr())?.map(|(value, _)| Ticket::from_counter(value));
        let locked = connection.counter(&keys.lock())?.is_some_and(|(value, _)| value > 0);
        let Some(last) = last else { return Ok(Queue { depth: 0, oldest_ms: None, locked }) };
        let noted = connection.counter(&keys.head())?.map(|(value, _)| Ticket::from_counter(value));
        let known = [head, noted].into_iter().flatten().filter(|from| last.continues(*from)).max();
        let from = known.unwrap_or(last.epoch_start());
        let depth = last.value() - from.value();
        let mut oldest_ms = None;
        for step in 1..=depth.min(OLDEST_SLOTS) {
            let Some(entry) = connection.get(&keys.slot(from.plus(step)))? else { continue };
            let at = wire::lines(&entry).filter_map(|(_, line)| wire::read_line(line).ok()?.at).min();
            if let Some(at) = at {
                oldest_ms = Some((super::now_ms() - at).max(0));
                break;
            }
        }
        Ok(Queue { depth, oldest_ms, locked })
    }
}
