//! The database that a queue belongs to, noted in memcached beside the queue.
//!
//! `P-database` holds the database's id. Both ways to write it keep what is there: `ma` with a start value and a delta
//! of 0 makes the key if it is missing and otherwise returns its value, on a full server too. A conditional `ms`
//! would not do: refused for want of memory, it removes the item that it found.
//! `P-database-name` holds the database's URL without its password. It is for messages only.

use std::fmt;

use memcache::exp::{MetaCommand, MetaOp};

use super::connection::{Connection, Lifetime};
use super::error::Error;
use super::names::Keys;
use super::number::number_or;
use super::server_id::known_server_id;
use super::ticket::Ticket;

/// A database, as a queue's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The database's id.
    pub id: u64,
    /// Its URL without the password; empty if the server has lost it.
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "of unknown URL" } else { &self.name };
        write!(f, "{name} (id {})", self.id)
    }
}

/// The database that the queue belongs to, if it belongs to one.
///
/// # Errors
/// [`Error`].
pub fn owner(connection: &mut Connection, keys: &Keys) -> Result<Option<Owner>, Error> {
    let Some((id, _)) = connection.counter(&keys.database())? else { return Ok(None) };
    let name = connection.get(&keys.database_name())?.unwrap_or_default();
    Ok(Some(Owner { id, name: String::from_utf8_lossy(&name).into_owned() }))
}

/// Makes the queue belong to `database` unless it belongs to another, and returns the owner. A server that has no memory
/// for the key is left as it is, and the queue then counts as this database's: it must not keep a flush from making
/// room.
///
/// # Errors
/// [`Error`].
pub fn claim(connection: &mut Connection, keys: &Keys, database: &Owner) -> Result<Owner, Error> {
    let id = match number_or(connection, &keys.database(), database.id) {
        Err(error) if error.is_out_of_memory() => {
            connection.reopen()?;
            return Ok(database.clone());
        }
        id => id?,
    };
    if id == database.id {
        set_name(connection, keys, database)?;
        return Ok(database.clone());
    }
    Ok(owner(connection, keys)?.unwrap_or_else(|| database.clone()))
}

/// Makes the queue belong to `database`, whichever it belonged to.
///
/// # Errors
/// [`Error`]; the queue may then belong to no database.
pub fn adopt(connection: &mut Connection, keys: &Keys, database: &Owner) -> Result<(), Error> {
    connection.set(&keys.database(), database.id.to_string().as_bytes(), Lifetime::Forever)?;
    // What was deleted for another database is not missing from this one.
    if let Some(server) = known_server_id(connection, keys)? {
        let key = keys.head(server);
        connection.exchange(&[MetaCommand::new(MetaOp::Delete, key.as_str())], &key)?;
    }
    set_name(connection, keys, database)
}

/// Whether tickets of the queue have been handed out: entries may wait.
///
/// # Errors
/// [`Error`].
pub fn may_hold_entries(connection: &mut Connection, keys: &Keys) -> Result<bool, Error> {
    let Some(last) = connection.counter(&keys.curr())?.map(|(last, _)| Ticket::from_counter(last)) else {
        return Ok(false);
    };
    Ok(last > last.epoch_start())
}

/// Only messages need the name, so a server without memory for it is no failure. A name that is there already is left
/// alone: a refused `set` would remove it.
fn set_name(connection: &mut Connection, keys: &Keys, database: &Owner) -> Result<(), Error> {
    if connection.get(&keys.database_name())?.is_some_and(|name| name == database.name.as_bytes()) {
        return Ok(());
    }
    match connection.set(&keys.database_name(), database.name.as_bytes(), Lifetime::Forever) {
        Err(error) if error.is_out_of_memory() => connection.reopen(),
        done => done,
    }
}
