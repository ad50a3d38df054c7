//! What a line found in a queue or spool file becomes: a row to count, or a dead letter.
//!
//! Votes are refused where they are cast. A ballot found here may have been acknowledged, so one that was cast just after its
//! poll ended counts ([`CLOSING_GRACE_MS`]), and a later one becomes a dead letter with both times.
//!
//! Every line is judged by itself, and none is dropped. A judge knows the polls of one moment; taken after the
//! counter of the queue was read, that moment is late enough for every ballot up to the counter.

use std::collections::{BTreeSet, HashMap};

use crate::slug::Slug;
use crate::store::{Batch, DeadLetter, Row, Verdict};

use super::ballot::{Identity, IdentityKey, Poll, Voter};
use super::wire;

/// How long after the end of its poll a ballot may have been cast and still counts, in milliseconds. A process that votes
/// reads the new end up to 1 s after it is in memcached, and its clock may be ahead of the clock that set the end.
pub const CLOSING_GRACE_MS: i64 = 5_000;

/// The longest line kept in a dead letter, in bytes.
const DEAD_LETTER_MAX_LEN: usize = 1024 * 1024;

/// How many openings of lines are remembered.
const OPENINGS_MAX: usize = 4096;

/// The longest reason kept in a dead letter, in characters.
const REASON_MAX_CHARS: usize = 380;

/// Judged ballots, on their way into the database.
#[derive(Default)]
pub struct Docket {
    rows: Vec<Row>,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    unknown_polls: BTreeSet<Slug>,
    ballots: u64,
}

impl Docket {
    /// How many ballots were judged, good or bad.
    pub fn ballots(&self) -> u64 {
        self.ballots
    }

    /// How many of them are dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.len() as u64
    }

    /// How many bytes the dead letters hold.
    pub fn dead_letter_bytes(&self) -> usize {
        self.dead_letter_bytes
    }

    /// The polls that lines named and the judge did not know; those lines are among the dead letters.
    pub fn unknown_polls(&self) -> &BTreeSet<Slug> {
        &self.unknown_polls
    }

    /// Adds another docket's ballots behind those of this one.
    pub fn append(&mut self, mut other: Docket) {
        self.rows.append(&mut other.rows);
        self.dead_letters.append(&mut other.dead_letters);
        self.dead_letter_bytes += other.dead_letter_bytes;
        self.unknown_polls.append(&mut other.unknown_polls);
        self.ballots += other.ballots;
    }

    /// The batch for the store.
    pub fn into_batch(self) -> Batch {
        Batch { rows: self.rows, dead_letters: self.dead_letters }
    }
}

/// Who judges ballots, by the polls of one moment.
pub struct Judge<'a> {
    polls: Vec<Poll>,
    places: HashMap<Slug, usize>,
    key: &'a IdentityKey,
    /// Where entries are found, for people: it is no part of any identity.
    address: Option<String>,
    /// Lines of one poll with the same picks begin alike; what such a beginning comes to is found out once: the place
    /// of its poll, and the picks.
    openings: HashMap<Vec<u8>, (usize, u64)>,
    /// Polls that the lines of the entry at hand named and that are not known.
    unknown_polls: BTreeSet<Slug>,
}

