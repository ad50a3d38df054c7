//! One queue into the database, a chunk at a time, each chunk exactly once.
//!
//! 1. Read the queue's row in the database, then where the counter stands.
//! 2. Delete the entries that the row has as committed, once they have been kept for long enough.
//! 3. Read the holes that are due again, then the slots after the head, on a thread of its own.
//! 4. Write a chunk: ballots, tallies, dead letters and the queue's row with its new head and [slot map](super::slot_map)
//!    in one transaction, which is refused when the row is not what this drain last saw. That refusal is how two drains
//!    of one queue come apart: the one that is refused has written nothing, and leaves.
//!
//! Nothing is deleted on the word of a commit: what is deleted is what a row has that was read after it. So a process
//! that is killed anywhere, a commit that answered OK and did nothing, and a database that goes back to an earlier state
//! all leave entries that the next drain reads (again); their identities make that harmless.
//!
//! Nothing is written into a slot, and no lock is taken: a slot that is empty becomes a hole in the slot map, and the
//! entry of a writer that was slow is found when the hole is read again.
//!
//! # When the counter is not where the head left it
//! The server was restarted (which gives it a new id, and so a new row), or lost its counter. The new epoch is read from
//! its start. But a counter can be lost (evicted) while entries of its epoch live on, so the old epoch is first read on
//! from the head for as long as entries are found. The same goes for every epoch that weir began on this server and that
//! a legacy writer took the counter away from before anything in it was read, and for epoch 0, whose counter such a
//! writer begins.
//!
//! # When the database has gone back
//! The server remembers how many entries have been deleted, and the queue's row how many have been committed. If more have
//! been deleted than committed, the database has been put back to an earlier state: what is still kept is counted again,
//! and the difference is recorded in the queue's row as missing and reported.

mod step;
mod write;

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::failpoint;
use crate::queue::health::{Health, takes_votes};
use crate::queue::{self, Address, Connection, Position, ServerId, Slot, SlotRange, Ticket};
use crate::store::{QueueRow, Store};

use super::judge::Judge;
use super::owner;
use super::pulse::Pulse;
use super::read_ahead::{Reading, read_portions};
use super::site::Site;
use super::slot_map::{SlotMap, is_current};

pub use step::{Count, DrainError, Holes, Step};
pub(super) use write::write_docket;

/// How many entries are deleted in one round trip.
const DELETE_SLOTS: usize = 512;

/// How many portions of slots are read ahead: as much as a chunk, so that none waits for its reader.
const READ_AHEAD: usize = 3;

/// How long a server may take for one large batch.
const BATCH_LIMIT: Duration = Duration::from_secs(5);

/// So many slots in a row without an entry end the reading of an epoch that the counter has left. There must be more
/// than tickets can be in flight in it. A memcached takes 1024 connections unless told otherwise, and a writer has few
/// entries under way.
const EMPTY_RUN: u64 = 4096;

/// The same for epoch 0.
const EMPTY_RUN_LEGACY: u64 = 128;

/// How often a drain of epoch 0 goes round when legacy writers keep adding to it.
const LEGACY_ROUNDS: u32 = 64;

/// How often a connection is made to an address behind which several servers answer, before it is given up.
const SAME_SERVER_ATTEMPTS: u32 = 16;

/// A drain of one server's queue.
pub struct Drain<'a> {
    site: &'a Site,
    address: &'a Address,
    connection: Connection,
    /// Nothing on a server that had no memory for an id.
    server: Option<ServerId>,
    /// The queue's name in the database.
    queue: String,
    watch: &'a mut dyn FnMut(Step),
    pulse: &'a Pulse,
    /// What it has come to so far.
    pub count: Count,
    /// Slots whose entries this drain found to be lost because the database had gone back.
    pub missing: u64,
    /// The queue's row as the database has it, or as this drain has committed it.
    row: Option<QueueRow>,
    /// Its slot map, with what has happened since.
    slots: SlotMap,
    /// How many entries the server remembers to have had deleted.
    deleted: Option<u64>,
    /// How many of these the row does not know, and the next commit reports.
    lost: u64,
}

