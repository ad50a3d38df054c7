//! Marks: "this key has been taken", short while the work is under way, long once it is done.
//!
//! A writer *claims* a mark before it enqueues and *confirms* it after the entry was acknowledged. One that dies
//! in between leaves a claim that goes away by itself in seconds, so nobody is locked out by a crash. A mark
//! is a courtesy that answers quickly: what really counts once is decided by the key in the database.

use std::collections::HashSet;

use super::connection::{Connection, Lifetime, add, get, set};
use super::error::Error;

/// How long a claim lasts that is never confirmed, in seconds: longer than any attempt to store one entry.
pub const CLAIM_SECONDS: u32 = 10;

/// What a claimed key holds until it is confirmed.
const CLAIMED: &[u8] = b"claimed";

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

/// Claims every key, in one round trip; a second one tells claimed keys from confirmed ones where any was taken.
///
/// # Errors
/// [`Error`], naming the first key; which marks were claimed is then unknown, and they lapse.
pub fn claim(connection: &mut Connection, keys: &[String]) -> Result<Vec<Claim>, Error> {
    let Some(first) = keys.first() else { return Ok(Vec::new()) };
    let commands: Vec<_> = keys.iter().map(|key| add(key, CLAIMED, Lifetime::Seconds(CLAIM_SECONDS))).collect();
    let answers = connection.exchange(&commands, first)?;
    let added = answers.iter().zip(keys).map(|(answer, key)| connection.added(key, answer));
    let mut claims: Vec<_> =
        added.map(|added| Ok(if added? { Claim::Made } else { Claim::Taken })).collect::<Result<_, Error>>()?;
    let made: HashSet<_> =
        keys.iter().zip(&claims).filter(|(_, claim)| **claim == Claim::Made).map(|(key, _)| key).collect();
    let taken: Vec<_> = (0..keys.len()).filter(|index| !made.contains(&keys[*index])).collect();
    if let Some(first) = taken.first() {
        let commands: Vec<_> = taken.iter().map(|index| get(&keys[*index])).collect();
        for (index, answer) in taken.iter().zip(connection.exchange(&commands, &keys[*first])?) {
            // A claim that has lapsed meanwhile is as good as one that is about to.
            if answer.value().is_none_or(|value| value == CLAIMED) {
                claims[*index] = Claim::Pending;
            }
        }
    }
    Ok(claims)
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
