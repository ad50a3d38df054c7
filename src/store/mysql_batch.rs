//! One batch as one MySQL transaction: the statements.
//!
//! MariaDB, where it is no node of a Galera cluster, takes a whole array of rows for one prepared insert, which costs it less than reading `LOAD DATA`.
//! Elsewhere the inserts are plain multi-row text: every value in it is a number or hex made here, so there is
//! nothing to escape, and a server reads it faster than it binds the same values one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mysql::prelude::Queryable;
use mysql::{Conn, Error, Value};

use crate::failpoint::{self, Step};

use super::batch::Share;
use super::mysql_error::is_taken;
use super::mysql_transaction::{begin, commit, rollback, run_all};
use super::record::{Advance, Batch, QueueRow, Row};

/// Ballots in one statement: some 750 KB of text, under the smallest `max_allowed_packet` in use.
const ROWS_PER_STATEMENT: usize = 10_000;

/// An array of [`ROWS_PER_STATEMENT`] rows fits one packet of this size. It must: of an array that is sent in
/// several, the server tells only how many rows the last one inserted.
pub(super) const PACKET_MIN: u64 = 1024 * 1024;

const BULK_INSERT: &str = "INSERT IGNORE INTO ballots (poll_id, identity, picks, at_ms) VALUES (?, ?, ?, ?)";

/// What is known of the server and of the ballots that come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// The server takes arrays of rows.
    pub(super) bulk: bool,
    /// Some of the ballots may be there already: some of the last batch were.
    pub(super) repeats: bool,
}

/// Writes everything and commits; the number of new ballots, or nothing when the queue stands elsewhere. `rows` are
/// in key order.
pub(super) fn write(
    connection: &mut Conn,
    rows: &[Row],
    batch: &Batch,
    advance: Option<Advance<'_>>,
    manner: Manner,
) -> Result<Option<u64>, Error> {
    begin(connection)?;
    if let Some(advance) = advance {
        match move_head(connection, advance) {
            Ok(true) => failpoint::pass(Step::HeadMoved),
            Err(error) if !is_taken(&error) => return Err(error),
            Ok(false) | Err(_) => return rollback(connection).map(|()| None),
        }
    }
    let Some(new) = write_ballots(connection, rows, batch, manner)? else {
        // Undone as a whole and not to a savepoint, which not every cluster has.
        rollback(connection)?;
        return write(connection, rows, batch, advance, Manner { repeats: true, ..manner });
    };
    failpoint::pass(Step::Committing);
    commit(connection)?;
    failpoint::pass(Step::Committed);
    Ok(Some(new))
}

/// Inserts ballots, raises the tallies by those that are new, and writes what else is in the batch; the number of
/// new ballots. Nothing when some were there already and that is not in `manner`: the transaction is to be rolled
/// back. `rows` are in key order.
pub(super) fn write_ballots(tx: &mut Conn, rows: &[Row], batch: &Batch, manner: Manner) -> Result<Option<u64>, Error> {
    let Some(share) = insert(tx, rows, manner)? else { return Ok(None) };
    failpoint::pass(Step::Inserted);
    write_tallies(tx, &share)?;
    failpoint::pass(Step::Raised);
    write_rest(tx, batch)?;
    Ok(Some(share.ballots()))
}

/// Inserts what is new of the rows, and tells its share of the tallies. A server tells how many rows it inserted,
/// not which. If it inserted all, that is enough, and one walk through the primary key has done it. If not, the
/// walk is to be undone and done again with repeats: for each group of rows that add the same to the tallies.
fn insert(tx: &mut Conn, rows: &[Row], manner: Manner) -> Result<Option<Share>, Error> {
    let mut alike: BTreeMap<(i64, u64), u64> = BTreeMap::new();
    for row in rows {
        *alike.entry((row.poll_id, row.picks)).or_default() += 1;
    }
    let mut share = Share::default();
    if alike.len() > 1 && !manner.repeats {
        if insert_rows(tx, rows, manner)? < rows.len() as u64 {
            return Ok(None);
        }
        alike.into_iter().for_each(|((poll_id, picks), new)| share.add(poll_id, picks, new));
        return Ok(Some(share));
    }
    let mut groups: BTreeMap<(i64, u64), Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry((row.poll_id, row.picks)).or_default().push(*row));
    for ((poll_id, picks), rows) in groups {
        share.add(poll_id, picks, insert_rows(tx, &rows, manner)?);
    }
    Ok(Some(share))
}

/// How many of the rows were new.
fn insert_rows(tx: &mut Conn, rows: &[Row], manner: Manner) -> Result<u64, Error> {
    let mut new = 0;
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        match manner.bulk {
            true => tx.exec_batch(BULK_INSERT, rows.iter().map(columns))?,
            false => tx.query_drop(insert_statement(rows))?,
        }
        new += tx.affected_rows();
    }
    Ok(new)
}

/// Last and in key order: the rows of the tallies are shared by all writers of a poll. In one round trip: while they
/// are locked, those writers wait.
fn write_tallies(tx: &mut Conn, share: &Share) -> Result<(), Error> {
    let polls = share.polls.iter();
    let polls = polls.map(|(poll_id, new)| format!("UPDATE polls SET ballots = ballots + {new} WHERE id = {poll_id}"));
    let choices = share.choices.iter().map(|((poll_id, position), new)| {
        format!("UPDATE choices SET votes = votes + {new} WHERE poll_id = {poll_id} AND position = {position}")
    });
    let tallies: Vec<_> = polls.chain(choices).collect();
    if tallies.is_empty() {
        return Ok(());
    }
    run_all(tx, &tallies.join(";"))
}

/// Writes the queue's row, if nobody else has it and it is what it should be; returns whether it did.
fn move_head(tx: &mut Conn, advance: Advance<'_>) -> Result<bool, Error> {
    let QueueRow { name, server, head, slots, missing, flushed_at_ms } = advance.to;
    let values = (server, head, slots, missing, flushed_at_ms, name);
    if advance.from.is_none() {
        // A row that is not there cannot be locked, only the gap where it would stand, and the first drains of
        // several queues would hold that gap against each other. So the key decides who was first.
        let insert = "INSERT INTO queues (server, head, slots, missing, flushed_at_ms, name) VALUES (?, ?, ?, ?, ?, ?)";
        return tx.exec_drop(insert, values).map(|()| true);
    }
    let found = tx.exec_first("SELECT head, slots FROM queues WHERE name = ? FOR UPDATE NOWAIT", (name,))?;
    if !advance.starts_at(found) {
        return Ok(false);
    }
    let update = "UPDATE queues SET server = ?, head = ?, slots = ?, missing = ?, flushed_at_ms = ? WHERE name = ?";
    tx.exec_drop(update, values).map(|()| true)
}

fn write_rest(tx: &mut Conn, batch: &Batch) -> Result<(), Error> {
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
