//! A script of the old notes, to the letter: the lock, creating lock and counter when the lock is missing, `incr`,
//! `set`, release. The same as `put` in `tests/it/legacy.rs`. Its messages name nobody.
//!
//! Waiting for the lock is not a step: a script that waits goes on when the lock is free, or when whoever took it
//! died with it (the second of patience). A script whose server restarts between its steps ends there. A message that
//! there was no memory for is not acknowledged.

use crate::memcached::{Slot, Ticket};
use crate::world::Shared;

/// What the script does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Lock,
    CreateLock,
    CreateCurr,
    Take,
    /// `incr` found no counter: set it to 1, and go on with slot 0.
    BeginCurr,
    Fill,
    Unlock,
    Done,
}

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Script {
    pub at: At,
    /// The ballot of its next message.
    ballot: u8,
    left: u8,
    ticket: Ticket,
}

impl Script {
    pub fn new(first_ballot: u8, messages: u8) -> Script {
        Script { at: At::Lock, ballot: first_ballot, left: messages, ticket: Ticket(0) }
    }

    /// It has the lock, or has found none and takes it for its own: the notes make no difference.
    pub fn holds_lock(&self) -> bool {
        !matches!(self.at, At::Lock | At::Done)
    }

    pub fn step(&mut self, shared: &mut Shared, no_memory: bool) {
        let server = &mut shared.servers[0];
        self.at = match self.at {
            At::Lock if server.count_up_lock().is_none() => At::CreateLock,
            At::Lock => At::Take,
            At::CreateLock => {
                server.lock = Some(1);
                At::CreateCurr
            }
            At::CreateCurr => {
                server.curr = Some(Ticket(0));
                At::Take
            }
            At::Take => match server.take_ticket() {
                Some(ticket) => {
                    self.ticket = ticket;
                    At::Fill
                }
                None => At::BeginCurr,
            },
            At::BeginCurr => {
                server.curr = Some(Ticket(1));
                self.ticket = Ticket(0);
                At::Fill
            }
            At::Fill if no_memory => {
                server.set_slot(self.ticket, Slot::Empty);
                At::Unlock
            }
            At::Fill => {
                server.set_slot(self.ticket, Slot::Filled(self.ballot));
                shared.acknowledged |= 1 << self.ballot;
                shared.kept(self.ballot);
                At::Unlock
            }
            At::Unlock => {
                server.lock = Some(0);
                (self.ballot, self.left, self.ticket) = (self.ballot + 1, self.left - 1, Ticket(0));
                if self.left == 0 { At::Done } else { At::Lock }
            }
            At::Done => At::Done,
        };
    }

    pub fn end(&mut self) {
        self.at = At::Done;
        self.ticket = Ticket(0);
    }
}
