//! What an operator looks at: how much waits where, since when, and what is wrong with it.
//!
//! It takes no lock and changes nothing that is there. All that it stores is a server's id where there is none
//! yet, and items that expire after a second, by which it finds out whether the server has memory for a vote. Servers
//! are asked in parallel, so that a silent one costs its time-out once. Whatever cannot be asked is part of the
//! status, with the reason.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::queue::health::{Health, health, takes_votes};
use crate::queue::{self, Address, Connection, Keys, Owner, ServerId, Ticket, known_server_id, server_id};
use crate::store::{self, Store};

use super::ballot::{IdentityKey, time_text};
use super::known::{KnownQueue, Stranded, stranded};
use super::owner;
use super::secret::{self, CheckError};
use super::site::Site;
use super::spool::{Spool, SpoolError};
use super::waiting::Waiting;

/// How many further connections are made to an address to see whether the same server answers, and how many if another did.
const SAME_SERVER_LOOKS: usize = 3;
const OTHER_SERVER_LOOKS: usize = 16;

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
    /// `host:port` or `unix:/path`.
    pub server: String,
    /// The server's own id, by which two addresses of one server are known.
    pub server_id: Option<String>,
    /// Ids of further servers that answer at the same address.
    pub further_ids: Vec<String>,
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
    /// Whether it stored items of a vote's size just now.
    pub takes_votes: Option<bool>,
    /// How often it refused to store something for want of memory, since it started.
    pub no_memory: Option<u64>,
    /// How often it refused to store something that is larger than it allows, since it started.
    pub too_large: Option<u64>,
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
    /// Queues that the database knows, that are not among those of `servers`, and in which something waits.
    pub stranded: Vec<Stranded>,
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
    /// Settings under which votes are lost, counted twice or never counted: of the database, the voter secret, and the
    /// database that a queue belongs to. One sentence each.
    pub wrong_settings: Vec<String>,
    /// Entries that were counted and deleted before the database went back to an earlier state, by queue.
    pub missing: Vec<Missing>,
}

/// Entries of one queue that are lost because the database went back to an earlier state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The queue's prefix and its server's id.
    pub queue: String,
    /// Where its server was last reached.
    pub server: String,
    /// How many.
    pub entries: u64,
}

/// What the database knows.
struct Stored {
    this: Owner,
    wrong_settings: Vec<String>,
    queues: Vec<KnownQueue>,
    missing: Vec<Missing>,
    dead_letters: u64,
    open_polls: u64,
}

/// Looks at everything. Failures are part of the status.
pub fn status(site: &Site, store: Result<Box<dyn Store>, store::Error>) -> Status {
    let Site { memcached: addresses, keys, timeout, copies, spool, .. } = site;
    let (timeout, copies) = (*timeout, *copies);
    let database = store.and_then(|mut store| look_at_store(store.as_mut(), &site.identity_key));
    let known = database.as_ref().map(|stored| stored.queues.as_slice()).unwrap_or_default();
    let servers: Vec<ServerStatus> = std::thread::scope(|scope| {
        let looks: Vec<_> =
            addresses.iter().map(|address| scope.spawn(move || look(address, keys, timeout, known))).collect();
        let joined = looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect()
    });
    let ids: Vec<_> = servers.iter().filter_map(|server| ServerId::parse(server.server_id.as_deref()?)).collect();
    let stranded = stranded(known, addresses, &ids, keys, timeout);
    let spooled = look_at_spool(spool);
    let mut wrong_settings = database.as_ref().map(|stored| stored.wrong_settings.clone()).unwrap_or_default();
    if let Ok(stored) = &database {
        let mut servers = site.servers();
        let foreign = owner::check_all(&mut servers, Some(stored.this.id), &stored.this.to_string()).err();
        wrong_settings.extend(foreign.map(|error| error.to_string()));
    }
    Status {
        copies,
        copies_possible: copies.min(distinct(&servers)),
        servers,
        stranded,
        spool_error: spooled.as_ref().err().map(ToString::to_string),
        spool_files: spooled.as_ref().ok().map(|(files, _)| *files),
        spool_oldest_ms: spooled.ok().and_then(|(_, oldest)| oldest),
        dead_letters: database.as_ref().ok().map(|stored| stored.dead_letters),
        open_polls: database.as_ref().ok().map(|stored| stored.open_polls),
        wrong_settings,
        missing: database.as_ref().map(|stored| stored.missing.clone()).unwrap_or_default(),
        database_error: database.err().map(|error| error.to_string()),
    }
}

fn look_at_store(store: &mut dyn Store, key: &IdentityKey) -> Result<Stored, store::Error> {
    let (this, mut wrong_settings) = (owner::of(store)?, store.unsafe_settings()?);
    wrong_settings.extend(store.check_writable().err().map(|error| format!("{error}; flush cannot count any vote")));
    match secret::check(store, key) {
        Ok(()) => {}
        Err(CheckError::Refused(refusal)) => wrong_settings.push(refusal.to_string()),
        Err(CheckError::Store(error)) => return Err(error),
    }
    let (polls, now_ms) = (store.polls()?, super::now_ms());
    let open_polls = polls.iter().filter(|poll| poll.is_open_at(now_ms)).count() as u64;
    let rows = store.queues()?;
    let queues = rows.iter().filter_map(KnownQueue::of_row).collect();
    let missing = rows.into_iter().filter(|row| row.missing > 0);
    let missing = missing.map(|row| Missing { queue: row.name, server: row.server, entries: row.missing }).collect();
    Ok(Stored { this, wrong_settings, queues, missing, dead_letters: store.dead_letter_count()?, open_polls })
}

