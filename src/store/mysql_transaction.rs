//! Transactions that are checked before they are committed.
//!
//! Galera can abort a transaction in favour of another and still answer OK (this happens with arrays of rows). With
//! `autocommit=1` every later statement would then be committed by itself. So a transaction of weir runs with
//! `autocommit=0`, where such statements only begin another transaction, and its first statement sets a savepoint. A savepoint
//! ends with its transaction: `RELEASE SAVEPOINT` before `COMMIT` succeeds only in the transaction that began here. Both are in
//! one query, and the server runs nothing after the first statement that fails. So a transaction is committed whole or not at
//! all, and the check costs no round trip.
//!
//! weir issues these statements itself: the driver's own transaction panics when the server refuses some of them, and rolls back
//! when it is dropped, which would be a second panic while the first unwinds.

use mysql::prelude::Queryable;
use mysql::{Conn, Error};

use crate::failpoint;

const BEGIN: &str = "SET autocommit=0;START TRANSACTION;SAVEPOINT weir";
const COMMIT: &str = "RELEASE SAVEPOINT weir;COMMIT;SET autocommit=1";
const COMMIT_UNCHECKED: &str = "COMMIT;SET autocommit=1";
const ROLLBACK: &str = "ROLLBACK;SET autocommit=1";

/// Begins a transaction. Whatever fails in it, its connection goes to [`rollback`] or is dropped.
pub(super) fn begin(connection: &mut Conn) -> Result<(), Error> {
    run_all(connection, BEGIN)
}

/// Commits the transaction that [`begin`] began. An error that the server answers means that nothing was committed.
pub(super) fn commit(connection: &mut Conn) -> Result<(), Error> {
    run_all(connection, if failpoint::transaction_check_is_skipped() { COMMIT_UNCHECKED } else { COMMIT })
}

/// Undoes a transaction, if there is one.
pub(super) fn rollback(connection: &mut Conn) -> Result<(), Error> {
    run_all(connection, ROLLBACK)
}

/// Reads in one transaction: its first read fixes the moment of all its reads.
pub(super) fn at_one_moment<T>(
    connection: &mut Conn,
    read: impl FnOnce(&mut Conn) -> Result<T, Error>,
) -> Result<T, Error> {
    begin(connection)?;
    let read = read(connection)?;
    rollback(connection)?;
    Ok(read)
}

/// Runs statements that are separated by semicolons, in one round trip. The first that fails ends it.
pub(super) fn run_all(connection: &mut Conn, statements: &str) -> Result<(), Error> {
    let mut results = connection.query_iter(statements)?;
    // The driver returns the error of a statement only with its result.
    while let Some(mut result) = results.iter() {
        result.try_for_each(|row| row.map(drop))?;
    }
    Ok(())
}
