//! Poll definitions kept in memcached, so that voting needs no database.
//!
//! A definition stands on every server under `P-poll-SLUG`, written when a poll is created, opened or closed
//! and by every flush. One that is missing is refilled from the database by one process at a time: a lease on
//! the key elects it, the others wait for it a moment. That a poll does not exist is remembered too, for
//! seconds, so that votes for a name that never was do not reach the database one by one.
//!
//! A definition also names its database and the fingerprint of the voter secret (`database` and `secret`, beside the
//! fields of the poll). So a process with another secret is noticed on the voting path, without a further round trip.
//! A definition without these fields, of an earlier weir, says nothing about either.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::failpoint::{self, Step};
use crate::queue::{self, Connection, Keys, Leased, Lifetime};
use crate::slug::Slug;
use crate::store::Properties;

use super::ballot::{Identity, Poll};
use super::database::Database;
use super::servers::Servers;
use super::vote::note;

/// How long a process believes what it has read of a definition.
const FRESH: Duration = Duration::from_secs(1);

/// How many definitions a process keeps at once: names that somebody makes up must not fill its memory.
const READ_MAX: usize = 1024;

/// How long one process has for refilling a definition before the next may try, in seconds.
const LEASE_SECONDS: u32 = 3;

/// How long others wait for it, and how often they look.
const WAIT: Duration = Duration::from_millis(150);
const WAIT_STEP: Duration = Duration::from_millis(10);

/// How long it is remembered that a poll does not exist, in seconds.
const UNKNOWN_SECONDS: u32 = 5;

/// What is kept of a poll that does not exist.
const UNKNOWN: &[u8] = b"null";

/// What is known of a poll.
#[derive(Debug, Clone)]
pub enum Known {
    /// It exists.
    Poll(Box<Poll>),
    /// It does not.
    Unknown,
    /// Neither memcached nor the database could tell.
    CannotTell,
}

/// What is known of a poll, and where it belongs.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What is known of the poll.
    pub known: Known,
    /// The id of the poll's database.
    pub database: Option<u64>,
    /// The fingerprint of the voter secret that its votes are made with.
    pub secret: Option<u64>,
}

impl Definition {
    /// One that nothing more is known of.
    const fn only(known: Known) -> Definition {
        Definition { known, database: None, secret: None }
    }
}

/// A definition as memcached has it.
#[derive(Serialize, Deserialize)]
struct Published<P> {
    #[serde(flatten)]
    poll: P,
    #[serde(default)]
    database: Option<u64>,
    /// Sixteen hexadecimal digits.
    #[serde(default)]
    secret: Option<String>,
}

/// The definitions that this process has read lately.
#[derive(Default)]
pub struct Definitions {
    read: HashMap<Slug, (Instant, Definition)>,
}

impl Definitions {
    /// The definition of a poll: as read in the second before `now`, else from the first server that answers, in the rank
    /// of `identity`, else from the database. What failed on the way is added to `failures`.
    pub fn get(
        &mut self,
        slug: &Slug,
        now: Instant,
        identity: Identity,
        servers: &mut Servers,
        database: &mut Database,
        failures: &mut Vec<String>,
    ) -> &Definition {
        const NOTHING: &Definition = &Definition::only(Known::CannotTell);
        let stale = self.read.get(slug).is_none_or(|(at, _)| now.saturating_duration_since(*at) > FRESH);
        if stale {
            let found = look_up(slug, &servers.ranking().ranked(identity), servers, database, failures);
            if self.read.len() >= READ_MAX {
                self.read.retain(|_, (at, _)| now.saturating_duration_since(*at) <= FRESH);
            }
            if self.read.len() >= READ_MAX {
                self.read.clear();
            }
            self.read.insert(slug.clone(), (Instant::now(), found));
        }
        self.read.get(slug).map_or(NOTHING, |(_, found)| found)
    }

    /// The id of the database that the definition of a poll named when it was last read.
    pub fn database_of(&self, slug: &Slug) -> Option<u64> {
        self.read.get(slug).and_then(|(_, found)| found.database)
    }
}

fn look_up(
    slug: &Slug,
    order: &[usize],
    servers: &mut Servers,
    database: &mut Database,
    failures: &mut Vec<String>,
) -> Definition {
    for index in order {
        let deadline = Instant::now() + WAIT;
        let leased = servers.attempt(*index, |connection, keys| {
            let key = keys.poll(slug);
            loop {
                match connection.get_or_lease(&key, LEASE_SECONDS)? {
                    Leased::Wait if Instant::now() < deadline => std::thread::sleep(WAIT_STEP),
                    leased => return Ok(leased),
                }
            }
        });
        match leased {
            // A definition that cannot be read is as good as missing: the database has the right one.
            Ok(Leased::Value(bytes, cas)) => match decode(&bytes) {
                Ok(found) => return found,
                Err(_) => return refill(slug, Some((*index, cas)), servers, database, failures),
            },
            Ok(Leased::Fill(cas)) => return refill(slug, Some((*index, cas)), servers, database, failures),
            Ok(Leased::Wait) => return refill(slug, None, servers, database, failures),
            Err(error) => note(failures, &error),
        }
    }
    refill(slug, None, servers, database, failures)
}

