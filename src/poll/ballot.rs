//! What a valid poll, voter and ballot is, who a voter is to the database, and why a vote is refused.
//!
//! It refuses to keep a voter's name: a named voter becomes 16 bytes of a keyed hash, different in each poll,
//! so that neither queue nor database tells who voted for what, nor that two ballots of two polls are one
//! person's.

use std::fmt;
use std::sync::Arc;

use crate::slug::{Slug, shown};
pub use crate::store::{Choice, Identity, Once, OnceError, Poll};

/// The fewest and the most choices: the most fits one signed 64-bit set.
pub const CHOICES: std::ops::RangeInclusive<usize> = 2..=63;

/// The longest question or label, in bytes.
pub const TEXT_MAX_LEN: usize = 1000;

/// The longest name of a voter, in bytes.
pub const VOTER_MAX_LEN: usize = 256;

/// The latest time a ballot may carry, in milliseconds of Unix time: the end of the year 9999.
pub const AT_MAX_MS: i64 = 253_402_300_799_999;

/// Why a poll's definition is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PollError {
    #[error("a poll has 2 to 63 choices, not {0}")]
    ChoiceCount(usize),
    #[error("the choice {0} is named twice")]
    RepeatedChoice(Slug),
    #[error("a ballot may pick 1 to {choices} of {choices} choices, not {pick_max}")]
    PickMax { pick_max: u8, choices: usize },
    #[error("the {what} is empty")]
    Empty { what: String },
    #[error("the {what} has {len} bytes; the most is {TEXT_MAX_LEN}")]
    TooLong { what: String, len: usize },
    #[error("the {what} has a control character: {text}")]
    Control { what: String, text: String },
}

/// Why a vote is refused: nothing was counted, and trying the same again gives the same answer, but for
/// [`Refusal::UnderWay`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("there is no poll {0}: \"weir poll list\" shows those there are")]
    UnknownPoll(Slug),
    #[error("poll {poll} closed at {at}: it takes no more votes (\"weir poll open {poll}\" opens it again)")]
    Closed { poll: Slug, at: String },
    #[error("poll {poll} has no choice {choice}: choose out of {known}")]
    UnknownChoice { poll: Slug, choice: String, known: String },
    #[error("poll {poll} takes at most {most} of its choices on one ballot, and {given} were picked")]
    TooManyPicks { poll: Slug, most: u8, given: usize },
    #[error("no choice was picked in poll {0}")]
    NoPick(Slug),
    #[error("choice {choice} was picked twice in poll {poll}")]
    RepeatedPick { poll: Slug, choice: Slug },
    #[error("this voter has voted in poll {0} already: the first vote stands")]
    AlreadyVoted(Slug),
    #[error(
        "a vote of this voter in poll {0} is being taken just now: if it is not acknowledged, vote again in {wait} seconds",
        wait = crate::queue::CLAIM_SECONDS
    )]
    UnderWay(Slug),
    #[error(
        "the votes of {of} are made with another voter secret: {} WEIR_VOTER_SECRET (voter-secret in the configuration \
         file), the same on every host; no vote was cast, and nothing was changed",
        if *missing { "this process has none. Set" } else { "correct" }
    )]
    OtherSecret { of: String, missing: bool },
    #[error("{0}; no vote was cast. Set WEIR_DATABASE (database in the configuration file) to that database")]
    OtherDatabase(String),
}

/// A ballot on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// The poll's name.
    pub poll: Slug,
    /// The choices' names.
    pub picks: Arc<[Slug]>,
    /// Whose it is.
    pub identity: Identity,
    /// When it was cast, in milliseconds of Unix time.
    pub at_ms: i64,
}

/// A voter's name: 1 to 256 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter(String);

/// Why a text is no [`Voter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("voter {0}: a voter is named by 1 to 256 bytes of UTF-8 without control characters")]
pub struct VoterError(String);

