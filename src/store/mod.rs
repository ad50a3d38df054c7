//! Polls, ballots, tallies and queue heads in SQL: one trait, two databases.
//!
//! The promise of this room is [`Store::fold`]: ballots, tallies, dead letters and the queue's head are written
//! in one transaction, and only if the head stands where the caller last saw it. So whatever dies, a ballot
//! read from the queue is either in the database with the head past it, or not in it with the head before it.
//!
//! The SQL keeps to what Galera, Vitess and TiDB run too: no auto-increment as identity, no advisory locks,
//! transactions of at most [`TRANSACTION_ROWS_MAX`] ballots, `ballots` with its primary key as only index.
//!
//! It refuses to judge ballots: whether a poll is open or a choice exists is decided before a [`Row`] is made.
//! It knows nothing of memcached.

mod batch;
mod mysql;
mod mysql_batch;
mod mysql_error;
mod mysql_letters;
mod mysql_migrate;
mod mysql_properties;
mod mysql_session;
mod mysql_tally;
mod mysql_transaction;
mod mysql_url;
mod once;
mod properties;
mod record;
mod sqlite;
mod sqlite_batch;
mod sqlite_open;
mod sqlite_properties;
mod sqlite_tally;
mod url;

use std::fmt;
use std::time::Duration;

pub use mysql_url::MysqlUrl;
pub use once::{Once, OnceError};
pub use properties::Properties;
pub use record::{Advance, Batch, Choice, DeadLetter, Folded, Identity, Poll, QueueRow, Row, Settled, Tally, Verdict};
pub use url::{DatabaseUrl, DatabaseUrlError};

use crate::slug::Slug;

/// The most ballots that [`Store::fold`] takes at once.
pub const TRANSACTION_ROWS_MAX: usize = 20_000;

/// The most bytes of dead letters that are written at once, of which each may have a megabyte: a transaction is held
/// in memory, by weir and by a cluster that replicates it.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most dead letters that [`Store::settle_dead_letters`] takes at once: each may cost a row deleted and a row
/// inserted.
pub const SETTLEMENT_MAX: usize = TRANSACTION_ROWS_MAX / 2;

/// A write that changes no row.
const WRITE_NOTHING: &str = "UPDATE polls SET refused = refused WHERE id = -1";

/// What a driver failed with.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the database, with its URL (never its password) and what was being done.
#[derive(Debug, thiserror::Error)]
#[error("database {url}: {doing}: {source}")]
pub struct Failure {
    url: String,
    doing: &'static str,
    source: Cause,
    /// The database is away or not ready for now.
    unavailable: bool,
}

/// Why a call of the store came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, refused, or broke off. After [`Store::fold`] the outcome is unknown.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// There is no SQLite file at the path, and only [`create`] makes one.
    #[error("database {url}: there is no such file, and none was created: \"weir poll create\" makes it")]
    NoFile {
        /// The database.
        url: String,
    },
    /// A poll of that name exists.
    #[error("poll {0} exists already")]
    PollExists(Slug),
    /// The queue does not stand where the caller thought: another reader has it. Nothing was written.
    #[error("queue {queue}: another flush is at work on it")]
    QueueTaken {
        /// The queue.
        queue: String,
    },
    /// The server may lose what it commits, and the URL does not accept that. Nothing was written.
    #[error("{}; nothing was written", .0.join("; "))]
    UnsafeSettings(Vec<String>),
}

impl Error {
    fn new(url: &impl fmt::Display, doing: &'static str, source: impl Into<Cause>) -> Error {
        let source = source.into();
        let unavailable = source.downcast_ref().is_some_and(sqlite_open::is_busy);
        Error::Failure(Failure { url: url.to_string(), doing, source, unavailable })
    }

    /// Whether the database is away or not ready for now (down, read-only after a fail-over, not part of its cluster, busy),
    /// rather than refusing for good: the same may work later, or on another host.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Failure(failure) if failure.unavailable)
    }
}

/// A database of polls.
pub trait Store: Send {
    /// Where the database is, for messages: its URL without the password.
    fn name(&self) -> &str;

    /// What the database says of itself. The first call on a database makes its id.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn properties(&mut self) -> Result<Properties, Error>;

    /// Stores the fingerprint of the voter secret if the database has none yet, and returns the one that it has.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn keep_secret_fingerprint(&mut self, fingerprint: u64) -> Result<u64, Error>;