fn refill(
    slug: &Slug,
    fill: Option<(usize, String)>,
    servers: &mut Servers,
    database: &mut Database,
    failures: &mut Vec<String>,
) -> Definition {
    tracing::debug!("poll {slug}: no definition in memcached, asking the database");
    if fill.is_some() {
        failpoint::pass(Step::DefinitionLeased);
    }
    let read = database.with(|store| {
        let poll = store.poll(slug)?;
        Ok((poll, store.properties()?))
    });
    let (poll, properties) = match read {
        Ok(read) => read,
        Err(error) => {
            note(failures, &error);
            return Definition::only(Known::CannotTell);
        }
    };
    if let Some((index, cas)) = fill {
        failpoint::pass(Step::DefinitionRead);
        let filled = servers.attempt(index, |connection, keys| {
            // A database that is not the queue's must not tell others which polls there are, nor may this process believe it.
            if let Some(owner) = queue::owner(connection, keys)?.filter(|owner| owner.id != properties.database_id) {
                return Ok(Some(owner));
            }
            let key = keys.poll(slug);
            // Whoever created, opened or closed the poll since it was read here knows better.
            match poll.as_ref().and_then(|poll| encode(poll, &properties)) {
                Some(bytes) => connection.compare_and_set(&key, &bytes, &cas, Lifetime::Forever)?,
                None => connection.compare_and_set(&key, UNKNOWN, &cas, Lifetime::Seconds(UNKNOWN_SECONDS))?,
            };
            Ok(None)
        });
        match filled {
            Ok(None) => {}
            Ok(Some(owner)) => {
                note(failures, &format!("the queue belongs to database {owner}, which this process does not use"));
                return Definition::only(Known::CannotTell);
            }
            // Only the next voter's speed depends on it.
            Err(error) => note(failures, &error),
        }
    }
    let known = poll.map_or(Known::Unknown, |poll| Known::Poll(Box::new(poll)));
    Definition { known, database: Some(properties.database_id), secret: properties.secret_fingerprint }
}

/// Puts definitions on every server; what failed is returned, one message a server. The queues must be known to belong
/// to the database (see [`owner`](super::owner)).
pub fn publish(polls: &[Poll], properties: &Properties, servers: &mut Servers) -> Vec<queue::Error> {
    let keys = servers.keys();
    let encode = |poll: &Poll| Some((keys.poll(&poll.slug), encode(poll, properties)?));
    let encoded: Vec<_> = polls.iter().filter_map(encode).collect();
    servers.store_everywhere(&encoded)
}

/// Whether memcached has a definition of the poll: that it exists, not that it does not.
///
/// # Errors
/// What the server failed with.
pub fn is_defined(connection: &mut Connection, keys: &Keys, slug: &Slug) -> Result<bool, queue::Error> {
    let value = connection.get(&keys.poll(slug))?;
    // A key that somebody is filling is empty.
    Ok(value.is_some_and(|value| !value.is_empty() && value != UNKNOWN))
}

fn encode(poll: &Poll, properties: &Properties) -> Option<Vec<u8>> {
    let secret = properties.secret_fingerprint.map(|fingerprint| format!("{fingerprint:016x}"));
    serde_json::to_vec(&Published { poll, database: Some(properties.database_id), secret }).ok()
}

fn decode(bytes: &[u8]) -> Result<Definition, serde_json::Error> {
    let Some(published) = serde_json::from_slice::<Option<Published<Poll>>>(bytes)? else {
        return Ok(Definition::only(Known::Unknown));
    };
    // A text that is not a fingerprint must not pass for a missing one.
    let secret = published.secret.map(|text| u64::from_str_radix(&text, 16).unwrap_or_default());
    Ok(Definition { known: Known::Poll(Box::new(published.poll)), database: published.database, secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Choice;

    #[test]
    fn a_definition_of_an_earlier_weir_is_read_and_says_nothing_of_database_and_secret() {
        let choice = |key: &str| Choice { key: Slug::new(key).unwrap(), label: key.into() };
        let poll = Poll::new(Slug::new("now").unwrap(), "Now?".into(), vec![choice("yes"), choice("no")], 1, None);
        let poll = poll.unwrap();
        let properties = Properties { database_id: (1 << 62) - 1, secret_fingerprint: Some(7) };
        let new = encode(&poll, &properties).unwrap();
        for (bytes, database, secret) in
            [(serde_json::to_vec(&poll).unwrap(), None, None), (new.clone(), Some((1 << 62) - 1), Some(7))]
        {
            let read = decode(&bytes).unwrap();
            assert!(matches!(read.known, Known::Poll(read) if *read == poll));
            assert_eq!((read.database, read.secret), (database, secret));
        }
        // An earlier weir reads the new one.
        assert_eq!(serde_json::from_slice::<Poll>(&new).unwrap(), poll);
        assert!(matches!(decode(UNKNOWN).unwrap().known, Known::Unknown));
    }
}
