//! The reader's steps: where the counter stands, what the slots hold, closing empty ones, deleting read ones.
//!
//! These are steps, not a loop: the caller commits what it read to its own database between [`fetch`] and
//! [`delete`], and that commit is what makes an entry count once.

use memcache::exp::{MetaCommand, MetaOp, MetaResponse, ReturnCode};

use crate::failpoint::{self, Step};

use super::connection::{Connection, Lifetime, add, get};
use super::error::Error;
use super::lock::{Lock, ensure_queue};
use super::names::Keys;
use super::ticket::Ticket;

/// How long a tombstone lasts, in seconds: far longer than a writer may hold a ticket.
const TOMBSTONE_SECONDS: u32 = 3600;

/// How long a tombstone's value is: the first is tried first, the others on a server that is full.
const TOMBSTONE_LENGTHS: [usize; 6] = [1, 150, 400, 2_000, 20_000, 200_000];

/// The client flag that tells a tombstone from an entry; no common client uses this bit.
const TOMBSTONE_FLAG: &str = "F1073741824";

/// How often a shadow epoch is stored that another reader forgets at once.
const SHADOW_ATTEMPTS: u32 = 10;

/// What a reader knows of a queue before it reads slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Ticket 0 of every epoch that weir had begun on this server when the counter was read, the oldest first. One that
    /// the counter never left by itself, because a script of the notes set it back to 0, may still hold entries.
    pub begun: Vec<Ticket>,
    /// The last ticket handed out, or nothing when the server lost its counter at this very moment.
    pub last: Option<Ticket>,
    /// Up to where slots have been deleted, as far as the server remembers.
    pub head: Option<Ticket>,
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
    /// Its ticket, as the caller numbered it.
    pub ticket: Ticket,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads where the queue stands, for a reader whose database has got to `head`, and settles the shadow epoch. A
/// missing counter is created. Hold the [`Lock`] to be sure that no script of the notes is between its steps.
///
/// # Errors
/// [`Error`], naming the key.
pub fn position(connection: &mut Connection, keys: &Keys, head: Option<Ticket>) -> Result<Position, Error> {
    // Before the counter: an epoch noted after that may be the one that is being filled now.
    let begun = begun_epochs(connection, keys)?;
    let mut last = ticket_at(connection, &keys.curr())?;
    if last.is_none() {
        // An epoch that is noted may be just beginning, or be an old one that lost its counter. With a counter in
        // place it is known which: the others can begin no more.
        ensure_queue(connection, keys)?;
        last = ticket_at(connection, &keys.curr())?;
    }
    let noted = ticket_at(connection, &keys.head())?;
    let goes_on = last.zip(head).is_some_and(|(last, head)| last.continues(head));
    let shadow = match last {
        // A shadow is good for one stay in epoch 0: the next begins its numbers anew.
        Some(last) if !last.is_legacy() && goes_on => {
            forget_shadow(connection, keys)?;
            None
        }
        _ => Some(shadow_epoch(connection, keys)?),
    };
    Ok(Position { begun, last, head: noted, shadow })
}

fn ticket_at(connection: &mut Connection, key: &str) -> Result<Option<Ticket>, Error> {
    match connection.counter(key)? {
        Some((value, _)) if i64::try_from(value).is_err() => Err(Error::Unexpected {
            server: connection.address().clone(),
            key: key.to_string(),
            answer: format!("{value}, more than a ticket can be"),
        }),
        counter => Ok(counter.map(|(value, _)| Ticket::from_counter(value))),
    }
}

fn begun_epochs(connection: &mut Connection, keys: &Keys) -> Result<Vec<Ticket>, Error> {
    let noted = connection.get(&keys.epochs())?.unwrap_or_default();
    let numbers = noted.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok());
    Ok(numbers.filter(|number| i64::try_from(*number).is_ok()).map(Ticket::from_counter).collect())
}

