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

    pub fn continues(self, head: Ticket) -> bool {
        self.epoch() == head.epoch() && head <= self
    }
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    Empty,
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
    Epochs,
    Legacy,
    Mark,
    Slot(Ticket),
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Memcached {
    /// 0 is free; whatever is above 1 has been counted up by those who wait.
    pub lock: Option<u8>,
    pub curr: Option<Ticket>,
    pub head: Option<Ticket>,
    /// A bit for every epoch noted.
    pub epochs: Option<u16>,
    pub legacy: Option<u8>,
    pub mark: Mark,
    /// 0 is empty, 1 is closed, else the ballot and 2: bytes are quick to hash.
    slots: [u8; SLOTS],
}

impl Memcached {
    pub const EMPTY: Memcached = Memcached {
        lock: None,
        curr: None,
        head: None,
        epochs: None,
        legacy: None,
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
        [
            self.lock.map(|_| Key::Lock),
            self.curr.map(|_| Key::Curr),
            self.head.map(|_| Key::Head),
            self.epochs.map(|_| Key::Epochs),
            self.legacy.map(|_| Key::Legacy),
            (self.mark != Mark::Free).then_some(Key::Mark),
        ]
        .into_iter()
        .flatten()
        .chain(slots)
    }

    pub fn forget(&mut self, key: Key) {
        match key {
            Key::Lock => self.lock = None,
            Key::Curr => self.curr = None,
            Key::Head => self.head = None,
            Key::Epochs => self.epochs = None,
            Key::Legacy => self.legacy = None,
            Key::Mark => self.mark = Mark::Free,
            Key::Slot(ticket) => self.set_slot(ticket, Slot::Empty),
        }
    }
}

/// The commands of `queue::lock::ensure_queue`. They go out as one batch, but others' commands may come between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ensure {
    /// `add` and `append` to `P-epochs`, which nobody else's command can tell apart.
    Epochs,
    Lock,
    /// Ends with what the caller does next.
    Curr,
}

impl Ensure {
    /// Does one command; `start` is ticket 0 of the epoch to begin. Gives the next.
    pub fn run(self, server: &mut Memcached, start: Ticket) -> Option<Ensure> {
        match self {
            Ensure::Epochs => {
                server.epochs = Some(server.epochs.unwrap_or(0) | 1 << start.epoch());
                Some(Ensure::Lock)
            }
            Ensure::Lock => {
                server.lock = server.lock.or(Some(0));
                Some(Ensure::Curr)
            }
            Ensure::Curr => {
                server.curr = server.curr.or(Some(start));
                None
            }
        }
    }
}
