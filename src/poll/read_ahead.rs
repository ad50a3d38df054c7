//! Reading and judging a queue's entries ahead, on a thread of its own, while the database is busy with those
//! before.
//!
//! What is read is closed: a slot that was empty has a tombstone now, so nothing can come into it behind the
//! reader's back. Nothing is deleted here, and nothing is decided: a portion that is never written to the
//! database is simply read again by the next drain.

use std::sync::mpsc::SyncSender;

use crate::queue::{self, Connection, Keys, Ticket};

use super::judge::{Docket, Judge};

/// How many slots are read in one round trip: at 1 MiB an item this bounds the memory of a read.
const READ_SLOTS: usize = 128;

/// A portion is handed over when it has so many ballots.
const PORTION_BALLOTS: u64 = 8_000;

/// Slots to read, in the numbering of the database.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// Read after this one.
    pub(super) after: Ticket,
    /// Up to and with this one.
    pub(super) last: Ticket,
    /// Slots are those of epoch 0, numbered under a shadow epoch.
    pub(super) legacy: bool,
    /// Stop after so many slots in a row without an entry, counted in whole portions.
    pub(super) empty_run: Option<u64>,
}

impl Span {
    /// In which slot a ticket's entry lies.
    pub(super) fn slot(self, ticket: Ticket) -> Ticket {
        if self.legacy { Ticket::from_counter(ticket.sequence()) } else { ticket }
    }
}

/// The last ticket of a portion, and the judged entries found in it.
pub(super) type Window = Result<(Ticket, Vec<(Ticket, Docket)>), queue::Error>;

/// The tickets of a span, in portions for one round trip. A script of the notes that finds a lock but no counter
/// writes into slot 0, so in epoch 0 that slot is looked at too.
pub(super) fn windows(span: Span) -> impl Iterator<Item = Vec<Ticket>> {
    let zero = span.legacy && span.after.sequence() == 0;
    let mut next = if zero { span.after } else { span.after.plus(1) };
    std::iter::from_fn(move || {
        let left = (span.last.value() + 1).saturating_sub(next.value());
        let count = left.min(READ_SLOTS as u64);
        let window: Vec<_> = (0..count).map(|step| next.plus(step)).collect();
        next = next.plus(count);
        (count > 0).then_some(window)
    })
}

/// Reads a span portion by portion into `sender`, until the end, a failure, or the receiver has gone.
pub(super) fn read_windows(
    connection: &mut Connection,
    keys: &Keys,
    judge: &mut Judge<'_>,
    queue: &str,
    span: Span,
    sender: &SyncSender<Window>,
) {
    let mut empty = 0;
    for window in windows(span) {
        let Some(last) = window.last().copied() else { return };
        let entries = match queue::fetch(connection, keys, &window, |ticket| span.slot(ticket)) {
            Ok(entries) => entries,
            Err(error) => {
                // Whether it is heard or not, this is the end.
                let _ = sender.send(Err(error));
                return;
            }
        };
        empty = if entries.is_empty() { empty + window.len() as u64 } else { 0 };
        let end = span.empty_run.is_some_and(|run| empty >= run);
        let (mut portion, mut ballots, now_ms) = (Vec::new(), 0, super::now_ms());
        for entry in entries {
            let docket = judge.judge(&format!("{queue} {}", entry.ticket), &entry.bytes, now_ms);
            ballots += docket.ballots();
            portion.push((entry.ticket, docket));
            // The database need not wait until all that was read in one go is judged.
            if ballots >= PORTION_BALLOTS {
                ballots = 0;
                // The receiver goes away when writing failed: then nothing more is to be read.
                if sender.send(Ok((entry.ticket, std::mem::take(&mut portion)))).is_err() {
                    return;
                }
            }
        }
        if sender.send(Ok((last, portion))).is_err() || end {
            return;
        }
    }
}
