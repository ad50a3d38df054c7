//! `/readyz`: whether a vote would be taken, and by what, found out by doing what a vote would have to do.
//!
//! The ways in are tried in the order in which a vote tries them, and the first that works ends it: an item of a vote's size on
//! a memcached server (a full one refuses it), a write that changes nothing in the database (a read-only one refuses it), a
//! synced file in the spool. Nothing of it stays.
//!
//! A monitor that waits for a second must not take a service out of a balancer in an outage in which it takes votes. So an
//! answer that is at most [`OLD_MAX`] old stands while a new one takes longer than 300 ms.

use std::sync::Arc;
use std::time::Duration;

use crate::poll::database::Database;
use crate::poll::life::Life;
use crate::poll::servers::Servers;
use crate::poll::site::Site;
use crate::poll::spool::Spool;
use crate::queue::health;

use super::desk::DATABASE_PATIENCE;
use super::last_known::LastKnown;
use super::reader::Look;

/// How long an answer is good.
const FRESH: Duration = Duration::from_secs(1);

/// How old an answer may be that stands while a new one is being found out.
const OLD_MAX: Duration = Duration::from_secs(10);

/// Whether a vote would be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ready {
    /// By what, and why not by what comes before it.
    Yes(String),
    /// Why not.
    No(String),
}

/// Tries the ways in, with a thread of its own.
pub(super) struct Readiness(Look<Ways, Ready>);

struct Ways {
    servers: Servers,
    database: Database,
    spool: Spool,
    last_known: Arc<LastKnown>,
}

impl Readiness {
    pub(super) fn start(site: &Site, last_known: Arc<LastKnown>, life: Life) -> std::io::Result<Readiness> {
        let site = site.clone();
        let ways = move || Ways {
            servers: site.servers(),
            database: Database::new(site.database.clone(), DATABASE_PATIENCE),
            spool: site.spool.clone(),
            last_known: last_known.clone(),
        };
        Ok(Readiness(Look::start(life, FRESH, ways)?.showing_old(OLD_MAX)))
    }

    pub(super) async fn look(&self) -> Ready {
        let unknown = || Ready::No("the probes of memcached, database and spool take too long".into());
        self.0.look(|ways| Some(ways.ready())).await.unwrap_or_else(|_| unknown())
    }
}

impl Ways {
    fn ready(&mut self) -> Ready {
        let mut failures: Vec<String> = Vec::new();
        for index in 0..self.servers.len() {
            match self.servers.attempt(index, |connection, keys| health::probe(connection, keys, None)) {
                Ok(()) => return Ready::Yes("memcached".into()),
                Err(error) => failures.push(error.to_string()),
            }
        }
        match self.database.with(|store| store.check_writable()) {
            Ok(()) => return Ready::Yes(format!("database ({})", failures.join("; "))),
            Err(error) => failures.push(error.to_string()),
        }
        match self.spool.probe() {
            // The form and its choices are not known without a definition, and nothing is left to read one from.
            Ok(()) if self.last_known.is_empty() => failures.push("no poll has been read yet".into()),
            Ok(()) => return Ready::Yes(format!("spool ({})", failures.join("; "))),
            Err(error) => failures.push(error.to_string()),
        }
        Ready::No(failures.join("; "))
    }
}
