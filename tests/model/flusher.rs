//! A flusher: one `Drain::run` of `poll::drain` on each server in turn, then the spool, as `poll::flush` does it.
//!
//! | step | code |
//! |---|---|
//! | [`At::Head`] | `store.queue_head` of `Drain::run` |
//! | [`At::Lock`], [`At::Ensure`], [`At::Unlock`] | `queue::lock` |
//! | [`At::Epochs`], [`At::Counter`], [`At::Hint`], [`At::Shadow`], [`At::ShadowLook`] | `queue::reader::position` |
//! | [`At::SweepLook`], [`At::SweepDelete`], [`At::SweepHint`] | `Drain::sweep` |
//! | [`At::Plan`], [`At::ForgetShadow`] | `Drain::salvage_and_plan` |
//! | [`At::Read`], [`At::Close`] | `queue::reader::fetch`, slot by slot |
//! | [`At::Begin`], [`At::Commit`] | `Drain::write`, `store::fold` |
//! | [`At::Delete`], [`At::Note`] | `queue::reader::delete`, `set_head` |
//! | [`At::LeaveLook`] to [`At::LeaveRestore`] | `queue::reader::leave_legacy_epoch` |
//! | [`At::SpoolCommit`], [`At::SpoolRemove`] | `Flusher::drain_spool` |
//!
//! The thread that reads ahead is taken to be as far ahead as can be: a span is read to its end, then written chunk
//! by chunk. What a slower reader would see is what this one sees when the others act earlier.

use crate::config::{Bug, Config};
use crate::database::{Chunk, Transaction};
use crate::memcached::{Ensure, Slot, Ticket};
use crate::world::{Fate, Shared};

/// What the flusher does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Head,
    Lock,
    Ensure(Ensure),
    Epochs,
    Counter,
    Hint,
    Shadow,
    ShadowLook,
    Unlock,
    SweepLook,
    SweepDelete,
    SweepHint,
    Plan,
    Read,
    Close,
    Begin,
    Commit,
    Delete,
    Note,
    ForgetShadow,
    LeaveLook,
    LeaveForget,
    LeaveMove,
    LeaveRestore,
    SpoolCommit,
    SpoolRemove,
    Done,
}

/// Slots to read. Mirrors `read_ahead::Span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    pub after: Ticket,
    pub last: Ticket,
    pub legacy: bool,
    pub until_empty: bool,
}

impl Span {
    const NONE: Span = Span { after: Ticket(0), last: Ticket(0), legacy: false, until_empty: false };

    pub fn first(self) -> Ticket {
        let zero = self.legacy && self.after.sequence() == 0;
        if zero || self.after == self.after.epoch_end() { self.after } else { self.after.next() }
    }

    pub fn slot(self, ticket: Ticket) -> Ticket {
        if self.legacy { Ticket(ticket.sequence()) } else { ticket }
    }
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
    pub holds_lock: bool,
    pub rounds: u8,
    /// In `leave_legacy_epoch`, not in `position`.
    pub leaving: bool,
    pub moved: bool,
    /// The head as the drain began, and as this drain last saw it.
    pub seen: Option<Ticket>,
    pub head: Option<Ticket>,
    pub last: Option<Ticket>,
    pub noted: Option<Ticket>,
    pub shadow: Option<Ticket>,
    /// Whether the counter stands in epoch 0.
    pub legacy: bool,
    /// What is still to be read: the old epoch from the head, epoch 0, noted epochs, the counter's epoch.
    pub old: bool,
    pub orphans: bool,
    pub unread: u16,
    pub main: Option<Span>,
    pub span: Span,
    pub next: Ticket,
    pub in_window: u8,
    pub found: bool,
    /// Read and not yet written.
    pub rest: Chunk,
    pub chunk: Chunk,
    pub to: Ticket,
    /// Slots of the chunk that are deleted, or slots to sweep as bits.
    pub deleted: u8,
    pub start: Ticket,
}

impl Flusher {
    pub fn new(config: &Config, number: u8) -> Flusher {
        Flusher {
            at: At::Head,
            number,
            server: 0,
            flushes: config.flushes,
            connected: false,
            broken: false,
            holds_lock: false,
            rounds: 0,
            leaving: false,
            moved: false,
            seen: None,
            head: None,
            last: None,
            noted: None,
            shadow: None,
            legacy: false,
            old: false,
            orphans: false,
            unread: 0,
            main: None,
            span: Span::NONE,
            next: Ticket(0),
            in_window: 0,
            found: false,
            rest: Chunk::EMPTY,
            chunk: Chunk::EMPTY,
            to: Ticket(0),
            deleted: 0,
            start: Ticket(0),
        }
    }

