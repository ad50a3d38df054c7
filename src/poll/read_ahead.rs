//! Reading and judging a queue's entries ahead, on a thread of its own, while the database is busy with those
//! before.
//!
//! Nothing is deleted here, and nothing is decided: a portion that is never written to the database is simply read again
//! by the next drain.

use std::sync::mpsc::SyncSender;

use crate::queue::{self, Connection, Keys, Slot, SlotRange, Ticket};

use super::judge::{Docket, Judge};

/// How many slots are read in one round trip: at 1 MiB an item this bounds the memory of a read.
const READ_SLOTS: usize = 128;

/// A portion is handed over when it has so many ballots.
const PORTION_BALLOTS: u64 = 8_000;

/// What is to be read.
pub(super) struct Reading {
    /// The slots, in order. Only holes are more than one range.
    pub(super) ranges: Vec<SlotRange>,
    /// Stop after so many slots in a row without an entry, counted in whole round trips.
    pub(super) empty_run: Option<u64>,
    /// The slots are holes: to read them moves no head.
    pub(super) holes: bool,
}

impl Reading {
    /// The slots after the head.
    pub(super) fn of(range: SlotRange) -> Reading {
        Reading { ranges: vec![range], empty_run: None, holes: false }
    }

    /// An epoch of which nobody knows how far it went.
    pub(super) fn until_empty(first: Ticket, legacy: bool, empty_run: u64) -> Reading {
        let last = first.plus(u64::from(u32::MAX));
        Reading { ranges: vec![SlotRange { first, last, legacy }], empty_run: Some(empty_run), holes: false }
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        self.ranges.iter().flat_map(|range| range.slots())
    }
}

/// The last ticket of a portion, and the judged entries found in it.
pub(super) type Portion = Result<(Ticket, Vec<(Slot, Docket)>), queue::Error>;

/// Reads slots portion by portion into `sender`, until the end, a failure, or the receiver has gone. `origin` says for
/// good where an entry was found.
pub(super) fn read_portions(
    connection: &mut Connection,
    keys: &Keys,
    judge: &mut Judge<'_>,
    origin: &dyn Fn(Slot) -> String,
    reading: &Reading,
    sender: &SyncSender<Portion>,
) {
    let (mut empty, mut slots) = (0, reading.slots());
    loop {
        let window: Vec<Slot> = slots.by_ref().take(READ_SLOTS).collect();
        let Some(last) = window.last().map(|slot| slot.ticket) else { return };
        let entries = match queue::fetch(connection, keys, &window) {
            Ok(entries) => entries,
            Err(error) => {
                // Whether it is received or not, this is the end.
                let _ = sender.send(Err(error));
                return;
            }
        };
        empty = if entries.is_empty() { empty + window.len() as u64 } else { 0 };
        let end = reading.empty_run.is_some_and(|run| empty >= run);
        let (mut portion, mut ballots, now_ms) = (Vec::new(), 0, super::now_ms());
        for entry in entries {
            let docket = judge.judge(&origin(entry.slot), &entry.bytes, now_ms);
            ballots += docket.ballots();
            portion.push((entry.slot, docket));
            // The database need not wait until all that was read in one go is judged.
            if ballots >= PORTION_BALLOTS {
                ballots = 0;
                // The receiver goes away when writing failed: then nothing more is to be read.
                if sender.send(Ok((entry.slot.ticket, std::mem::take(&mut portion)))).is_err() {
                    return;
                }
            }
        }
        if sender.send(Ok((last, portion))).is_err() || end {
            return;
        }
    }
}
