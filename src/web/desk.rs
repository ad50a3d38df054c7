//! What is known of polls: definitions, totals and turnout out of memcached, the list of polls out of the database.
//!
//! Threads of their own read it, because reading blocks; a request asks them through a channel. What was read is good for
//! [`FRESH`], so a spike of readers costs memcached one look a second. While a reader is slow, what was known before
//! is shown, with its own time on it.
//!
//! Results come from memcached. The database is asked only for what no server has: a definition (by one process at a
//! time) and the totals of a poll that no flush has put there, which are then put there for a while.
//!
//! When neither answers, what was read last stands: the definition (from the files of an earlier run, if need be) and the
//! totals. Each view carries the time at which all of it was read, and pages show that time once it is old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use crate::poll::ballot::{Identity, Poll};
use crate::poll::database::{Database, DatabaseError};
use crate::poll::definition::{Definitions, Known};
use crate::poll::life::Life;
use crate::poll::now_ms;
use crate::poll::results::{self, Totals};
use crate::poll::servers::Servers;
use crate::poll::site::Site;
use crate::poll::turnout::{self, Turnout};
use crate::queue::Lifetime;
use crate::slug::Slug;
use crate::store;

use super::last_known::{Dated, LastKnown};
use super::reader::{Busy, Look, Reader};

/// How long what was read is taken as it is.
const FRESH: Duration = Duration::from_secs(1);

/// How many polls are kept.
const KEPT_MAX: usize = 4096;

/// How many open polls of the list are noted for an outage: the newest.
const LISTED_MAX: usize = 256;

/// How long a reader waits for one answer of the database.
pub(super) const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// How old a view or a list may be before its page shows the time, in milliseconds.
const OLD_MS: i64 = 5000;

/// For how long totals stay in memcached that no flush has put there, in seconds.
const REFILLED_SECONDS: u32 = 10;

/// A poll as it stood when it was read.
pub(super) struct View {
    pub read: Instant,
    /// When the definition and the totals were both read, in milliseconds of Unix time: before `read` in an outage.
    pub as_of_ms: i64,
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

/// The polls, oldest first.
#[derive(Clone)]
pub(super) struct List {
    pub polls: Arc<[Poll]>,
    /// When they were read, in milliseconds of Unix time.
    pub as_of_ms: i64,
    /// Whether they are all that the database had then, or only those that this service has read.
    pub is_whole: bool,
}

pub(super) struct Desk {
    polls: Reader<Books>,
    kept: Mutex<HashMap<Slug, (Instant, Seen)>>,
    list: Look<Database, List>,
    last_known: Arc<LastKnown>,
}

struct Books {
    servers: Servers,
    database: Database,
    definitions: Definitions,
    last_known: Arc<LastKnown>,
}

impl Desk {
    /// A desk whose threads may take `limit` for what they are asked.
    pub(super) fn open(site: &Site, last_known: Arc<LastKnown>, limit: Duration) -> std::io::Result<Desk> {
        let (own, known) = (site.clone(), last_known.clone());
        let books = move || Books {
            servers: own.servers(),
            database: Database::new(own.database.clone(), DATABASE_PATIENCE),
            definitions: Definitions::default(),
            last_known: known.clone(),
        };
        let url = site.database.clone();
        let database = move || Database::new(url.clone(), DATABASE_PATIENCE);
        Ok(Desk {
            polls: Reader::start(Life::new("reads polls", limit), books)?,
            kept: Mutex::default(),
            list: Look::start(Life::new("lists polls", limit), FRESH, database)?.showing_old(Duration::MAX),
            last_known,
        })
    }

    /// What keeps its threads from reading, if anything does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.polls.trouble().or_else(|| self.list.trouble())
    }

    /// The poll of that name as it stood at most a second ago.
    pub(super) async fn look(self: &Arc<Desk>, slug: &Slug) -> Result<Seen, Busy> {
        let before = match self.kept(slug) {
            Some((at, seen)) if at.elapsed() < FRESH => return Ok(seen),
            Some((_, seen)) => Some(seen),
            None => self.last_known.get(slug).map(|dated| Seen::Poll(Arc::new(View::of(dated)))),
        };
        let (desk, name) = (self.clone(), slug.clone());
        let read = self.polls.ask(before.is_some(), move |books| match desk.kept(&name) {
            // Somebody who asked a moment earlier has it read already.
            Some((at, seen)) if at.elapsed() < FRESH => seen,
            before => {
                let before = before.and_then(|(_, seen)| seen.view());
                let seen = books.look(&name, before.as_deref());
                desk.keep(name, seen.clone());
                seen
            }
        });
        match (read.await, before) {
            (Err(Busy), Some(before)) => Ok(before),
            (read, _) => read,
        }
    }

