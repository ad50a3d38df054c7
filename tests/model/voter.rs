//! A voter: one ballot, cast once. Mirrors `Booth::cast` of `poll::vote` from the moment the poll is known.
//!
//! | step | code |
//! |---|---|
//! | [`At::Claim`] | `queue::mark::claim`, one `mg N` |
//! | [`At::Take`] | `incr` of `queue::writer::take_tickets` |
//! | [`At::Start`] | `queue::start::start_queue` |
//! | [`At::Fill`] | `add` of `queue::writer::enqueue`; giving up a ticket older than `TICKET_LIFE` is a step of its own |
//! | [`At::Confirm`] | `queue::mark::confirm` |
//! | [`At::Store`] | `Booth::store`, a fold without a queue |
//! | [`At::Spool`] | `Booth::spool` |
//!
//! A ticket that `enqueue` took ahead, with its last entry, is for the model one that the voter took and was slow to fill.
//!
//! A wait for another process's counter may end at any moment before it is there.
//!
//! A failure of any exchange, an answer that there is no memory among them, is the end of `Servers::attempt`: on to the next server in rank, never back.

use crate::config::{Bug, Config};
use crate::memcached::{Mark, Slot, Starting, Ticket};
use crate::world::{Fate, Shared};

/// What the voter does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Claim,
    Take,
    Start(Starting),
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
    started: u8,
    /// It has waited for another process's counter, in vain.
    waited: bool,
    /// The ticket held, or ticket 0 of the epoch to begin.
    ticket: Ticket,
    pub connected: bool,
    pub broken: bool,
}

impl At {
    /// Where a voter begins at a server.
    fn first(config: &Config) -> At {
        if config.one_person { At::Claim } else { At::Take }
    }
}

impl Voter {
    pub fn new(config: &Config, number: u8) -> Voter {
        Voter {
            at: At::first(config),
            ballot: if config.one_person { 0 } else { number },
            first: number % config.servers,
            rank: 0,
            copies: 0,
            tickets: 0,
            started: 0,
            waited: false,
            ticket: Ticket(0),
            connected: false,
            broken: false,
        }
    }

    /// The server it is at work on.
    pub fn server(&self, config: &Config) -> Option<u8> {
        match self.at {
            At::Store | At::Spool | At::Done => None,
            _ if config.has(Bug::OneServerTwice) => Some(0),
            _ => Some((self.first + self.rank) % config.servers),
        }
    }

