//! The database: the queues' rows, ballots under their primary key, and transactions that hold a row lock until they
//! end.
//!
//! Mirrors `store::fold` (`mysql_batch::write`, `sqlite::fold`): lock and compare the row, insert, commit. What a
//! transaction inserts nobody sees before its commit, so here it is written down when it begins and
//! applied when it ends. An insert of a queue's first row is taken for a lock on it: the databases let one of two through.

use crate::config::{Bug, Config};
use crate::memcached::{Ticket, Tickets};

/// How many ballots the model has room for.
pub const BALLOTS_MAX: usize = 6;

/// How many queues: one for each id that a server has had, and one for the address of each server.
pub const QUEUES: usize = 7;

/// Entries of one transaction: ticket and ballot of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    entries: [(Ticket, u8); 6],
    len: u8,
}

impl Chunk {
    pub const EMPTY: Chunk = Chunk { entries: [(Ticket(0), 0); 6], len: 0 };

    pub fn push(&mut self, ticket: Ticket, ballot: u8) {
        self.entries[usize::from(self.len)] = (ticket, ballot);
        self.len += 1;
    }

    pub fn entries(&self) -> &[(Ticket, u8)] {
        &self.entries[..usize::from(self.len)]
    }

    pub fn tickets(&self) -> Tickets {
        self.entries().iter().fold(0, |set, (ticket, _)| set | 1 << ticket.0)
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

/// The slots up to a queue's head. Mirrors `poll::slot_map`, whose ranges are sets here. Slots of epoch 0, whose tickets
/// are numbered under a shadow, are others than those of the same numbers in the shadow's own epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotMap {
    /// Committed and not deleted: first those of their own epochs, then those of epoch 0.
    kept: [Tickets; 2],
    /// Empty when they were read.
    holes: [Tickets; 2],
    /// Those of `kept` that are not to be deleted before the database goes back.
    long: Tickets,
    /// How many entries have been committed.
    pub total: u8,
}

impl SlotMap {
    pub const EMPTY: SlotMap = SlotMap { kept: [0; 2], holes: [0; 2], long: 0, total: 0 };

    /// `range` was read and is committed; `found` had entries.
    pub fn committed(&mut self, config: &Config, range: Tickets, found: Tickets, legacy: bool) {
        self.count(found, legacy);
        if found != 0 {
            self.kept[usize::from(legacy)] |= range;
        }
        if !config.has(Bug::FoundStaysHole) {
            self.give_up(found, legacy);
        }
        self.add_holes(config, range & !found, legacy);
    }

    /// Entries were found in holes.
    pub fn filled(&mut self, found: Tickets, legacy: bool) {
        self.count(found, legacy);
        self.give_up(found, legacy);
        self.kept[usize::from(legacy)] |= found;
    }

    /// Counts entries that are not kept already.
    fn count(&mut self, found: Tickets, legacy: bool) {
        self.total += (found & !self.entries()[usize::from(legacy)]).count_ones() as u8;
    }

    /// The entries that are kept.
    fn entries(&self) -> [Tickets; 2] {
        [self.kept[0] & !self.holes[0], self.kept[1] & !self.holes[1]]
    }

    /// How many entries are deleted once those that are due are.
    pub fn count_deleted(&self, early: bool) -> u8 {
        let mut left = *self;
        left.deleted(early);
        self.total - left.entries().iter().map(|entries| entries.count_ones() as u8).sum::<u8>()
    }

    pub fn add_holes(&mut self, config: &Config, slots: Tickets, legacy: bool) {
        let other = if config.has(Bug::OneNumbering) { self.holes[usize::from(!legacy)] } else { 0 };
        self.holes[usize::from(legacy)] |= slots & !other;
    }

    pub fn give_up(&mut self, holes: Tickets, legacy: bool) {
        self.holes[usize::from(legacy)] &= !holes;
    }

    pub fn holes(&self, legacy: bool) -> Tickets {
        self.holes[usize::from(legacy)]
    }

    pub fn keeps_legacy(&self) -> bool {
        self.kept[1] != 0
    }

    /// What is kept and due; with `early` only what is never kept for any time.
    fn due(&self, early: bool) -> [Tickets; 2] {
        [if early { 0 } else { self.kept[0] & !self.long }, self.kept[1]]
    }

    pub fn due_deletions(&self, config: &Config, early: bool) -> [Tickets; 2] {
        let [due, due_legacy] = self.due(early);
        match config.has(Bug::DeleteHoles) {
            true => [due, due_legacy],
            false => [due & !self.holes[0], due_legacy & !self.holes[1]],
        }
    }

    /// What was due is deleted.
    pub fn deleted(&mut self, early: bool) {
        let [due, due_legacy] = self.due(early);
        self.kept[0] &= !due;
        self.kept[1] &= !due_legacy;
    }

    /// Legacy writers have begun the numbers of epoch 0 anew: what is kept there is under other numbers now.
    pub fn forget_kept_legacy_except(&mut self, shadow: Tickets) {
        self.kept[1] &= shadow;
    }

    pub fn forget_legacy_holes_except(&mut self, shadow: Tickets) {
        self.holes[1] &= shadow;
    }

