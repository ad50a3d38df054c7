//! What is known of the slots up to a queue's head: which are kept, and which are holes.
//!
//! *Kept*: what the slot held is committed, and the entry stays on the server for a while, so that a database that
//! goes back to before that commit finds it again. *Hole*: the slot was empty when it was read. Its writer may still
//! fill it, so it is read again after 1, 2, 4, ... seconds, [`LOOKS`] times and thereby for over an hour; a writer uses
//! no ticket that is older than 5 s. A slot that is in neither has been deleted, or its hole has been given up.
//!
//! The map is part of the queue's row in the database and is committed together with the ballots and the head, so it is
//! always about the same moment as they are. Every method is pure; times are milliseconds of Unix time.
//!
//! A range that is kept may cover holes: what is deleted is the range without the holes in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::health::Health;
use crate::queue::{Slot, SlotRange, Ticket, subtract};

/// How often a hole is read again: the last time 4095 s after the first.
const LOOKS: u32 = 12;

/// The pause before a hole is read again for the first time, in milliseconds. It doubles each time.
const FIRST_PAUSE_MS: i64 = 1000;

/// Into how many parts of the time to keep entries commits are gathered: each part is one range.
const KEEP_PARTS: i64 = 16;

/// With more ranges of holes than this, ranges are joined where nothing is kept between them.
const HOLES_MAX: usize = 256;

/// Slots whose entries are committed and not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    range: SlotRange,
    /// When the last of them was committed.
    at_ms: i64,
}

/// Slots that were empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    range: SlotRange,
    /// How often they have been read again.
    looks: u32,
    /// When they are to be read next.
    next_ms: i64,
}

/// The slots up to a queue's head. See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotMap {
    /// Sorted by their slots; they do not overlap.
    kept: Vec<Kept>,
    /// Sorted by their slots; they do not overlap.
    holes: Vec<Hole>,
    /// How many entries have been committed, each once.
    total: u64,
    /// How many items the server had refused for want of memory when it was last drained.
    refused: u64,
}

impl SlotMap {
    /// Whether the server's memory runs short: it has refused items since the last drain, or more than three quarters are
    /// in use.
    pub fn memory_is_short(&mut self, health: &Health) -> bool {
        let refused = std::mem::replace(&mut self.refused, health.no_memory);
        health.no_memory > refused || health.used_bytes / 3 > health.limit_bytes / 4
    }

    /// Records that `range` was read and is committed: `found` is where entries were found, in order, and every other
    /// slot is a hole.
    pub fn committed(&mut self, range: SlotRange, found: &[Slot], now_ms: i64, keep: Duration) {
        if range.is_empty() {
            return;
        }
        let found: Vec<_> = found.iter().map(|slot| SlotRange::single(*slot)).collect();
        self.count(&found);
        if !found.is_empty() {
            self.keep(&[range], now_ms, keep);
        }
        self.remove_holes(&[range]);
        self.add_holes(&subtract(&[range], &found), now_ms);
    }

    /// Records that entries were found in holes, in order, and are committed.
    pub fn filled(&mut self, slots: &[Slot], now_ms: i64, keep: Duration) {
        let filled: Vec<_> = slots.iter().map(|slot| SlotRange::single(*slot)).collect();
        self.count(&filled);
        self.remove_holes(&filled);
        self.keep(&filled, now_ms, keep);
    }

    /// Counts entries that are not kept already.
    fn count(&mut self, found: &[SlotRange]) {
        self.total += slots_in(&subtract(found, &self.entries()));
    }

    /// The slots whose entries are kept.
    fn entries(&self) -> Vec<SlotRange> {
        let kept: Vec<_> = self.kept.iter().map(|kept| kept.range).collect();
        subtract(&kept, &self.all_holes())
    }

    /// How many entries will have been deleted once those that are due are.
    pub fn deleted_count(&self, now_ms: i64, keep: Duration) -> u64 {
        let stays: Vec<_> = self.kept.iter().filter(|kept| !kept.is_due(now_ms, keep)).map(|kept| kept.range).collect();
        self.total.saturating_sub(slots_in(&subtract(&stays, &self.all_holes())))
    }

    /// Takes note that `deleted` entries have been deleted, and returns how many of them have never been committed as far as
    /// the database knows: it has gone back to an earlier state, and they are lost.
    pub fn missing(&mut self, deleted: u64) -> u64 {
        let missing = deleted.saturating_sub(self.total);
        self.total += missing;
        missing
    }

