//! The table `properties` in SQLite.

use rusqlite::{Connection, params};

use super::Cause;
use super::properties::{
    DATABASE_ID, Properties, SECRET_FINGERPRINT, fingerprint_text, new_database_id, read_fingerprint, read_rows,
};

/// Reads the properties; makes the id if it is missing.
pub(super) fn read(connection: &Connection) -> Result<Properties, Cause> {
    if let Some(properties) = select(connection)? {
        return Ok(properties);
    }
    insert_if_missing(connection, DATABASE_ID, &new_database_id())?;
    select(connection)?.ok_or_else(|| format!("{DATABASE_ID} was inserted and cannot be read").into())
}

/// Stores a fingerprint if there is none, and returns the one that is stored.
pub(super) fn keep_fingerprint(connection: &Connection, fingerprint: u64) -> Result<u64, Cause> {
    insert_if_missing(connection, SECRET_FINGERPRINT, &fingerprint_text(fingerprint))?;
    let sql = "SELECT value FROM properties WHERE name = ?1";
    read_fingerprint(&connection.query_row(sql, [SECRET_FINGERPRINT], |row| row.get::<_, String>(0))?)
}

fn select(connection: &Connection) -> Result<Option<Properties>, Cause> {
    let mut statement = connection.prepare("SELECT name, value FROM properties")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    read_rows(rows.collect::<Result<_, _>>()?)
}

fn insert_if_missing(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .execute("INSERT OR IGNORE INTO properties (name, value) VALUES (?1, ?2)", params![name, value])
        .map(|_| ())
}
