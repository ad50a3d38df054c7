//! A flusher: one `Drain::run` of `poll::drain` on each server in turn, then the spool, as `poll::flush` does it.
//!
//! | step | code |
//! |---|---|
//! | [`At::Server`] | `queue::server_id` of `Drain::open` |
//! | [`At::Row`], [`At::RowAgain`] | `Drain::read_row` |
//! | [`At::Records`], [`At::Counter`], [`At::Deleted`], [`At::Shadow`] | `queue::reader::position` |
//! | [`At::Delete`], [`At::Record`] | `Drain::delete_due` |
//! | [`At::Connect`] | `Drain::connect_again` |
//! | [`At::Read`] | `queue::reader::fetch`, slot by slot |
//! | [`At::Begin`], [`At::Commit`] | `Drain::write`, `Drain::write_slots`, `store::fold` |
//! | [`At::ForgetShadow`] | `queue::reader::forget_shadow` |
//! | [`At::LeaveRecords`] to [`At::LeaveRestore`] | `queue::reader::leave_legacy_epoch` |
//! | [`At::SpoolCommit`], [`At::SpoolAgain`], [`At::SpoolRemove`] | `Flusher::drain_spool` |
//! | [`Stage`] | the order in which `Drain::run` does all this |
//!
//! The thread that reads ahead is taken to be as far ahead as can be: a range is read to its end, then written chunk
//! by chunk. What a slower reader would see is what this one sees when the others act earlier.

use crate::config::{Bug, Config};
use crate::database::{Chunk, Row, SlotMap, Transaction};
use crate::memcached::{Record, Slot, Ticket, Tickets, tickets};
use crate::world::{Fate, Shared};

/// What the flusher does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Server,
    Row,
    Records,
    Counter,
    Deleted,
    Shadow,
    Delete,
    Record,
    Connect,
    Read,
    /// Only with [`Bug::Tombstones`].
    Close,
    /// Only with [`Bug::DeleteBeforeCommit`].
    DeleteFirst,
    Begin,
    Commit,
    ForgetShadow,
    RowAgain,
    LeaveRecords,
    LeaveLook,
    LeaveForget,
    LeaveMove,
    LeaveRestore,
    SpoolCommit,
    SpoolAgain,
    SpoolRemove,
    Done,
}

/// What of `Drain::run` comes next, once the position is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Due,
    Holes,
    LegacyHoles,
    Old,
    Unread,
    Orphans,
    Forget,
    Main,
    Slots,
    Again,
    DueAgain,
    SlotsAgain,
    Leave,
}

/// Slots to read. Mirrors `read_ahead::Reading`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading {
    pub slots: Tickets,
    pub legacy: bool,
    pub until_empty: bool,
    pub holes: bool,
}

impl Reading {
    pub const NONE: Reading = Reading { slots: 0, legacy: false, until_empty: false, holes: false };
}

/// The connection on which slots are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    None,
    Sound,
    Broken,
}

/// A flusher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flusher {
    pub at: At,
    pub number: u8,
    pub server: u8,
    pub flushes: u8,
    pub connected: bool,
    pub broken: bool,
    pub reader: Reader,
    /// It comes before anything is due.
    pub early: bool,
    pub rounds: u8,
    pub stage: Stage,
    /// The server's id, or nothing on a server that has no memory for one.
    pub id: Option<u8>,
    /// The queue in the database.
    pub queue: u8,
    /// The row as the database has it, or as this drain has committed it, and its slot map with what has happened since.
    pub row: Option<Row>,
    pub slots: SlotMap,
    /// Where the counter stands, in the numbering of the database.
    pub last: Option<Ticket>,
    /// Whether it stands in epoch 0.
    pub legacy: bool,
    pub begun: u16,
    pub deleted: Option<Record>,
    pub shadow: Option<Ticket>,
    pub gone_back: Tickets,
    /// What is still to be read: the old epoch from the head, recorded epochs, epoch 0.
    pub old: Tickets,
    pub unread: u16,
    pub orphans: Tickets,
    pub reading: Reading,
    pub in_window: u8,
    pub found: bool,
    /// Reading has failed: what was read is written, and that is the end.
    pub failing: bool,
    /// The last slot read, and the first one that is not yet written.
    pub reached: Ticket,
    pub first: Ticket,
    /// Read and not yet written.
    pub rest: Chunk,
    pub chunk: Chunk,
    /// The head and the number of missing entries that are being committed.
    pub head: Ticket,
    pub missing: u8,
    /// Slots still to be deleted, and what is to be recorded then.
    pub doomed: [Tickets; 2],
    pub record: Option<Record>,
    /// Files of the spool that were read, as bits.
    pub files: u8,
}

