//! A batch made ready for insertion: sorted by key, freed of repeats, grouped by what was picked.
//!
//! Both databases count a group's share of the tallies as the number of rows that its insert really inserted,
//! so every row of a group must add the same to the tallies: same poll, same picks. Sorting by key makes the
//! inserts walk the primary key in order.

use std::collections::BTreeMap;

use super::record::{Batch, Row, Settled, Verdict};

/// Rows of one poll that picked the same.
pub(super) struct Group {
    pub(super) poll_id: i64,
    pub(super) picks: u64,
    pub(super) rows: Vec<Row>,
}

/// The groups of a batch, without the rows that repeat an earlier row's key.
pub(super) fn groups(mut rows: Vec<Row>) -> Vec<Group> {
    // Stable: of two rows with one key the one found first stays first, and dedup keeps it.
    rows.sort_by_key(|row| (row.poll_id, row.identity));
    rows.dedup_by_key(|row| (row.poll_id, row.identity));
    let mut groups: BTreeMap<(i64, u64), Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.poll_id, row.picks)).or_default().push(row);
    }
    groups.into_iter().map(|((poll_id, picks), rows)| Group { poll_id, picks, rows }).collect()
}

/// The positions of the bits set in `picks`.
pub(super) fn positions(picks: u64) -> impl Iterator<Item = usize> {
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
            Verdict::Refused(poll_id) => {
                self.batch.refused.push((poll_id, 1));
                self.settled.refused += 1;
            }
            Verdict::Dropped => self.settled.dropped += 1,
            Verdict::Kept(_) => self.settled.kept += 1,
        }
    }

    /// What it came to once the database has told how many of `ballots` were new.
    pub(super) fn settled(&self, ballots: u64, counted: u64) -> Settled {
        Settled { counted, duplicates: ballots - counted, ..self.settled }
    }
}
