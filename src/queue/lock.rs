//! The lock of the old notes: `incr P-lock` to 1 takes it, `set P-lock 0` frees it.
//!
//! Legacy writers hold it while they take a pointer and store a message. weir needs it nowhere: its writers get slots
//! of their own, and its reader looks at an empty slot again later. `poll vote --locked` takes it so that a vote is
//! ordered among those of legacy writers.
//!
//! As the notes say, a holder keeps the lock for moments only, so a process that has waited for a full second while
//! nobody else got it takes it over. Waiting raises the number and a release lowers it, so a number that has fallen
//! shows that the lock has changed hands.

use std::time::{Duration, Instant};

use crate::failpoint::{self, Step};

use super::connection::{Ahead, Connection, Lifetime, increment};
use super::error::Error;
use super::names::Keys;
use super::start::start_queue;

/// How long somebody may hold the lock before it is taken over.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait while the lock keeps changing hands.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(10);

/// How long to sleep between two attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// The held lock. It must be given back with [`Lock::release`] on the same connection; a process that dies
/// with it held is waited for once, for [`PATIENCE`], by the next.
#[must_use = "the lock stays taken until it is released"]
#[derive(Debug)]
pub struct Lock(());

impl Lock {
    /// Takes the lock, waiting and taking over as the notes do. A missing lock is created, and so is a missing
    /// counter, in a fresh epoch.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn acquire(connection: &mut Connection, keys: &Keys) -> Result<Lock, Error> {
        let lock = Lock::wait(connection, keys)?;
        failpoint::pass(Step::LockTaken);
        Ok(lock)
    }

    fn wait(connection: &mut Connection, keys: &Keys) -> Result<Lock, Error> {
        let key = keys.lock();
        // Between its steps is where nobody may be who has not got the lock.
        connection.ahead = Ahead::default();
        let begun = Instant::now();
        let (mut changed_hands, mut waiting) = (begun, 0);
        loop {
            let response = connection.exchange(&[increment(&key, 1)], &key)?;
            match response.first().map(|answer| connection.incremented(&key, answer)).transpose()?.flatten() {
                Some(1) => return Ok(Lock(())),
                Some(number) => {
                    if number <= std::mem::replace(&mut waiting, number) {
                        changed_hands = Instant::now();
                    }
                    if changed_hands.elapsed() >= PATIENCE || begun.elapsed() >= PATIENCE_IN_ALL {
                        return Ok(Lock(()));
                    }
                    std::thread::sleep(PAUSE);
                }
                None => start_queue(connection, keys)?,
            }
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// [`Error`], naming the key: the lock then stays taken until somebody takes it over.
    pub fn release(self, connection: &mut Connection, keys: &Keys) -> Result<(), Error> {
        connection.set(&keys.lock(), b"0", Lifetime::Forever)?;
        failpoint::pass(Step::LockReleased);
        Ok(())
    }
}
