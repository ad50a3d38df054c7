//! The reader's steps: find where the counter stands, read slots, delete slots whose entries are committed.
//!
//! These are steps, not a loop: the caller commits what it read to its own database between [`fetch`] and
//! [`delete`], and that commit is what makes an entry count once. None of them writes into a slot, so a full server
//! can be read and emptied, and an entry that is stored while its slot is read is found by a later look.

use std::time::Duration;

use memcache::exp::{MetaCommand, MetaOp, ReturnCode};

use crate::failpoint::{self, Step};

use super::connection::{Connection, get};
use super::error::Error;
use super::names::Keys;
use super::number::number_or;
use super::server_id::ServerId;
use super::slots::Slot;
use super::start::recorded_epochs;
use super::ticket::{SEQUENCE_BITS, Ticket};

/// What the record of deleted entries begins with: a number that keeps its length needs no new memory.
const RECORD_BASE: u64 = 1_000_000_000_000_000_000;

/// How often, and after which pauses, a record is tried that a full server refuses.
const RECORD_ATTEMPTS: u32 = 20;
const RECORD_PAUSE: Duration = Duration::from_millis(5);

/// What a reader knows of a queue before it reads slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Ticket 0 of every epoch that weir has begun on this server, the oldest first. One that a legacy writer took the
    /// counter away from may still hold entries.
    pub begun: Vec<Ticket>,
    /// The last ticket handed out, or nothing if the server has no counter.
    pub last: Option<Ticket>,
    /// How many entries have been deleted after their commit, as far as the server remembers.
    pub deleted: Option<u64>,
    /// The shadow epoch's ticket 0: for a counter in epoch 0, and for what may be left in epoch 0 by a counter that is
    /// not where the reader's head is.
    pub shadow: Option<Ticket>,
}

impl Position {
    /// The last ticket in the numbering that never repeats: a legacy one under its shadow epoch.
    pub fn last_numbered(&self) -> Option<Ticket> {
        match (self.last, self.shadow) {
            (Some(last), Some(shadow)) if last.is_legacy() => Some(shadow.plus(last.value())),
            (last, _) => last,
        }
    }

    /// Whether the counter is in epoch 0.
    pub fn is_legacy(&self) -> bool {
        self.last.is_some_and(Ticket::is_legacy)
    }
}

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was found.
    pub slot: Slot,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads where the queue stands, for a reader whose database has got to `head`, and settles the shadow epoch.
///
/// # Errors
/// [`Error`], naming the key.
pub fn position(
    connection: &mut Connection,
    keys: &Keys,
    server: Option<ServerId>,
    head: Option<Ticket>,
) -> Result<Position, Error> {
    let begun = recorded_epochs(connection, keys)?.into_iter().map(|(_, start)| start).collect();
    let last = match connection.get(&keys.curr())? {
        Some(value) => Some(connection.ticket(&keys.curr(), &value)?),
        None => None,
    };
    let deleted = match server {
        Some(server) => connection.counter(&keys.head(server))?.map(|(number, _)| number.saturating_sub(RECORD_BASE)),
        None => None,
    };
    let goes_on = last.zip(head).is_some_and(|(last, head)| last.continues(head));
    let shadow = match last {
        // A shadow is good for one stay in epoch 0: the next begins its numbers anew.
        Some(last) if !last.is_legacy() && goes_on => {
            forget_shadow(connection, keys)?;
            None
        }
        _ => Some(shadow_epoch(connection, keys)?),
    };
    Ok(Position { begun, last, deleted, shadow })
}

/// The shadow epoch. A full server that has none yet gets none: what is read under an epoch that is not stored is
/// numbered anew by the next reader, if this one stops between its commit and its deletion.
fn shadow_epoch(connection: &mut Connection, keys: &Keys) -> Result<Ticket, Error> {
    let fresh = Ticket::fresh_epoch();
    let shadow = match number_or(connection, &keys.legacy(), fresh.value()) {
        Err(error) if error.is_out_of_memory() => {
            connection.reopen()?;
            Ok(fresh)
        }
        number => number.map(Ticket::from_counter),
    };
    failpoint::pass(Step::ShadowStored);
    shadow
}

/// Forgets the shadow epoch: what was in epoch 0 has been drained, or the counter has been in another since.
///
/// # Errors
/// [`Error`], naming the key.
pub fn forget_shadow(connection: &mut Connection, keys: &Keys) -> Result<(), Error> {
    let key = keys.legacy();
    connection.exchange(&[MetaCommand::new(MetaOp::Delete, key.as_str())], &key).map(|_| ())
}

