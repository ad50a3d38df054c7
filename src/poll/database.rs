//! The database as the voting path uses it: opened when it is first needed, and left alone for a while after it
//! failed, so that a dead one costs a voter its time-out now and then and not with every vote.

use std::time::{Duration, Instant};

use crate::slug::Slug;
use crate::store::{self, DatabaseUrl, Properties, Store};

/// How long a database that failed is left alone.
const DATABASE_REST: Duration = Duration::from_secs(2);

/// The database, opened when it is first needed.
pub struct Database {
    url: DatabaseUrl,
    patience: Duration,
    open: Option<Box<dyn Store>>,
    /// As read since it was opened.
    properties: Option<Properties>,
    resting: Option<(Instant, String)>,
}

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It failed a moment ago and is left alone for now.
    #[error("{0}")]
    Resting(String),
    /// A poll's definition in memcached names another database.
    #[error("database {url} (id {id}) is not the database of poll {poll} (id {owner})")]
    Other {
        /// The database.
        url: String,
        /// Its id.
        id: u64,
        /// The poll.
        poll: Slug,
        /// The id of the poll's database.
        owner: u64,
    },
}

impl Database {
    /// The database at `url`; nothing is opened yet. `patience` bounds each of its answers.
    pub fn new(url: DatabaseUrl, patience: Duration) -> Database {
        Database { url, patience, open: None, properties: None, resting: None }
    }

    /// Does `work` on the store.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn with<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, store::Error>,
    ) -> Result<T, DatabaseError> {
        if let Some((_, why)) = self.resting.as_ref().filter(|(until, _)| Instant::now() < *until) {
            return Err(DatabaseError::Resting(why.clone()));
        }
        let opened = match self.open.take() {
            Some(store) => Ok(store),
            None => {
                self.properties = None;
                store::open(&self.url, self.patience)
            }
        };
        let done = opened.and_then(|mut store| {
            let done = work(store.as_mut());
            self.open = Some(store);
            done
        });
        if let Err(error @ store::Error::Failure(_)) = &done {
            self.resting = Some((Instant::now() + DATABASE_REST, error.to_string()));
        }
        Ok(done?)
    }

    /// What the database says of itself. It is read once for each opening, and again while it has no fingerprint.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn properties(&mut self) -> Result<Properties, DatabaseError> {
        if let Some(known) = self.properties.filter(|known| known.secret_fingerprint.is_some()) {
            return Ok(known);
        }
        let read = self.with(|store| store.properties())?;
        self.properties = Some(read);
        Ok(read)
    }

    /// Refuses to be used for a poll whose definition names another database than `id`, which is this one's.
    ///
    /// # Errors
    /// [`DatabaseError::Other`].
    pub fn check_owns(&self, id: u64, poll: &Slug, owner: Option<u64>) -> Result<(), DatabaseError> {
        match owner.filter(|owner| *owner != id) {
            None => Ok(()),
            Some(owner) => Err(DatabaseError::Other { url: self.url.to_string(), id, poll: poll.clone(), owner }),
        }
    }
}