impl Voter {
    /// Checks `text` and takes it as it is.
    ///
    /// # Errors
    /// [`VoterError`] when it is empty, too long, or has a control character.
    pub fn new(text: &str) -> Result<Voter, VoterError> {
        if is_name(text) { Ok(Voter(text.into())) } else { Err(VoterError(shown(text))) }
    }
}

/// The name of a batch whose lines may be cast again: 1 to 256 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId(String);

/// Why a text is no [`BatchId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch {0}: a batch is named by 1 to 256 bytes of UTF-8 without control characters")]
pub struct BatchIdError(String);

impl BatchId {
    /// Checks `text` and takes it as it is.
    ///
    /// # Errors
    /// [`BatchIdError`] when it is empty, too long, or has a control character.
    pub fn new(text: &str) -> Result<BatchId, BatchIdError> {
        if is_name(text) { Ok(BatchId(text.into())) } else { Err(BatchIdError(shown(text))) }
    }
}

fn is_name(text: &str) -> bool {
    (1..=VOTER_MAX_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What turns voters into identities. Every host and script that takes votes for the same polls needs the same.
#[derive(Clone)]
pub struct IdentityKey {
    voter: [u8; 32],
    batch: [u8; 32],
}

impl IdentityKey {
    /// The key made from a secret. Without a secret, whoever reads the database can test a guessed name.
    pub fn new(secret: Option<&str>) -> IdentityKey {
        let secret = secret.unwrap_or_default().as_bytes();
        let voter = blake3::derive_key("weir voter identity v1", secret);
        IdentityKey { voter, batch: blake3::derive_key("weir batch line identity v1", secret) }
    }

    /// Whether it was made without a secret, so that anybody can make it.
    pub fn is_guessable(&self) -> bool {
        self.voter == IdentityKey::new(None).voter
    }

    /// Another key, made from this one for another purpose: neither tells anything of the other.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.voter)
    }

    /// The identity of a named voter in one poll: the first half of a keyed BLAKE3.
    pub fn named(&self, poll: &Slug, voter: &Voter) -> Identity {
        let mut hasher = blake3::Hasher::new_keyed(&self.voter);
        hasher.update(poll.as_str().as_bytes()).update(&[0]).update(voter.0.as_bytes());
        Identity::from_hash(&hasher.finalize())
    }

    /// The identity of a nameless line of a batch: the same whenever the batch is cast. Its key is another than that
    /// of voters, so no voter's name can be chosen to meet it.
    pub fn of_line(&self, batch: &BatchId, line: u64) -> Identity {
        let mut hasher = blake3::Hasher::new_keyed(&self.batch);
        hasher.update(batch.0.as_bytes()).update(&[0]).update(&line.to_be_bytes());
        Identity::from_hash(&hasher.finalize())
    }
}

impl Identity {
    /// A new identity for a vote whose voter has no name: a UUIDv7 with 74 random bits, so that identities made
    /// one after the other are stored near each other.
    pub fn anonymous(now_ms: i64) -> Identity {
        let random: [u8; 10] = rand::random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms.unsigned_abs(), &random).into_uuid();
        Identity(uuid.into_bytes())
    }

    /// The identity after this one. Votes cast together take one random identity and count on from it: the random
    /// bits make a meeting with another such run as unlikely as one of any two identities, and counting costs
    /// nothing.
    pub fn next(self) -> Identity {
        Identity(u128::from_be_bytes(self.0).wrapping_add(1).to_be_bytes())
    }

    /// The first 16 bytes of a hash.
    pub fn from_hash(hash: &blake3::Hash) -> Identity {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Identity(bytes)
    }

    /// Reads 32 hexadecimal digits.
    pub fn from_hex_digits(digits: &[u8; 32]) -> Option<Identity> {
        // Of 32 bytes this reads only digits; the forms with hyphens and braces are longer.
        uuid::Uuid::try_parse_ascii(digits).ok().map(|uuid| Identity(uuid.into_bytes()))
    }

    /// Reads a text of 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Identity> {
        Identity::from_hex_digits(text.as_bytes().try_into().ok()?)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Poll {
    /// A new poll, checked.
    ///
    /// # Errors
    /// [`PollError`], which names what is wrong.
    pub fn new(
        slug: Slug,
        question: String,
        choices: Vec<Choice>,
        pick_max: u8,
        closes_at_ms: Option<i64>,
    ) -> Result<Poll, PollError> {
        if !CHOICES.contains(&choices.len()) {
            return Err(PollError::ChoiceCount(choices.len()));
        }
        if pick_max == 0 || usize::from(pick_max) > choices.len() {
            return Err(PollError::PickMax { pick_max, choices: choices.len() });
        }
        check_text("question", &question)?;
        for (index, choice) in choices.iter().enumerate() {
            check_text(&format!("label of choice {}", choice.key), &choice.label)?;
            if choices[..index].iter().any(|earlier| earlier.key == choice.key) {
                return Err(PollError::RepeatedChoice(choice.key.clone()));
            }
        }
        let id = i64::from_be_bytes(rand::random()) & ((1 << 62) - 1);
        let created_at_ms = super::now_ms();
        Ok(Poll {
            id,
            slug,
            question,
            choices,
            pick_max,
            created_at_ms,
            closes_at_ms,
            closed_at_ms: None,
            once: Once::default(),
        })
    }

    /// From when on it takes no votes, in milliseconds of Unix time: when somebody closed it, or when it
    /// closes by itself, whichever is first.
    pub fn ends_at_ms(&self) -> Option<i64> {
        [self.closes_at_ms, self.closed_at_ms].into_iter().flatten().min()
    }

    /// Whether it takes a vote cast at that moment.
    pub fn is_open_at(&self, at_ms: i64) -> bool {
        self.ends_at_ms().is_none_or(|end| at_ms < end)
    }

    /// The picks as a set: bit `n` for choice `n`.
    ///
    /// # Errors
    /// [`Refusal`] when there are none, too many, repeated ones or unknown ones.
    pub fn pick_set<'a>(&self, picks: impl ExactSizeIterator<Item = &'a str>) -> Result<u64, Refusal> {
        let given = picks.len();
        let mut set = 0u64;
        for pick in picks {
            let Some(position) = self.choices.iter().position(|choice| choice.key.as_str() == pick) else {
                let known: Vec<&str> = self.choices.iter().map(|choice| choice.key.as_str()).collect();
                let (poll, choice) = (self.slug.clone(), shown(pick));
                return Err(Refusal::UnknownChoice { poll, choice, known: known.join(", ") });
            };
            if set >> position & 1 == 1 {
                let (poll, choice) = (self.slug.clone(), self.choices[position].key.clone());
                return Err(Refusal::RepeatedPick { poll, choice });
            }
            set |= 1 << position;
        }
        match given {
            0 => Err(Refusal::NoPick(self.slug.clone())),
            _ if given > usize::from(self.pick_max) => {
                Err(Refusal::TooManyPicks { poll: self.slug.clone(), most: self.pick_max, given })
            }
            _ => Ok(set),
        }
    }

    /// The names of the choices in a set.
    pub fn picked(&self, set: u64) -> impl Iterator<Item = &Slug> {
        let chosen = move |position: usize| set >> position & 1 == 1;
        self.choices.iter().enumerate().filter(move |(position, _)| chosen(*position)).map(|(_, choice)| &choice.key)
    }

    /// The refusal for a vote that comes too late, if the poll has ended by then.
    pub fn closed_refusal(&self, at_ms: i64) -> Option<Refusal> {
        let end = self.ends_at_ms().filter(|end| at_ms >= *end)?;
        Some(Refusal::Closed { poll: self.slug.clone(), at: time_text(end) })
    }
}

