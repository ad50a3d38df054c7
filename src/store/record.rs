//! What the database holds, as plain data. The rules about it (what a valid poll is, who a voter is) are the
//! voting room's.

use crate::slug::Slug;

use super::once::Once;

/// One choice of a poll.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    /// The name that a ballot uses.
    pub key: Slug,
    /// What a voter reads.
    pub label: String,
}

/// A poll's definition. Choices never change once ballots may name them: a ballot stores their positions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Poll {
    /// What its ballots are stored under: 62 random bits.
    pub id: i64,
    /// Its name.
    pub slug: Slug,
    /// What is asked.
    pub question: String,
    /// What may be picked, 2 to 63, in the order shown.
    pub choices: Vec<Choice>,
    /// How many choices one ballot may pick.
    pub pick_max: u8,
    /// When it was created, in milliseconds of Unix time.
    pub created_at_ms: i64,
    /// When it closes by itself, in milliseconds of Unix time.
    pub closes_at_ms: Option<i64>,
    /// When somebody closed it, in milliseconds of Unix time.
    pub closed_at_ms: Option<i64>,
    /// How voters on the web are told apart. Definitions written by an earlier weir do not have it.
    #[serde(default)]
    pub once: Once,
}

/// Who cast a ballot, as 16 bytes that do not tell the voter's name. (poll, identity) is the ballot's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub [u8; 16]);

/// A ballot as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// [`Poll::id`].
    pub poll_id: i64,
    /// Whose it is.
    pub identity: Identity,
    /// Bit `n` set: the poll's choice `n` is picked.
    pub picks: u64,
    /// When it was cast, in milliseconds of Unix time.
    pub at_ms: i64,
}

/// An entry, or a line of one, that could not be turned into a ballot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Made from where it was found, so that the same one found again is kept once.
    pub id: [u8; 16],
    /// The queue or file it came from.
    pub origin: String,
    /// Why it is no ballot.
    pub reason: String,
    /// Its bytes, as they were.
    pub bytes: Vec<u8>,
    /// When it was found, in milliseconds of Unix time.
    pub found_at_ms: i64,
}

/// What is decided of a dead letter that was looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is a ballot after all, and counts unless its key is there already.
    Ballot(Row),
    /// It is thrown away.
    Dropped,
    /// It stays, for this reason.
    Kept(String),
}

/// What settling dead letters came to. One that was gone by then is in none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Settled {
    /// Ballots that were new and are now counted.
    pub counted: u64,
    /// Ballots whose key was there already.
    pub duplicates: u64,
    /// Letters thrown away.
    pub dropped: u64,
    /// Letters that stay.
    pub kept: u64,
}

impl std::ops::AddAssign for Settled {
    fn add_assign(&mut self, other: Settled) {
        self.counted += other.counted;
        self.duplicates += other.duplicates;
        self.dropped += other.dropped;
        self.kept += other.kept;
    }
}

/// What goes into the database in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// The ballots, in the order in which they were found: of two with one key the first stands.
    pub rows: Vec<Row>,
    /// What does not count, each with its reason.
    pub dead_letters: Vec<DeadLetter>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.dead_letters.is_empty()
    }
}

/// A queue's row: how far it has been read. The batch of a flush is written only if the row still is what the flush
/// last saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// The queue: its prefix and the id of its server.
    pub name: String,
    /// The address at which its server was last reached.
    pub server: String,
    /// The last ticket that was read.
    pub head: i64,
    /// What is known of the slots up to the head, as the reader wrote it.
    pub slots: String,
    /// Tickets whose entries were committed and deleted before the database went back to an earlier state, and that are
    /// therefore lost.
    pub missing: u64,
    /// When the row was written, in milliseconds of Unix time.
    pub flushed_at_ms: i64,
}

/// A queue's row as it was read, if there was one, and as it is to be.
#[derive(Debug, Clone, Copy)]
pub struct Advance<'a> {
    /// What must be there.
    pub from: Option<&'a QueueRow>,
    /// What takes its place.
    pub to: &'a QueueRow,
}

impl Advance<'_> {
    /// Whether a row is still what was read.
    pub(super) fn starts_at(&self, found: Option<(i64, String)>) -> bool {
        self.from.map(|row| (row.head, row.slots.as_str()))
            == found.as_ref().map(|(head, slots)| (*head, slots.as_str()))
    }
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Ballots that were new and are now counted.
    pub counted: u64,
    /// Ballots whose key was there already.
    pub duplicates: u64,
}

/// A poll's tally: what the flushed ballots come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// How many ballots.
    pub ballots: u64,
    /// Votes per choice, in the poll's order.
    pub votes: Vec<u64>,
}
