//! A queue belongs to one database: the rule, on top of the keys of [`crate::queue::owner`].
//!
//! The first database with a poll that meets a queue without an owner claims it. A flush, and a command that creates,
//! opens or closes a poll, refuses a queue of another database before it reads or writes anything there: entries that
//! a wrong database reads would become dead letters of that database. A database without polls claims nothing and
//! reads nothing. To move a queue to another database is a decision of the operator ([`adopt_all`]).

use std::path::Path;

use crate::queue::{self, Address, Connection, Keys, Owner};
use crate::slug::Slug;
use crate::store::{self, Store};

use super::definition;
use super::judge::Docket;
use super::servers::Servers;

/// Why this database must not touch a queue. Nothing was read from the queue or written to it.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The queue belongs to another database.
    #[error(
        "memcached {server}: queue {queue} belongs to database {owner}, not to {this}; nothing was read or written \
         there. Set WEIR_DATABASE or --database to that database, or move the queue to this one with --adopt-queue"
    )]
    OtherDatabase {
        /// The server.
        server: Address,
        /// The queue's prefix.
        queue: String,
        /// The database that it belongs to.
        owner: Owner,
        /// The database of this process.
        this: String,
    },
    /// Entries wait in a queue without an owner, and the database has no polls.
    #[error(
        "memcached {server}: queue {queue} has entries, and database {this} has no polls; nothing was read there. Set \
         WEIR_DATABASE or --database to the database that has the polls, or create them in this one"
    )]
    NoPolls {
        /// The server.
        server: Address,
        /// The queue's prefix.
        queue: String,
        /// The database of this process.
        this: String,
    },
    /// An entry is for a poll that memcached defines and the database lacks.
    #[error(
        "{place} has votes of poll {poll}, which memcached knows and database {this} does not have; they stay there, with \
         all that comes after them. Restore the database that has the poll, or create it again with the same choices: \
         weir poll create {poll}"
    )]
    LacksPoll {
        /// The queue or file.
        place: String,
        /// The poll.
        poll: Slug,
        /// The database of this process.
        this: String,
    },
}

/// The database of a store, as an owner of queues.
///
/// # Errors
/// [`store::Error::Failure`].
pub fn of(store: &mut dyn Store) -> Result<Owner, store::Error> {
    Ok(Owner { id: store.properties()?.database_id, name: store.name().into() })
}

/// Whether a drain into this database may read the queue: it belongs to the database, by now. `false` if there is nothing
/// to read for a database without polls. To be asked once, before anything of the queue is read or its lock is taken.
///
/// # Errors
/// [`OwnerError`], and what the server or the database failed with.
pub fn may_drain<E>(connection: &mut Connection, keys: &Keys, store: &mut dyn Store) -> Result<bool, E>
where
    E: From<queue::Error> + From<store::Error> + From<OwnerError>,
{
    let this = of(store)?;
    let mut owner = queue::owner(connection, keys)?;
    if owner.is_none() {
        if store.polls()?.is_empty() {
            return match queue::may_hold_entries(connection, keys)? {
                false => Ok(false),
                true => {
                    let (server, queue) = names(connection, keys);
                    Err(OwnerError::NoPolls { server, queue, this: this.to_string() }.into())
                }
            };
        }
        owner = Some(queue::claim_owner(connection, keys, &this)?);
    }
    match owner.filter(|owner| owner.id != this.id) {
        None => Ok(true),
        Some(owner) => Err(other_database(connection, keys, owner, this.to_string()).into()),
    }
}

/// Refuses judged ballots of a queue if they name a poll that the database lacks and the queue's server defines: the
/// database has lost the poll. Such an entry must stay where it is, and a drain stops before it.
///
/// # Errors
/// [`OwnerError::LacksPoll`], and what the server failed with.
pub fn check_lacking<E>(connection: &mut Connection, keys: &Keys, docket: &Docket, database: &str) -> Result<(), E>
where
    E: From<queue::Error> + From<OwnerError>,
{
    for poll in docket.unknown_polls() {
        if definition::is_defined(connection, keys, poll)? {
            let (server, queue) = names(connection, keys);
            let place = format!("memcached {server}: queue {queue}");
            return Err(OwnerError::LacksPoll { place, poll: poll.clone(), this: database.into() }.into());
        }
    }
    Ok(())
}

/// The same for the judged ballots of a spooled file, where any server may define the poll. A server that does not answer
/// is passed over.
///
/// # Errors
/// [`OwnerError::LacksPoll`].
pub fn check_lacking_spooled(
    servers: &mut Servers,
    docket: &Docket,
    file: &Path,
    database: &str,
) -> Result<(), OwnerError> {
    let count = servers.len();
    for poll in docket.unknown_polls() {
        let mut defined = |index| {
            let defined = servers.attempt(index, |connection, keys| definition::is_defined(connection, keys, poll));
            defined.unwrap_or_default()
        };
        if (0..count).any(&mut defined) {
            let place = format!("spool {}", file.display());
            return Err(OwnerError::LacksPoll { place, poll: poll.clone(), this: database.into() });
        }
    }
    Ok(())
}

/// Refuses unless each queue belongs to the database `id`, or to none; `this` names the database in the error. Servers
/// that do not answer are passed over.
///
/// # Errors
/// [`OwnerError::OtherDatabase`].
pub fn check_all(servers: &mut Servers, id: Option<u64>, this: &str) -> Result<(), OwnerError> {
    for index in 0..servers.len() {
        let checked = servers.attempt(index, |connection, keys| {
            let other = queue::owner(connection, keys)?.filter(|owner| Some(owner.id) != id);
            Ok(other.map(|owner| other_database(connection, keys, owner, this.to_string())))
        });
        match checked {
            Ok(None) => {}
            Ok(Some(refused)) => return Err(refused),
            Err(error) => tracing::debug!("{error}"),
        }
    }
    Ok(())
}

/// Claims the queue of every server that answers.
///
/// # Errors
/// [`OwnerError::OtherDatabase`]; without a race between two databases, no queue is claimed then.
pub fn claim_all(servers: &mut Servers, database: &Owner) -> Result<(), OwnerError> {
    check_all(servers, Some(database.id), &database.to_string())?;
    for index in 0..servers.len() {
        let claimed = servers.attempt(index, |connection, keys| {
            let other = Some(queue::claim_owner(connection, keys, database)?).filter(|owner| owner.id != database.id);
            Ok(other.map(|owner| other_database(connection, keys, owner, database.to_string())))
        });
        match claimed {
            Ok(None) => {}
            Ok(Some(refused)) => return Err(refused),
            Err(error) => tracing::debug!("{error}"),
        }
    }
    Ok(())
}

/// Moves the queue of every server to the database, whichever it belonged to. What failed is returned, one error for each
/// server.
pub fn adopt_all(servers: &mut Servers, database: &Owner) -> Vec<queue::Error> {
    let mut failed = Vec::new();
    for index in 0..servers.len() {
        failed.extend(servers.attempt(index, |connection, keys| queue::adopt(connection, keys, database)).err());
    }
    failed
}

fn other_database(connection: &Connection, keys: &Keys, owner: Owner, this: String) -> OwnerError {
    let (server, queue) = names(connection, keys);
    OwnerError::OtherDatabase { server, queue, owner, this }
}

fn names(connection: &Connection, keys: &Keys) -> (Address, String) {
    (connection.address().clone(), keys.prefix().as_str().into())
}
