//! What is known of polls: definitions, totals and turnout out of memcached, the list of polls out of the database.
//!
//! Threads of their own read it, because reading blocks; a request asks them through a channel. What was read is good for
//! [`FRESH`], so a spike of readers costs memcached one look a second. While a reader is slow, what was known before
//! is shown, with its own time on it.
//!
//! Results come from memcached. The database is asked only for what no server has: a definition (by one process at a
//! time) and the totals of a poll that no flush has put there, which are then put there for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use crate::poll::ballot::{Identity, Poll};
use crate::poll::database::{Database, DatabaseError};
use crate::poll::definition::{Definitions, Known};
use crate::poll::results::{self, Totals};
use crate::poll::servers::Servers;
use crate::poll::site::Site;
use crate::poll::turnout::{self, Turnout};
use crate::queue::Lifetime;
use crate::slug::Slug;
use crate::store;

use super::reader::{Busy, Look, Reader};

/// How long what was read is taken as it is.
const FRESH: Duration = Duration::from_secs(1);

/// How many polls are kept.
const KEPT_MAX: usize = 4096;

/// How long a reader waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// For how long totals stay in memcached that no flush has put there, in seconds.
const REFILLED_SECONDS: u32 = 10;

/// A poll as it stood when it was read.
pub(super) struct View {
    pub read: Instant,
    pub poll: Poll,
    /// Nothing when neither memcached nor the database could tell.
    pub totals: Option<Totals>,
    pub turnout: Option<Turnout>,
    /// The results page, once somebody has asked for it: on its own, and in a frame.
    pub pages: [OnceLock<Bytes>; 2],
    /// The totals as JSON, once somebody has asked for them.
    pub json: OnceLock<Bytes>,
}

/// What is known of a name.
#[derive(Clone)]
pub(super) enum Seen {
    Poll(Arc<View>),
    Unknown,
    CannotTell,
}

pub(super) struct Desk {
    polls: Reader<Books>,
    kept: Mutex<HashMap<Slug, (Instant, Seen)>>,
    list: Look<Database, Arc<[Poll]>>,
    ready: Look<(Servers, Database), bool>,
}

struct Books {
    servers: Servers,
    database: Database,
    definitions: Definitions,
}

impl Desk {
    pub(super) fn open(site: &Site) -> std::io::Result<Desk> {
        let database = || Database::new(site.database.clone(), DATABASE_PATIENCE);
        let books = Books { servers: site.servers(), database: database(), definitions: Definitions::default() };
        Ok(Desk {
            polls: Reader::start("reads polls", books)?,
            kept: Mutex::default(),
            list: Look::start("lists polls", FRESH, database())?.showing_old(),
            ready: Look::start("looks for places", FRESH, (site.servers(), database()))?,
        })
    }

    /// The poll of that name as it stood at most a second ago.
    pub(super) async fn look(self: &Arc<Desk>, slug: &Slug) -> Result<Seen, Busy> {
        let before = match self.kept(slug) {
            Some((at, seen)) if at.elapsed() < FRESH => return Ok(seen),
            other => other,
        };
        let (desk, name) = (self.clone(), slug.clone());
        let read = self.polls.ask(before.is_some(), move |books| match desk.kept(&name) {
            // Somebody who asked a moment earlier has it read already.
            Some((at, seen)) if at.elapsed() < FRESH => seen,
            _ => {
                let seen = books.look(&name);
                desk.keep(name, seen.clone());
                seen
            }
        });
        match (read.await, before) {
            (Ok(Seen::CannotTell) | Err(Busy), Some((_, seen))) => Ok(seen),
            (read, _) => read,
        }
    }

    fn kept(&self, slug: &Slug) -> Option<(Instant, Seen)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(slug).cloned()
    }

    fn keep(&self, slug: Slug, seen: Seen) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(slug, (Instant::now(), seen));
    }

    /// Every poll there is, as the database had it at most a second ago, or when it last answered.
    pub(super) async fn list(&self) -> Result<Arc<[Poll]>, Busy> {
        let read = |database: &mut Database| {
            match database.with(|store| store.polls()) {
                Ok(polls) => Some(polls.into()),
                // Before the first poll is created there is no file, and this is what a new service shows.
                Err(DatabaseError::Store(store::Error::NoFile { .. })) => Some([].into()),
                Err(error) => {
                    tracing::debug!("{error}");
                    None
                }
            }
        };
        self.list.look(read).await
    }

    /// Whether a vote would find a memcached server or the database, as of at most a second ago.
    pub(super) async fn is_ready(&self) -> bool {
        let read = |(servers, database): &mut (Servers, Database)| {
            let all = 0..servers.len();
            let mut answers = |index| servers.attempt(index, |connection, keys| connection.get(&keys.curr())).is_ok();
            Some(all.into_iter().any(&mut answers) || database.with(|_| Ok(())).is_ok())
        };
        self.ready.look(read).await.unwrap_or_default()
    }
}

impl View {
    /// Whether what a page says of "now" may be made once for all: while readers hang, an old view is shown for long.
    pub(super) fn is_fresh(&self) -> bool {
        self.read.elapsed() < FRESH * 2
    }
}

impl Books {
    fn look(&mut self, slug: &Slug) -> Seen {
        let Books { servers, database, definitions } = self;
        let mut failures = Vec::new();
        // Any server will do; a random rank spreads the load of many processes.
        let identity = Identity(rand::random());
        let found = definitions.get(slug, Instant::now(), identity, servers, database, &mut failures);
        let seen = match &found.known {
            Known::Unknown => Seen::Unknown,
            Known::CannotTell => Seen::CannotTell,
            Known::Poll(poll) => {
                let totals = results::cached(slug, servers, &mut failures)
                    .or_else(|| totals_of_database(poll, servers, database, &mut failures));
                let turnout = turnout::wanted(slug, servers, &mut failures);
                let poll = (**poll).clone();
                let (read, pages, json) = (Instant::now(), Default::default(), OnceLock::new());
                Seen::Poll(Arc::new(View { read, poll, totals, turnout, pages, json }))
            }
        };
        failures.iter().for_each(|failure| tracing::debug!("{failure}"));
        seen
    }
}

fn totals_of_database(
    poll: &Poll,
    servers: &mut Servers,
    database: &mut Database,
    failures: &mut Vec<String>,
) -> Option<Totals> {
    let totals = database.with(|store| results::stored(poll, store)).map_err(|error| failures.push(error.to_string()));
    let totals = totals.ok()?;
    let json = serde_json::to_vec(&totals).ok()?;
    for index in 0..servers.len() {
        // Added, not set: a flush that came meanwhile knows better.
        let added = servers.attempt(index, |connection, keys| {
            connection.add(&keys.totals(&poll.slug), &json, Lifetime::Seconds(REFILLED_SECONDS))
        });
        if let Err(error) = added {
            failures.push(error.to_string());
        }
    }
    Some(totals)
}
