//! The lock of the old notes: `incr P-lock` to 1 takes it, `set P-lock 0` frees it.
//!
//! Scripts that follow the notes hold it around taking a pointer and storing a message; so while weir's reader
//! holds it, no such script is between its two steps. weir's own writers do not need it. As the notes say, a
//! holder keeps it for moments only, so one who has seen nobody else get it for a full second takes it over. Those who
//! wait raise the number and a release lowers it, so one that has fallen tells that the lock has changed hands.

use std::time::{Duration, Instant};

use memcache::exp::ReturnCode;

use crate::failpoint::{self, Step};

use super::connection::{Ahead, Connection, Lifetime, add, append, increment};
use super::error::Error;
use super::names::Keys;
use super::ticket::Ticket;

/// How long somebody may hold the lock before it is taken over.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait while the lock keeps changing hands.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(10);

/// How long to sleep between two attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// How the lock was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// It was free, or became free.
    InTurn,
    /// Whoever held it kept it for over [`PATIENCE`], or others were first for [`PATIENCE_IN_ALL`].
    TakenOver,
}

/// The held lock. It must be given back with [`Lock::release`] on the same connection; a process that dies
/// with it held is waited for once, for [`PATIENCE`], by the next.
#[must_use = "the lock stays taken until it is released"]
#[derive(Debug)]
pub struct Lock {
    acquired: Acquired,
}

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
                Some(1) => return Ok(Lock { acquired: Acquired::InTurn }),
                Some(number) => {
                    if number <= std::mem::replace(&mut waiting, number) {
                        changed_hands = Instant::now();
                    }
                    if changed_hands.elapsed() >= PATIENCE || begun.elapsed() >= PATIENCE_IN_ALL {
                        return Ok(Lock { acquired: Acquired::TakenOver });
                    }
                    std::thread::sleep(PAUSE);
                }
                None => ensure_queue(connection, keys)?,
            }
        }
    }

    /// How the lock was come by.
    pub fn acquired(&self) -> Acquired {
        self.acquired
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

/// Creates the lock (free) and the counter (in a fresh epoch) where they are missing. The lock comes first: a
/// script of the notes that finds no lock sets the counter to 0, and must not find a counter without a lock.
/// One that found none a moment before the lock was made does that all the same, whatever has been queued by
/// then; so the epoch is noted before anybody can be given a ticket of it, and the reader finds it again.
///
/// # Errors
/// [`Error`], naming the key.
pub(super) fn ensure_queue(connection: &mut Connection, keys: &Keys) -> Result<(), Error> {
    let (lock, curr) = (keys.lock(), keys.curr());
    let start = Ticket::fresh_epoch().to_string();
    let epochs = keys.epochs();
    let commands = [
        add(&epochs, b"", Lifetime::Forever),
        append(&epochs, format!("{start}\n").as_bytes()),
        add(&lock, b"0", Lifetime::Forever),
        add(&curr, start.as_bytes(), Lifetime::Forever),
    ];
    for (answer, key) in connection.exchange(&commands, &curr)?.iter().zip([&epochs, &epochs, &lock, &curr]) {
        if !matches!(answer.rc(), ReturnCode::Hd | ReturnCode::Ns) {
            return Err(connection.unexpected(key, answer));
        }
    }
    failpoint::pass(Step::QueueBegun);
    Ok(())
}
