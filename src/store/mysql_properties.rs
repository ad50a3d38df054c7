//! The table `properties` in MySQL.

use mysql::Conn;
use mysql::prelude::Queryable;

use super::Cause;
use super::mysql_batch::is_deadlock;
use super::properties::{
    DATABASE_ID, Properties, SECRET_FINGERPRINT, fingerprint_text, new_database_id, read_fingerprint, read_rows,
};

/// How often a row is inserted again when a cluster refuses it because another node has just inserted it.
const ATTEMPTS: u32 = 10;

/// Reads the properties; makes the id if it is missing.
pub(super) fn read(connection: &mut Conn) -> Result<Properties, Cause> {
    if let Some(properties) = select(connection)? {
        return Ok(properties);
    }
    insert_if_missing(connection, DATABASE_ID, &new_database_id())?;
    select(connection)?.ok_or_else(|| format!("{DATABASE_ID} was inserted and cannot be read").into())
}

/// Stores a fingerprint if there is none, and returns the one that is stored.
pub(super) fn keep_fingerprint(connection: &mut Conn, fingerprint: u64) -> Result<u64, Cause> {
    insert_if_missing(connection, SECRET_FINGERPRINT, &fingerprint_text(fingerprint))?;
    let kept: Option<String> =
        connection.exec_first("SELECT value FROM properties WHERE name = ?", (SECRET_FINGERPRINT,))?;
    read_fingerprint(&kept.unwrap_or_default())
}

fn select(connection: &mut Conn) -> Result<Option<Properties>, Cause> {
    read_rows(connection.query("SELECT name, value FROM properties")?)
}

fn insert_if_missing(connection: &mut Conn, name: &str, value: &str) -> Result<(), mysql::Error> {
    let mut attempt = 1;
    loop {
        // In a transaction of its own, so that it is committed whatever the session's autocommit is.
        let inserted = connection.start_transaction(mysql::TxOpts::default()).and_then(|mut tx| {
            tx.exec_drop("INSERT IGNORE INTO properties (name, value) VALUES (?, ?)", (name, value))?;
            tx.commit()
        });
        match inserted {
            Err(error) if is_deadlock(&error) && attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}
