//! Where a site's polls live, as one value: its memcached servers, its database, its spool and its secret. Out of it
//! come the booth that takes votes, the flusher that drains them, and the connections of readers.
//!
//! Making one opens nothing.

use std::time::Duration;

use crate::queue::{self, Address, Keys};
use crate::store::{self, DatabaseUrl, Store};

use super::ballot::IdentityKey;
use super::flush::Flusher;
use super::servers::{Servers, check_kinds};
use super::spool::Spool;
use super::vote::{self, Booth};

/// How long the database may take for one answer: it may be a chunk's commit on a busy disk.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// Where a site's polls live.
#[derive(Clone)]
pub struct Site {
    /// The memcached servers.
    pub memcached: Vec<Address>,
    /// The keys of their queues.
    pub keys: Keys,
    /// The database.
    pub database: DatabaseUrl,
    /// The spool.
    pub spool: Spool,
    /// Copies of each ballot.
    pub copies: usize,
    /// How long one memcached server may take.
    pub timeout: Duration,
    /// How long entries stay on their servers after they were committed.
    pub keep: Duration,
    /// What turns voters into identities.
    pub identity_key: IdentityKey,
}

impl Site {
    /// Connections to the memcached servers, opened when first needed.
    pub fn servers(&self) -> Servers {
        Servers::new(&self.memcached, self.keys.clone(), self.timeout)
    }

    /// Refuses memcached servers of a kind that cannot be used, before anything is done. Those that are down pass.
    ///
    /// # Errors
    /// [`queue::Error::NotSupported`].
    pub fn check_servers(&self) -> Result<(), queue::Error> {
        check_kinds(&self.memcached, &self.keys, self.timeout)
    }

    /// A booth that takes votes; with `locked` it holds the notes' lock while it enqueues.
    pub fn booth(self, locked: bool) -> Booth {
        let servers = self.servers();
        let settings = vote::Settings { copies: self.copies, locked };
        Booth::new(servers, self.database, self.spool, self.identity_key, settings)
    }

    /// What drains the queues.
    pub fn flusher(self) -> Flusher {
        Flusher::new(self)
    }

    /// The database, opened now.
    ///
    /// # Errors
    /// [`store::Error::NoFile`], [`store::Error::Failure`].
    pub fn store(&self) -> Result<Box<dyn Store>, store::Error> {
        store::open(&self.database, DATABASE_PATIENCE)
    }

    /// The same, and makes the file of a SQLite database that does not exist. Only the creation of a poll does that.
    ///
    /// # Errors
    /// [`store::Error::Failure`].
    pub fn create_store(&self) -> Result<Box<dyn Store>, store::Error> {
        store::create(&self.database, DATABASE_PATIENCE)
    }
}