fn shadow_epoch(connection: &mut Connection, keys: &Keys) -> Result<Ticket, Error> {
    let key = keys.legacy();
    for _ in 0..SHADOW_ATTEMPTS {
        connection.add(&key, Ticket::fresh_epoch().to_string().as_bytes(), Lifetime::Forever)?;
        // Another reader may have forgotten it in between, which is as if it had done so just before.
        if let Some((value, _)) = connection.counter(&key)? {
            failpoint::pass(Step::ShadowStored);
            return Ok(Ticket::from_counter(value));
        }
    }
    let (server, answer) = (connection.address().clone(), "nothing for a key just stored".into());
    Err(Error::Unexpected { server, key, answer })
}

/// Forgets the shadow epoch: what was in epoch 0 has been drained, or the counter has been in another since.
///
/// # Errors
/// [`Error`], naming the key.
pub fn forget_shadow(connection: &mut Connection, keys: &Keys) -> Result<(), Error> {
    let key = keys.legacy();
    connection.exchange(&[MetaCommand::new(MetaOp::Delete, key.as_str())], &key).map(|_| ())
}

/// Moves a counter that still stands at legacy ticket `drained` on to `shadow`'s epoch at the same sequence.
/// Tells whether it did: a ticket handed out since then means there is more to drain first.
///
/// # Errors
/// [`Error`], naming the key.
pub fn leave_legacy_epoch(
    connection: &mut Connection,
    keys: &Keys,
    drained: Ticket,
    shadow: Ticket,
) -> Result<bool, Error> {
    let lock = Lock::acquire(connection, keys)?;
    let moved = match connection.counter(&keys.curr())? {
        Some((value, cas)) if value == drained.value() => {
            // Before the move: a script of the notes may begin the numbers of epoch 0 anew once it is made, and under
            // the old shadow its entries would pass for those drained before. Without a shadow nothing is lost, for
            // all under it is committed and deleted.
            forget_shadow(connection, keys)?;
            failpoint::pass(Step::ShadowForgotten);
            let moved = shadow.plus(drained.value()).to_string();
            let moved = connection.compare_and_set(&keys.curr(), moved.as_bytes(), &cas, Lifetime::Forever)?;
            if !moved {
                connection.add(&keys.legacy(), shadow.to_string().as_bytes(), Lifetime::Forever)?;
            }
            moved
        }
        _ => false,
    };
    failpoint::pass(Step::CounterMoved);
    lock.release(connection, keys)?;
    Ok(moved)
}

/// The entries of `tickets`, in their order; slots found empty are closed, so when this returns nothing can
/// come into any of these slots any more. `slot` tells in which slot a ticket's entry lies.
///
/// # Errors
/// [`Error`]; some slots may have been closed.
pub fn fetch(
    connection: &mut Connection,
    keys: &Keys,
    tickets: &[Ticket],
    slot: impl Fn(Ticket) -> Ticket,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::with_capacity(tickets.len());
    let mut open = tickets.to_vec();
    while let Some(first) = open.first() {
        let names: Vec<String> = open.iter().map(|ticket| keys.slot(slot(*ticket))).collect();
        let first_key = keys.slot(slot(*first));
        let reads: Vec<_> = names.iter().map(|name| get(name).flag("f")).collect();
        let mut empty = Vec::new();
        for ((answer, ticket), name) in connection.exchange(&reads, &first_key)?.iter().zip(&open).zip(&names) {
            match found(answer) {
                Some(Found::Entry(bytes)) => entries.push(Entry { ticket: *ticket, bytes }),
                Some(Found::Closed) => {}
                None if answer.rc() == ReturnCode::En => empty.push((*ticket, name)),
                None => return Err(connection.unexpected(name, answer)),
            }
        }
        failpoint::pass(Step::SlotsRead);
        open = Vec::new();
        let names: Vec<_> = empty.iter().map(|(_, name)| name.as_str()).collect();
        for (closed, (ticket, _)) in close(connection, &names)?.into_iter().zip(&empty) {
            // Refused: its writer came between our two looks, so it is read in the next round.
            if !closed {
                open.push(*ticket);
            }
        }
    }
    failpoint::pass(Step::SlotsClosed);
    entries.sort_by_key(|entry| entry.ticket);
    Ok(entries)
}

