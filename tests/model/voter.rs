//! A voter: one ballot, cast once. Mirrors `Booth::cast` of `poll::vote` from the moment the poll is known.
//!
//! | step | code |
//! |---|---|
//! | [`At::Claim`] | `queue::mark::claim`, its two looks taken as one |
//! | [`At::Take`] | `incr` of `queue::writer::take_tickets` |
//! | [`At::Ensure`] | `queue::lock::ensure_queue` |
//! | [`At::Fill`] | `add` of `queue::writer::enqueue`; giving up a ticket older than `TICKET_LIFE` is a step of its own |
//! | [`At::Confirm`] | `queue::mark::confirm` |
//! | [`At::Store`] | `Booth::store`, a fold without a queue |
//! | [`At::Spool`] | `Booth::spool` |
//!
//! A ticket that `enqueue` took ahead, with its last entry, is for the model one that the voter took and was slow to fill.
//!
//! A failure of any exchange is the end of `Servers::attempt`: on to the next server in rank, never back.

use crate::config::{Bug, Config};
use crate::memcached::{Ensure, Mark, Slot, Ticket};
use crate::world::{Fate, Shared};

/// What the voter does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Claim,
    Take,
    Ensure(Ensure),
    Fill,
    Confirm,
    Store,
    Spool,
    /// Taken, or told that it has voted or is about to, or dead.
    Done,
}

/// A voter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Voter {
    pub at: At,
    pub ballot: u8,
    /// Ranks its servers from here.
    first: u8,
    rank: u8,
    copies: u8,
    tickets: u8,
    ensured: u8,
    /// The ticket held, or ticket 0 of the epoch to begin.
    ticket: Ticket,
    pub connected: bool,
    pub broken: bool,
}

impl Voter {
    pub fn new(config: &Config, number: u8) -> Voter {
        Voter {
            at: if config.one_person { At::Claim } else { At::Take },
            ballot: if config.one_person { 0 } else { number },
            first: number % config.servers,
            rank: 0,
            copies: 0,
            tickets: 0,
            ensured: 0,
            ticket: Ticket(0),
            connected: false,
            broken: false,
        }
    }

    /// The server it is at work on.
    pub fn server(&self, config: &Config) -> Option<u8> {
        match self.at {
            At::Store | At::Spool | At::Done => None,
            _ => Some((self.first + self.rank) % config.servers),
        }
    }

    /// The ticket whose slot it may still fill.
    pub fn holds(&self) -> Option<Ticket> {
        (self.at == At::Fill).then_some(self.ticket)
    }

    /// Does the next step; an exchange that is not answered is the end of this server.
    pub fn step(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        let Some(server) = self.server(config) else { return self.fall_back(config, shared, fate) };
        let broken = std::mem::replace(&mut self.connected, true) && self.broken;
        if fate == Fate::NeverSent || broken {
            return self.leave(config, shared);
        }
        let index = usize::from(server);
        let answered = fate == Fate::Answered;
        let before = self.at;
        match self.at {
            At::Claim => {
                let mark = &mut shared.servers[index].mark;
                let found = *mark;
                if found == Mark::Free {
                    *mark = if config.has(Bug::ConfirmFirst) { Mark::Confirmed } else { Mark::Claimed };
                }
                if found != Mark::Free && self.copies == 0 && answered {
                    shared.turned_away |= found == Mark::Confirmed && shared.taken >> self.ballot & 1 == 0;
                    self.at = At::Done;
                    return;
                }
                self.at = At::Take;
            }
            At::Take => match shared.servers[index].take_ticket() {
                Some(ticket) => (self.ticket, self.at) = (ticket, At::Fill),
                None if self.ensured == config.attempts => return self.leave(config, shared),
                None => (self.ensured, self.at) = (self.ensured + 1, At::Ensure(Ensure::Epochs)),
            },
            At::Ensure(step) => {
                if step == Ensure::Epochs {
                    self.ticket = shared.fresh_epoch(config);
                }
                let next = step.run(&mut shared.servers[index], self.ticket);
                self.at = next.map_or(At::Take, At::Ensure);
            }
            At::Fill => return self.fill(config, shared, server, answered),
            At::Confirm => shared.servers[index].mark = Mark::Confirmed,
            At::Store | At::Spool | At::Done => {}
        }
        match (answered, self.at) {
            (false, _) => {
                self.at = before;
                self.leave(config, shared);
            }
            (true, At::Confirm) => self.copied(config, shared),
            _ => {}
        }
    }

