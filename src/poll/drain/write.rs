//! Writing what a drain has read: chunk by chunk, each with the queue's row in one transaction.

use std::sync::mpsc::Receiver;

use crate::failpoint;
use crate::queue::{Slot, SlotRange, Ticket};
use crate::store::{self, Advance, Folded, QueueRow, Store, TRANSACTION_BYTES_MAX, TRANSACTION_ROWS_MAX, fold_all};

use super::super::judge::Docket;
use super::super::now_ms;
use super::super::owner;
use super::super::read_ahead::{Portion, Reading};
use super::{Count, Drain, DrainError, Step};

/// A chunk is written when it has so many ballots.
const CHUNK_BALLOTS: u64 = 18_500;

impl Drain<'_> {
    pub(super) fn write_chunks(
        &mut self,
        store: &mut dyn Store,
        reading: &Reading,
        portions: &Receiver<Portion>,
    ) -> Result<(), DrainError> {
        let Some(range) = reading.ranges.first().copied() else { return Ok(()) };
        let mut chunk = Chunk::new(range);
        let mut failed = None;
        for portion in portions {
            self.pulse.beat();
            if self.pulse.is_stopping() {
                // What is read already is written; the rest stays in the queue.
                break;
            }
            let (last, entries) = match portion {
                Ok(portion) => portion,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            for (slot, docket) in entries {
                let checked = owner::check_lacking(&mut self.connection, &self.site.keys, &docket, store.name());
                if let Err(error) = checked {
                    chunk.range.last = slot.ticket.before();
                    self.write(store, reading, &mut chunk)?;
                    return Err(error);
                }
                if !chunk.has_room_for(&docket) {
                    self.write(store, reading, &mut chunk)?;
                }
                chunk.docket.append(docket);
                chunk.found.push(slot);
                chunk.range.last = slot.ticket;
            }
            chunk.range.last = last;
            if chunk.docket.ballots() >= CHUNK_BALLOTS {
                self.write(store, reading, &mut chunk)?;
            }
        }
        self.write(store, reading, &mut chunk)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn write(&mut self, store: &mut dyn Store, reading: &Reading, chunk: &mut Chunk) -> Result<(), DrainError> {
        let rest = SlotRange { first: chunk.range.last.plus(1), ..chunk.range };
        let Chunk { docket, found, range } = std::mem::replace(chunk, Chunk::new(rest));
        let (now_ms, keep) = (now_ms(), self.site.keep);
        let head = match self.row.as_ref() {
            Some(row) if reading.holes => {
                if found.is_empty() {
                    return Ok(());
                }
                self.slots.filled(&found, now_ms, keep);
                row.head
            }
            _ if reading.empty_run.is_some() => {
                // The epoch may be one that is just beginning: its head must not pass its counter.
                let last = found.last().map_or(range.first.before(), |slot| slot.ticket);
                let (read, tail) = (SlotRange { last, ..range }, SlotRange { first: last.plus(1), ..range });
                self.slots.committed(read, &found, now_ms, keep);
                self.slots.add_holes(&[tail], now_ms);
                if found.is_empty() {
                    return Ok(());
                }
                number_of(last)
            }
            _ if range.is_empty() => return Ok(()),
            _ => {
                self.slots.committed(range, &found, now_ms, keep);
                number_of(range.last)
            }
        };
        (self.watch)(Step::Folding);
        failpoint::pass(failpoint::Step::Folding);
        let (before, done) = (self.count, if reading.holes { 0 } else { range.len() });
        self.commit(store, docket, head)?;
        let (ballots, new) = (self.count.ballots - before.ballots, self.count.counted - before.counted);
        tracing::info!("memcached {}: {ballots} ballots up to ticket {}, {new} of them new", self.address, range.last);
        (self.watch)(Step::Committed { done });
        Ok(())
    }

    /// Writes ballots and the queue's row, with the slot map as it is now.
    fn commit(&mut self, store: &mut dyn Store, docket: Docket, head: i64) -> Result<(), DrainError> {
        let to = QueueRow {
            name: self.queue.clone(),
            server: self.address.to_string(),
            head,
            slots: self.slots.to_text(),
            missing: self.row.as_ref().map_or(0, |row| row.missing) + self.lost,
            flushed_at_ms: now_ms(),
        };
        self.count += write_docket(store, docket, Some(Advance { from: self.row.as_ref(), to: &to }))?;
        self.missing += std::mem::take(&mut self.lost);
        self.row = Some(to);
        Ok(())
    }

    /// Writes the slot map, if it has changed since the last commit.
    pub(super) fn write_slots(&mut self, store: &mut dyn Store) -> Result<(), DrainError> {
        let text = self.slots.to_text();
        match self.row.as_ref().filter(|row| row.slots != text).map(|row| row.head) {
            Some(head) => self.commit(store, Docket::default(), head),
            None => Ok(()),
        }
    }
}

/// Writes judged ballots, with the queue's head if they come from one, and tells what they came to.
pub(in crate::poll) fn write_docket(
    store: &mut dyn Store,
    docket: Docket,
    advance: Option<Advance<'_>>,
) -> Result<Count, store::Error> {
    let (ballots, dead_letters) = (docket.ballots(), docket.dead_letters());
    let Folded { counted, duplicates } = fold_all(store, docket.into_batch(), advance)?;
    Ok(Count { ballots, counted, duplicates, dead_letters })
}

fn number_of(ticket: Ticket) -> i64 {
    i64::try_from(ticket.value()).unwrap_or(i64::MAX)
}

/// What is read and not yet written.
struct Chunk {
    docket: Docket,
    found: Vec<Slot>,
    /// What has been read since the last chunk; nothing yet if its last slot is before its first.
    range: SlotRange,
}

impl Chunk {
    /// An empty chunk that begins where `range` does.
    fn new(range: SlotRange) -> Chunk {
        let last = range.first.before();
        Chunk { docket: Docket::default(), found: Vec::new(), range: SlotRange { last, ..range } }
    }

    /// Whether it stays within one transaction with these too.
    fn has_room_for(&self, docket: &Docket) -> bool {
        self.docket.ballots() + docket.ballots() <= TRANSACTION_ROWS_MAX as u64
            && self.docket.dead_letter_bytes() + docket.dead_letter_bytes() <= TRANSACTION_BYTES_MAX
    }
}