impl Judge<'_> {
    /// A judge that knows these polls; `key` is for ballots that name their voter.
    pub fn new(polls: Vec<Poll>, key: &IdentityKey) -> Judge<'_> {
        let places = polls.iter().enumerate().map(|(place, poll)| (poll.slug.clone(), place)).collect();
        Judge { polls, places, key, address: None, openings: HashMap::new(), unknown_polls: BTreeSet::new() }
    }

    /// The same, for entries of the server at an address, which dead letters then name.
    pub fn at(self, address: &impl std::fmt::Display) -> Self {
        Judge { address: Some(address.to_string()), ..self }
    }

    /// Judges every line of an entry or spool file. `origin` says where it was found, for good: the same entry read
    /// again, after a crash, must have the same, because identities of nameless lines and of dead letters are made
    /// from it.
    pub fn judge(&mut self, origin: &str, entry: &[u8], now_ms: i64) -> Docket {
        let mut docket = Docket::default();
        for (number, line) in wire::lines(entry) {
            docket.ballots += 1;
            match self.row(line, now_ms, || origin_hash(origin, number)) {
                Ok(row) => docket.rows.push(row),
                Err(reason) => {
                    let bytes = line[..line.len().min(DEAD_LETTER_MAX_LEN)].to_vec();
                    docket.dead_letter_bytes += bytes.len();
                    docket.dead_letters.push(DeadLetter {
                        id: origin_hash(origin, number).0,
                        origin: self.address.as_ref().map_or(origin.into(), |address| format!("{origin} at {address}")),
                        reason,
                        bytes,
                        found_at_ms: now_ms,
                    });
                }
            }
        }
        docket.unknown_polls = std::mem::take(&mut self.unknown_polls);
        docket
    }

    /// Judges a dead letter again. A nameless one has the identity that it would have been given where it was
    /// found, and one without a time the time at which it was found; so it comes to what it would have come to then.
    pub fn judge_again(&mut self, letter: &DeadLetter) -> Verdict {
        match self.row(&letter.bytes, letter.found_at_ms, || Identity(letter.id)) {
            Ok(row) => Verdict::Ballot(row),
            Err(reason) => Verdict::Kept(reason),
        }
    }

    /// The row; or why it is none, not too long to be kept.
    fn row(&mut self, line: &[u8], now_ms: i64, nameless: impl FnOnce() -> Identity) -> Result<Row, String> {
        self.read(line, now_ms, nameless).map_err(|reason| reason.chars().take(REASON_MAX_CHARS).collect())
    }

    fn read(&mut self, line: &[u8], now_ms: i64, nameless: impl FnOnce() -> Identity) -> Result<Row, String> {
        let parts = wire::take_apart(line);
        let known = parts.and_then(|(opening, ..)| self.openings.get(opening));
        if let (Some((_, identity, at_ms)), Some(&(place, picks))) = (parts, known) {
            return self.cast(place, picks, identity, at_ms);
        }
        let read = wire::read_line(line)?;
        let Some(place) = self.places.get(read.poll.as_ref()).copied() else {
            self.unknown_polls.extend(Slug::new(&read.poll));
            return Err(format!("there is no poll {}", crate::slug::shown(&read.poll)));
        };
        let poll = &self.polls[place];
        let picks = poll.pick_set(read.picks.iter().map(AsRef::as_ref)).map_err(|refusal| refusal.to_string())?;
        let identity = match (&read.id, &read.voter) {
            (Some(id), _) => Identity::from_hex(id).ok_or("not a ballot: bad \"id\"")?,
            (None, Some(voter)) => self.key.named(&poll.slug, &Voter::new(voter).map_err(|error| error.to_string())?),
            (None, None) => nameless(),
        };
        if let Some((opening, ..)) = parts.filter(|_| self.openings.len() < OPENINGS_MAX) {
            self.openings.insert(opening.to_vec(), (place, picks));
        }
        self.cast(place, picks, identity, read.at.unwrap_or(now_ms))
    }

    fn cast(&self, place: usize, picks: u64, identity: Identity, at_ms: i64) -> Result<Row, String> {
        let poll = &self.polls[place];
        match poll.ends_at_ms().filter(|end| at_ms > end.saturating_add(CLOSING_GRACE_MS)) {
            None => Ok(Row { poll_id: poll.id, identity, picks, at_ms }),
            Some(end) => Err(format!(
                "cast at {}, more than {} s after poll {} closed at {}",
                exact_time(at_ms),
                CLOSING_GRACE_MS / 1000,
                poll.slug,
                exact_time(end)
            )),
        }
    }
}

/// RFC 3339 in UTC with milliseconds, by which an end and a grace are compared.
fn exact_time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| format!("{at:.3}"))
}