    /// Which of what is kept must be kept for long: what was not kept in `before`.
    fn keep_for_long(&mut self, before: Option<SlotMap>) {
        self.long |= self.entries()[0] & !before.map_or(0, |before| before.entries()[0]);
    }
}

/// A queue's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub head: Ticket,
    pub slots: SlotMap,
    /// Slots whose entries are lost because the database had gone back.
    pub missing: u8,
}

impl Row {
    /// What is compared.
    fn is(config: &Config, left: Option<Row>, right: Option<Row>) -> bool {
        let what = |row: Row| (row.head, if config.has(Bug::RowByHead) { SlotMap::EMPTY } else { row.slots });
        left.map(what) == right.map(what)
    }
}

/// A flusher's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transaction {
    pub queue: u8,
    pub from: Option<Row>,
    pub to: Row,
    pub chunk: Chunk,
    /// `COMMIT` is on its way and nobody waits for the answer.
    pub adrift: bool,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Committed {
    pub rows: [Option<Row>; QUEUES],
    /// How often each ballot is counted.
    pub tally: [u8; BALLOTS_MAX],
    /// Keys of nameless ballots, made of the ticket.
    nameless: Tickets,
}

/// The database, with what it must never have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Database {
    pub committed: Committed,
    /// One for each flusher.
    pub open: [Option<Transaction>; 2],
    /// What it will be put back to.
    pub snapshot: Option<Committed>,
    pub has_gone_back: bool,
    /// Somebody wrote although the row was another one.
    pub written_without_right: bool,
    /// A head went back within its epoch.
    pub head_went_back: bool,
}

impl Database {
    pub const EMPTY: Database = Database {
        committed: Committed { rows: [None; QUEUES], tally: [0; BALLOTS_MAX], nameless: 0 },
        open: [None; 2],
        snapshot: None,
        has_gone_back: false,
        written_without_right: false,
        head_went_back: false,
    };

    pub fn row(&self, queue: u8) -> Option<Row> {
        self.committed.rows[usize::from(queue)]
    }

    pub fn missing(&self) -> u8 {
        self.committed.rows.iter().flatten().map(|row| row.missing).sum()
    }

    /// `SELECT head, slots ... FOR UPDATE NOWAIT`, and whether they are what they should be. Tells whether it went on.
    pub fn begin(&mut self, config: &Config, flusher: usize, transaction: Transaction) -> bool {
        let queue = transaction.queue;
        let locked = self.open.iter().flatten().any(|open| open.queue == queue);
        let moved = !Row::is(config, self.row(queue), transaction.from);
        if !config.has(Bug::NoRowLock) && (locked || moved) {
            return false;
        }
        self.open[flusher] = Some(transaction);
        if config.has(Bug::HeadApart) {
            self.write_row(&transaction);
        }
        true
    }

    /// `COMMIT`, as the database does it. Gives the row that was written, if there was a transaction.
    pub fn commit(&mut self, config: &Config, flusher: usize) -> Option<Row> {
        let mut transaction = self.open[flusher].take()?;
        match self.snapshot {
            Some(_) if config.keep => transaction.to.slots.keep_for_long(transaction.from.map(|row| row.slots)),
            _ => transaction.to.slots.long = 0,
        }
        if !config.has(Bug::HeadApart) {
            self.write_row(&transaction);
        }
        for (ticket, ballot) in transaction.chunk.entries() {
            match *ballot < config.voters {
                true => self.insert_named(config, *ballot),
                false => self.insert_nameless(config, *ticket, *ballot),
            }
        }
        Some(transaction.to)
    }

    pub fn roll_back(&mut self, flusher: usize) {
        self.open[flusher] = None;
    }

    /// It will be put back to what it is now.
    pub fn take_snapshot(&mut self) {
        self.snapshot = Some(self.committed);
    }

    pub fn go_back(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            (self.committed, self.open, self.has_gone_back) = (snapshot, [None; 2], true);
        }
    }

    fn write_row(&mut self, transaction: &Transaction) {
        let row = &mut self.committed.rows[usize::from(transaction.queue)];
        let (before, from, to) = (*row, transaction.from, transaction.to);
        let what = |row: Row| (row.head, row.slots);
        self.written_without_right |= before.map(what) != from.map(what);
        let back = |row: Row| to.head < row.head && to.head.epoch() == row.head.epoch();
        self.head_went_back |= before.is_some_and(back);
        *row = Some(to);
    }

    /// `INSERT IGNORE` of a ballot that carries its identity, and its share of the tally.
    pub fn insert_named(&mut self, config: &Config, ballot: u8) {
        let tally = &mut self.committed.tally[usize::from(ballot)];
        if *tally == 0 || config.has(Bug::NoPrimaryKey) {
            *tally = (*tally + 1).min(2);
        }
    }

    fn insert_nameless(&mut self, config: &Config, ticket: Ticket, ballot: u8) {
        let Committed { nameless, tally, .. } = &mut self.committed;
        if *nameless >> ticket.0 & 1 == 0 || config.has(Bug::NoPrimaryKey) {
            *nameless |= 1 << ticket.0;
            let tally = &mut tally[usize::from(ballot)];
            *tally = (*tally + 1).min(2);
        }
    }
}
