//! All the ways out at once: every server's queue, then the spool, then fresh definitions and totals in memcached.
//!
//! Queues are drained beside each other, each with a database connection of its own, a few at a time so that memory
//! stays bounded however many servers there are. One failing server, or a failing spool, does not stop the others. A
//! database that fails stops the flush: everything stays where it is, and the next flush goes on from there.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::failpoint;
use crate::queue::health::Health;
use crate::queue::{self, Address, Lifetime};
use crate::store::{self, Batch, Store, fold_all};

use super::ballot::Poll;
use super::drain::{Count, Drain, DrainError, Holes, Step, write_docket};
use super::judge::Judge;
use super::owner::{self, OwnerError};
use super::pulse::Pulse;
use super::secret::{self, CheckError};
use super::servers::Servers;
use super::site::Site;
use super::spool::SpoolError;
use super::{definition, results, turnout};

/// How many queues are drained at once: each holds a chunk of ballots and what is read ahead of it.
const DRAINS_AT_ONCE: usize = 8;

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
    /// Their servers.
    pub busy: Vec<Address>,
    /// Servers and files that failed: their ballots stay where they are.
    pub failures: Vec<String>,
    /// Slots whose entries are lost because the database has gone back; also among the failures.
    pub missing: u64,
    /// What an operator should hear although nothing failed.
    pub warnings: Vec<String>,
}

impl Report {
    /// Notes what servers failed with. That one rests has been told when it failed.
    fn fail(&mut self, errors: Vec<queue::Error>) {
        let fresh = errors.into_iter().filter(|error| !matches!(error, queue::Error::Resting { .. }));
        let (full, failed): (Vec<_>, Vec<_>) = fresh.partition(queue::Error::is_out_of_memory);
        self.failures.extend(failed.iter().map(ToString::to_string));
        // Its queue was drained all the same; readers get what is not there from the database.
        self.warnings.extend(full.iter().map(|error| format!("{error}; results are not up to date on this server")));
    }
}

/// Why the spool's drain ended early.
#[derive(Debug, thiserror::Error)]
enum SpoolDrainError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What drains queues and spool into a database, once or again and again.
pub struct Flusher {
    work: Work,
    /// Each drain's own, kept from flush to flush.
    stores: Vec<Option<Box<dyn Store>>>,
}

/// What the drains share.
struct Work {
    site: Site,
    pulse: Pulse,
}

/// What the drain of one queue came to.
struct Drained {
    index: usize,
    count: Count,
    /// Entries that are lost because the database has gone back.
    missing: u64,
    warning: Option<String>,
    done: Result<(), DrainError>,
}

/// What the drains of one flush share.
struct Course<'a> {
    /// The next server that nobody has begun with.
    next: AtomicUsize,
    holes: Holes,
    watch: Watch<'a>,
    /// Which queues have been begun with, and at which address.
    begun: Mutex<HashMap<String, Address>>,
}

type Watch<'a> = Mutex<&'a mut (dyn FnMut(Step) + Send)>;

impl Flusher {
    /// A flusher of a site; nothing is opened yet.
    pub fn new(site: Site) -> Flusher {
        Flusher { work: Work { site, pulse: Pulse::default() }, stores: Vec::new() }
    }

    /// What tells that a flush moves, and asks it to stop after the chunks under way.
    pub fn pulse(&self) -> Pulse {
        self.work.pulse.clone()
    }