    /// Whether its ticket may get too old: a vote that went into the database by itself would be gone with what that loses.
    pub fn may_oversleep(&self, config: &Config) -> bool {
        let last = config.goes_back && self.tickets + 1 == config.attempts;
        self.at == At::Fill && config.restarts + config.deaths == 0 && !last
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
        if fate == Fate::NoMemory {
            return self.refused(config, shared, server);
        }
        match self.at {
            At::Claim => {
                let mark = &mut shared.servers[index].mark;
                let found = *mark;
                if found == Mark::Free {
                    *mark = if config.has(Bug::ConfirmFirst) { Mark::Confirmed } else { Mark::Claimed };
                }
                if found != Mark::Free && self.copies == 0 && answered {
                    shared.turned_away |= found == Mark::Confirmed && shared.taken >> self.ballot & 1 == 0;
                    self.end();
                    return;
                }
                self.at = At::Take;
            }
            At::Take => match shared.servers[index].take_ticket() {
                Some(ticket) => (self.ticket, self.at) = (ticket, At::Fill),
                None if self.started == config.attempts => return self.leave(config, shared),
                None => (self.started, self.at) = (self.started + 1, At::Start(Starting::Look)),
            },
            At::Start(step) => self.start(config, shared, index, step),
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

    /// Whether what it does next needs memory.
    pub fn needs_memory(&self, config: &Config, shared: &Shared) -> bool {
        let Some(server) = self.server(config).map(|server| &shared.servers[usize::from(server)]) else { return false };
        match self.at {
            At::Claim => server.mark == Mark::Free,
            At::Start(step) => server.creates(step),
            At::Fill | At::Confirm => true,
            At::Take | At::Store | At::Spool | At::Done => false,
        }
    }

    /// memcached has no memory. A number or a claim is then not created; an `add` or a `set` removes what is there.
    fn refused(&mut self, config: &Config, shared: &mut Shared, server: u8) {
        let memcached = &mut shared.servers[usize::from(server)];
        match self.at {
            At::Start(Starting::Lock) => self.at = At::Start(Starting::Curr { failed: true }),
            At::Confirm => {
                memcached.mark = Mark::Free;
                self.copied(config, shared);
            }
            At::Fill => {
                memcached.set_slot(self.ticket, Slot::Empty);
                self.leave(config, shared);
            }
            _ => self.leave(config, shared),
        }
    }

    fn start(&mut self, config: &Config, shared: &mut Shared, index: usize, step: Starting) {
        let next = match step {
            Starting::Look if shared.servers[index].curr.is_some() => Some(Starting::OnlyLock),
            Starting::Look => {
                self.ticket = shared.fresh_epoch(config);
                Some(Starting::Records)
            }
            Starting::OnlyLock => {
                shared.servers[index].lock = shared.servers[index].lock.or(Some(0));
                None
            }
            Starting::Records => Some(Starting::Record(shared.servers[index].recorded_epochs().1)),
            Starting::Record(number) => {
                let record = &mut shared.servers[index].epochs[usize::from(number)];
                if *record == 0 {
                    *record = self.ticket.epoch();
                }
                match (*record == self.ticket.epoch(), self.waited) {
                    (true, _) => Some(Starting::Lock),
                    (false, false) => Some(Starting::Wait),
                    (false, true) => Some(Starting::Records),
                }
            }
            Starting::Wait if shared.servers[index].curr.is_some() => None,
            Starting::Wait => {
                self.waited = true;
                Some(Starting::Records)
            }
            Starting::Lock => {
                shared.servers[index].lock = shared.servers[index].lock.or(Some(0));
                Some(Starting::Curr { failed: false })
            }
            Starting::Curr { failed } => {
                let server = &mut shared.servers[index];
                server.curr = server.curr.or(Some(self.ticket));
                if failed {
                    return self.leave(config, shared);
                }
                Some(Starting::Id)
            }
            Starting::Id => {
                shared.id_of(index);
                None
            }
        };
        self.at = next.map_or(At::Take, At::Start);
        if next.is_none() {
            (self.ticket, self.waited) = (Ticket(0), false);
        }
    }

    fn fill(&mut self, config: &Config, shared: &mut Shared, server: u8, answered: bool) {
        let stored = shared.servers[usize::from(server)].add_slot(self.ticket, Slot::Filled(self.ballot));
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

    /// The slot is filled, or the ticket too old.
    pub fn another_ticket(&mut self, config: &Config, shared: &mut Shared) {
        self.tickets += 1;
        match self.tickets == config.attempts {
            true => self.leave(config, shared),
            false => (self.at, self.ticket) = (At::Take, Ticket(0)),
        }
    }

    /// This server has it.
    fn copied(&mut self, config: &Config, shared: &mut Shared) {
        match self.copies >= config.copies {
            true => self.acknowledge(config, shared),
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
        *self = Voter {
            at: At::first(config),
            rank,
            tickets: 0,
            started: 0,
            waited: false,
            ticket: Ticket(0),
            connected: false,
            broken: false,
            ..*self
        };
        if rank == config.servers || self.copies >= config.copies {
            self.at = At::Store;
            if self.copies > 0 {
                self.acknowledge(config, shared);
            }
        }
    }

    /// The voter is told that its ballot is taken.
    fn acknowledge(&mut self, config: &Config, shared: &mut Shared) {
        if self.copies < config.copies {
            shared.short |= 1 << self.ballot;
        }
        shared.acknowledged |= 1 << self.ballot;
        shared.taken |= 1 << self.ballot;
        self.end();
    }

    fn fall_back(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        match (self.at, fate) {
            (At::Store, Fate::Answered) => {
                shared.database.insert_named(config, self.ballot);
                self.acknowledge(config, shared);
            }
            (At::Store, Fate::AnswerLost) => {
                shared.database.insert_named(config, self.ballot);
                self.at = At::Spool;
            }
            (At::Store, _) => self.at = At::Spool,
            _ => {
                shared.spool |= 1 << self.ballot;
                self.acknowledge(config, shared);
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
            started: 0,
            waited: false,
            ticket: Ticket(0),
            connected: false,
            broken: false,
        };
    }
}
