//! The database as the voting path uses it: opened when it is first needed, and left alone for a while after it
//! failed, so that a dead one costs a voter its time-out now and then and not with every vote.

use std::time::{Duration, Instant};

use crate::store::{self, DatabaseUrl, Store};

/// How long a database that failed is left alone.
const DATABASE_REST: Duration = Duration::from_secs(2);

/// The database, opened when it is first needed.
pub struct Database {
    url: DatabaseUrl,
    patience: Duration,
    open: Option<Box<dyn Store>>,
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
}

impl Database {
    /// The database at `url`; nothing is opened yet. `patience` bounds each of its answers.
    pub fn new(url: DatabaseUrl, patience: Duration) -> Database {
        Database { url, patience, open: None, resting: None }
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
            None => store::open(&self.url, self.patience),
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
}