    /// Drains everything that is there now, [`DRAINS_AT_ONCE`] queues at a time, and the `holes` in what was drained
    /// before. `watch` is called at each step of each drain, one at a time, and the drain waits for it.
    ///
    /// # Errors
    /// [`CheckError::Store`] when the database failed: what was not committed stays in the queues and the spool, and `report`
    /// tells what had been done. [`CheckError::Refused`] when the votes of the database are made with another secret: then
    /// nothing was read. All else that fails is in the report.
    pub fn flush(
        &mut self,
        holes: Holes,
        report: &mut Report,
        watch: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), CheckError> {
        // After a failure nobody knows what state a connection is in, so they are kept only when all went well.
        let mut stores = std::mem::take(&mut self.stores);
        stores.resize_with(self.work.site.memcached.len().clamp(1, DRAINS_AT_ONCE), || None);
        // The first before all others: it brings the tables up to date, and without it none need be tried.
        let store = self.work.open(&mut stores[0])?;
        store.require_durable()?;
        secret::check(store, &self.work.site.identity_key)?;
        let (mut failed, mut foreign) = (None, false);
        for drained in self.work.drain_all(&mut stores, holes, watch) {
            let address = &self.work.site.memcached[drained.index];
            report.count += drained.count;
            report.warnings.extend(drained.warning);
            report.missing += drained.missing;
            if drained.missing > 0 {
                report.failures.push(missing_failure(address, drained.missing));
            }
            match drained.done {
                Ok(()) => {}
                Err(DrainError::Queue(error)) => report.failures.push(error.to_string()),
                Err(DrainError::Owner(error)) => {
                    foreign |= !matches!(error, OwnerError::LacksPoll { .. });
                    report.failures.push(error.to_string());
                }
                Err(DrainError::Store(store::Error::QueueTaken { queue })) => {
                    report.busy.push(address.clone());
                    report.taken.push(queue);
                }
                Err(DrainError::Store(error)) => failed = failed.or(Some(error)),
                Err(error) => report.failures.push(error.to_string()),
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        let store = self.work.open(&mut stores[0])?;
        // What a site spools belongs where its queues belong.
        let spooled = if foreign { Ok(()) } else { self.work.drain_spool(store, report) };
        match spooled {
            Ok(()) => {}
            Err(SpoolDrainError::Spool(error)) => report.failures.push(error.to_string()),
            Err(SpoolDrainError::Store(error)) => return Err(error.into()),
        }
        self.work.publish(store, report)?;
        self.stores = stores;
        Ok(())
    }
}

impl Work {
    /// A drain's own connection to the database, opened when it is first needed.
    fn open<'a>(&self, slot: &'a mut Option<Box<dyn Store>>) -> Result<&'a mut dyn Store, store::Error> {
        let store = match slot.take() {
            Some(store) => store,
            None => self.site.store()?,
        };
        Ok(slot.insert(store).as_mut())
    }

