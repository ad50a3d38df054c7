//! The tables of a MySQL database, brought up to date.
//!
//! The migrations and their history table are refinery's; its driver for MySQL is not used, because it panics when a server
//! refuses to begin a transaction. Every migration can be run again, so two processes may migrate at one moment.

use mysql::prelude::Queryable;
use mysql::{Conn, Error};

use super::mysql_error::is_no_such_table;
use super::mysql_transaction::run_all;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/mysql");
}

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS refinery_schema_history \
     (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))";

/// Runs the migrations that the database does not have yet. A user without the right to create tables can work on a
/// database that has them all.
pub(super) fn migrate(connection: &mut Conn) -> Result<(), Error> {
    let applied: Vec<i32> = match connection.query("SELECT version FROM refinery_schema_history") {
        Ok(applied) => applied,
        Err(error) if is_no_such_table(&error) => {
            connection.query_drop(HISTORY)?;
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let runner = migrations::migrations::runner();
    let mut missing: Vec<_> =
        runner.get_migrations().iter().filter(|migration| !applied.contains(&migration.version())).collect();
    missing.sort_by_key(|migration| migration.version());
    for migration in missing {
        run_all(connection, migration.sql().unwrap_or_default())?;
        connection.exec_drop(
            "INSERT IGNORE INTO refinery_schema_history (version, name, applied_on, checksum) \
             VALUES (?, ?, DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%H:%i:%sZ'), ?)",
            (migration.version(), migration.name(), migration.checksum().to_string()),
        )?;
    }
    Ok(())
}