/// Moves a counter that still stands at legacy ticket `drained` on to `shadow`'s epoch at the same sequence. Returns
/// whether it did: a ticket handed out since then, or an epoch that is not among those `begun` that were read, means there
/// is more to drain first.
///
/// The counter is moved by an addition, which removes nothing on a server without memory.
///
/// # Errors
/// [`Error`], naming the key.
pub fn leave_legacy_epoch(
    connection: &mut Connection,
    keys: &Keys,
    begun: &[Ticket],
    drained: Ticket,
    shadow: Ticket,
) -> Result<bool, Error> {
    let curr = keys.curr();
    if recorded_epochs(connection, keys)?.iter().any(|(_, epoch)| !begun.contains(epoch)) {
        return Ok(false);
    }
    let moved = match connection.counter(&curr)? {
        Some((value, cas)) if value == drained.value() => {
            // Before the move: a legacy writer may begin the numbers of epoch 0 anew once it is made, and under
            // the old shadow its entries would pass for those drained before. Without a shadow nothing is lost, for
            // all under it is committed and deleted.
            forget_shadow(connection, keys)?;
            failpoint::pass(Step::ShadowForgotten);
            let distance = (shadow.value() >> SEQUENCE_BITS) << SEQUENCE_BITS;
            let command = MetaCommand::new(MetaOp::Arithmetic, curr.as_str());
            let command = command.flag(format!("D{distance}")).flag(format!("C{cas}"));
            let answers = connection.exchange(&[command], &curr)?;
            let moved = answers.first().is_some_and(|answer| answer.rc() == ReturnCode::Hd);
            if !moved {
                number_or(connection, &keys.legacy(), shadow.value())?;
            }
            moved
        }
        _ => false,
    };
    failpoint::pass(Step::CounterMoved);
    Ok(moved)
}

/// The entries in `slots`, in the order given. Slots that hold nothing are passed over.
///
/// # Errors
/// [`Error`].
pub fn fetch(connection: &mut Connection, keys: &Keys, slots: &[Slot]) -> Result<Vec<Entry>, Error> {
    let names: Vec<String> = slots.iter().map(|slot| keys.slot(slot.number)).collect();
    let Some(first) = names.first() else { return Ok(Vec::new()) };
    let reads: Vec<_> = names.iter().map(|name| get(name)).collect();
    let mut entries = Vec::with_capacity(slots.len());
    for ((answer, slot), name) in connection.exchange(&reads, first)?.into_iter().zip(slots).zip(&names) {
        match answer.value() {
            Some(bytes) => entries.push(Entry { slot: *slot, bytes: bytes.to_vec() }),
            None if answer.rc() == ReturnCode::En => {}
            None => return Err(connection.unexpected(name, &answer)),
        }
    }
    failpoint::pass(Step::SlotsRead);
    Ok(entries)
}

/// Deletes slots whose entries are committed.
///
/// # Errors
/// [`Error`]; some may have been deleted.
pub fn delete(connection: &mut Connection, keys: &Keys, slots: &[Slot]) -> Result<(), Error> {
    let Some(first) = slots.first() else { return Ok(()) };
    let commands: Vec<_> = slots.iter().map(|slot| MetaCommand::new(MetaOp::Delete, keys.slot(slot.number))).collect();
    connection.exchange(&commands, &keys.slot(first.number)).map(|_| ())
}

/// Records on the server that `count` entries will have been deleted, before they are, so that a database that has gone back
/// to before they were committed is noticed. A server that is full and has no record yet does without.
///
/// # Errors
/// [`Error`], naming the key.
pub fn record_deleted(
    connection: &mut Connection,
    keys: &Keys,
    server: Option<ServerId>,
    count: u64,
) -> Result<(), Error> {
    let Some(key) = server.map(|server| keys.head(server)) else { return Ok(()) };
    for _ in 0..RECORD_ATTEMPTS {
        match raise_record(connection, &key, RECORD_BASE + count) {
            // Also of a record that is there: while memcached moves an item about, an addition needs a new one.
            Err(error) if error.is_out_of_memory() => connection.reopen()?,
            recorded => return recorded,
        }
        std::thread::sleep(RECORD_PAUSE);
    }
    Ok(())
}

fn raise_record(connection: &mut Connection, key: &str, wanted: u64) -> Result<(), Error> {
    number_or(connection, key, wanted)?;
    // By an addition, which a full server takes; with a compare-and-swap, for two flushes may record at the same time.
    while let Some((before, cas)) = connection.counter(key)?.filter(|(before, _)| *before < wanted) {
        let command = MetaCommand::new(MetaOp::Arithmetic, key);
        let command = command.flag(format!("D{}", wanted - before)).flag(format!("C{cas}"));
        connection.exchange(&[command], key)?;
    }
    Ok(())
}

/// Creates the record of deleted entries, while there is memory for it.
///
/// # Errors
/// [`Error`], naming the key.
pub(super) fn create_record(connection: &mut Connection, keys: &Keys, server: ServerId) -> Result<(), Error> {
    number_or(connection, &keys.head(server), RECORD_BASE).map(|_| ())
}
