//! What an operator looks at: how much waits where, since when, and what is wrong with it.
//!
//! It only looks: no lock is taken, no slot is closed, nothing is written. Servers are looked at beside each other, so
//! that a silent one costs its time-out once. Whatever cannot be looked at is part of the status, with the reason.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::queue::health::{Health, health};
use crate::queue::{self, Address, Connection, Keys, Ticket};
use crate::store::{self, QueueHead, Store};

use super::ballot::time_text;
use super::drain::queue_name;
use super::spool::{Spool, SpoolError};
use super::wire;

/// How many slots behind the head are looked for the oldest entry.
const OLDEST_SLOTS: u64 = 64;

/// For how long a lock that is held is watched: longer than anybody who follows the notes waits for it.
const LOCK_WATCH: Duration = Duration::from_millis(1100);

/// How often it is looked at meanwhile.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// Who has the notes' lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockState {
    /// Nobody.
    Free,
    /// Somebody, who gave it back while it was watched.
    Held,
    /// Somebody who has had it for over a second: most likely dead. The next who wants it takes it over.
    Stuck,
}

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
    /// Whether somebody held the notes' lock at the first look.
    pub locked: Option<bool>,
    /// Who has it.
    pub lock: Option<LockState>,
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// Bytes it may use.
    pub limit_bytes: Option<u64>,
    /// Items evicted since it started.
    pub evictions: Option<u64>,
    /// Whether it evicts when full, that is, runs without `-M`.
    pub may_evict: Option<bool>,
    /// Seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// When its queue was last drained to the end, or had ballots taken out: RFC 3339.
    pub flushed_at: Option<String>,
    /// How long ago that was, in milliseconds.
    pub since_flush_ms: Option<i64>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Every server, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// On how many servers each ballot is to be stored.
    pub copies: usize,
    /// On how many it can be just now: votes go on with so many copies. With 0 they go to the database.
    pub copies_possible: usize,
    /// Why nothing is known of the database.
    pub database_error: Option<String>,
    /// Polls that take votes.
    pub open_polls: Option<u64>,
    /// Why nothing is known of the spool.
    pub spool_error: Option<String>,
    /// Files waiting in the spool.
    pub spool_files: Option<u64>,
    /// How long the oldest of them has waited, in milliseconds.
    pub spool_oldest_ms: Option<i64>,
    /// Dead letters in the database.
    pub dead_letters: Option<u64>,
}

/// What the database knows.
struct Stored {
    heads: Vec<QueueHead>,
    dead_letters: u64,
    open_polls: u64,
}

/// Looks at everything. Failures are part of the status.
pub fn status(
    addresses: &[Address],
    keys: &Keys,
    timeout: Duration,
    copies: usize,
    store: Result<Box<dyn Store>, store::Error>,
    spool: &Spool,
) -> Status {
    let database = store.and_then(|mut store| look_at_store(store.as_mut()));
    let heads = database.as_ref().map(|stored| stored.heads.as_slice()).unwrap_or_default();
    let servers: Vec<ServerStatus> = std::thread::scope(|scope| {
        let looks: Vec<_> = addresses
            .iter()
            .map(|address| {
                let name = queue_name(keys, address);
                let head = heads.iter().find(|head| head.name == name);
                scope.spawn(move || look(address, keys, timeout, head))
            })
            .collect();
        let joined = looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect()
    });
    let spooled = look_at_spool(spool);
    Status {
        copies,
        copies_possible: copies.min(servers.iter().filter(|server| server.error.is_none()).count()),
        servers,
        spool_error: spooled.as_ref().err().map(ToString::to_string),
        spool_files: spooled.as_ref().ok().map(|(files, _)| *files),
        spool_oldest_ms: spooled.ok().and_then(|(_, oldest)| oldest),
        dead_letters: database.as_ref().ok().map(|stored| stored.dead_letters),
        open_polls: database.as_ref().ok().map(|stored| stored.open_polls),
        database_error: database.err().map(|error| error.to_string()),
    }
}

fn look_at_store(store: &mut dyn Store) -> Result<Stored, store::Error> {
    let (polls, now_ms) = (store.polls()?, super::now_ms());
    let open_polls = polls.iter().filter(|poll| poll.is_open_at(now_ms)).count() as u64;
    Ok(Stored { heads: store.queue_heads()?, dead_letters: store.dead_letter_count()?, open_polls })
}

