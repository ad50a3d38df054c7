//! Opening a SQLite file: write-ahead logging, durable commits, tables that are up to date; and which file it is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::Cause;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to sleep between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Makes a connection fit for use.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Cause> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let newest = migrations::migrations::runner().get_migrations().iter().map(|one| one.version()).max();
    let applied: Option<i64> = connection
        .query_row("SELECT MAX(version) FROM refinery_schema_history", [], |row| row.get(0))
        .unwrap_or_default();
    if applied < newest.map(i64::from) {
        // One process migrates; another that came at the same moment waits here and finds it done.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        super::migrate(|| migrations::migrations::runner().run(connection))?;
    }
    Ok(())
}

/// Switches a new file to WAL. SQLite does not wait for other connections here, it fails at once while one is at work:
/// several processes that meet a new file at one moment take turns by trying again.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
}

/// Whether another connection is writing.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// The device and number of the file at a path.
pub(super) fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
