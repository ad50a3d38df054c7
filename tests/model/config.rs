//! What one run of the checker looks at: who takes part, which faults may strike, and which mistake is seeded.

/// A mistake put into the protocol on purpose. Each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The protocol as it is.
    None,
    /// A writer whose connection broke fills the slot of its old ticket on a new one.
    ReAddOnNewConnection,
    /// A writer fills its slot with `set`.
    SetForAdd,
    /// A writer that finds its slot closed asks for the same slot again.
    SameTicketAgain,
    /// A writer may hold a ticket for longer than a tombstone lasts.
    TicketsLiveForever,
    /// The mark "has voted" is made to last before the entry is acknowledged.
    ConfirmFirst,
    /// A counter that is missing is begun where the first was.
    TicketsRepeat,
    /// A flush deletes slots before it commits what they held.
    DeleteBeforeCommit,
    /// Empty slots are passed by and not closed.
    NoTombstone,
    /// Tombstones are deleted with the entries.
    DeleteTombstones,
    /// The head is committed before the rows, by itself.
    HeadApart,
    /// Rows are written wherever the head stands, whoever has it locked.
    NoRowLock,
    /// A flusher that finds no counter goes on without one.
    LeaveCounterMissing,
    /// The noted epochs are read after the counter.
    EpochsAfterCounter,
    /// The head is read after the counter.
    HeadAfterCounter,
    /// An epoch that the counter has left is not read on.
    NoSalvage,
    /// `P-epochs` is not looked at.
    IgnoreEpochs,
    /// Tickets of epoch 0 are kept in the database as they are.
    NoShadow,
    /// Epoch 0 is not read on when the counter has left it by itself.
    NoLegacySalvage,
    /// The database takes a ballot as often as it comes.
    NoPrimaryKey,
}

/// How the queue stands in the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// memcached is empty.
    Nothing,
    /// weir has begun an epoch and given no ticket yet.
    Running,
    /// A script of the notes has begun the counter.
    Legacy,
}

/// Who takes part, and which faults may strike how often.
#[derive(Debug, Clone)]
pub struct Config {
    pub start: Start,
    pub servers: u8,
    pub copies: u8,
    /// Each casts one ballot.
    pub voters: u8,
    /// The voters are named, and all of them are one person.
    pub one_person: bool,
    /// Scripts of the notes.
    pub scripts: u8,
    /// How many messages each script stores.
    pub messages: u8,
    pub flushers: u8,
    /// How many flushes each flusher makes.
    pub flushes: u8,
    pub deaths: u8,
    pub restarts: u8,
    pub evictions: u8,
    /// Requests or answers lost on the way to memcached.
    pub cuts: u8,
    /// Transactions that abort, or whose outcome is not told.
    pub database_faults: u8,
    /// `READ_SLOTS` and `EMPTY_RUN` of the code: must be more than the tickets in flight.
    pub window: u8,
    /// Entries in a transaction: `CHUNK_BALLOTS` of the code.
    pub chunk: u8,
    /// `ATTEMPTS` of the code.
    pub attempts: u8,
    pub bug: Bug,
}

/// Two voters and a flusher on one server, and no faults.
pub const CALM: Config = Config {
    start: Start::Running,
    servers: 1,
    copies: 1,
    voters: 2,
    one_person: false,
    scripts: 0,
    messages: 1,
    flushers: 1,
    flushes: 1,
    deaths: 0,
    restarts: 0,
    evictions: 0,
    cuts: 0,
    database_faults: 0,
    window: 2,
    chunk: 1,
    attempts: 3,
    bug: Bug::None,
};

impl Config {
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// How many ballots there are; those of scripts come after those of voters.
    pub fn ballots(&self) -> u8 {
        self.voters + self.scripts * self.messages
    }
}
