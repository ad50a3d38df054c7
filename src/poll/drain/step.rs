//! Where a drain has got to, what it came to, and why it ended early.

use crate::queue::{self, Address};
use crate::store;

use super::super::owner::OwnerError;

/// Where a drain has got to: for progress, and for tests that stop a process at each place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The counter has been read; `total` slots are to be read.
    Positioned {
        /// How many.
        total: u64,
    },
    /// A chunk has been read and is about to be written.
    Folding,
    /// It is committed.
    Committed {
        /// How many more of the `total` slots are done.
        done: u64,
    },
    /// A first part of what is to be deleted has been.
    Deleting,
    /// All of it has been.
    Deleted,
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Ballots read, good or bad.
    pub ballots: u64,
    /// New ballots, now counted.
    pub counted: u64,
    /// Ballots that had been counted before, or that a further copy brought.
    pub duplicates: u64,
    /// Lines that are no ballot.
    pub dead_letters: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.ballots += other.ballots;
        self.counted += other.counted;
        self.duplicates += other.duplicates;
        self.dead_letters += other.dead_letters;
    }
}

/// Which holes a drain reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// All of them, so that everything that has been acknowledged by now is counted.
    All,
    /// Those whose time has come: for a service that drains again and again.
    Due,
}

/// Why a drain ended early. What it had committed by then stays counted.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The server failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The database failed, or another flush has the queue.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The queue belongs to another database, or holds what this one cannot take.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The queue's row was written by something else, or a later weir.
    #[error("queue {queue}: its row in the database cannot be read ({source}); nothing was taken out of the queue")]
    Row {
        /// The queue.
        queue: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Every connection to an address reached another server.
    #[error(
        "memcached {0}: no second connection reached the same server; the rest of its queue was left as it is. If the \
         server was not restarted just now, several servers answer at this address: give each its own"
    )]
    SeveralServers(Address),
}