    pub fn is_at_the_database(&self) -> bool {
        matches!(self.at, At::Head | At::Begin | At::Commit | At::SpoolCommit | At::SpoolRemove | At::Done)
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

    /// The span after `salvage_and_plan` or after another, or the end of a round.
    pub fn next_span(&mut self, config: &Config, shared: &Shared) {
        let end = |after: Ticket, legacy| Span { after, last: after.epoch_end(), legacy, until_empty: true };
        if std::mem::take(&mut self.old)
            && let Some(after) = self.seen
        {
            return self.read_span(config, shared, end(after, false));
        }
        if self.unread != 0 {
            let epoch = self.unread.trailing_zeros();
            self.unread &= self.unread - 1;
            return self.read_span(config, shared, end(Ticket::start_of(epoch as u8), false));
        }
        if std::mem::take(&mut self.orphans)
            && let Some(shadow) = self.shadow
        {
            let after = self.seen.filter(|seen| seen.continues(shadow)).unwrap_or(shadow);
            return self.read_span(config, shared, end(after, true));
        }
        if let Some(span) = self.main.take() {
            return self.read_span(config, shared, span);
        }
        match self.legacy && self.shadow.is_some() && self.rounds < 2 {
            true => {
                self.leaving = true;
                self.at = At::Lock;
            }
            false => self.leave_server(config, shared),
        }
    }

    fn read_span(&mut self, config: &Config, shared: &Shared, span: Span) {
        (self.span, self.next, self.in_window, self.found) = (span, span.first(), 0, false);
        self.to = span.after;
        match self.next > span.last {
            true => self.write(config, shared),
            false => self.at = At::Read,
        }
    }

    /// The slot is read or closed: to the next one, or to writing.
    pub fn settled(&mut self, config: &Config, shared: &Shared) {
        self.to = self.next;
        self.in_window += 1;
        let end_of_window = self.in_window == config.window;
        let end = self.next == self.span.last || end_of_window && self.span.until_empty && !self.found;
        if end_of_window {
            (self.in_window, self.found) = (0, false);
        }
        if end {
            return self.write(config, shared);
        }
        self.next = self.next.next();
        self.at = At::Read;
    }

    /// The next chunk of what has been read.
    pub fn write(&mut self, config: &Config, shared: &Shared) {
        (self.chunk, self.rest) = self.rest.split(config.chunk);
        self.deleted = 0;
        if self.chunk.entries().is_empty() && (self.span.until_empty || self.head == Some(self.to)) {
            let legacy_salvage = self.span.legacy && !self.legacy;
            (self.span, self.next, self.to) = (Span::NONE, Ticket(0), Ticket(0));
            return match legacy_salvage {
                true => self.at = At::ForgetShadow,
                false => self.next_span(config, shared),
            };
        }
        self.at = if config.has(Bug::DeleteBeforeCommit) { At::Delete } else { At::Begin };
    }

    pub fn transaction(&self) -> Transaction {
        let to = match (self.rest.entries().is_empty(), self.chunk.entries().last()) {
            (false, Some((ticket, _))) => *ticket,
            _ => self.to,
        };
        Transaction { server: self.server, from: self.head, to, chunk: self.chunk, adrift: false }
    }

    /// Where nothing more can come: the position is known and the sweep done.
    pub fn plan(&mut self, config: &Config, shared: &Shared) {
        let epochs = std::mem::take(&mut self.unread);
        let continued = self.last.zip(self.seen).is_some_and(|(last, seen)| last.continues(seen));
        if !continued {
            self.old = self.seen.is_some() && !config.has(Bug::NoSalvage);
            self.orphans = !self.legacy && !config.has(Bug::NoLegacySalvage) && self.shadow.is_some();
            let known = [self.seen, self.last].into_iter().flatten().fold(0, |bits, ticket| bits | 1 << ticket.epoch());
            self.unread = if config.has(Bug::IgnoreEpochs) { 0 } else { epochs & !known };
        }
        self.main = self.last.map(|last| {
            let start = self.seen.filter(|seen| last.continues(*seen)).unwrap_or(Ticket(last.0 & !7));
            let noted = self.noted.filter(|noted| last.continues(*noted) && noted.continues(start));
            Span {
                after: noted.unwrap_or(start),
                last,
                legacy: self.legacy && self.shadow.is_some(),
                until_empty: false,
            }
        });
        self.noted = None;
        self.next_span(config, shared);
    }

    /// The slots behind the head in which a drain may have left entries.
    pub fn sweep_span(&self, config: &Config) -> Option<Span> {
        let (head, last) = (self.seen?, self.last?);
        let orphaned = !self.legacy
            && !config.has(Bug::NoLegacySalvage)
            && self.shadow.is_some_and(|shadow| head.continues(shadow));
        if !orphaned && (!last.continues(head) || self.noted.is_some_and(|noted| noted.continues(head))) {
            return None;
        }
        let after = self.noted.filter(|noted| head.continues(*noted)).unwrap_or(Ticket(head.0 & !7));
        Some(Span { after, last: head, legacy: self.legacy && self.shadow.is_some() || orphaned, until_empty: false })
    }

    pub fn step(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        if self.is_at_the_database() {
            return self.step_at_database(config, shared, fate);
        }
        let broken = std::mem::replace(&mut self.connected, true) && self.broken;
        if fate == Fate::NeverSent || broken {
            return self.leave_server(config, shared);
        }
        let before = *self;
        self.step_at_memcached(config, shared);
        if fate != Fate::Answered {
            *self = before;
            self.leave_server(config, shared);
        }
    }

    fn read(&mut self, config: &Config, shared: &Shared, slot: Slot) {
        match slot {
            Slot::Filled(ballot) => {
                self.rest.push(self.next, ballot);
                self.found = true;
                self.settled(config, shared);
            }
            Slot::Closed => self.settled(config, shared),
            Slot::Empty if config.has(Bug::NoTombstone) => self.settled(config, shared),
            Slot::Empty => self.at = At::Close,
        }
    }

    pub fn look_at_slot(&mut self, config: &Config, shared: &Shared) {
        let slot = shared.servers[usize::from(self.server)].slot(self.span.slot(self.next));
        self.read(config, shared, slot);
    }
}
