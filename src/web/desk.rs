//! What is known of polls: definitions, totals and turnout out of memcached, the list of polls out of the database.
//!
//! Threads of their own read it, because reading blocks; a request asks them through a channel. What was read is good for
//! [`FRESH`], so a spike of readers costs memcached one look a second. While a reader is slow, what was known before
//! is shown, with its own time on it.
//!
//! Results come from memcached. The database is asked only for what no server has: a definition (by one process at a
//! time) and the totals of a poll that no flush has put there, which are then put there for a while.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::oneshot;

use crate::poll::ballot::{Identity, Poll};
use crate::poll::database::Database;
use crate::poll::definition::{Definitions, Known};
use crate::poll::results::{self, Totals};
use crate::poll::servers::Servers;
use crate::poll::site::Site;
use crate::poll::turnout::{self, Turnout};
use crate::queue::Lifetime;
use crate::slug::Slug;

/// How long what was read is taken as it is.
const FRESH: Duration = Duration::from_secs(1);

/// How long a request waits for a reader before it takes what was known before.
const PATIENCE: Duration = Duration::from_secs(4);

/// How many requests may wait for one reader.
const ASKS_MAX: usize = 1024;

/// How many polls are kept.
const KEPT_MAX: usize = 4096;

/// How long a reader waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// For how long totals stay in memcached that no flush has put there, in seconds.
const REFILLED_SECONDS: u32 = 10;

/// A poll as it stands.
pub(super) struct View {
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

/// Nothing is known, and the readers are too busy to find out.
pub(super) struct Busy;

pub(super) struct Desk {
    polls: Reader<Books>,
    kept: Mutex<HashMap<Slug, (Instant, Seen)>>,
    lists: Reader<Database>,
    list: Mutex<Option<(Instant, Arc<[Poll]>)>>,
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
            lists: Reader::start("lists polls", database())?,
            list: Mutex::default(),
        })
    }

    /// The poll of that name as it stood at most a second ago.
    pub(super) async fn look(self: &Arc<Desk>, slug: &Slug) -> Result<Seen, Busy> {
        let before = match self.kept(slug) {
            Some((at, seen)) if at.elapsed() < FRESH => return Ok(seen),
            other => other,
        };
        let (desk, name) = (self.clone(), slug.clone());
        let read = self.polls.ask(move |books| match desk.kept(&name) {
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
    pub(super) async fn list(self: &Arc<Desk>) -> Result<Arc<[Poll]>, Busy> {
        let before = self.listed();
        if let Some((_, list)) = before.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(list.clone());
        }
        let desk = self.clone();
        let read = self.lists.ask(move |database| {
            if let Some((_, list)) = desk.listed().filter(|(at, _)| at.elapsed() < FRESH) {
                return Some(list);
            }
            let list: Arc<[Poll]> = match database.with(|store| store.polls()) {
                Ok(polls) => polls.into(),
                Err(error) => {
                    tracing::debug!("{error}");
                    return None;
                }
            };
            *desk.list.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), list.clone()));
            Some(list)
        });
        match read.await {
            Ok(Some(list)) => Ok(list),
            _ => before.map(|(_, list)| list).ok_or(Busy),
        }
    }

    fn listed(&self) -> Option<(Instant, Arc<[Poll]>)> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a vote would find a memcached server or the database.
    pub(super) async fn is_ready(&self) -> bool {
        let ready = self.polls.ask(|books| {
            let Books { servers, database, .. } = books;
            let all = 0..servers.len();
            let mut answers = |index| servers.attempt(index, |connection, keys| connection.get(&keys.curr())).is_ok();
            all.into_iter().any(&mut answers) || database.with(|_| Ok(())).is_ok()
        });
        ready.await.unwrap_or_default()
    }
}

impl Books {
    fn look(&mut self, slug: &Slug) -> Seen {
        let Books { servers, database, definitions } = self;
        let mut failures = Vec::new();
        // Any server will do; a random rank spreads the load of many processes.
        let identity = Identity(rand::random());
        let known = definitions.get(slug, Instant::now(), identity, servers, database, &mut failures);
        let seen = match known {
            Known::Unknown => Seen::Unknown,
            Known::CannotTell => Seen::CannotTell,
            Known::Poll(poll) => {
                let totals = results::cached(slug, servers, &mut failures)
                    .or_else(|| totals_of_database(poll, servers, database, &mut failures));
                let turnout = turnout::cached(slug, servers, &mut failures);
                let poll = (**poll).clone();
                Seen::Poll(Arc::new(View { poll, totals, turnout, pages: Default::default(), json: OnceLock::new() }))
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

type Ask<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread with something that blocks.
pub(super) struct Reader<S> {
    asks: SyncSender<Ask<S>>,
}

impl<S: Send + 'static> Reader<S> {
    pub(super) fn start(name: &str, mut state: S) -> std::io::Result<Reader<S>> {
        let (asks, asked) = sync_channel::<Ask<S>>(ASKS_MAX);
        let run = move || asked.into_iter().for_each(|ask| ask(&mut state));
        std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Reader { asks })
    }

    /// Has `work` done by the thread, unless too many wait for it or it takes too long.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (sender, receiver) = oneshot::channel();
        let ask = move |state: &mut S| {
            // Whoever has gone away meanwhile need not be worked for.
            if !sender.is_closed() {
                let _ = sender.send(work(state));
            }
        };
        self.asks.try_send(Box::new(ask)).map_err(|_| Busy)?;
        tokio::time::timeout(PATIENCE, receiver).await.map_err(|_| Busy)?.map_err(|_| Busy)
    }
}