    fn remove_holes(&mut self, ranges: &[SlotRange]) {
        let holes = std::mem::take(&mut self.holes);
        let rest = |hole: Hole| subtract(&[hole.range], ranges).into_iter().map(move |range| Hole { range, ..hole });
        self.holes = holes.into_iter().flat_map(rest).collect();
    }

    fn keep(&mut self, ranges: &[SlotRange], now_ms: i64, keep: Duration) {
        // A slot that is read again, because the database had gone back, is kept from now on.
        self.remove_kept(ranges);
        self.kept.extend(ranges.iter().map(|range| Kept { range: *range, at_ms: now_ms }));
        self.kept.sort_unstable_by_key(|kept| kept.range.place());
        let part = (millis(keep) / KEEP_PARTS).max(1);
        self.kept.dedup_by(|next, kept| {
            let joins = kept.range.legacy == next.range.legacy
                && kept.range.last.plus(1) == next.range.first
                && kept.at_ms / part == next.at_ms / part;
            if joins {
                let range = SlotRange { last: next.range.last, ..kept.range };
                *kept = Kept { range, at_ms: kept.at_ms.max(next.at_ms) };
            }
            joins
        });
    }

    /// Records empty slots, in order, as holes, unless they are known as such.
    pub fn add_holes(&mut self, ranges: &[SlotRange], now_ms: i64) {
        let next_ms = now_ms + FIRST_PAUSE_MS;
        let new = subtract(ranges, &self.all_holes());
        self.holes.extend(new.into_iter().map(|range| Hole { range, looks: 0, next_ms }));
        self.holes.sort_unstable_by_key(|hole| hole.range.place());
    }

    /// The holes that are to be read now.
    pub fn due_holes(&self, now_ms: i64) -> Vec<SlotRange> {
        self.holes.iter().filter(|hole| hole.is_due(now_ms)).map(|hole| hole.range).collect()
    }

    /// Every hole.
    pub fn all_holes(&self) -> Vec<SlotRange> {
        self.holes.iter().map(|hole| hole.range).collect()
    }

    /// Records that the holes that were due at `due_ms` have been read by now. One that has been read often enough is given
    /// up.
    pub fn looked(&mut self, due_ms: i64, now_ms: i64) {
        for hole in self.holes.iter_mut().filter(|hole| hole.is_due(due_ms)) {
            hole.looks += 1;
            hole.next_ms = now_ms + (FIRST_PAUSE_MS << hole.looks.min(LOOKS));
        }
        let given_up: Vec<_> = self.holes.iter().filter(|hole| hole.looks >= LOOKS).map(|hole| hole.range).collect();
        if !given_up.is_empty() {
            self.holes.retain(|hole| hole.looks < LOOKS);
            // What is kept without its holes is where entries are.
            self.remove_kept(&given_up);
        }
    }

    fn remove_kept(&mut self, ranges: &[SlotRange]) {
        let others = std::mem::take(&mut self.kept);
        let rest = |kept: Kept| subtract(&[kept.range], ranges).into_iter().map(move |range| Kept { range, ..kept });
        self.kept = others.into_iter().flat_map(rest).collect();
    }

    /// The slots that are to be deleted now: those kept for at least `keep`, without the holes. What is kept in epoch 0 is
    /// not kept for any time, because legacy writers may use its numbers again.
    pub fn due_deletions(&self, now_ms: i64, keep: Duration) -> Vec<SlotRange> {
        let due: Vec<_> = self.kept.iter().filter(|kept| kept.is_due(now_ms, keep)).map(|kept| kept.range).collect();
        subtract(&due, &self.all_holes())
    }

    /// Records that what was due has been deleted.
    pub fn deleted(&mut self, now_ms: i64, keep: Duration) {
        self.kept.retain(|kept| !kept.is_due(now_ms, keep));
    }

    /// Forgets what is kept in epoch 0 but not numbered under `shadow`: legacy writers have begun its numbers anew.
    pub fn forget_kept_legacy_except(&mut self, shadow: Ticket) {
        self.kept.retain(|kept| is_current(kept.range, Some(shadow)));
    }

    /// Forgets holes of epoch 0 that are not numbered under `shadow`. To be called when its numbers are read anew.
    pub fn forget_legacy_holes_except(&mut self, shadow: Ticket) {
        self.holes.retain(|hole| is_current(hole.range, Some(shadow)));
    }

    /// Whether entries of epoch 0 are kept.
    pub fn keeps_legacy(&self) -> bool {
        self.kept.iter().any(|kept| kept.range.legacy)
    }

