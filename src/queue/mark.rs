//! Marks: "this key has been taken", short while the work is under way, long once it is done.
//!
//! A writer *claims* a mark before it enqueues and *confirms* it after the entry was acknowledged. One that dies
//! in between leaves a claim that goes away by itself in seconds, so nobody is locked out by a crash. A mark
//! is a courtesy that answers quickly: what really counts once is decided by the key in the database.

use super::connection::{Connection, Lifetime, add, set};
use super::error::Error;

/// How long a claim lasts that is never confirmed, in seconds: longer than any attempt to store one entry.
const CLAIM_SECONDS: u32 = 10;

/// How long a confirmed mark lasts, in seconds: as long as memcached takes a relative time for.
const CONFIRMED_SECONDS: u32 = 30 * 24 * 3600;

/// Claims every key; tells for each whether it was free. All in one round trip.
///
/// # Errors
/// [`Error`], naming the first key; which marks were claimed is then unknown, and they lapse.
pub fn claim(connection: &mut Connection, keys: &[String]) -> Result<Vec<bool>, Error> {
    let Some(first) = keys.first() else { return Ok(Vec::new()) };
    let commands: Vec<_> = keys.iter().map(|key| add(key, b"claimed", Lifetime::Seconds(CLAIM_SECONDS))).collect();
    let answers = connection.exchange(&commands, first)?;
    answers.iter().zip(keys).map(|(answer, key)| connection.added(key, answer)).collect()
}

/// Makes claimed keys last, in one round trip.
///
/// # Errors
/// [`Error`], naming the first key; the marks then lapse, and the database's key alone decides.
pub fn confirm(connection: &mut Connection, keys: &[String]) -> Result<(), Error> {
    let Some(first) = keys.first() else { return Ok(()) };
    let commands: Vec<_> = keys.iter().map(|key| set(key, b"voted", Lifetime::Seconds(CONFIRMED_SECONDS))).collect();
    connection.exchange(&commands, first).map(|_| ())
}
