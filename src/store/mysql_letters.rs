//! Dead letters in MySQL: read, and settled in one transaction.
//!
//! Whether a letter is still there is decided by the row that its deletion locks, so of two processes that settle
//! the same letter one does and the other passes it over.

use mysql::prelude::Queryable;
use mysql::{Conn, Error, Value};

use super::Cause;
use super::batch::{Settlement, in_key_order};
use super::mysql_batch::{Manner, write_ballots};
use super::mysql_transaction::{begin, commit};
use super::record::{DeadLetter, Settled, Verdict};

type Columns = (Vec<u8>, String, String, Vec<u8>, i64);

const SELECT: &str = "SELECT id, origin, reason, bytes, found_at_ms FROM dead_letters";

/// The newest letters.
pub(super) fn newest(connection: &mut Conn, limit: u32) -> Result<Vec<DeadLetter>, Cause> {
    letters(connection.exec(format!("{SELECT} ORDER BY found_at_ms DESC, id LIMIT ?"), (limit,))?)
}

/// The letters after an id.
pub(super) fn after(connection: &mut Conn, after: Option<[u8; 16]>, limit: u32) -> Result<Vec<DeadLetter>, Cause> {
    letters(match after {
        Some(id) => connection.exec(format!("{SELECT} WHERE id > ? ORDER BY id LIMIT ?"), (bytes(id), limit))?,
        None => connection.exec(format!("{SELECT} ORDER BY id LIMIT ?"), (limit,))?,
    })
}

/// One letter.
pub(super) fn one(connection: &mut Conn, id: [u8; 16]) -> Result<Option<DeadLetter>, Cause> {
    let found = letters(connection.exec(format!("{SELECT} WHERE id = ?"), (bytes(id),))?)?;
    Ok(found.into_iter().next())
}

/// Settles letters in one transaction.
pub(super) fn settle(tx: &mut Conn, verdicts: &[([u8; 16], Verdict)]) -> Result<Settled, Error> {
    begin(tx)?;
    let mut settlement = Settlement::default();
    for (id, verdict) in verdicts {
        let there = if let Verdict::Kept(reason) = verdict {
            tx.exec_drop("UPDATE dead_letters SET reason = ? WHERE id = ?", (reason, bytes(*id)))?;
            // A reason that is the same as before is not counted as a row affected.
            tx.exec_first::<u8, _, _>("SELECT 1 FROM dead_letters WHERE id = ? FOR UPDATE", (bytes(*id),))?.is_some()
        } else {
            tx.exec_drop("DELETE FROM dead_letters WHERE id = ?", (bytes(*id),))?;
            tx.affected_rows() == 1
        };
        if there {
            settlement.add(verdict.clone());
        }
    }
    let rows = std::mem::take(&mut settlement.batch.rows);
    let ballots = rows.len() as u64;
    let manner = Manner { repeats: true, ..Manner::default() };
    let counted = write_ballots(tx, &in_key_order(rows), &settlement.batch, manner)?.unwrap_or_default();
    commit(tx)?;
    Ok(settlement.settled(ballots, counted))
}

fn bytes(id: [u8; 16]) -> Value {
    Value::Bytes(id.to_vec())
}

fn letters(rows: Vec<Columns>) -> Result<Vec<DeadLetter>, Cause> {
    let letter = |(id, origin, reason, bytes, found_at_ms): Columns| {
        Ok(DeadLetter { id: id.as_slice().try_into()?, origin, reason, bytes, found_at_ms })
    };
    rows.into_iter().map(letter).collect()
}