    /// Drains the queues beside each other, so that a server that is slow or silent holds up no other. Each drain
    /// has a connection to the database of its own, and its queue's head there is its own row.
    fn drain_all(
        &self,
        stores: &mut [Option<Box<dyn Store>>],
        holes: Holes,
        watch: &mut (dyn FnMut(Step) + Send),
    ) -> Vec<Drained> {
        let (next, watch, begun) = (AtomicUsize::new(0), Mutex::new(watch), Mutex::default());
        let course = Course { next, holes, watch, begun };
        let mut all: Vec<Drained> = std::thread::scope(|scope| {
            let course = &course;
            let drains: Vec<_> =
                stores.iter_mut().map(|slot| scope.spawn(move || self.drain_some(slot, course))).collect();
            let joined = drains.into_iter().map(|drain| drain.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.flatten().collect()
        });
        all.sort_by_key(|drained| drained.index);
        all
    }

    /// Drains one queue after the other, out of those that nobody has begun.
    fn drain_some(&self, slot: &mut Option<Box<dyn Store>>, course: &Course<'_>) -> Vec<Drained> {
        let mut all = Vec::new();
        loop {
            let index = course.next.fetch_add(1, Ordering::Relaxed);
            let Some(address) = self.site.memcached.get(index) else { return all };
            let mut drained = Drained { index, count: Count::default(), missing: 0, warning: None, done: Ok(()) };
            drained.done = self.drain(slot, address, course, &mut drained);
            let ended = matches!(drained.done, Err(DrainError::Store(store::Error::Failure(_))));
            all.push(drained);
            if ended {
                return all;
            }
        }
    }

    fn drain(
        &self,
        slot: &mut Option<Box<dyn Store>>,
        address: &Address,
        course: &Course<'_>,
        drained: &mut Drained,
    ) -> Result<(), DrainError> {
        let mut watch = |step| {
            self.pulse.beat();
            course.watch.lock().unwrap_or_else(PoisonError::into_inner)(step);
        };
        let mut drain = Drain::open(&self.site, address, &mut watch, &self.pulse)?;
        let queue = drain.queue().to_string();
        let other = course.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(queue, address.clone());
        if let Some(other) = other {
            drained.warning = Some(format!("memcached {other} and {address} are the same server; name it once"));
            return Ok(());
        }
        let health = queue::health::health(address, self.site.timeout).ok();
        drained.warning = health.as_ref().and_then(|health| eviction_warning(address, health));
        let done =
            self.open(slot).map_err(DrainError::from).and_then(|store| drain.run(store, course.holes, health.as_ref()));
        (drained.count, drained.missing) = (drain.count, drain.missing);
        done
    }

    fn drain_spool(&self, store: &mut dyn Store, report: &mut Report) -> Result<(), SpoolDrainError> {
        if self.site.spool.files()?.is_empty() {
            return Ok(());
        }
        let Some(_lock) = self.site.spool.lock()? else {
            report.taken.push(format!("spool {}", self.site.spool.folder().display()));
            return Ok(());
        };
        failpoint::pass(failpoint::Step::SpoolLocked);
        // The files first: what they hold was cast by the polls read after, or by earlier ones.
        let files = self.site.spool.files()?;
        let mut judge = Judge::new(store.polls()?, &self.site.identity_key);
        let mut servers = self.site.servers();
        for path in files {
            self.pulse.beat();
            if self.pulse.is_stopping() {
                break;
            }
            let bytes = match self.site.spool.read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    report.failures.push(error.to_string());
                    continue;
                }
            };
            failpoint::pass(failpoint::Step::SpoolRead);
            let origin = format!("spool {}", path.display());
            let now_ms = super::now_ms();
            let docket = judge.judge(&origin, &bytes, now_ms);
            if let Err(error) = owner::check_lacking_spooled(&mut servers, &docket, &path, store.name()) {
                report.failures.push(error.to_string());
                continue;
            }
            let mut count = write_docket(store, docket, None)?;
            // A commit is not believed: what a second look at the same ballots finds new was not there.
            let rows = judge.judge(&origin, &bytes, now_ms).into_batch().rows;
            count.counted += fold_all(store, Batch { rows, ..Batch::default() }, None)?.counted;
            tracing::info!("spool {}: {} ballots, {} counted", path.display(), count.ballots, count.counted);
            report.count += count;
            failpoint::pass(failpoint::Step::SpoolFolded);
            self.site.spool.remove(&path)?;
            failpoint::pass(failpoint::Step::SpoolRemoved);
        }
        Ok(())
    }

    /// Definitions and totals of every poll that is open or has ended lately, onto every server.
    fn publish(&self, store: &mut dyn Store, report: &mut Report) -> Result<(), store::Error> {
        let (mut all, properties) = (store.polls()?, store.properties()?);
        let timeout = self.site.timeout.max(PUBLISH_TIMEOUT);
        let reachable: Vec<_> =
            self.site.memcached.iter().filter(|address| !mentioned(report, address)).cloned().collect();
        let mut servers = Servers::new(&reachable, self.site.keys.clone(), timeout);
        let mut shown = Vec::new();
        for _ in 0..PUBLISH_ROUNDS {
            self.pulse.beat();
            let now_ms = super::now_ms();
            let recent = |poll: &&Poll| poll.ends_at_ms().is_none_or(|end| end > now_ms - ENDED_REFRESH_MS);
            let polls: Vec<Poll> = all.iter().filter(recent).cloned().collect();
            let totals = polls.iter().map(|poll| results::stored(poll, store)).collect::<Result<Vec<_>, _>>()?;
            let mut failed = definition::publish(&polls, &properties, &mut servers);
            failpoint::pass(failpoint::Step::DefinitionsPut);
            failed.extend(results::publish(&totals, &mut servers));
            report.fail(failed);
            shown = polls;
            // A poll opened or closed since it was read here has just been put back to what it was.
            let before = std::mem::replace(&mut all, store.polls()?);
            if all == before {
                break;
            }
        }
        let due = if self.pulse.is_stopping() { &[] } else { shown.as_slice() };
        report.fail(turnout::refresh(due, store, &mut servers)?);
        failpoint::pass(failpoint::Step::TotalsPut);
        if !self.pulse.is_stopping() {
            self.note_end(&reachable, &mut servers, report);
        }
        Ok(())
    }

    /// Notes on each server whose queue was drained to its end that it was. Only people and monitors read it, so
    /// a server that fails now has been told of already or will be by the next flush.
    fn note_end(&self, drained: &[Address], servers: &mut Servers, report: &Report) {
        let now = super::now_ms().to_string();
        for (index, address) in drained.iter().enumerate() {
            if !report.busy.contains(address) {
                let note = servers.attempt(index, |connection, keys| {
                    connection.set(&keys.flushed(), now.as_bytes(), Lifetime::Forever)
                });
                note.unwrap_or_else(|error| tracing::debug!("{error}"));
            }
        }
    }
}

/// Whether a server has failed already in this flush: it need not cost its time-out again.
fn mentioned(report: &Report, address: &Address) -> bool {
    let name = format!("memcached {address}:");
    report.failures.iter().any(|failure| failure.starts_with(&name))
}

fn missing_failure(address: &Address, missing: u64) -> String {
    format!(
        "memcached {address}: the database has gone back to an earlier state: {missing} entries that had been \
         counted and deleted are missing from it (\"weir poll status\" shows the total)"
    )
}

fn eviction_warning(address: &Address, health: &Health) -> Option<String> {
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
