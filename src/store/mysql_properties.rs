//! The table `properties` in MySQL.

use mysql::Conn;
use mysql::prelude::Queryable;

use super::Cause;
use super::properties::{
    DATABASE_ID, Properties, SECRET_FINGERPRINT, fingerprint_text, new_database_id, read_fingerprint, read_rows,
};

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
    connection.exec_drop("INSERT IGNORE INTO properties (name, value) VALUES (?, ?)", (name, value))
}