    fn kept(&self, slug: &Slug) -> Option<(Instant, Seen)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(slug).cloned()
    }

    fn keep(&self, slug: Slug, seen: Seen) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that somebody makes up give way before any poll does.
        for gives_way in [|seen: &Seen| !matches!(seen, Seen::Poll(_)), |_: &Seen| true] {
            if kept.len() >= KEPT_MAX {
                kept.retain(|_, (at, seen)| at.elapsed() < FRESH || !gives_way(seen));
            }
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(slug, (Instant::now(), seen));
    }

    /// Every poll there is, as the database had it at most a second ago, or when it last answered; without such a list,
    /// the polls that this service and its earlier runs have read.
    pub(super) async fn list(&self) -> Result<List, Busy> {
        let last_known = self.last_known.clone();
        let read = move |database: &mut Database| {
            let polls = match database.with(|store| store.polls()) {
                // Before the first poll is created there is no file, and this is what a new service shows.
                Err(DatabaseError::Store(store::Error::NoFile { .. })) => Ok(Vec::new()),
                polls => polls,
            };
            let polls = polls.inspect_err(|error| tracing::debug!("{error}")).ok()?;
            let as_of_ms = now_ms();
            let open = polls.iter().filter(|poll| poll.is_open_at(as_of_ms)).rev();
            open.take(LISTED_MAX).for_each(|poll| last_known.keep(poll, as_of_ms));
            Some(List { polls: polls.into(), as_of_ms, is_whole: true })
        };
        let older = || {
            let (polls, as_of_ms) = self.last_known.all()?;
            Some(List { polls: polls.into(), as_of_ms, is_whole: false })
        };
        self.list.look_or(older, read).await
    }
}

/// The time of something that pages show, if it is so old that readers must know.
pub(super) fn old_time(as_of_ms: i64) -> Option<i64> {
    (now_ms() - as_of_ms > OLD_MS).then_some(as_of_ms)
}

impl Seen {
    fn view(self) -> Option<Arc<View>> {
        match self {
            Seen::Poll(view) => Some(view),
            Seen::Unknown | Seen::CannotTell => None,
        }
    }
}

impl View {
    fn of(Dated { poll, as_of_ms }: Dated) -> View {
        let (read, pages, json) = (Instant::now(), Default::default(), OnceLock::new());
        View { read, as_of_ms, poll, totals: None, turnout: None, pages, json }
    }

    /// Whether what a page says of "now" may be made once for all: while readers hang, an old view is shown for long.
    pub(super) fn is_fresh(&self) -> bool {
        self.read.elapsed() < FRESH * 2
    }
}

impl Books {
    /// Reads a poll; where nothing answers, what was known `before` stands.
    fn look(&mut self, slug: &Slug, before: Option<&View>) -> Seen {
        let Books { servers, database, definitions, last_known } = self;
        let mut failures = Vec::new();
        // Any server will do; a random rank spreads the load of many processes.
        let identity = Identity(rand::random());
        let found = definitions.get(slug, Instant::now(), identity, servers, database, &mut failures);
        let dated = match found.known.clone() {
            Known::Unknown => {
                last_known.forget(slug);
                return Seen::Unknown;
            }
            Known::CannotTell => last_known.get(slug),
            Known::Poll(poll) => {
                let as_of_ms = definitions.as_of_ms(slug).unwrap_or_else(now_ms);
                last_known.keep(&poll, as_of_ms);
                Some(Dated { poll: *poll, as_of_ms })
            }
        };
        let seen = dated.map_or(Seen::CannotTell, |dated| {
            let mut view = View::of(dated);
            view.totals = results::cached(slug, servers, &mut failures)
                .or_else(|| totals_of_database(&view.poll, servers, database, &mut failures));
            view.turnout = turnout::wanted(slug, servers, &mut failures);
            if let (None, Some(before)) = (&view.totals, before) {
                view.totals = before.totals.clone();
                view.turnout = view.turnout.or_else(|| before.turnout.clone());
                view.as_of_ms = view.as_of_ms.min(before.as_of_ms);
            }
            Seen::Poll(Arc::new(view))
        });
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