/// How many files there are, and for how many milliseconds the oldest has been there.
fn look_at_spool(spool: &Spool) -> Result<(u64, Option<i64>), SpoolError> {
    let files = spool.files()?;
    let written = files.first().map(|path| spool.written(path)).transpose()?.flatten();
    let age = written.map(|at| at.elapsed().unwrap_or_default().as_millis());
    Ok((files.len() as u64, age.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))))
}

/// How many servers answer, each counted once.
fn distinct(servers: &[ServerStatus]) -> usize {
    let answering = servers.iter().enumerate().filter(|(_, server)| server.error.is_none());
    let first = |index: usize, server: &ServerStatus| {
        server.server_id.is_none() || servers[..index].iter().all(|other| other.server_id != server.server_id)
    };
    answering.filter(|(index, server)| first(*index, server)).count()
}

/// What was found of one server.
struct Seen {
    health: Health,
    id: Option<ServerId>,
    queue: Queue,
    takes_votes: bool,
}

fn look(address: &Address, keys: &Keys, timeout: Duration, known: &[KnownQueue]) -> ServerStatus {
    let seen = see(address, keys, timeout, known).map_err(|error| error.or_unsupported(timeout));
    let error = seen.as_ref().err().map(ToString::to_string);
    let seen = seen.ok();
    let id = seen.as_ref().and_then(|seen| seen.id);
    let row = known.iter().find(|queue| queue.is_of(keys, address, id));
    let (health, queue) = (seen.as_ref().map(|seen| &seen.health), seen.as_ref().map(|seen| &seen.queue));
    let of_health = |read: fn(&Health) -> u64| health.map(read);
    let drained = queue.and_then(|queue| queue.drained_at_ms);
    let flushed_at_ms = [row.map(|row| row.flushed_at_ms), drained].into_iter().flatten().max();
    let further = id.map(|id| further_ids(address, keys, timeout, id)).unwrap_or_default();
    let uptime = of_health(|health| health.uptime_seconds);
    ServerStatus {
        server: address.to_string(),
        server_id: id.map(|id| id.to_string()),
        further_ids: further
            .iter()
            .map(ToString::to_string)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
        error,
        depth: queue.map(|queue| queue.depth),
        oldest_ms: queue.and_then(|queue| queue.oldest_ms),
        locked: queue.map(|queue| queue.lock != LockState::Free),
        lock: queue.map(|queue| queue.lock),
        used_bytes: of_health(|health| health.used_bytes),
        limit_bytes: of_health(|health| health.limit_bytes),
        takes_votes: seen.as_ref().map(|seen| seen.takes_votes),
        no_memory: of_health(|health| health.no_memory),
        too_large: of_health(|health| health.too_large),
        evictions: of_health(|health| health.evictions),
        may_evict: health.map(|health| health.may_evict),
        uptime_seconds: uptime,
        flushed_at: flushed_at_ms.map(time_text),
        since_flush_ms: flushed_at_ms.map(|at| (super::now_ms() - at).max(0)),
    }
}

fn see(address: &Address, keys: &Keys, timeout: Duration, known: &[KnownQueue]) -> Result<Seen, queue::Error> {
    let mut connection = Connection::open(address, timeout)?;
    let id = match known_server_id(&mut connection, keys)? {
        Some(id) => Some(id),
        // On a connection of its own: a full server has no memory for an id, and answers all else.
        None => Connection::open(address, timeout).and_then(|mut other| server_id(&mut other, keys)).ok(),
    };
    let health = health(address, timeout)?;
    let row = known.iter().find(|queue| queue.is_of(keys, address, id));
    let queue = Queue::look(&mut connection, keys, row.map(|row| row.head))?;
    // Last, for a refusal ends the connection.
    let takes_votes = takes_votes(&mut connection, keys, queue.entry_bytes)?;
    Ok(Seen { health, id, queue, takes_votes })
}

/// Ids of other servers that new connections to the address lead to. A server that is restarted meanwhile has another id
/// too, but its old one does not come back.
fn further_ids(address: &Address, keys: &Keys, timeout: Duration, first: ServerId) -> Vec<ServerId> {
    let mut seen = vec![first];
    let mut came_back = false;
    for look in 0..OTHER_SERVER_LOOKS {
        if look == SAME_SERVER_LOOKS && seen.iter().all(|id| *id == first) {
            break;
        }
        let asked = Connection::open(address, timeout).and_then(|mut connection| server_id(&mut connection, keys));
        let Ok(id) = asked else { break };
        came_back |= seen.last() != Some(&id) && seen.contains(&id);
        seen.push(id);
    }
    if came_back { seen.into_iter().filter(|id| *id != first).collect() } else { Vec::new() }
}

struct Queue {
    depth: u64,
    oldest_ms: Option<i64>,
    /// How long the newest entry is, if there is one.
    entry_bytes: Option<usize>,
    lock: LockState,
    drained_at_ms: Option<i64>,
}

impl Queue {
    fn look(connection: &mut Connection, keys: &Keys, head: Option<Ticket>) -> Result<Queue, queue::Error> {
        let Waiting { depth, first, entry_bytes } = Waiting::look(connection, keys, head)?;
        let drained = connection.counter(&keys.flushed())?;
        let drained_at_ms = drained.and_then(|(at, _)| i64::try_from(at).ok());
        let oldest_ms = first.flatten().map(|at| (super::now_ms() - at).max(0));
        // The lock last: one that is held is watched for a while.
        Ok(Queue { depth, oldest_ms, entry_bytes, lock: lock_state(connection, keys)?, drained_at_ms })
    }
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
