//! One queue into the database, a chunk at a time, each chunk exactly once.
//!
//! 1. Read the queue's head in the database; take the notes' lock, read where the counter stands, give the lock
//!    back.
//! 2. Delete what a drain that died after its commit left behind.
//! 3. Read slots, closing empty ones, on a thread of its own.
//! 4. Write a chunk: ballots, tallies, dead letters and the queue's new head in one transaction, which is
//!    refused when the head is not where this drain last saw it. That refusal is how two drains of one
//!    queue come apart: the one that is refused has written nothing, and leaves.
//! 5. Delete the chunk's slots, note the head on the server.
//!
//! Killed before the commit, nothing has happened. Killed after it, the slots that are left are behind the
//! head: the next drain deletes them and never reads them.
//!
//! # When the counter is not where the head left it
//! The server was restarted, or lost its counter. The new epoch is read from its start. But a counter can be
//! lost (evicted) while entries of its epoch live on, so the old epoch is first read on from the head for as
//! long as entries are found. The same goes for every epoch that weir began on this server and that a script of
//! the notes took the counter away from before anything in it was read, and for epoch 0, whose counter a script begins.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::failpoint;
use crate::queue::{self, Acquired, Address, Connection, Keys, Lock, Position, Ticket};
use crate::store::{self, Advance, Folded, Store, TRANSACTION_BYTES_MAX, TRANSACTION_ROWS_MAX, fold_all};

use super::ballot::IdentityKey;
use super::judge::{Docket, Judge};
use super::owner::{self, OwnerError};
use super::pulse::Pulse;
use super::read_ahead::{Span, Window, read_windows, windows};

/// How many entries are deleted in one round trip.
const DELETE_SLOTS: usize = 512;

/// A chunk is written when it has so many ballots.
const CHUNK_BALLOTS: u64 = 18_500;

/// How many portions of slots are read ahead: as much as a chunk, so that none waits for its reader.
const READ_AHEAD: usize = 3;

/// How long a server may take for one large batch.
const BATCH_LIMIT: Duration = Duration::from_secs(5);

/// How far behind the head left-over slots are looked for when the server has forgotten where to start.
const SWEEP_MAX: u64 = 1 << 20;

/// So many slots in a row without an entry end the reading of an epoch that the counter has left: more than tickets can
/// be in flight. A memcached takes 1024 connections unless told otherwise, and a writer has few entries under way.
const EMPTY_RUN: u64 = 4096;

/// The same for epoch 0, short because a script may begin these numbers anew: writers then pass by the closed slots.
const EMPTY_RUN_LEGACY: u64 = 128;

/// How often a drain of epoch 0 goes round when old scripts keep adding to it.
const LEGACY_ROUNDS: u32 = 64;

/// Where a drain has got to: for progress, and for tests that stop a process at each place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The counter has been read and the lock given back; `total` slots are to be read.
    Positioned {
        /// How many.
        total: u64,
    },
    /// A chunk has been read and is about to be written.
    Folding,
    /// It is committed; nothing of it is deleted yet.
    Committed,
    /// A first part of its slots has been deleted.
    Deleting,
    /// All its slots are deleted and the head is noted.
    Deleted {
        /// How many more of the `total` slots are done.
        done: u64,
    },
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Ballots read, good or bad.
    pub ballots: u64,
    /// New ballots, now counted.
    pub counted: u64,
    /// Ballots that had been counted before, or that a further copy brought.
    pub duplicates: u64,
    /// Ballots cast after their poll had ended.
    pub refused: u64,
    /// Lines that are no ballot.
    pub dead_letters: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.ballots += other.ballots;
        self.counted += other.counted;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.dead_letters += other.dead_letters;
    }
}

/// Why a drain ended early. What it had committed by then stays counted.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The server failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The database failed, or another flush has the queue.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The queue is not this database's to read, or not from here on.
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

/// A drain of one server's queue.
pub struct Drain<'a> {
    /// The server.
    pub address: &'a Address,
    /// Its queue's keys.
    pub keys: &'a Keys,
    /// How long to wait for a connection.
    pub timeout: Duration,
    /// For entries that name their voter.
    pub key: &'a IdentityKey,
    /// Told of each step.
    pub watch: &'a mut dyn FnMut(Step),
    /// Asked before each portion whether to stop, and told that it moves.
    pub pulse: &'a Pulse,
    /// What it has come to so far.
    pub count: Count,
    /// Whether the notes' lock had to be taken over.
    pub took_over_lock: bool,
    /// Where this drain last saw the queue's head in the database: each chunk is written only if it is there.
    pub head: Option<i64>,
}