/// A moment as people and scripts read it: RFC 3339 in UTC, to the second.
pub fn time_text(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => format!("{at:.0}"),
        Err(_) => format!("{at_ms} ms"),
    }
}

fn check_text(what: &str, text: &str) -> Result<(), PollError> {
    let what = what.to_string();
    if text.trim().is_empty() {
        Err(PollError::Empty { what })
    } else if text.len() > TEXT_MAX_LEN {
        Err(PollError::TooLong { what, len: text.len() })
    } else if text.chars().any(char::is_control) {
        Err(PollError::Control { what, text: shown(text) })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> Slug {
        Slug::new(text).unwrap()
    }

    fn poll(pick_max: u8) -> Result<Poll, PollError> {
        let choices = ["yes", "no", "maybe"].map(|key| Choice { key: slug(key), label: key.into() });
        Poll::new(slug("now"), "Now?".into(), choices.into(), pick_max, None)
    }

    #[test]
    fn picks_become_the_set_of_their_positions() {
        let poll = poll(2).unwrap();
        assert_eq!(poll.pick_set(["maybe", "yes"].into_iter()), Ok(0b101));
        assert_eq!(poll.picked(0b101).map(Slug::as_str).collect::<Vec<_>>(), ["yes", "maybe"]);
        assert!(matches!(poll.pick_set(["yes", "no", "maybe"].into_iter()), Err(Refusal::TooManyPicks { .. })));
        assert!(matches!(poll.pick_set(["yes", "yes"].into_iter()), Err(Refusal::RepeatedPick { .. })));
        assert!(matches!(poll.pick_set(["\u{7}"].into_iter()), Err(Refusal::UnknownChoice { .. })));
        assert!(matches!(poll.pick_set([].into_iter()), Err(Refusal::NoPick(_))));
    }

    #[test]
    fn a_poll_ends_at_the_first_of_its_two_ends_and_not_a_moment_earlier() {
        let mut poll = poll(1).unwrap();
        assert!(poll.is_open_at(i64::MAX));
        (poll.closes_at_ms, poll.closed_at_ms) = (Some(2000), Some(3000));
        assert!(poll.is_open_at(1999) && !poll.is_open_at(2000));
        assert!(poll.closed_refusal(1999).is_none());
        assert!(poll.closed_refusal(2000).unwrap().to_string().contains("1970-01-01T00:00:02Z"));
    }

    #[test]
    fn a_voter_is_another_identity_in_every_poll_and_under_every_secret() {
        let ann = Voter::new("ann").unwrap();
        let key = IdentityKey::new(Some("s"));
        assert_eq!(key.named(&slug("a"), &ann), key.named(&slug("a"), &ann));
        assert_ne!(key.named(&slug("a"), &ann), key.named(&slug("b"), &ann));
        assert_ne!(key.named(&slug("a"), &ann), IdentityKey::new(None).named(&slug("a"), &ann));
        let hex = key.named(&slug("a"), &ann).to_string();
        assert_eq!(Identity::from_hex(&hex), Some(key.named(&slug("a"), &ann)));
        assert_eq!(Identity::from_hex("+0000000000000000000000000000001"), None);
    }

    #[test]
    fn a_line_of_a_batch_is_the_same_whenever_it_is_cast_and_no_voter() {
        let key = IdentityKey::new(Some("s"));
        let batch = |text| BatchId::new(text).unwrap();
        assert_eq!(key.of_line(&batch("monday"), 7), key.of_line(&batch("monday"), 7));
        let others = [
            key.of_line(&batch("monday"), 8),
            key.of_line(&batch("tuesday"), 7),
            IdentityKey::new(None).of_line(&batch("monday"), 7),
            key.named(&slug("monday"), &Voter::new("\u{a0}").unwrap()),
        ];
        assert!(!others.contains(&key.of_line(&batch("monday"), 7)));
        for bad in ["", "a\tb", &"x".repeat(257)] {
            assert!(BatchId::new(bad).is_err());
        }
    }

    #[test]
    fn invalid_polls_and_voters_are_refused() {
        assert!(matches!(poll(0), Err(PollError::PickMax { .. })));
        assert!(matches!(poll(4), Err(PollError::PickMax { .. })));
        for bad in ["", "a\nb", &"x".repeat(10_000)] {
            assert!(Voter::new(bad).is_err());
        }
        assert!(Voter::new("Ann O'Neil, Köln").is_ok());
    }
}
