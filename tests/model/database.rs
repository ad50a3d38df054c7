//! The database: heads, rows under their primary key, and transactions that hold a row lock until they end.
//!
//! Mirrors `store::fold` (`mysql_batch::write`, `sqlite::fold`): lock and compare the head, insert, commit. What a
//! transaction inserts nobody sees before its commit, so here it is written down when it begins and
//! applied when it ends. An insert of a queue's first row is taken for a lock on it: the databases let one of two through.

use crate::config::{Bug, Config};
use crate::memcached::Ticket;

/// How many ballots the model has room for.
pub const BALLOTS_MAX: usize = 6;

/// Entries of one transaction: ticket and ballot of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    entries: [(Ticket, u8); 4],
    len: u8,
}

impl Chunk {
    pub const EMPTY: Chunk = Chunk { entries: [(Ticket(0), 0); 4], len: 0 };

    pub fn push(&mut self, ticket: Ticket, ballot: u8) {
        self.entries[usize::from(self.len)] = (ticket, ballot);
        self.len += 1;
    }

    pub fn entries(&self) -> &[(Ticket, u8)] {
        &self.entries[..usize::from(self.len)]
    }

    /// Splits off what comes after the first `count`.
    pub fn split(&self, count: u8) -> (Chunk, Chunk) {
        let (mut first, mut rest) = (Chunk::EMPTY, Chunk::EMPTY);
        for (index, (ticket, ballot)) in self.entries().iter().enumerate() {
            let part = if index < usize::from(count) { &mut first } else { &mut rest };
            part.push(*ticket, *ballot);
        }
        (first, rest)
    }
}

/// A flusher's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transaction {
    pub server: u8,
    pub from: Option<Ticket>,
    pub to: Ticket,
    pub chunk: Chunk,
    /// `COMMIT` is on its way and nobody waits for the answer.
    pub adrift: bool,
}

/// The database, with what it must never have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Database {
    pub heads: [Option<Ticket>; 2],
    /// One for each flusher.
    pub open: [Option<Transaction>; 2],
    /// How often each ballot is counted.
    pub tally: [u8; BALLOTS_MAX],
    /// Keys of nameless ballots, made of queue and ticket: a bit for each ticket.
    nameless: [u128; 2],
    /// Somebody wrote although the head had moved on.
    pub written_without_right: bool,
    /// A head went back within its epoch.
    pub went_back: bool,
}

impl Database {
    pub const EMPTY: Database = Database {
        heads: [None; 2],
        open: [None; 2],
        tally: [0; BALLOTS_MAX],
        nameless: [0; 2],
        written_without_right: false,
        went_back: false,
    };

    /// `SELECT head ... FOR UPDATE NOWAIT`, and whether it is where it should be. Tells whether it went on.
    pub fn begin(&mut self, config: &Config, flusher: usize, transaction: Transaction) -> bool {
        let server = transaction.server;
        let locked = self.open.iter().flatten().any(|open| open.server == server);
        if !config.has(Bug::NoRowLock) && (locked || self.heads[usize::from(server)] != transaction.from) {
            return false;
        }
        self.open[flusher] = Some(transaction);
        if config.has(Bug::HeadApart) {
            self.move_head(&transaction);
        }
        true
    }

    /// `COMMIT`, as the database does it.
    pub fn commit(&mut self, config: &Config, flusher: usize) {
        let Some(transaction) = self.open[flusher].take() else { return };
        if !config.has(Bug::HeadApart) {
            self.move_head(&transaction);
        }
        for (ticket, ballot) in transaction.chunk.entries() {
            match *ballot < config.voters {
                true => self.insert_named(config, *ballot),
                false => self.insert_nameless(config, transaction.server, *ticket, *ballot),
            }
        }
    }

    pub fn roll_back(&mut self, flusher: usize) {
        self.open[flusher] = None;
    }

    fn move_head(&mut self, transaction: &Transaction) {
        let head = &mut self.heads[usize::from(transaction.server)];
        self.written_without_right |= *head != transaction.from;
        self.went_back |= head.is_some_and(|head| transaction.to < head && transaction.to.epoch() == head.epoch());
        *head = Some(transaction.to);
    }

    /// `INSERT IGNORE` of a ballot that carries its identity, and its share of the tally.
    pub fn insert_named(&mut self, config: &Config, ballot: u8) {
        let tally = &mut self.tally[usize::from(ballot)];
        if *tally == 0 || config.has(Bug::NoPrimaryKey) {
            *tally = (*tally + 1).min(2);
        }
    }

    fn insert_nameless(&mut self, config: &Config, server: u8, ticket: Ticket, ballot: u8) {
        let keys = &mut self.nameless[usize::from(server)];
        if *keys >> ticket.0 & 1 == 0 || config.has(Bug::NoPrimaryKey) {
            *keys |= 1 << ticket.0;
            let tally = &mut self.tally[usize::from(ballot)];
            *tally = (*tally + 1).min(2);
        }
    }
}
