//! One batch as one MySQL transaction: the statements, and which errors mean what.
//!
//! MariaDB takes a whole array of rows for one prepared insert, which costs it less than reading `LOAD DATA`.
//! Elsewhere the inserts are plain multi-row text: every value in it is a number or hex made here, so there is
//! nothing to escape, and a server reads it faster than it binds the same values one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mysql::prelude::Queryable;
use mysql::{Conn, Error, Transaction, TxOpts, Value};

use super::batch::{Group, positions};
use super::record::{Advance, Batch, Row};

/// Ballots in one statement: some 750 KB of text, under the smallest `max_allowed_packet` in use.
const ROWS_PER_STATEMENT: usize = 10_000;

/// An array of [`ROWS_PER_STATEMENT`] rows fits one packet of this size. It must: of an array that is sent in
/// several, the server tells only how many rows the last one inserted.
pub(super) const PACKET_MIN: u64 = 1024 * 1024;

const BULK_INSERT: &str = "INSERT IGNORE INTO ballots (poll_id, identity, picks, at_ms) VALUES (?, ?, ?, ?)";

/// Writes everything and commits; the number of new ballots, or nothing when the queue stands elsewhere. `bulk`:
/// the server takes arrays of rows.
pub(super) fn write(
    connection: &mut Conn,
    groups: &[Group],
    batch: &Batch,
    advance: Option<Advance<'_>>,
    bulk: bool,
) -> Result<Option<u64>, Error> {
    let mut tx = connection.start_transaction(TxOpts::default())?;
    if let Some(advance) = advance {
        match move_head(&mut tx, advance) {
            Ok(true) => {}
            Err(error) if !is_taken(&error) => return Err(error),
            Ok(false) | Err(_) => return tx.rollback().map(|()| None),
        }
    }
    let new = write_ballots(&mut tx, groups, batch, bulk)?;
    tx.commit()?;
    Ok(Some(new))
}

/// Inserts ballots, raises the tallies by those that are new, and writes what else is in the batch; the number of
/// new ballots.
pub(super) fn write_ballots(
    tx: &mut Transaction<'_>,
    groups: &[Group],
    batch: &Batch,
    bulk: bool,
) -> Result<u64, Error> {
    let mut polls: BTreeMap<i64, u64> = BTreeMap::new();
    let mut choices: BTreeMap<(i64, usize), u64> = BTreeMap::new();
    for group in groups {
        let mut new = 0;
        for rows in group.rows.chunks(ROWS_PER_STATEMENT) {
            match bulk {
                true => tx.exec_batch(BULK_INSERT, rows.iter().map(columns))?,
                false => tx.query_drop(insert_statement(rows))?,
            }
            new += tx.affected_rows();
        }
        *polls.entry(group.poll_id).or_default() += new;
        for position in positions(group.picks) {
            *choices.entry((group.poll_id, position)).or_default() += new;
        }
    }
    // Tallies last and in key order: their rows are shared by all writers of a poll. In one round trip: while
    // these rows are locked, those writers wait.
    let polls_sql =
        polls.iter().map(|(poll_id, new)| format!("UPDATE polls SET ballots = ballots + {new} WHERE id = {poll_id}"));
    let choices_sql = choices.iter().map(|((poll_id, position), new)| {
        format!("UPDATE choices SET votes = votes + {new} WHERE poll_id = {poll_id} AND position = {position}")
    });
    let tallies: Vec<_> = polls_sql.chain(choices_sql).collect();
    if !tallies.is_empty() {
        let mut results = tx.query_iter(tallies.join(";"))?;
        // A statement that fails is told only where its result is asked for.
        while let Some(mut result) = results.iter() {
            result.try_for_each(|row| row.map(drop))?;
        }
    }
    write_rest(tx, batch)?;
    Ok(polls.values().sum())
}

/// Moves the queue's head, if nobody else has it and it is where it should be; tells whether it did.
fn move_head(tx: &mut Transaction<'_>, advance: Advance<'_>) -> Result<bool, Error> {
    let values = (advance.to, advance.at_ms, advance.queue);
    if advance.from.is_none() {
        // A row that is not there cannot be locked, only the gap where it would stand, and the first drains of
        // several queues would hold that gap against each other. So the key decides who was first.
        return tx.exec_drop("INSERT INTO queues (head, flushed_at_ms, name) VALUES (?, ?, ?)", values).map(|()| true);
    }
    let head: Option<i64> =
        tx.exec_first("SELECT head FROM queues WHERE name = ? FOR UPDATE NOWAIT", (advance.queue,))?;
    if head != advance.from {
        return Ok(false);
    }
    tx.exec_drop("UPDATE queues SET head = ?, flushed_at_ms = ? WHERE name = ?", values).map(|()| true)
}

fn write_rest(tx: &mut Transaction<'_>, batch: &Batch) -> Result<(), Error> {
    for (poll_id, refused) in &batch.refused {
        tx.exec_drop("UPDATE polls SET refused = refused + ? WHERE id = ?", (refused, poll_id))?;
    }
    for letter in &batch.dead_letters {
        tx.exec_drop(
            "INSERT IGNORE INTO dead_letters (id, origin, reason, bytes, found_at_ms) VALUES (?, ?, ?, ?, ?)",
            (
                Value::Bytes(letter.id.to_vec()),
                &letter.origin,
                &letter.reason,
                Value::Bytes(letter.bytes.clone()),
                letter.found_at_ms,
            ),
        )?;
    }
    Ok(())
}

fn columns(row: &Row) -> (i64, Value, u64, i64) {
    (row.poll_id, Value::Bytes(row.identity.0.to_vec()), row.picks, row.at_ms)
}

fn insert_statement(rows: &[Row]) -> String {
    const BYTES_PER_ROW: usize = 96;
    let mut sql = String::with_capacity(rows.len() * BYTES_PER_ROW);
    sql.push_str("INSERT IGNORE INTO ballots (poll_id, identity, picks, at_ms) VALUES ");
    for (index, row) in rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let identity = u128::from_be_bytes(row.identity.0);
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma}({},0x{identity:032x},{},{})", row.poll_id, row.picks, row.at_ms);
    }
    sql
}

/// Whether the database rolled the transaction back so that another could go on: try again.
pub(super) fn is_deadlock(error: &Error) -> bool {
    const DEADLOCK: u16 = 1213;
    matches!(error, Error::MySqlError(error) if error.code == DEADLOCK)
}

/// Whether another reader holds the queue's row: locked now, or inserted just before us.
fn is_taken(error: &Error) -> bool {
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    const LOCK_NOWAIT: u16 = 3572;
    const DUPLICATE_KEY: u16 = 1062;
    matches!(error, Error::MySqlError(error) if [LOCK_WAIT_TIMEOUT, LOCK_NOWAIT, DUPLICATE_KEY].contains(&error.code))
}