    /// Joins ranges of holes, if there are very many, where no entry is kept between them: to read a deleted slot again does
    /// no harm.
    fn join_holes(&mut self) {
        if self.holes.len() <= HOLES_MAX {
            return;
        }
        let kept: Vec<_> = self.kept.iter().map(|kept| kept.range).collect();
        self.holes.dedup_by(|next, hole| {
            let joined = SlotRange { last: next.range.last, ..hole.range };
            let same = hole.range.legacy == next.range.legacy
                && hole.range.first.epoch_start() == next.range.first.epoch_start();
            let joins = same && !kept.iter().any(|kept| kept.overlaps(joined));
            if joins {
                let (looks, next_ms) = (hole.looks.min(next.looks), hole.next_ms.min(next.next_ms));
                *hole = Hole { range: joined, looks, next_ms };
            }
            joins
        });
    }

    /// The map as it is stored.
    pub fn to_text(&mut self) -> String {
        self.join_holes();
        let kept = Runs::of(self.kept.iter().map(|kept| (kept.range, 0, kept.at_ms)));
        let holes = Runs::of(self.holes.iter().map(|hole| (hole.range, hole.looks, hole.next_ms)));
        // Numbers and lists of numbers always have a text.
        serde_json::to_string(&Stored { kept, holes, total: self.total, refused: self.refused }).unwrap_or_default()
    }

    /// Reads a stored map.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn read(text: &str) -> Result<SlotMap, serde_json::Error> {
        if text.is_empty() {
            return Ok(SlotMap::default());
        }
        let Stored { kept, holes, total, refused } = serde_json::from_str(text)?;
        let kept = kept.iter().flat_map(|runs| runs.ranges().map(|range| Kept { range, at_ms: runs.at_ms }));
        let hole = |runs: &Runs, range| Hole { range, looks: runs.looks, next_ms: runs.at_ms };
        let holes = holes.iter().flat_map(|runs| runs.ranges().map(move |range| hole(runs, range)));
        Ok(SlotMap { kept: kept.collect(), holes: holes.collect(), total, refused })
    }
}

impl Kept {
    /// A time in the future is another host's clock: it does not keep an entry for longer than `keep` either.
    fn is_due(self, now_ms: i64, keep: Duration) -> bool {
        self.range.legacy || now_ms.abs_diff(self.at_ms) >= millis(keep).unsigned_abs()
    }
}

impl Hole {
    /// A time in the future is that of another host's clock, which then reads the hole in its time.
    fn is_due(self, now_ms: i64) -> bool {
        self.next_ms <= now_ms
    }
}

/// Whether slots may be read under their numbers: those of epoch 0 only if they are numbered under `shadow`, if there is
/// one now.
pub fn is_current(range: SlotRange, shadow: Option<Ticket>) -> bool {
    !range.legacy || shadow.is_none_or(|shadow| range.first.epoch_start() == shadow)
}

fn slots_in(ranges: &[SlotRange]) -> u64 {
    ranges.iter().map(|range| range.len()).sum()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Serialize, Deserialize)]
struct Stored {
    kept: Vec<Runs>,
    holes: Vec<Runs>,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    refused: u64,
}

/// Ranges that share their times: from `from` on, in turn the number of slots passed over and of slots in a range.
#[derive(Serialize, Deserialize)]
struct Runs {
    from: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    legacy: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    looks: u32,
    at_ms: i64,
    runs: Vec<u64>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Runs {
    fn of(ranges: impl Iterator<Item = (SlotRange, u32, i64)>) -> Vec<Runs> {
        let (mut all, mut end): (Vec<Runs>, u64) = (Vec::new(), 0);
        for (range, looks, at_ms) in ranges {
            let (from, legacy) = (range.first.value(), range.legacy);
            let joins = |runs: &&mut Runs| (runs.legacy, runs.looks, runs.at_ms) == (legacy, looks, at_ms);
            match all.last_mut().filter(joins) {
                Some(runs) => runs.runs.extend([from.saturating_sub(end), range.len()]),
                None => all.push(Runs { from, legacy, looks, at_ms, runs: vec![0, range.len()] }),
            }
            end = range.last.value() + 1;
        }
        all
    }

    fn ranges(&self) -> impl Iterator<Item = SlotRange> {
        let mut at = self.from;
        self.runs.chunks_exact(2).map(move |run| {
            let first = at.saturating_add(run[0]);
            at = first.saturating_add(run[1]);
            let (first, last) = (Ticket::from_counter(first), Ticket::from_counter(at.saturating_sub(1)));
            SlotRange { first, last, legacy: self.legacy }
        })
    }
}

#[cfg(test)]
mod tests;
