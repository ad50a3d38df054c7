//! Poll definitions kept in memcached, so that voting needs no database.
//!
//! A definition stands on every server under `P-poll-SLUG`, written when a poll is created, opened or closed
//! and by every flush. One that is missing is refilled from the database by one process at a time: a lease on
//! the key elects it, the others wait for it a moment. That a poll does not exist is remembered too, for
//! seconds, so that votes for a name that never was do not reach the database one by one.
//!
//! A process keeps what it has read. When neither memcached nor the database answers, the definition that was read last
//! stands, its closing time included, until one of them answers again.
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

/// How many polls a process keeps the definitions of, and how many names beside them that no poll has: those that somebody
/// makes up fill no memory and displace no poll.
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
    /// Why it cannot be believed: the queue belongs to a database that this process does not use.
    pub foreign: Option<String>,
}

impl Definition {
    /// One that nothing more is known of.
    const fn only(known: Known) -> Definition {
        Definition { known, database: None, secret: None, foreign: None }
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

/// The definitions that this process has read.
#[derive(Default)]
pub struct Definitions {
    read: HashMap<Slug, Read>,
}

struct Read {
    found: Definition,
    /// When it was last asked for, with or without an answer.
    asked: Instant,
    /// When it was last answered, in milliseconds of Unix time.
    as_of_ms: i64,
}

impl Definitions {
    /// The definition of a poll: as read in the second before `now`, else from the first server that answers, in the rank
    /// of `identity`, else from the database, else as it was read last. What failed on the way is added to `failures`.
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
        let stale = self.read.get(slug).is_none_or(|read| now.saturating_duration_since(read.asked) > FRESH);
        if stale {
            let found = look_up(slug, &servers.ranking().ranked(identity), servers, database, failures);
            self.keep(slug, found);
        }
        self.read.get(slug).map_or(NOTHING, |read| &read.found)
    }

    /// When a poll's definition was last read, in milliseconds of Unix time.
    pub fn as_of_ms(&self, slug: &Slug) -> Option<i64> {
        self.read.get(slug).filter(|read| read.is_poll()).map(|read| read.as_of_ms)
    }

    /// The id of the database that the definition of a poll named when it was last read.
    pub fn database_of(&self, slug: &Slug) -> Option<u64> {
        self.read.get(slug).and_then(|read| read.found.database)
    }

    fn keep(&mut self, slug: &Slug, found: Definition) {
        let asked = Instant::now();
        if let (Known::CannotTell, Some(read)) = (&found.known, self.read.get_mut(slug).filter(|read| read.is_poll())) {
            read.asked = asked;
            return;
        }
        let read = Read { found, asked, as_of_ms: super::now_ms() };
        let polls = self.read.values().filter(|read| read.is_poll());
        let is_new_poll = read.is_poll() && !self.read.get(slug).is_some_and(Read::is_poll);
        if is_new_poll && polls.clone().count() >= READ_MAX {
            let oldest = polls.min_by_key(|read| read.asked).map(|read| read.asked);
            self.read.retain(|_, read| !read.is_poll() || Some(read.asked) != oldest);
        }
        if !read.is_poll() && self.read.len() >= 2 * READ_MAX {
            self.read.retain(|_, read| read.is_poll());
        }
        self.read.insert(slug.clone(), read);
    }
}

impl Read {
    fn is_poll(&self) -> bool {
        matches!(self.found.known, Known::Poll(_))
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
                Err(_) => return refill(slug, Some((*index, Some(cas))), servers, database, failures),
            },
            Ok(Leased::Fill(cas)) => return refill(slug, Some((*index, Some(cas))), servers, database, failures),
            Ok(Leased::Wait) => return refill(slug, Some((*index, None)), servers, database, failures),
            Err(error) => note(failures, &error),
        }
    }
    refill(slug, None, servers, database, failures)
}

fn refill(
    slug: &Slug,
    server: Option<(usize, Option<String>)>,
    servers: &mut Servers,
    database: &mut Database,
    failures: &mut Vec<String>,
) -> Definition {
    tracing::debug!("poll {slug}: no definition in memcached, asking the database");
    if server.as_ref().is_some_and(|(_, fill)| fill.is_some()) {
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
    if let Some((index, fill)) = server {
        if fill.is_some() {
            failpoint::pass(Step::DefinitionRead);
        }
        let filled = servers.attempt(index, |connection, keys| {
            // A database that is not the queue's must not tell others which polls there are, nor may this process believe it.
            if let Some(owner) = queue::owner(connection, keys)?.filter(|owner| owner.id != properties.database_id) {
                return Ok(Some(owner));
            }
            let Some(cas) = &fill else { return Ok(None) };
            let key = keys.poll(slug);
            // Whoever created, opened or closed the poll since it was read here knows better.
            match poll.as_ref().and_then(|poll| encode(poll, &properties)) {
                Some(bytes) => connection.compare_and_set(&key, &bytes, cas, Lifetime::Forever)?,
                None => connection.compare_and_set(&key, UNKNOWN, cas, Lifetime::Seconds(UNKNOWN_SECONDS))?,
            };
            Ok(None)
        });
        match filled {
            Ok(None) => {}
            Ok(Some(owner)) => {
                let foreign = format!("the queue belongs to database {owner}, which this process does not use");
                return Definition { foreign: Some(foreign), ..Definition::only(Known::CannotTell) };
            }
            // Only the next voter's speed depends on it.
            Err(error) => note(failures, &error),
        }
    }
    let known = poll.map_or(Known::Unknown, |poll| Known::Poll(Box::new(poll)));
    Definition { known, database: Some(properties.database_id), secret: properties.secret_fingerprint, foreign: None }
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
    Ok(Definition { known: Known::Poll(Box::new(published.poll)), database: published.database, secret, foreign: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Choice;

    fn name(text: &str) -> Slug {
        Slug::new(text).unwrap()
    }

    fn poll(text: &str) -> Definition {
        let choices = ["a", "b"].map(|key| Choice { key: name(key), label: "A".into() });
        Definition::only(Known::Poll(Box::new(Poll::new(name(text), "?".into(), choices.into(), 1, None).unwrap())))
    }

    #[test]
    fn a_poll_that_was_read_stands_until_it_is_known_better_and_made_up_names_displace_none() {
        let mut definitions = Definitions::default();
        definitions.keep(&name("now"), poll("now"));
        for number in 0..3 * READ_MAX {
            let known = if number % 2 == 0 { Known::CannotTell } else { Known::Unknown };
            definitions.keep(&name(&format!("made-up-{number}")), Definition::only(known));
        }
        definitions.keep(&name("now"), Definition::only(Known::CannotTell));
        assert!(definitions.as_of_ms(&name("now")).is_some() && definitions.read.len() <= 2 * READ_MAX);
        (0..2 * READ_MAX).for_each(|number| definitions.keep(&name(&format!("p{number}")), poll("p")));
        assert_eq!(definitions.read.values().filter(|read| read.is_poll()).count(), READ_MAX);
        let newest = name(&format!("p{}", 2 * READ_MAX - 1));
        assert!(definitions.as_of_ms(&newest).is_some());
        definitions.keep(&newest, Definition::only(Known::Unknown));
        assert!(definitions.as_of_ms(&newest).is_none());
    }

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
