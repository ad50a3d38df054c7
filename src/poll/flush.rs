//! All the ways out at once: every server's queue, then the spool, then fresh definitions and totals in memcached.
//!
//! One failing server does not stop the others. A database that fails stops the flush: everything stays where it
//! is, and the next flush goes on from there.

use std::time::Duration;

use crate::queue::{self, Address, Keys};
use crate::store::{self, DatabaseUrl, Store};

use super::ballot::{IdentityKey, Poll};
use super::drain::{Count, Drain, DrainError, Step, write_docket};
use super::judge::Judge;
use super::servers::Servers;
use super::spool::{Spool, SpoolError};
use super::{definition, results};

/// How long the database may take for one answer: a chunk's commit on a busy disk.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// How long one server may take for all definitions and totals.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long after its end a poll is still refreshed in memcached, in milliseconds.
const ENDED_REFRESH_MS: i64 = 7 * 24 * 3600 * 1000;

/// How often they are put there when polls are changed meanwhile.
const PUBLISH_ROUNDS: u32 = 8;

/// What a flush came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Over all queues and the spool.
    pub count: Count,
    /// Queues that another flush is draining just now.
    pub taken: Vec<String>,
    /// Servers and files that failed: their ballots stay where they are.
    pub failures: Vec<String>,
    /// What an operator should hear although nothing failed.
    pub warnings: Vec<String>,
}

/// The spool or the database failed, or both.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The database failed; what was not committed stays in the queues and the spool.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What drains queues and spool into a database, once or again and again.
pub struct Flusher {
    addresses: Vec<Address>,
    keys: Keys,
    timeout: Duration,
    database: DatabaseUrl,
    spool: Spool,
    key: IdentityKey,
    store: Option<Box<dyn Store>>,
}

impl Flusher {
    /// A flusher; nothing is opened yet.
    pub fn new(
        addresses: Vec<Address>,
        keys: Keys,
        timeout: Duration,
        database: DatabaseUrl,
        spool: Spool,
        key: IdentityKey,
    ) -> Flusher {
        Flusher { addresses, keys, timeout, database, spool, key, store: None }
    }

    /// Drains everything that is there now.
    ///
    /// # Errors
    /// [`FlushError`]; then `report` tells what had been done.
    pub fn flush(&mut self, report: &mut Report, watch: &mut dyn FnMut(Step)) -> Result<(), FlushError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => store::open(&self.database, DATABASE_PATIENCE)?,
        };
        for address in &self.addresses {
            let mut drain = Drain {
                address,
                keys: &self.keys,
                timeout: self.timeout,
                key: &self.key,
                watch,
                count: Count::default(),
                took_over_lock: false,
                head: None,
            };
            let drained = drain.run(store.as_mut());
            report.count += drain.count;
            if drain.took_over_lock {
                report.warnings.push(format!("memcached {address}: took over a lock that was held for over a second"));
            }
            match drained {
                Ok(()) => report.warnings.extend(eviction_warning(address, self.timeout)),
                Err(DrainError::Queue(error)) => report.failures.push(error.to_string()),
                Err(DrainError::Store(store::Error::QueueTaken { queue })) => report.taken.push(queue),
                Err(DrainError::Store(error)) => return Err(error.into()),
            }
        }
        self.drain_spool(store.as_mut(), report)?;
        self.publish(store.as_mut(), report)?;
        self.store = Some(store);
        Ok(())
    }

    fn drain_spool(&self, store: &mut dyn Store, report: &mut Report) -> Result<(), FlushError> {
        if self.spool.files()?.is_empty() {
            return Ok(());
        }
        let Some(_lock) = self.spool.lock()? else {
            report.taken.push(format!("spool {}", self.spool.folder().display()));
            return Ok(());
        };
        // The files first: what they hold was cast by the polls read after, or by earlier ones.
        let files = self.spool.files()?;
        let mut judge = Judge::new(store.polls()?, &self.key);
        for path in files {
            let bytes = match self.spool.read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    report.failures.push(error.to_string());
                    continue;
                }
            };
            let origin = format!("spool {}", path.display());
            let docket = judge.judge(&origin, &bytes, super::now_ms());
            let count = write_docket(store, docket, None)?;
            tracing::info!("spool {}: {} ballots, {} counted", path.display(), count.ballots, count.counted);
            report.count += count;
            self.spool.remove(&path)?;
        }
        Ok(())
    }

    /// Definitions and totals of every poll that is open or has ended lately, onto every server.
    fn publish(&self, store: &mut dyn Store, report: &mut Report) -> Result<(), FlushError> {
        let mut all = store.polls()?;
        let timeout = self.timeout.max(PUBLISH_TIMEOUT);
        let reachable: Vec<_> = self.addresses.iter().filter(|address| !mentioned(report, address)).cloned().collect();
        let mut servers = Servers::new(&reachable, self.keys.clone(), timeout);
        for _ in 0..PUBLISH_ROUNDS {
            let now_ms = super::now_ms();
            let recent = |poll: &&Poll| poll.ends_at_ms().is_none_or(|end| end > now_ms - ENDED_REFRESH_MS);
            let polls: Vec<Poll> = all.iter().filter(recent).cloned().collect();
            let totals = polls.iter().map(|poll| results::stored(poll, store)).collect::<Result<Vec<_>, _>>()?;
            let failed = [definition::publish(&polls, &mut servers), results::publish(&totals, &mut servers)];
            for error in failed.into_iter().flatten().filter(|error| !matches!(error, queue::Error::Resting { .. })) {
                report.failures.push(error.to_string());
            }
            // A poll opened or closed since it was read here has just been put back to what it was.
            let before = std::mem::replace(&mut all, store.polls()?);
            if all == before {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a server has failed already in this flush: it need not cost its time-out again.
fn mentioned(report: &Report, address: &Address) -> bool {
    let name = format!("memcached {address}:");
    report.failures.iter().any(|failure| failure.starts_with(&name))
}

fn eviction_warning(address: &Address, timeout: Duration) -> Option<String> {
    let health = queue::health::health(address, timeout).ok()?;
    match (health.evictions, health.may_evict) {
        (0, true) => Some(format!(
            "memcached {address} evicts entries when it is full; start it with -M to get an error instead"
        )),
        (0, false) => None,
        (evicted, _) => Some(format!(
            "memcached {address} has evicted {evicted} items since it started: votes may be lost; give it more memory and -M"
        )),
    }
}
