//! Tallies in SQLite: read, recounted, and set to the recount.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::batch::add_votes;
use super::record::{Poll, Tally};

/// The tally as stored and as counted anew, of the same moment.
pub(super) fn recount(connection: &mut Connection, poll: &Poll) -> rusqlite::Result<(Tally, Tally)> {
    both(&connection.transaction()?, poll)
}

/// Sets the tally to the recount while no other connection can write; the tally before, and the recount.
pub(super) fn repair(connection: &mut Connection, poll: &Poll) -> rusqlite::Result<(Tally, Tally)> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (stored, counted) = both(&tx, poll)?;
    tx.execute("UPDATE polls SET ballots = ?2 WHERE id = ?1", params![poll.id, counted.ballots as i64])?;
    for (position, votes) in counted.votes.iter().enumerate() {
        tx.prepare_cached("UPDATE choices SET votes = ?3 WHERE poll_id = ?1 AND position = ?2")?.execute(params![
            poll.id,
            position as i64,
            *votes as i64
        ])?;
    }
    tx.commit()?;
    Ok((stored, counted))
}

/// The tally as stored.
pub(super) fn tally(tx: &Transaction<'_>, poll: &Poll) -> rusqlite::Result<Tally> {
    let ballots: i64 = tx.query_row("SELECT ballots FROM polls WHERE id = ?1", [poll.id], |row| row.get(0))?;
    let votes = tx
        .prepare_cached("SELECT votes FROM choices WHERE poll_id = ?1 ORDER BY position")?
        .query_map([poll.id], |row| row.get::<_, i64>(0).map(|votes| votes as u64))?
        .collect::<Result<_, _>>()?;
    Ok(Tally { ballots: ballots as u64, votes })
}

fn both(tx: &Transaction<'_>, poll: &Poll) -> rusqlite::Result<(Tally, Tally)> {
    let stored = tally(tx, poll)?;
    let mut counted = Tally { ballots: 0, votes: vec![0; poll.choices.len()] };
    let mut statement = tx.prepare("SELECT picks, COUNT(*) FROM ballots WHERE poll_id = ?1 GROUP BY picks")?;
    let mut rows = statement.query([poll.id])?;
    while let Some(row) = rows.next()? {
        let (picks, ballots): (i64, i64) = (row.get(0)?, row.get(1)?);
        counted.ballots += ballots as u64;
        add_votes(&mut counted.votes, picks as u64, ballots as u64);
    }
    Ok((stored, counted))
}
