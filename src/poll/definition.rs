//! Poll definitions kept in memcached, so that voting needs no database.
//!
//! A definition stands on every server under `P-poll-SLUG`, written when a poll is created, opened or closed
//! and by every flush. One that is missing is refilled from the database by one process at a time: a lease on
//! the key elects it, the others wait for it a moment. That a poll does not exist is remembered too, for
//! seconds, so that votes for a name that never was do not reach the database one by one.
//!
//! A process keeps what it has read. When neither memcached nor the database answers, the definition that was read last
//! stands, its closing time included, until one of them answers again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::failpoint::{self, Step};
use crate::queue::{self, Leased, Lifetime};
use crate::slug::Slug;

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

/// The definitions that this process has read.
#[derive(Default)]
pub struct Definitions {
    read: HashMap<Slug, Read>,
}

struct Read {
    known: Known,
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
    ) -> &Known {
        let stale = self.read.get(slug).is_none_or(|read| now.saturating_duration_since(read.asked) > FRESH);
        if stale {
            let known = look_up(slug, &servers.ranking().ranked(identity), servers, database, failures);
            self.keep(slug, known);
        }
        self.read.get(slug).map_or(&Known::CannotTell, |read| &read.known)
    }

    /// When a poll's definition was last read, in milliseconds of Unix time.
    pub fn as_of_ms(&self, slug: &Slug) -> Option<i64> {
        self.read.get(slug).filter(|read| read.is_poll()).map(|read| read.as_of_ms)
    }

    fn keep(&mut self, slug: &Slug, known: Known) {
        let asked = Instant::now();
        if let (Known::CannotTell, Some(read)) = (&known, self.read.get_mut(slug).filter(|read| read.is_poll())) {
            read.asked = asked;
            return;
        }
        let read = Read { known, asked, as_of_ms: super::now_ms() };
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
        matches!(self.known, Known::Poll(_))
    }
}

fn look_up(
    slug: &Slug,
    order: &[usize],
    servers: &mut Servers,
    database: &mut Database,
    failures: &mut Vec<String>,
) -> Known {
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
            Ok(Leased::Value(bytes, cas)) => match serde_json::from_slice(&bytes) {
                Ok(Some(poll)) => return Known::Poll(poll),
                Ok(None) => return Known::Unknown,
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
) -> Known {
    tracing::debug!("poll {slug}: no definition in memcached, asking the database");
    if fill.is_some() {
        failpoint::pass(Step::DefinitionLeased);
    }
    let poll = match database.with(|store| store.poll(slug)) {
        Ok(poll) => poll,
        Err(error) => {
            note(failures, &error);
            return Known::CannotTell;
        }
    };
    if let Some((index, cas)) = fill {
        failpoint::pass(Step::DefinitionRead);
        let filled = servers.attempt(index, |connection, keys| {
            let key = keys.poll(slug);
            // Whoever created, opened or closed the poll since it was read here knows better.
            match poll.as_ref().and_then(encode) {
                Some(bytes) => connection.compare_and_set(&key, &bytes, &cas, Lifetime::Forever),
                None => connection.compare_and_set(&key, UNKNOWN, &cas, Lifetime::Seconds(UNKNOWN_SECONDS)),
            }
        });
        // Only the next voter's speed depends on it.
        if let Err(error) = filled {
            note(failures, &error);
        }
    }
    poll.map_or(Known::Unknown, |poll| Known::Poll(Box::new(poll)))
}

/// Puts definitions on every server; what failed is returned, one message a server.
pub fn publish(polls: &[Poll], servers: &mut Servers) -> Vec<queue::Error> {
    let keys = servers.keys();
    let encoded: Vec<_> = polls.iter().filter_map(|poll| Some((keys.poll(&poll.slug), encode(poll)?))).collect();
    servers.store_everywhere(&encoded)
}

fn encode(poll: &Poll) -> Option<Vec<u8>> {
    serde_json::to_vec(poll).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::ballot::Choice;

    fn name(text: &str) -> Slug {
        Slug::new(text).unwrap()
    }

    fn poll(text: &str) -> Known {
        let choices = ["a", "b"].map(|key| Choice { key: name(key), label: "A".into() });
        Known::Poll(Box::new(Poll::new(name(text), "?".into(), choices.into(), 1, None).unwrap()))
    }

    #[test]
    fn a_poll_that_was_read_stands_until_it_is_known_better_and_made_up_names_displace_none() {
        let mut definitions = Definitions::default();
        definitions.keep(&name("now"), poll("now"));
        for number in 0..3 * READ_MAX {
            let known = if number % 2 == 0 { Known::CannotTell } else { Known::Unknown };
            definitions.keep(&name(&format!("made-up-{number}")), known);
        }
        definitions.keep(&name("now"), Known::CannotTell);
        assert!(definitions.as_of_ms(&name("now")).is_some() && definitions.read.len() <= 2 * READ_MAX);
        (0..2 * READ_MAX).for_each(|number| definitions.keep(&name(&format!("p{number}")), poll("p")));
        assert_eq!(definitions.read.values().filter(|read| read.is_poll()).count(), READ_MAX);
        let newest = name(&format!("p{}", 2 * READ_MAX - 1));
        assert!(definitions.as_of_ms(&newest).is_some());
        definitions.keep(&newest, Known::Unknown);
        assert!(definitions.as_of_ms(&newest).is_none());
    }
}