impl Drain<'_> {
    /// Drains the queue up to where its counter stands now.
    ///
    /// # Errors
    /// [`DrainError`]; `self.count` tells what was done before.
    pub fn run(&mut self, store: &mut dyn Store) -> Result<(), DrainError> {
        let queue = queue_name(self.keys, self.address);
        let mut connection = self.connect()?;
        if !owner::may_drain::<DrainError>(&mut connection, self.keys, store)? {
            return Ok(());
        }
        for _ in 0..LEGACY_ROUNDS {
            // The head comes first. Read after the counter, that of a later drain could be past the counter as seen here,
            // which looks like a lost epoch. Read before, it is at worst too old, and the first write is refused.
            self.head = store.queue_head(&queue)?;
            failpoint::pass(failpoint::Step::HeadRead);
            let head = self.head.map(ticket_of);
            let position = self.position(&mut connection, head)?;
            // It is alive, so it may now take longer over large batches.
            connection.set_exchange_limit(self.timeout.max(BATCH_LIMIT));
            self.sweep(&mut connection, &position, head)?;
            let Some(span) = self.salvage_and_plan(store, &queue, &mut connection, &position, head)? else {
                return Ok(());
            };
            (self.watch)(Step::Positioned { total: span.last.value() - span.after.value() });
            self.drain_span(store, &queue, &mut connection, span)?;
            let legacy = span.legacy && !self.pulse.is_stopping();
            let Some(shadow) = position.shadow.filter(|_| legacy) else { return Ok(()) };
            let drained = span.slot(span.last);
            if queue::leave_legacy_epoch(&mut connection, self.keys, drained, shadow)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn connect(&self) -> Result<Connection, queue::Error> {
        Connection::open(self.address, self.timeout)
    }

    fn position(&mut self, connection: &mut Connection, head: Option<Ticket>) -> Result<Position, queue::Error> {
        let lock = Lock::acquire(connection, self.keys)?;
        self.took_over_lock |= lock.acquired() == Acquired::TakenOver;
        let position = queue::position(connection, self.keys, head);
        failpoint::pass(failpoint::Step::Positioned);
        let released = lock.release(connection, self.keys);
        let position = position?;
        released.map(|()| position)
    }

    /// Deletes the entries behind the head that a drain committed and did not live to delete.
    fn sweep(
        &mut self,
        connection: &mut Connection,
        position: &Position,
        head: Option<Ticket>,
    ) -> Result<(), queue::Error> {
        let (Some(head), Some(last)) = (head, position.last_numbered()) else { return Ok(()) };
        // Epoch 0 may be read again under another shadow, which would count anew what is left in it.
        let left_legacy = !position.is_legacy() && position.shadow.is_some_and(|shadow| head.continues(shadow));
        if !left_legacy && (!last.continues(head) || position.head.is_some_and(|noted| noted.continues(head))) {
            return Ok(());
        }
        let noted = position.head.filter(|noted| head.continues(*noted)).unwrap_or(head.epoch_start());
        let from = noted.value().max(head.value().saturating_sub(SWEEP_MAX));
        let legacy = position.is_legacy() || left_legacy;
        let span = Span { after: Ticket::from_counter(from), last: head, legacy, empty_run: None };
        for window in windows(span) {
            self.pulse.beat();
            queue::sweep(connection, self.keys, &window, |ticket| span.slot(ticket))?;
        }
        if from < head.value() {
            failpoint::pass(failpoint::Step::Swept);
            queue::set_head(connection, self.keys, head)?;
        }
        Ok(())
    }

    fn salvage_and_plan(
        &mut self,
        store: &mut dyn Store,
        queue: &str,
        connection: &mut Connection,
        position: &Position,
        head: Option<Ticket>,
    ) -> Result<Option<Span>, DrainError> {
        let last = position.last_numbered();
        if !last.zip(head).is_some_and(|(last, head)| last.continues(head)) {
            let known = [head, last].map(|ticket| ticket.map(Ticket::epoch_start));
            let unread = position.begun.iter().copied().filter(|epoch| !known.contains(&Some(*epoch)));
            for after in head.into_iter().chain(unread) {
                self.drain_span(store, queue, connection, left_span(after, false))?;
                if self.pulse.is_stopping() {
                    return Ok(None);
                }
            }
            if let Some(shadow) = position.shadow.filter(|_| !position.is_legacy()) {
                let after = head.filter(|head| head.continues(shadow)).unwrap_or(shadow);
                self.drain_span(store, queue, connection, left_span(after, true))?;
                if self.pulse.is_stopping() {
                    return Ok(None);
                }
                failpoint::pass(failpoint::Step::LeftEpochsRead);
                queue::forget_shadow(connection, self.keys)?;
            }
        }
        let Some(last) = last else { return Ok(None) };
        let start = head.filter(|head| last.continues(*head)).unwrap_or(last.epoch_start());
        let noted = position.head.filter(|noted| last.continues(*noted) && noted.continues(start));
        let after = noted.unwrap_or(start);
        Ok(Some(Span { after, last, legacy: position.is_legacy(), empty_run: None }))
    }

    /// Reads a span on a thread of its own and writes it chunk by chunk on this one.
    fn drain_span(
        &mut self,
        store: &mut dyn Store,
        queue: &str,
        connection: &mut Connection,
        span: Span,
    ) -> Result<(), DrainError> {
        let mut reader = self.connect()?;
        reader.set_exchange_limit(self.timeout.max(BATCH_LIMIT));
        // Read after the counter: every ballot up to it was cast by these polls, or by earlier ones.
        let mut judge = Judge::new(store.polls()?, self.key);
        let keys = self.keys;
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(READ_AHEAD);
            scope.spawn(move || read_windows(&mut reader, keys, &mut judge, queue, span, &sender));
            self.write_chunks(store, queue, connection, span, &receiver)
        })
    }

    fn write_chunks(
        &mut self,
        store: &mut dyn Store,
        queue: &str,
        connection: &mut Connection,
        span: Span,
        windows: &Receiver<Window>,
    ) -> Result<(), DrainError> {
        let mut chunk = Chunk::new(span.after);
        let mut failed = None;
        for window in windows {
            self.pulse.beat();
            if self.pulse.is_stopping() {
                // What is read already is written; the rest stays in the queue.
                break;
            }
            let (last, entries) = match window {
                Ok(window) => window,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            for (ticket, docket) in entries {
                if let Err(error) = owner::check_lacking(connection, self.keys, &docket, store.name()) {
                    self.write(store, queue, connection, span, &mut chunk)?;
                    return Err(error);
                }
                if !chunk.has_room_for(&docket) {
                    self.write(store, queue, connection, span, &mut chunk)?;
                }
                chunk.docket.append(docket);
                chunk.tickets.push(ticket);
                chunk.last = ticket;
            }
            chunk.last = last;
            if chunk.docket.ballots() >= CHUNK_BALLOTS {
                self.write(store, queue, connection, span, &mut chunk)?;
            }
        }
        self.write(store, queue, connection, span, &mut chunk)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn write(
        &mut self,
        store: &mut dyn Store,
        queue: &str,
        connection: &mut Connection,
        span: Span,
        chunk: &mut Chunk,
    ) -> Result<(), DrainError> {
        let Chunk { docket, tickets, after, last } = std::mem::replace(chunk, Chunk::new(chunk.last));
        let from = self.head;
        if tickets.is_empty() && (span.empty_run.is_some() || from == Some(number_of(last))) {
            return Ok(());
        }
        (self.watch)(Step::Folding);
        failpoint::pass(failpoint::Step::Folding);
        let advance = Advance { queue, from, to: number_of(last), at_ms: super::now_ms() };
        let count = write_docket(store, docket, Some(advance))?;
        self.head = Some(advance.to);
        self.count += count;
        tracing::info!("queue {queue}: {} ballots up to ticket {last}, {} of them new", count.ballots, count.counted);
        (self.watch)(Step::Committed);
        for some in tickets.chunks(DELETE_SLOTS) {
            queue::delete(connection, self.keys, some, |ticket| span.slot(ticket))?;
            (self.watch)(Step::Deleting);
            failpoint::pass(failpoint::Step::Deleting);
        }
        failpoint::pass(failpoint::Step::Deleted);
        queue::set_head(connection, self.keys, last)?;
        failpoint::pass(failpoint::Step::HeadNoted);
        (self.watch)(Step::Deleted { done: last.value().saturating_sub(after.value()) });
        Ok(())
    }
}

/// What is after `after` in an epoch that the counter has left.
fn left_span(after: Ticket, legacy: bool) -> Span {
    let run = if legacy { EMPTY_RUN_LEGACY } else { EMPTY_RUN };
    Span { after, last: after.plus(u64::from(u32::MAX)), legacy, empty_run: Some(run) }
}

/// Writes judged ballots, with the queue's head if they come from one, and tells what they came to.
pub(super) fn write_docket(
    store: &mut dyn Store,
    docket: Docket,
    advance: Option<Advance<'_>>,
) -> Result<Count, store::Error> {
    let (ballots, refused, dead_letters) = (docket.ballots(), docket.refused(), docket.dead_letters());
    let Folded { counted, duplicates } = fold_all(store, docket.into_batch(), advance)?;
    Ok(Count { ballots, counted, duplicates, refused, dead_letters })
}

/// The name of a server's queue in the database.
pub fn queue_name(keys: &Keys, address: &Address) -> String {
    format!("{}@{address}", keys.prefix().as_str())
}

fn ticket_of(number: i64) -> Ticket {
    Ticket::from_counter(number.unsigned_abs())
}

fn number_of(ticket: Ticket) -> i64 {
    i64::try_from(ticket.value()).unwrap_or(i64::MAX)
}

/// What is read and not yet written.
struct Chunk {
    docket: Docket,
    tickets: Vec<Ticket>,
    after: Ticket,
    last: Ticket,
}

impl Chunk {
    fn new(after: Ticket) -> Chunk {
        Chunk { docket: Docket::default(), tickets: Vec::new(), after, last: after }
    }

    /// Whether it stays within one transaction with these too.
    fn has_room_for(&self, docket: &Docket) -> bool {
        self.docket.ballots() + docket.ballots() <= TRANSACTION_ROWS_MAX as u64
            && self.docket.dead_letter_bytes() + docket.dead_letter_bytes() <= TRANSACTION_BYTES_MAX
    }
}
