//! One batch as one SQLite transaction: the statements. Here a statement tells of each row whether it was new, so
//! ballots need no groups.

use rusqlite::{Transaction, params};

use crate::failpoint::{self, Step};

use super::batch::{Share, in_key_order};
use super::record::{Batch, Folded};

/// Inserts ballots, raises the tallies by those that are new, and writes what else is in the batch.
pub(super) fn insert(tx: &Transaction<'_>, batch: Batch) -> rusqlite::Result<Folded> {
    let found = batch.rows.len() as u64;
    let mut share = Share::default();
    let mut statement =
        tx.prepare_cached("INSERT OR IGNORE INTO ballots (poll_id, identity, picks, at_ms) VALUES (?1, ?2, ?3, ?4)")?;
    for row in in_key_order(batch.rows) {
        let new = statement.execute(params![row.poll_id, row.identity.0, row.picks as i64, row.at_ms])?;
        share.add(row.poll_id, row.picks, new as u64);
    }
    failpoint::pass(Step::Inserted);
    for (poll_id, new) in &share.polls {
        tx.prepare_cached("UPDATE polls SET ballots = ballots + ?2 WHERE id = ?1")?
            .execute(params![poll_id, *new as i64])?;
    }
    for ((poll_id, position), new) in &share.choices {
        tx.prepare_cached("UPDATE choices SET votes = votes + ?3 WHERE poll_id = ?1 AND position = ?2")?
            .execute(params![poll_id, *position as i64, *new as i64])?;
    }
    failpoint::pass(Step::Raised);
    for letter in &batch.dead_letters {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO dead_letters (id, origin, reason, bytes, found_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![letter.id, letter.origin, letter.reason, letter.bytes, letter.found_at_ms])?;
    }
    let counted = share.ballots();
    Ok(Folded { counted, duplicates: found - counted })
}
