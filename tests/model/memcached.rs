//! One memcached server: the keys of one queue, and each command on them as one indivisible step, which is what
//! memcached makes of it. Commands sent in one batch are separate steps here wherever another client's
//! command between them can make a difference.

/// Sequence numbers in an epoch: a ticket here is `epoch << 3 | sequence`.
const SEQUENCE_BITS: u8 = 3;

/// 16 epochs of 8 tickets.
const SLOTS: usize = 128;

/// A ticket, small. Mirrors `queue::ticket::Ticket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u8);

impl Ticket {
    pub fn start_of(epoch: u8) -> Ticket {
        assert!(epoch < 16, "the model has too few epochs for this configuration");
        Ticket(epoch << SEQUENCE_BITS)
    }

    pub fn epoch(self) -> u8 {
        self.0 >> SEQUENCE_BITS
    }

    pub fn sequence(self) -> u8 {
        self.0 & 7
    }

    pub fn is_legacy(self) -> bool {
        self.epoch() == 0
    }

    pub fn next(self) -> Ticket {
        assert!(self.sequence() < 7, "the model has too few tickets in an epoch for this configuration");
        Ticket(self.0 + 1)
    }

    /// The last ticket that the model has in this epoch.
    pub fn epoch_end(self) -> Ticket {
        Ticket(self.0 | 7)
    }

    pub fn epoch_start(self) -> Ticket {
        Ticket(self.0 & !7)
    }

    /// The tickets of its epoch that come after it.
    pub fn rest_of_epoch(self) -> Tickets {
        tickets(Ticket(self.0 + 1), self.epoch_end())
    }

    pub fn continues(self, head: Ticket) -> bool {
        self.epoch() == head.epoch() && head <= self
    }
}

/// A set of tickets.
pub type Tickets = u128;

/// The tickets from `first` to `last`.
pub fn tickets(first: Ticket, last: Ticket) -> Tickets {
    (first.0..=last.0).fold(0, |set, ticket| set | 1 << ticket)
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    Empty,
    /// A tombstone, which nobody makes any more but [`crate::config::Bug::Tombstones`].
    Closed,
    Filled(u8),
}

/// A mark that somebody has voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Free,
    Claimed,
    Confirmed,
}

/// A key of the queue, for what is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Lock,
    Curr,
    Head,
    Epoch(u8),
    Legacy,
    Server,
    Mark,
    Slot(Ticket),
}

/// What was deleted on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// The server's id.
    pub id: u8,
    /// How many entries.
    pub count: u8,
    /// The last ticket; only for [`crate::config::Bug::AlarmByTicket`].
    pub last: Option<Ticket>,
}

/// How many records of epochs the model has room for.
const RECORDS: usize = 6;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Memcached {
    /// 0 is free; whatever is above 1 has been counted up by those who wait.
    pub lock: Option<u8>,
    pub curr: Option<Ticket>,
    /// What was deleted on the server.
    pub head: Option<Record>,
    /// The epoch in each record, or 0.
    pub epochs: [u8; RECORDS],
    pub legacy: Option<u8>,
    /// The server's id, which no other life of it has had.
    pub id: Option<u8>,
    pub mark: Mark,
    /// 0 is empty, 1 is closed, else the ballot and 2: bytes are quick to hash.
    slots: [u8; SLOTS],
}

impl Memcached {
    pub const EMPTY: Memcached = Memcached {
        lock: None,
        curr: None,
        head: None,
        epochs: [0; RECORDS],
        legacy: None,
        id: None,
        mark: Mark::Free,
        slots: [0; SLOTS],
    };

    pub fn slot(&self, ticket: Ticket) -> Slot {
        match self.slots[usize::from(ticket.0)] {
            0 => Slot::Empty,
            1 => Slot::Closed,
            ballot => Slot::Filled(ballot - 2),
        }
    }

    pub fn set_slot(&mut self, ticket: Ticket, slot: Slot) {
        self.slots[usize::from(ticket.0)] = match slot {
            Slot::Empty => 0,
            Slot::Closed => 1,
            Slot::Filled(ballot) => ballot + 2,
        };
    }

    /// `add`: tells whether it was stored.
    pub fn add_slot(&mut self, ticket: Ticket, slot: Slot) -> bool {
        let free = self.slot(ticket) == Slot::Empty;
        if free {
            self.set_slot(ticket, slot);
        }
        free
    }

    /// `incr P-curr`.
    pub fn take_ticket(&mut self) -> Option<Ticket> {
        self.curr = self.curr.map(Ticket::next);
        self.curr
    }

    /// `incr P-lock`.
    pub fn count_up_lock(&mut self) -> Option<u8> {
        self.lock = self.lock.map(|value| (value + 1).min(2));
        self.lock
    }

    pub fn holds(&self, ballot: u8) -> bool {
        self.slots.contains(&(ballot + 2))
    }

    /// Every key that is there.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let slots = (0..SLOTS as u8)
            .filter(|ticket| self.slots[usize::from(*ticket)] != 0)
            .map(|ticket| Key::Slot(Ticket(ticket)));
        let records = (0..RECORDS as u8).filter(|number| self.epochs[usize::from(*number)] != 0).map(Key::Epoch);
        [
            self.lock.map(|_| Key::Lock),
            self.curr.map(|_| Key::Curr),
            self.head.map(|_| Key::Head),
            self.legacy.map(|_| Key::Legacy),
            self.id.map(|_| Key::Server),
            (self.mark != Mark::Free).then_some(Key::Mark),
        ]
        .into_iter()
        .flatten()
        .chain(records)
        .chain(slots)
    }

    pub fn forget(&mut self, key: Key) {
        match key {
            Key::Lock => self.lock = None,
            Key::Curr => self.curr = None,
            Key::Head => self.head = None,
            Key::Epoch(number) => self.epochs[usize::from(number)] = 0,
            Key::Legacy => self.legacy = None,
            Key::Server => self.id = None,
            Key::Mark => self.mark = Mark::Free,
            Key::Slot(ticket) => self.set_slot(ticket, Slot::Empty),
        }
    }
}

/// The commands of `queue::start::start_queue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Starting {
    /// Is there a counter by now?
    Look,
    /// There is: only the lock may be missing.
    OnlyLock,
    /// Which number has the next record?
    Records,
    Record(u8),
    /// Another process had that record: wait for its counter, or in vain.
    Wait,
    /// `P-lock` and `P-curr` go out as one batch, but others' commands may come between.
    Lock,
    Curr {
        /// There was no memory for the lock.
        failed: bool,
    },
    Id,
}

impl Memcached {
    /// Mirrors `queue::start::recorded_epochs`: a bit for each epoch, and the number of the next record.
    pub fn recorded_epochs(&self) -> (u16, u8) {
        let epochs = self.epochs.iter().filter(|epoch| **epoch != 0).fold(0, |bits, epoch| bits | 1 << epoch);
        let next = self.epochs.iter().rposition(|epoch| *epoch != 0).map_or(0, |last| last + 1);
        (epochs, next as u8)
    }

    /// Whether a step needs memory: what is there already is not created.
    pub fn creates(&self, step: Starting) -> bool {
        match step {
            Starting::OnlyLock | Starting::Lock => self.lock.is_none(),
            Starting::Record(number) => self.epochs[usize::from(number)] == 0,
            Starting::Curr { .. } => self.curr.is_none(),
            Starting::Id => self.id.is_none(),
            Starting::Look | Starting::Records | Starting::Wait => false,
        }
    }
}
