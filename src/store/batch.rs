//! A batch made ready for insertion, and its share of the tallies.
//!
//! Sorting by key makes the inserts walk the primary key in order. The share is counted from rows that were really
//! inserted, never from rows that were found.

use std::collections::BTreeMap;

use super::record::{Batch, Row, Settled, Verdict};

/// The rows of a batch in the order of their keys, without those that repeat an earlier row's key.
pub(super) fn in_key_order(mut rows: Vec<Row>) -> Vec<Row> {
    // Stable: of two rows with one key the one found first stays first, and dedup keeps it.
    rows.sort_by_key(|row| (row.poll_id, row.identity));
    rows.dedup_by_key(|row| (row.poll_id, row.identity));
    rows
}

/// What new ballots add to the tallies.
#[derive(Default)]
pub(super) struct Share {
    /// To the ballots of each poll.
    pub(super) polls: BTreeMap<i64, u64>,
    /// To the votes of each choice: poll, position.
    pub(super) choices: BTreeMap<(i64, usize), u64>,
}

impl Share {
    /// Adds `new` ballots of one poll with the same picks.
    pub(super) fn add(&mut self, poll_id: i64, picks: u64, new: u64) {
        *self.polls.entry(poll_id).or_default() += new;
        for position in positions(picks) {
            *self.choices.entry((poll_id, position)).or_default() += new;
        }
    }

    /// How many new ballots there are in all.
    pub(super) fn ballots(&self) -> u64 {
        self.polls.values().sum()
    }
}

/// The positions of the bits set in `picks`.
fn positions(picks: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |position| picks >> position & 1 == 1)
}

/// Adds a recount's group to the votes per choice.
pub(super) fn add_votes(votes: &mut [u64], picks: u64, ballots: u64) {
    for position in positions(picks) {
        if let Some(votes) = votes.get_mut(position) {
            *votes += ballots;
        }
    }
}

/// What verdicts on dead letters that were still there come to: a batch like any other, and their number.
#[derive(Default)]
pub(super) struct Settlement {
    pub(super) batch: Batch,
    settled: Settled,
}

impl Settlement {
    pub(super) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Ballot(row) => self.batch.rows.push(row),
            Verdict::Dropped => self.settled.dropped += 1,
            Verdict::Kept(_) => self.settled.kept += 1,
        }
    }

    /// What it came to once the database has told how many of `ballots` were new.
    pub(super) fn settled(&self, ballots: u64, counted: u64) -> Settled {
        Settled { counted, duplicates: ballots - counted, ..self.settled }
    }
}