fn origin_hash(origin: &str, line_number: usize) -> Identity {
    Identity::from_hash(&blake3::hash(format!("{origin}\n{line_number}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Choice;

    fn docket(text: &str) -> Docket {
        let choice = |key: &str| Choice { key: Slug::new(key).unwrap(), label: key.into() };
        let choices = vec![choice("yes"), choice("no")];
        let mut poll = Poll::new(Slug::new("now").unwrap(), "Now?".into(), choices, 1, None).unwrap();
        poll.closed_at_ms = Some(1000);
        Judge::new(vec![poll], &IdentityKey::new(None)).judge("q 1", text.as_bytes(), 500)
    }

    #[test]
    fn each_line_is_judged_by_itself_and_none_is_dropped() {
        let docket = docket(
            "{\"poll\":\"now\",\"picks\":[\"yes\"]}\n\
             rubbish\n\
             {\"poll\":\"now\",\"picks\":[\"yes\"],\"at\":6000}\n\
             {\"poll\":\"now\",\"picks\":[\"yes\"],\"at\":6001}\n\
             {\"poll\":\"other\",\"picks\":[\"yes\"]}\n\
             {\"poll\":\"now\",\"picks\":[\"blue\"]}\n",
        );
        assert_eq!((docket.ballots(), docket.rows.len(), docket.dead_letters()), (6, 2, 4));
        let letters = docket.into_batch().dead_letters;
        assert_eq!(letters[0].bytes, b"rubbish");
        let late = "cast at 1970-01-01T00:00:06.001Z, more than 5 s after poll now closed at 1970-01-01T00:00:01.000Z";
        assert_eq!(letters[1].reason, late);
        assert!(letters[2].reason.contains("no poll \"other\""), "{}", letters[2].reason);
    }

    #[test]
    fn polls_that_are_not_known_are_reported_and_those_that_no_poll_can_have_are_not() {
        let mut one = docket("{\"poll\":\"other\",\"picks\":[\"yes\"]}\n{\"poll\":\"NO NAME\",\"picks\":[\"yes\"]}\n");
        one.append(docket("{\"poll\":\"now\",\"picks\":[\"yes\"]}\n{\"poll\":\"third\",\"picks\":[\"yes\"]}\n"));
        let unknown: Vec<_> = one.unknown_polls().iter().map(Slug::as_str).collect();
        assert_eq!(unknown, ["other", "third"]);
    }

    #[test]
    fn a_nameless_dead_letter_judged_again_is_the_ballot_it_was() {
        let line = b"{\"poll\":\"now\",\"picks\":[\"no\"]}".to_vec();
        let choice = |key: &str| Choice { key: Slug::new(key).unwrap(), label: key.into() };
        let poll = Poll::new(Slug::new("now").unwrap(), "Now?".into(), [choice("yes"), choice("no")].into(), 1, None);
        let key = IdentityKey::new(None);
        let mut letters = Judge::new(Vec::new(), &key).judge("q 1", &line, 500).into_batch().dead_letters;
        let mut judge = Judge::new(vec![poll.unwrap()], &key);
        let row = judge.judge("q 1", &line, 500).into_batch().rows.remove(0);
        assert_eq!(judge.judge_again(&letters[0]), Verdict::Ballot(row));
        letters[0].bytes = b"rubbish".to_vec();
        assert!(matches!(judge.judge_again(&letters[0]), Verdict::Kept(reason) if reason.contains("not a ballot")));
    }

    #[test]
    fn a_line_that_begins_like_an_earlier_one_is_read_like_it() {
        let id = |digit: char| digit.to_string().repeat(32);
        let line = |picks: &str, id: &str, at: u32| {
            format!("{{\"poll\":\"now\",\"picks\":[\"{picks}\"],\"id\":\"{id}\",\"at\":{at}}}\n")
        };
        let text = [
            line("yes", &id('1'), 7),
            line("no", &id('2'), 8),
            line("yes", &id('3'), 6001),
            line("yes", &id('4'), 9),
            line("no", &id('x'), 9),
            line("blue", &id('5'), 9),
            line("blue", &id('6'), 9),
        ];
        let docket = docket(&text.concat());
        let rows: Vec<_> = docket.rows.iter().map(|row| (row.identity.0[0], row.picks, row.at_ms)).collect();
        assert_eq!(rows, [(0x11, 1, 7), (0x22, 2, 8), (0x44, 1, 9)]);
        assert_eq!((docket.ballots(), docket.dead_letters()), (7, 4));
    }

    #[test]
    fn a_nameless_ballot_read_twice_is_the_same_ballot() {
        let line = "{\"poll\":\"now\",\"picks\":[\"no\"]}";
        let two = format!("{line}\n{line}");
        let identities = |docket: Docket| docket.into_batch().rows.iter().map(|row| row.identity).collect::<Vec<_>>();
        let (first, second) = (identities(docket(&two)), identities(docket(&two)));
        assert_eq!(first, second);
        assert_ne!(first[0], first[1]);
    }
}
