//! Marks: "this key has been taken", short while the work is under way, long once it is done.
//!
//! A writer *claims* a mark before it enqueues and *confirms* it after the entry was acknowledged. One that dies
//! in between leaves a claim that goes away by itself in seconds, so nobody is locked out by a crash. A mark
//! is a courtesy that answers quickly: what really counts once is decided by the key in the database.

use std::collections::HashSet;

use memcache::exp::MetaResponse;

use super::connection::{Connection, Lifetime, get, set};
use super::error::Error;

/// How long a claim lasts that is never confirmed, in seconds: longer than any attempt to store one entry.
pub const CLAIM_SECONDS: u32 = 10;

/// How long a confirmed mark lasts, in seconds: as long as memcached takes a relative time for.
const CONFIRMED_SECONDS: u32 = 30 * 24 * 3600;

/// What claiming a key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It was free and is now claimed.
    Made,
    /// Somebody else has claimed it and not confirmed it yet, and perhaps never will.
    Pending,
    /// It is confirmed, or claimed by an earlier key of the same call.
    Taken,
}

/// Claims every key, in one round trip. A claim is an empty item that `mg` creates for the first who asks; it never
/// replaces a mark, also on a server that has no memory for it.
///
/// # Errors
/// [`Error`], naming the first key; which marks were claimed is then unknown, and they lapse.
pub fn claim(connection: &mut Connection, keys: &[String]) -> Result<Vec<Claim>, Error> {
    let Some(first) = keys.first() else { return Ok(Vec::new()) };
    let commands: Vec<_> = keys.iter().map(|key| get(key).flag(format!("N{CLAIM_SECONDS}"))).collect();
    let answers = connection.exchange(&commands, first)?;
    let mut claimed = HashSet::new();
    let claim = |(answer, key)| {
        let has = |marker: &[u8]| MetaResponse::flags(answer).any(|flag| flag == marker);
        match answer.value() {
            Some(_) if has(b"W") => {
                claimed.insert(key);
                Ok(Claim::Made)
            }
            Some(value) if !value.is_empty() || claimed.contains(key) => Ok(Claim::Taken),
            Some(_) => Ok(Claim::Pending),
            None => Err(Error::OutOfMemory { server: connection.address().clone(), key: String::clone(key) }),
        }
    };
    answers.iter().zip(keys).map(claim).collect()
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
