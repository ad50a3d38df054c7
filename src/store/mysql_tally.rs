//! Tallies in MySQL: read, recounted, and set to the recount.
//!
//! # Why a repair is right while ballots are written
//! Every transaction that inserts ballots of a poll updates the poll's row in `polls` before it commits. A repair locks that
//! row first, and only then reads: one whose ballots are inserted and which waits for the row is not committed, so its
//! ballots are not in the recount, and it adds them after the repair. One that is committed is in the tally and in the
//! recount. The read needs `REPEATABLE READ`, whose snapshot is taken by the first read without a lock, here the one
//! after the row's lock; with `READ UNCOMMITTED` it would see the ballots of a transaction that waits.
//!
//! On Galera a transaction of another node does not wait for the lock: its commit aborts the repair, which starts again.

use mysql::prelude::Queryable;
use mysql::{Conn, Error};

use super::batch::add_votes;
use super::mysql_transaction::{at_one_moment, begin, commit};
use super::record::{Poll, Tally};

/// The tally as stored.
pub(super) fn tally(connection: &mut Conn, poll: &Poll) -> Result<Tally, Error> {
    at_one_moment(connection, |tx| stored(tx, poll))
}

/// The tally as stored and as counted anew, of the same moment.
pub(super) fn recount(connection: &mut Conn, poll: &Poll) -> Result<(Tally, Tally), Error> {
    at_one_moment(connection, |tx| both(tx, poll))
}

/// Sets the tally to the recount; the tally before, and the recount. Writers of ballots of this poll wait meanwhile.
pub(super) fn repair(tx: &mut Conn, poll: &Poll) -> Result<(Tally, Tally), Error> {
    begin(tx)?;
    tx.exec_drop("SELECT ballots FROM polls WHERE id = ? FOR UPDATE", (poll.id,))?;
    let (stored, counted) = both(tx, poll)?;
    // The rows of a flush in its order, so that neither waits for a row of the other.
    tx.exec_drop("UPDATE polls SET ballots = ? WHERE id = ?", (counted.ballots, poll.id))?;
    for (position, votes) in counted.votes.iter().enumerate() {
        tx.exec_drop("UPDATE choices SET votes = ? WHERE poll_id = ? AND position = ?", (votes, poll.id, position))?;
    }
    commit(tx)?;
    Ok((stored, counted))
}

/// Read as the signed numbers that the columns hold: the driver panics on one below zero, which somebody may have written.
fn stored(tx: &mut Conn, poll: &Poll) -> Result<Tally, Error> {
    let ballots: Option<i64> = tx.exec_first("SELECT ballots FROM polls WHERE id = ?", (poll.id,))?;
    let votes: Vec<i64> = tx.exec("SELECT votes FROM choices WHERE poll_id = ? ORDER BY position", (poll.id,))?;
    let votes = votes.into_iter().map(|votes| votes as u64).collect();
    Ok(Tally { ballots: ballots.unwrap_or_default() as u64, votes })
}

fn both(tx: &mut Conn, poll: &Poll) -> Result<(Tally, Tally), Error> {
    let stored = stored(tx, poll)?;
    let groups: Vec<(i64, u64)> =
        tx.exec("SELECT picks, COUNT(*) FROM ballots WHERE poll_id = ? GROUP BY picks", (poll.id,))?;
    let mut counted = Tally { ballots: 0, votes: vec![0; poll.choices.len()] };
    for (picks, ballots) in groups {
        counted.ballots += ballots;
        add_votes(&mut counted.votes, picks as u64, ballots);
    }
    Ok((stored, counted))
}