impl<'a> Drain<'a> {
    /// Connects to a server. `watch` is called at each step; `pulse` is asked before each portion whether to stop, and
    /// counts that the drain moves.
    ///
    /// # Errors
    /// [`queue::Error`].
    pub fn open(
        site: &'a Site,
        address: &'a Address,
        watch: &'a mut dyn FnMut(Step),
        pulse: &'a Pulse,
    ) -> Result<Drain<'a>, queue::Error> {
        let mut connection = Connection::open(address, site.timeout)?;
        let server = match queue::server_id(&mut connection, &site.keys) {
            Ok(id) => Some(id),
            // A queue that legacy writers began on a server that is full: its address has to do until there is memory.
            Err(error) if error.is_out_of_memory() => {
                connection = Connection::open(address, site.timeout)?;
                None
            }
            Err(error) => return Err(error),
        };
        let prefix = site.keys.prefix().as_str();
        let queue = server.map_or_else(|| format!("{prefix}@{address}"), |id| format!("{prefix}@{id}"));
        let (count, row, slots) = (Count::default(), None, SlotMap::default());
        let (missing, deleted, lost) = (0, None, 0);
        Ok(Drain { site, address, connection, server, queue, watch, pulse, count, missing, row, slots, deleted, lost })
    }

    /// The queue's name in the database.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Drains the queue up to where its counter stands now. `health` is the server's state, if it is known: a server
    /// whose memory runs short keeps nothing.
    ///
    /// # Errors
    /// [`DrainError`]; `self.count` has what was done before.
    pub fn run(&mut self, store: &mut dyn Store, holes: Holes, health: Option<&Health>) -> Result<(), DrainError> {
        if !owner::may_drain::<DrainError>(&mut self.connection, &self.site.keys, store)? {
            return Ok(());
        }
        let is_full = self.is_full()?;
        for _ in 0..LEGACY_ROUNDS {
            // The row comes first. Read after the counter it could be that of a drain that began later, past the
            // counter as it was read here, which looks like a lost epoch. Read before, it is at worst too old, and the
            // first write is refused.
            self.read_row(store)?;
            failpoint::pass(failpoint::Step::HeadRead);
            let head = self.head();
            let position = queue::position(&mut self.connection, &self.site.keys, self.server, head)?;
            failpoint::pass(failpoint::Step::Positioned);
            // It is alive, so it may now take longer over large batches.
            self.connection.set_exchange_limit(self.site.timeout.max(BATCH_LIMIT));
            let is_short = health.is_some_and(|health| self.slots.memory_is_short(health));
            let keep = if is_short || is_full { Duration::ZERO } else { self.site.keep };
            let is_left = self.drain_from(store, holes, &position, keep)?;
            if !position.is_legacy() || is_left || self.pulse.is_stopping() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Drains from a position on; returns whether a counter in epoch 0 was moved out of it.
    fn drain_from(
        &mut self,
        store: &mut dyn Store,
        holes: Holes,
        position: &Position,
        keep: Duration,
    ) -> Result<bool, DrainError> {
        if let Some(shadow) = position.shadow.filter(|_| position.is_legacy()) {
            self.slots.forget_kept_legacy_except(shadow);
        }
        self.deleted = position.deleted;
        self.lost = position.deleted.map_or(0, |deleted| self.slots.missing(deleted));
        self.delete_due(keep)?;
        let total = self.main_range(position).map_or(0, SlotRange::len);
        (self.watch)(Step::Positioned { total });
        self.read_holes(store, holes, position.shadow)?;
        self.read_left_epochs(store, position)?;
        // From here on the numbers of epoch 0 are those under the shadow that there is now.
        if let Some(shadow) = position.shadow.filter(|_| !self.pulse.is_stopping()) {
            self.slots.forget_legacy_holes_except(shadow);
        }
        if let Some(range) = self.main_range(position) {
            self.read(store, Reading::of(range))?;
        }
        self.write_slots(store)?;
        if keep.is_zero() || self.slots.keeps_legacy() || position.is_legacy() {
            self.read_row(store)?;
            self.delete_due(keep)?;
            self.write_slots(store)?;
        }
        let Some(shadow) = position.shadow.filter(|_| !self.pulse.is_stopping()) else { return Ok(false) };
        match position.last.filter(|_| position.is_legacy()) {
            // Only what was read to its end, and is deleted, may be forgotten.
            None => queue::forget_shadow(&mut self.connection, &self.site.keys).map(|()| false).map_err(Into::into),
            // By the row that was read after the commit. Without an id, another flush may have the queue in another row.
            Some(last) if self.head() == position.last_numbered() && self.server.is_some() => {
                let keys = &self.site.keys;
                Ok(queue::leave_legacy_epoch(&mut self.connection, keys, &position.begun, last, shadow)?)
            }
            Some(_) => Ok(false),
        }
    }

    /// Whether the server has no memory for a vote just now.
    fn is_full(&mut self) -> Result<bool, DrainError> {
        let takes_votes = takes_votes(&mut self.connection, &self.site.keys, None)?;
        if !takes_votes {
            self.connection = self.connect_again()?;
        }
        Ok(!takes_votes)
    }

    fn head(&self) -> Option<Ticket> {
        self.row.as_ref().map(|row| Ticket::from_counter(row.head.unsigned_abs()))
    }

    fn read_row(&mut self, store: &mut dyn Store) -> Result<(), DrainError> {
        self.row = store.queue(&self.queue)?;
        let text = self.row.as_ref().map(|row| row.slots.as_str()).unwrap_or_default();
        let fail = |source| DrainError::Row { queue: self.queue.clone(), source };
        self.slots = SlotMap::read(text).map_err(fail)?;
        // What seemed to be lost was so by the row of before.
        self.lost = 0;
        Ok(())
    }

    /// Deletes what the row has as committed and has been kept for long enough.
    fn delete_due(&mut self, keep: Duration) -> Result<(), DrainError> {
        let now_ms = super::now_ms();
        let due = self.slots.due_deletions(now_ms, keep);
        if due.is_empty() {
            return Ok(());
        }
        // Before: of entries that are gone without a record, nobody would know if the database went back.
        let count = self.slots.deleted_count(now_ms, keep);
        if self.deleted.is_none_or(|before| before < count) {
            queue::record_deleted(&mut self.connection, &self.site.keys, self.server, count)?;
            self.deleted = Some(count);
        }
        failpoint::pass(failpoint::Step::DeletionRecorded);
        let mut slots = due.iter().flat_map(|range| range.slots());
        loop {
            let some: Vec<Slot> = slots.by_ref().take(DELETE_SLOTS).collect();
            if some.is_empty() {
                break;
            }
            self.pulse.beat();
            queue::delete(&mut self.connection, &self.site.keys, &some)?;
            (self.watch)(Step::Deleting);
            failpoint::pass(failpoint::Step::Deleting);
        }
        failpoint::pass(failpoint::Step::Deleted);
        self.slots.deleted(now_ms, keep);
        (self.watch)(Step::Deleted);
        Ok(())
    }

    /// The slots after the head, up to the counter.
    fn main_range(&self, position: &Position) -> Option<SlotRange> {
        let last = position.last_numbered()?;
        let legacy = position.is_legacy();
        let head = self.head().filter(|head| last.continues(*head));
        let range = SlotRange { first: head.map_or_else(|| first_of(last, legacy), |head| head.plus(1)), last, legacy };
        (!range.is_empty()).then_some(range)
    }

    /// Reads again what was empty, but for holes of epoch 0 whose numbers have begun anew under `shadow`.
    fn read_holes(&mut self, store: &mut dyn Store, holes: Holes, shadow: Option<Ticket>) -> Result<(), DrainError> {
        let now_ms = super::now_ms();
        let mut ranges = match holes {
            Holes::All => self.slots.all_holes(),
            Holes::Due => self.slots.due_holes(now_ms),
        };
        ranges.retain(|range| is_current(*range, shadow));
        if !ranges.is_empty() {
            self.read(store, Reading { ranges, empty_run: None, holes: true })?;
            if !self.pulse.is_stopping() {
                self.slots.looked(now_ms, super::now_ms());
            }
        }
        Ok(())
    }

    /// Reads epochs that the counter is not in any more.
    fn read_left_epochs(&mut self, store: &mut dyn Store, position: &Position) -> Result<(), DrainError> {
        let (head, last) = (self.head(), position.last_numbered());
        let goes_on = last.zip(head).is_some_and(|(last, head)| last.continues(head));
        if goes_on && !position.is_legacy() {
            return Ok(());
        }
        let known = [head, last].map(|ticket| ticket.map(Ticket::epoch_start));
        let unread = position.begun.iter().filter(|epoch| !known.contains(&Some(**epoch)));
        let old = head.filter(|_| !goes_on);
        let firsts: Vec<_> = old.into_iter().chain(unread.copied()).map(|ticket| ticket.plus(1)).collect();
        for first in firsts {
            self.read(store, Reading::until_empty(first, false, EMPTY_RUN))?;
        }
        if let Some(shadow) = position.shadow.filter(|_| !position.is_legacy()) {
            let first = head.filter(|head| head.continues(shadow)).map_or(shadow, |head| head.plus(1));
            self.read(store, Reading::until_empty(first, true, EMPTY_RUN_LEGACY))?;
            failpoint::pass(failpoint::Step::LeftEpochsRead);
        }
        Ok(())
    }

    /// Reads slots on a thread of its own and writes them chunk by chunk on this one.
    fn read(&mut self, store: &mut dyn Store, reading: Reading) -> Result<(), DrainError> {
        if self.pulse.is_stopping() {
            return Ok(());
        }
        let mut reader = self.connect_again()?;
        reader.set_exchange_limit(self.site.timeout.max(BATCH_LIMIT));
        // Read after the counter: every ballot up to it was cast by these polls, or by earlier ones.
        let mut judge = Judge::new(store.polls()?, &self.site.identity_key).at(self.address);
        let (keys, prefix) = (&self.site.keys, self.site.keys.prefix().as_str());
        let origin = move |slot: Slot| format!("{prefix} {}", slot.ticket);
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(READ_AHEAD);
            let reading = &reading;
            scope.spawn(move || read_portions(&mut reader, keys, &mut judge, &origin, reading, &sender));
            self.write_chunks(store, reading, &receiver)
        })
    }

    /// A further connection to the same server.
    fn connect_again(&self) -> Result<Connection, DrainError> {
        for _ in 0..SAME_SERVER_ATTEMPTS {
            let mut connection = Connection::open(self.address, self.site.timeout)?;
            let Some(server) = self.server else { return Ok(connection) };
            if queue::server_id(&mut connection, &self.site.keys)? == server {
                return Ok(connection);
            }
        }
        Err(DrainError::SeveralServers(self.address.clone()))
    }
}

/// The first slot of a ticket's epoch. A legacy writer that finds a lock but no counter writes into slot 0, so in epoch 0
/// that slot is read too.
fn first_of(ticket: Ticket, legacy: bool) -> Ticket {
    if legacy { ticket.epoch_start() } else { ticket.epoch_start().plus(1) }
}