/// How many files there are, and for how many milliseconds the oldest has been there.
fn look_at_spool(spool: &Spool) -> Result<(u64, Option<i64>), SpoolError> {
    let files = spool.files()?;
    let written = files.first().map(|path| spool.written(path)).transpose()?.flatten();
    let age = written.map(|at| at.elapsed().unwrap_or_default().as_millis());
    Ok((files.len() as u64, age.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))))
}

fn look(address: &Address, keys: &Keys, timeout: Duration, head: Option<&QueueHead>) -> ServerStatus {
    let ticket = head.map(|head| Ticket::from_counter(head.head.unsigned_abs()));
    let seen = health(address, timeout).and_then(|health| {
        let mut connection = Connection::open(address, timeout)?;
        Ok((health, Queue::look(&mut connection, keys, ticket)?))
    });
    let error = seen.as_ref().err().map(ToString::to_string);
    let (health, queue) = seen.ok().unzip();
    let of_health = |read: fn(&Health) -> u64| health.as_ref().map(read);
    let drained = queue.as_ref().and_then(|queue| queue.drained_at_ms);
    let flushed_at_ms = [head.map(|head| head.flushed_at_ms), drained].into_iter().flatten().max();
    ServerStatus {
        server: address.to_string(),
        error,
        depth: queue.as_ref().map(|queue| queue.depth),
        oldest_ms: queue.as_ref().and_then(|queue| queue.oldest_ms),
        locked: queue.as_ref().map(|queue| queue.lock != LockState::Free),
        lock: queue.as_ref().map(|queue| queue.lock),
        used_bytes: of_health(|health| health.used_bytes),
        limit_bytes: of_health(|health| health.limit_bytes),
        evictions: of_health(|health| health.evictions),
        may_evict: health.as_ref().map(|health| health.may_evict),
        uptime_seconds: of_health(|health| health.uptime_seconds),
        flushed_at: flushed_at_ms.map(time_text),
        since_flush_ms: flushed_at_ms.map(|at| (super::now_ms() - at).max(0)),
    }
}

struct Queue {
    depth: u64,
    oldest_ms: Option<i64>,
    lock: LockState,
    drained_at_ms: Option<i64>,
}

impl Queue {
    fn look(connection: &mut Connection, keys: &Keys, head: Option<Ticket>) -> Result<Queue, queue::Error> {
        let last = connection.counter(&keys.curr())?.map(|(value, _)| Ticket::from_counter(value));
        let noted = connection.counter(&keys.head())?.map(|(value, _)| Ticket::from_counter(value));
        let drained = connection.counter(&keys.flushed())?;
        let drained_at_ms = drained.and_then(|(at, _)| i64::try_from(at).ok());
        let (depth, oldest_ms) = match last {
            None => (0, None),
            Some(last) => {
                let known = [head, noted].into_iter().flatten().filter(|from| last.continues(*from)).max();
                let from = known.unwrap_or(last.epoch_start());
                let depth = last.value() - from.value();
                (depth, oldest(connection, keys, from, depth)?)
            }
        };
        // The lock last: one that is held is watched for a while.
        Ok(Queue { depth, oldest_ms, lock: lock_state(connection, keys)?, drained_at_ms })
    }
}

fn oldest(connection: &mut Connection, keys: &Keys, from: Ticket, depth: u64) -> Result<Option<i64>, queue::Error> {
    for step in 1..=depth.min(OLDEST_SLOTS) {
        let Some(entry) = connection.get(&keys.slot(from.plus(step)))? else { continue };
        let at = wire::lines(&entry).filter_map(|(_, line)| wire::read_line(line).ok()?.at).min();
        if let Some(at) = at {
            return Ok(Some((super::now_ms() - at).max(0)));
        }
    }
    Ok(None)
}

/// Those who wait for the lock only ever raise its counter, so a counter that has fallen, or was written without
/// having risen, has been given back in between.
fn lock_state(connection: &mut Connection, keys: &Keys) -> Result<LockState, queue::Error> {
    let until = Instant::now() + LOCK_WATCH;
    let mut before: Option<(u64, String)> = None;
    loop {
        let seen = connection.counter(&keys.lock())?.filter(|(value, _)| *value > 0);
        let Some((value, cas)) = seen else {
            return Ok(if before.is_some() { LockState::Held } else { LockState::Free });
        };
        let given_back = before.is_some_and(|(old, old_cas)| value < old || (value == old && cas != old_cas));
        match () {
            () if given_back => return Ok(LockState::Held),
            () if Instant::now() >= until => return Ok(LockState::Stuck),
            () => std::thread::sleep(LOCK_LOOK),
        }
        before = Some((value, cas));
    }
}