    /// Stores a new poll with a tally of nothing.
    ///
    /// # Errors
    /// [`Error::PollExists`], or [`Error::Failure`].
    fn create_poll(&mut self, poll: &Poll) -> Result<(), Error>;

    /// Every poll, oldest first.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn polls(&mut self) -> Result<Vec<Poll>, Error>;

    /// The poll of that name, if there is one.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn poll(&mut self, slug: &Slug) -> Result<Option<Poll>, Error>;

    /// Changes when a poll closes by itself and when it was closed; the poll as it is then. `change` gets it with both times
    /// as stored, once the poll is locked: a time that is taken in it is not older than the wait for the lock. It may be
    /// called again when the database undoes the change.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn set_closing(&mut self, poll: &Poll, change: &mut dyn FnMut(&mut Poll)) -> Result<Poll, Error>;

    /// Writes nothing, as a statement that a database which takes no writes refuses.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn check_writable(&mut self) -> Result<(), Error>;

    /// Writes a batch in one transaction: new ballots, exactly their share of the tallies, dead letters and, with
    /// `advance`, the queue's row. At most [`TRANSACTION_ROWS_MAX`] rows.
    ///
    /// # Errors
    /// [`Error::QueueTaken`] when the row is locked or another one (nothing was written); [`Error::Failure`]
    /// (unknown whether it was written: ask [`Store::queue`]).
    fn fold(&mut self, batch: Batch, advance: Option<Advance<'_>>) -> Result<Folded, Error>;

    /// A queue's row as it is committed now, on every node of a cluster.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn queue(&mut self, name: &str) -> Result<Option<QueueRow>, Error>;

    /// Every queue that was ever flushed, by name.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn queues(&mut self) -> Result<Vec<QueueRow>, Error>;

    /// Clears the record of missing tickets of every queue.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn forget_missing(&mut self) -> Result<(), Error>;

    /// What the flushed ballots of a poll come to.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn tally(&mut self, poll: &Poll) -> Result<Tally, Error>;

    /// The tally as stored and as counted anew from the ballots, of the same moment.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn recount(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error>;

    /// Sets the stored tally to the recount, in one transaction that keeps writers of the poll's ballots waiting; the
    /// tally as it was stored before, and the recount.
    ///
    /// # Errors
    /// [`Error::Failure`]; whether it was done is then unknown, and doing it again is safe.
    fn repair(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error>;

    /// How many ballots of a poll were cast in each step of time: pairs of (n, ballots) for the ballots cast from
    /// `from_ms + n * step_ms` on, in order, with nothing for steps without any. It reads all of the poll's ballots.
    /// Ballots of before `from_ms` are in step 0.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn turnout(&mut self, poll: &Poll, from_ms: i64, step_ms: i64) -> Result<Vec<(u64, u64)>, Error>;

    /// Hands every ballot of a poll to `each`, in the order of identities; memory does not grow with their
    /// number. One that is counted meanwhile may or may not be among them. `each` returning `false` ends it.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn for_each_ballot(&mut self, poll: &Poll, each: &mut dyn FnMut(Row) -> bool) -> Result<(), Error>;

    /// How many dead letters there are.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn dead_letter_count(&mut self) -> Result<u64, Error>;

    /// The newest dead letters, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn dead_letters(&mut self, limit: u32) -> Result<Vec<DeadLetter>, Error>;

    /// The dead letters whose ids come after `after` (without one: from the first), in the order of ids, at most
    /// `limit`: for going through all of them in bounded memory.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn dead_letters_after(&mut self, after: Option<[u8; 16]>, limit: u32) -> Result<Vec<DeadLetter>, Error>;

    /// The dead letter of that id, if there is one.
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn dead_letter(&mut self, id: [u8; 16]) -> Result<Option<DeadLetter>, Error>;

    /// Does with dead letters what was decided of each, in one transaction: what counts is counted and is no dead
    /// letter any more, or neither. One that is gone by then (another process settled it) is passed over, so
    /// none counts twice. At most [`SETTLEMENT_MAX`] verdicts.
    ///
    /// # Errors
    /// [`Error::Failure`]; whether it was done is then unknown, and doing it again is safe.
    fn settle_dead_letters(&mut self, verdicts: &[([u8; 16], Verdict)]) -> Result<Settled, Error>;

    /// Settings of the server under which it may lose what it has committed: one sentence for each, which names the database
    /// and says what to do. None where the URL accepts that (`durability=relaxed`).
    ///
    /// # Errors
    /// [`Error::Failure`].
    fn unsafe_settings(&mut self) -> Result<Vec<String>, Error>;

    /// Refuses a database that may lose what it has committed: what a flush takes out of memcached would be nowhere.
    ///
    /// # Errors
    /// [`Error::UnsafeSettings`], or [`Error::Failure`].
    fn require_durable(&mut self) -> Result<(), Error> {
        match self.unsafe_settings()? {
            none if none.is_empty() => Ok(()),
            settings => Err(Error::UnsafeSettings(settings)),
        }
    }
}

/// Connects to the database and brings its tables up to date. `patience` is how long any one answer of a database
/// server may take.
///
/// # Errors
/// [`Error::NoFile`] if it is a SQLite file and does not exist; [`Error::Failure`].
pub fn open(url: &DatabaseUrl, patience: Duration) -> Result<Box<dyn Store>, Error> {
    if !exists(url)? {
        return Err(Error::NoFile { url: url.to_string() });
    }
    create(url, patience)
}

/// The same, and makes the file of a SQLite database that does not exist. A path that is wrong by mistake must not
/// become a new database without polls, so only the creation of a poll makes a file.
///
/// # Errors
/// [`Error::Failure`].
pub fn create(url: &DatabaseUrl, patience: Duration) -> Result<Box<dyn Store>, Error> {
    tracing::debug!("database {url}: opening");
    Ok(match url {
        DatabaseUrl::Mysql(url) => Box::new(mysql::MysqlStore::open(url, patience)?),
        DatabaseUrl::Sqlite(path) => Box::new(sqlite::SqliteStore::open(path)?),
    })
}

/// Whether there is something to connect to: `false` for a SQLite file that does not exist.
///
/// # Errors
/// [`Error::Failure`] if the file system does not tell.
pub fn exists(url: &DatabaseUrl) -> Result<bool, Error> {
    match url {
        DatabaseUrl::Mysql(_) => Ok(true),
        DatabaseUrl::Sqlite(path) => path.try_exists().map_err(|error| Error::new(url, "looking for it", error)),
    }
}

/// Writes a batch of any size. One with more than a transaction may have (a single huge entry of a script)
/// goes in several; only the last moves the head, and should it not come to that, the ballots' keys keep the rest
/// from counting twice.
///
/// # Errors
/// As [`Store::fold`]; some of the batch may be written.
pub fn fold_all(store: &mut dyn Store, mut batch: Batch, advance: Option<Advance<'_>>) -> Result<Folded, Error> {
    let mut total = Folded::default();
    while batch.rows.len() + batch.dead_letters.len() > TRANSACTION_ROWS_MAX
        || letters_within(&batch.dead_letters, TRANSACTION_BYTES_MAX) < batch.dead_letters.len()
    {
        let rows: Vec<_> = batch.rows.drain(..batch.rows.len().min(TRANSACTION_ROWS_MAX)).collect();
        let letters = letters_within(&batch.dead_letters, TRANSACTION_BYTES_MAX).min(TRANSACTION_ROWS_MAX - rows.len());
        let dead_letters = batch.dead_letters.drain(..letters).collect();
        let folded = store.fold(Batch { rows, dead_letters }, None)?;
        total.counted += folded.counted;
        total.duplicates += folded.duplicates;
    }
    let folded = store.fold(batch, advance)?;
    Ok(Folded { counted: total.counted + folded.counted, duplicates: total.duplicates + folded.duplicates })
}

/// How many of the letters, from the first on, have so many bytes together; at least one.
fn letters_within(letters: &[DeadLetter], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fit = letters.iter().take_while(|letter| {
        bytes += letter.bytes.len();
        bytes <= bytes_max
    });
    fit.count().max(1).min(letters.len())
}

/// Runs migrations, again if it fails: of two processes that migrate at one moment the later may fail on what
/// the earlier has just made, and then finds it made.
fn migrate(mut run: impl FnMut() -> Result<refinery::Report, refinery::Error>) -> Result<(), refinery::Error> {
    const ATTEMPTS: u32 = 5;
    for _ in 1..ATTEMPTS {
        if run().is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    run().map(|_| ())
}
