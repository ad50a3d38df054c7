//! What one run of the checker looks at: who takes part, which faults may strike, and which mistake is seeded.

/// A mistake put into the protocol on purpose. Each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The protocol as it is.
    None,
    /// A writer whose connection broke fills the slot of its old ticket on a new one.
    ReAddOnNewConnection,
    /// A writer may hold a ticket for longer than its empty slot is read again.
    TicketsLiveForever,
    /// The mark "has voted" is made to last before the entry is acknowledged.
    ConfirmFirst,
    /// A counter that is missing is begun where the first was.
    TicketsRepeat,
    /// Both copies go to one server that has two names.
    OneServerTwice,
    /// A flush deletes slots before it commits what they held.
    DeleteBeforeCommit,
    /// A flush deletes what its own commit has as committed, without reading the row again.
    DeleteOnCommit,
    /// The holes in a range that is kept are deleted with it.
    DeleteHoles,
    /// An empty slot is closed by an `add` of a tombstone.
    Tombstones,
    /// Empty slots are passed by and not recorded as holes.
    NoHoles,
    /// A reader waits until an empty slot is filled.
    WaitForSlot,
    /// The head goes to the end of the empty slots after the last entry of an epoch that the counter is not in.
    HeadPastTheEnd,
    /// A hole in epoch 0 is taken for known if the slot of that number outside of epoch 0 is a hole.
    OneNumbering,
    /// Epoch 0 is left although an epoch may have begun between the reading of the records and that of the counter.
    LeaveUnread,
    /// Epoch 0 is left on the word of the commit, without reading the row again.
    LeaveOnCommit,
    /// A hole in which an entry is found by the way stays a hole.
    FoundStaysHole,
    /// The records of epochs are read after the counter.
    EpochsAfterCounter,
    /// What is missing is told by the tickets after the head up to the last one deleted, and not by counting.
    AlarmByTicket,
    /// What is deleted is recorded after it was deleted.
    RecordAfter,
    /// The shadow is forgotten before what was read under it is deleted.
    ForgetShadowFirst,
    /// Holes of epoch 0 are forgotten before its numbers are read anew under the shadow that there is now.
    ForgetHolesFirst,
    /// Holes of epoch 0 are kept when its numbers begin anew.
    LegacyHolesStay,
    /// What was deleted is not recorded on the server.
    NoRecord,
    /// The record of what was deleted does not say on which server.
    RecordWithoutId,
    /// The head is committed before the rows, by itself.
    HeadApart,
    /// Rows are written wherever the head stands, whoever has it locked.
    NoRowLock,
    /// Only the head of the queue's row is compared, not its slot map.
    RowByHead,
    /// The queue's row is read after the counter.
    HeadAfterCounter,
    /// An epoch that the counter has left is not read on.
    NoSalvage,
    /// The records of epochs are not read.
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
    /// Entries are kept after the commit for longer than the database goes back. A flush may come before anything is due.
    pub keep: bool,
    pub deaths: u8,
    pub restarts: u8,
    pub evictions: u8,
    /// Requests or answers lost on the way to memcached.
    pub cuts: u8,
    /// Stores that memcached has no memory for.
    pub no_memory: u8,
    /// Transactions that abort, or whose outcome is not told.
    pub database_faults: u8,
    /// Commits that answer OK and do nothing.
    pub noop_commits: u8,
    /// The database is put back, once, to what it was at some moment before.
    pub goes_back: bool,
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
    keep: false,
    deaths: 0,
    restarts: 0,
    evictions: 0,
    cuts: 0,
    no_memory: 0,
    database_faults: 0,
    noop_commits: 0,
    goes_back: false,
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