    fn fill(&mut self, config: &Config, shared: &mut Shared, server: u8, answered: bool) {
        let memcached = &mut shared.servers[usize::from(server)];
        let stored = match config.has(Bug::SetForAdd) {
            true => {
                memcached.set_slot(self.ticket, Slot::Filled(self.ballot));
                true
            }
            false => memcached.add_slot(self.ticket, Slot::Filled(self.ballot)),
        };
        if stored {
            shared.kept(self.ballot);
        }
        match (answered, stored) {
            (false, _) => self.leave(config, shared),
            (true, true) => {
                self.copies += 1;
                shared.taken |= 1 << self.ballot;
                if config.one_person { self.at = At::Confirm } else { self.copied(config, shared) }
            }
            (true, false) => self.another_ticket(config, shared),
        }
    }

    /// The slot is closed, or the ticket too old.
    pub fn another_ticket(&mut self, config: &Config, shared: &mut Shared) {
        if config.has(Bug::SameTicketAgain) {
            return;
        }
        self.tickets += 1;
        match self.tickets == config.attempts {
            true => {
                shared.starved |= 1 << self.ballot;
                self.leave(config, shared);
            }
            false => (self.at, self.ticket) = (At::Take, Ticket(0)),
        }
    }

    /// This server has it.
    fn copied(&mut self, config: &Config, shared: &mut Shared) {
        match self.copies >= config.copies {
            true => self.acknowledge(shared),
            false => self.leave(config, shared),
        }
    }

    /// On to the next server, or to the database when no server has taken it.
    fn leave(&mut self, config: &Config, shared: &mut Shared) {
        if config.has(Bug::ReAddOnNewConnection) && self.at == At::Fill {
            (self.connected, self.broken) = (false, false);
            return;
        }
        let rank = self.rank + 1;
        let at = if config.one_person { At::Claim } else { At::Take };
        let next =
            Voter { rank, tickets: 0, ensured: 0, ticket: Ticket(0), connected: false, broken: false, at, ..*self };
        *self = next;
        if rank == config.servers || self.copies >= config.copies {
            self.at = At::Store;
            if self.copies > 0 {
                self.acknowledge(shared);
            }
        }
    }

    /// The voter is told that its ballot is taken.
    fn acknowledge(&mut self, shared: &mut Shared) {
        shared.acknowledged |= 1 << self.ballot;
        shared.taken |= 1 << self.ballot;
        self.end();
    }

    fn fall_back(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        match (self.at, fate) {
            (At::Store, Fate::Answered) => {
                shared.database.insert_named(config, self.ballot);
                self.acknowledge(shared);
            }
            (At::Store, Fate::AnswerLost) => {
                shared.database.insert_named(config, self.ballot);
                self.at = At::Spool;
            }
            (At::Store, _) => self.at = At::Spool,
            _ => {
                shared.spool |= 1 << self.ballot;
                self.acknowledge(shared);
            }
        }
    }

    /// Nothing of its way is left in the state: many ways end in one state.
    pub fn end(&mut self) {
        let Voter { ballot, first, .. } = *self;
        *self = Voter {
            at: At::Done,
            ballot,
            first,
            rank: 0,
            copies: 0,
            tickets: 0,
            ensured: 0,
            ticket: Ticket(0),
            connected: false,
            broken: false,
        };
    }
}