impl Flusher {
    pub fn new(config: &Config, number: u8) -> Flusher {
        Flusher {
            at: At::Server,
            number,
            server: 0,
            flushes: config.flushes,
            connected: false,
            broken: false,
            reader: Reader::None,
            early: false,
            rounds: 0,
            stage: Stage::Due,
            id: None,
            queue: 0,
            row: None,
            slots: SlotMap::EMPTY,
            last: None,
            legacy: false,
            begun: 0,
            deleted: None,
            shadow: None,
            gone_back: 0,
            old: 0,
            unread: 0,
            orphans: 0,
            reading: Reading::NONE,
            in_window: 0,
            found: false,
            failing: false,
            reached: Ticket(0),
            first: Ticket(0),
            rest: Chunk::EMPTY,
            chunk: Chunk::EMPTY,
            head: Ticket(0),
            missing: 0,
            doomed: [0; 2],
            record: None,
            files: 0,
        }
    }

    pub fn is_at_the_database(&self) -> bool {
        use At::{Begin, Commit, Done, Row, RowAgain, SpoolAgain, SpoolCommit, SpoolRemove};
        matches!(self.at, Row | RowAgain | Begin | Commit | SpoolCommit | SpoolAgain | SpoolRemove | Done)
    }

    pub fn seen(&self) -> Option<Ticket> {
        self.row.map(|row| row.head)
    }

    /// Done with this server, well or not; on to the next, then to the spool.
    pub fn leave_server(&mut self, config: &Config, shared: &Shared) {
        let server = self.server + 1;
        *self = Flusher { flushes: self.flushes, server, ..Flusher::new(config, self.number) };
        if server == config.servers {
            match shared.spool {
                0 => self.end_flush(config),
                _ => self.at = At::SpoolCommit,
            }
        }
    }

    pub fn end_flush(&mut self, config: &Config) {
        let flushes = self.flushes.saturating_sub(1);
        *self = Flusher { flushes, ..Flusher::new(config, self.number) };
        if flushes == 0 {
            self.at = At::Done;
        }
    }

    pub fn look_at_slot(&mut self, config: &Config, shared: &Shared) {
        let ticket = self.next_ticket();
        match shared.servers[usize::from(self.server)].slot(self.slot_of(ticket)) {
            Slot::Filled(ballot) => {
                self.rest.push(ticket, ballot);
                self.found = true;
                self.settled(config, shared);
            }
            Slot::Empty if config.has(Bug::Tombstones) => self.at = At::Close,
            Slot::Empty if config.has(Bug::WaitForSlot) => {}
            Slot::Empty | Slot::Closed => {
                if self.reading.holes && config.has(Bug::TicketsLiveForever) {
                    self.slots.give_up(1 << ticket.0, self.reading.legacy);
                }
                self.settled(config, shared);
            }
        }
    }

    pub fn next_ticket(&self) -> Ticket {
        Ticket(self.reading.slots.trailing_zeros() as u8)
    }

    /// Under which number a slot that is being read is found on the server.
    pub fn slot_of(&self, ticket: Ticket) -> Ticket {
        if self.reading.legacy { Ticket(ticket.sequence()) } else { ticket }
    }