/// Closes empty slots; tells for each whether it did, or was refused because it is filled.
fn close(connection: &mut Connection, names: &[&str]) -> Result<Vec<bool>, Error> {
    let Some(first) = names.first() else { return Ok(Vec::new()) };
    let tombstones: Vec<_> = names.iter().map(|name| tombstone(name, TOMBSTONE_LENGTHS[0])).collect();
    match connection.exchange(&tombstones, first) {
        Ok(answers) => answers.iter().zip(names).map(|(answer, name)| connection.added(name, answer)).collect(),
        Err(error) if error.is_out_of_memory() => {
            // The rest of the batch's answers are lost with this connection; to close a slot twice does no harm,
            // for a tombstone found in the next round is as good as one just stored.
            connection.reopen()?;
            names.iter().map(|name| close_on_full_server(connection, name)).collect()
        }
        Err(error) => Err(error),
    }
}

/// A full server has memory for some sizes of items and not for others, and gives a size that it has not seen yet a
/// page beyond its limit. One of some very different sizes is nearly always taken.
fn close_on_full_server(connection: &mut Connection, name: &str) -> Result<bool, Error> {
    let mut tried = TOMBSTONE_LENGTHS.iter();
    loop {
        let length = tried.next().copied().unwrap_or(TOMBSTONE_LENGTHS[0]);
        let answers = connection.exchange(&[tombstone(name, length)], name);
        match answers {
            Ok(answers) => return answers.first().map_or(Ok(false), |answer| connection.added(name, answer)),
            Err(error) if error.is_out_of_memory() && tried.len() > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

enum Found {
    Entry(Vec<u8>),
    Closed,
}

fn found(answer: &MetaResponse) -> Option<Found> {
    let bytes = answer.value()?;
    Some(if is_tombstone(answer) { Found::Closed } else { Found::Entry(bytes.to_vec()) })
}

fn is_tombstone(answer: &MetaResponse) -> bool {
    // Asked for with `F`, told with `f`.
    answer.flags().any(|flag| flag.eq_ignore_ascii_case(TOMBSTONE_FLAG.as_bytes()))
}

fn tombstone(key: &str, length: usize) -> MetaCommand {
    add(key, &vec![b'x'; length], Lifetime::Seconds(TOMBSTONE_SECONDS)).flag(TOMBSTONE_FLAG)
}

/// Deletes the slots of `tickets`, which must have been read as entries and committed. Tombstones are left to
/// lapse: to delete one would open its slot again for a writer that sleeps.
///
/// # Errors
/// [`Error`]; some may have been deleted.
pub fn delete(
    connection: &mut Connection,
    keys: &Keys,
    tickets: &[Ticket],
    slot: impl Fn(Ticket) -> Ticket,
) -> Result<(), Error> {
    let Some(first) = tickets.first() else { return Ok(()) };
    let commands: Vec<_> =
        tickets.iter().map(|ticket| MetaCommand::new(MetaOp::Delete, keys.slot(slot(*ticket)))).collect();
    connection.exchange(&commands, &keys.slot(slot(*first))).map(|_| ())
}

/// Deletes those slots of `tickets` that hold entries. For tickets whose entries are known to be committed.
///
/// # Errors
/// [`Error`]; some may have been deleted.
pub fn sweep(
    connection: &mut Connection,
    keys: &Keys,
    tickets: &[Ticket],
    slot: impl Fn(Ticket) -> Ticket,
) -> Result<(), Error> {
    let Some(first) = tickets.first() else { return Ok(()) };
    let looks: Vec<_> =
        tickets.iter().map(|ticket| MetaCommand::new(MetaOp::Get, keys.slot(slot(*ticket))).flag("f")).collect();
    let answers = connection.exchange(&looks, &keys.slot(slot(*first)))?;
    let holds_entry = |answer: &MetaResponse| answer.rc() == ReturnCode::Hd && !is_tombstone(answer);
    let entries: Vec<_> =
        answers.iter().zip(tickets).filter(|(answer, _)| holds_entry(answer)).map(|(_, ticket)| *ticket).collect();
    delete(connection, keys, &entries, slot)
}

/// Notes on the server that every slot up to `head` has been deleted.
///
/// # Errors
/// [`Error`], naming the key.
pub fn set_head(connection: &mut Connection, keys: &Keys, head: Ticket) -> Result<(), Error> {
    connection.set(&keys.head(), head.to_string().as_bytes(), Lifetime::Forever)
}