    /// The slot is read: to the next one, or to writing.
    pub fn settled(&mut self, config: &Config, shared: &Shared) {
        self.reached = self.next_ticket();
        self.reading.slots &= self.reading.slots - 1;
        self.in_window += 1;
        let end_of_window = self.in_window == config.window;
        if end_of_window && self.reading.until_empty && !self.found {
            self.reading.slots = 0;
        }
        if end_of_window {
            (self.in_window, self.found) = (0, false);
        }
        match self.reading.slots {
            0 => self.write(config, shared),
            _ => self.at = At::Read,
        }
    }

    /// The next chunk of what has been read.
    pub fn write(&mut self, config: &Config, shared: &Shared) {
        (self.chunk, self.rest) = self.rest.split(config.chunk);
        let found = self.chunk.tickets();
        let to = match (self.rest.entries().is_empty(), self.chunk.entries().last()) {
            (false, Some((ticket, _))) => *ticket,
            _ => self.reached,
        };
        let range = tickets(self.first, to);
        self.first = Ticket(to.0 + 1);
        let holes = if config.has(Bug::NoHoles) || config.has(Bug::Tombstones) { found } else { !0 };
        let legacy = self.reading.legacy;
        match self.row {
            Some(row) if self.reading.holes && found != 0 => {
                self.slots.filled(found, legacy);
                self.head = row.head;
            }
            _ if self.reading.holes => return self.end_reading(config, shared),
            _ if found == 0 && self.reading.until_empty => {
                self.slots.add_holes(config, range & holes, legacy);
                return self.end_reading(config, shared);
            }
            _ if range == 0 => return self.end_reading(config, shared),
            _ => {
                // Nobody knows how far the epoch goes: what is empty after the last entry may not have been handed out.
                let last = self.chunk.entries().last().map(|(ticket, _)| *ticket);
                let ends = self.reading.until_empty && !config.has(Bug::HeadPastTheEnd);
                self.head = last.filter(|_| ends).unwrap_or(to);
                let read = range & tickets(self.head.epoch_start(), self.head);
                self.slots.committed(config, read & holes, found, legacy);
                self.slots.add_holes(config, range & !read & holes, legacy);
                self.missing += (self.gone_back & range & self.slots.holes(legacy)).count_ones() as u8;
            }
        }
        self.at = if config.has(Bug::DeleteBeforeCommit) { At::DeleteFirst } else { At::Begin };
    }

    fn end_reading(&mut self, config: &Config, shared: &Shared) {
        if self.failing {
            return self.leave_server(config, shared);
        }
        (self.reading, self.in_window, self.found, self.reader) = (Reading::NONE, 0, false, Reader::None);
        (self.reached, self.first) = (Ticket(0), Ticket(0));
        self.go_on(config, shared);
    }

    pub fn transaction(&self) -> Transaction {
        let missing = self.row.map_or(0, |row| row.missing) + self.missing;
        let to = Row { head: self.head, slots: self.slots, missing };
        Transaction { queue: self.queue, from: self.row, to, chunk: self.chunk, adrift: false }
    }

    pub fn step(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        if self.is_at_the_database() {
            return self.step_at_database(config, shared, fate);
        }
        let reads = matches!(self.at, At::Read | At::Close);
        let broken = match self.at {
            At::Read | At::Close => self.reader == Reader::Broken,
            // A connection of its own.
            At::Connect => false,
            _ => std::mem::replace(&mut self.connected, true) && self.broken,
        };
        let before = *self;
        if fate != Fate::NeverSent && !broken {
            self.step_at_memcached(config, shared, fate == Fate::NoMemory);
        }
        if matches!(fate, Fate::NeverSent | Fate::AnswerLost) || broken {
            *self = before;
            match reads {
                true => {
                    (self.failing, self.reading.slots) = (true, 0);
                    self.write(config, shared);
                }
                false => self.leave_server(config, shared),
            }
        }
    }

    pub fn is_broken(&self) -> bool {
        match self.at {
            At::Read | At::Close => self.reader == Reader::Broken,
            At::Connect => false,
            _ => self.broken,
        }
    }
}
