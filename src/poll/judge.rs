//! What a line found in a queue or spool file becomes: a row to count, a refusal to count, or a dead letter.
//!
//! Reading is apart from judging, so that one thread can read the next entries while the database is busy
//! with the last: reading needs only the bytes, judging needs the polls.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::slug::Slug;
use crate::store::{self, Batch, DeadLetter, Row, Store};

use super::ballot::{Ballot, Identity, IdentityKey, Poll, Voter};
use super::wire;

/// How long the polls read from the database are believed.
const POLLS_FRESH: Duration = Duration::from_secs(1);

/// The longest line kept in a dead letter, in bytes.
const DEAD_LETTER_MAX_LEN: usize = 1024 * 1024;

/// An entry or a spool file, read but not judged.
pub struct ReadEntry {
    origin: String,
    bytes: Vec<u8>,
    lines: Vec<ReadLine>,
}

struct ReadLine {
    range: Range<usize>,
    number: usize,
    ballot: Result<Ballot, String>,
}

impl ReadEntry {
    /// Reads an entry. `origin` says where it was found, for good: the same entry read again, after a crash,
    /// must have the same, because identities of nameless lines and of dead letters are made from it.
    pub fn new(origin: String, bytes: Vec<u8>, key: &IdentityKey, now_ms: i64) -> ReadEntry {
        let start = bytes.as_ptr() as usize;
        let lines = wire::lines(&bytes).map(|(number, line)| {
            let offset = line.as_ptr() as usize - start;
            let ballot = read_ballot(line, key, now_ms, || origin_hash(&origin, number));
            ReadLine { range: offset..offset + line.len(), number, ballot }
        });
        let lines = lines.collect();
        ReadEntry { origin, bytes, lines }
    }

    /// How many ballots it holds, good or bad.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

fn read_ballot(
    line: &[u8],
    key: &IdentityKey,
    now_ms: i64,
    nameless: impl FnOnce() -> Identity,
) -> Result<Ballot, String> {
    let read = wire::read_line(line)?;
    let poll = Slug::new(&read.poll).map_err(|error| format!("names no poll: {error}"))?;
    let picks = read.picks.iter().map(|pick| Slug::new(pick)).collect::<Result<Vec<_>, _>>();
    let picks = picks.map_err(|error| format!("names no choice: {error}"))?;
    let identity = match (&read.id, &read.voter) {
        (Some(id), _) => Identity::from_hex(id).ok_or("not a ballot: bad \"id\"")?,
        (None, Some(voter)) => key.named(&poll, &Voter::new(voter).map_err(|error| error.to_string())?),
        (None, None) => nameless(),
    };
    Ok(Ballot { poll, picks, identity, at_ms: read.at.unwrap_or(now_ms) })
}

fn origin_hash(origin: &str, line_number: usize) -> Identity {
    Identity::from_hash(&blake3::hash(format!("{origin}\n{line_number}").as_bytes()))
}

/// The polls that ballots are judged by.
#[derive(Default)]
pub struct Judge {
    polls: HashMap<Slug, Poll>,
}

/// A batch under way, and what it came to so far.
#[derive(Default)]
pub struct Docket {
    rows: Vec<Row>,
    dead_letters: Vec<DeadLetter>,
    refused: BTreeMap<i64, u64>,
    ballots: u64,
}

impl Docket {
    /// How many ballots would be written.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How many ballots were read, good or bad.
    pub fn ballots(&self) -> u64 {
        self.ballots
    }

    /// How many of them are refused.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// How many of them are dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.len() as u64
    }

    /// The batch for the store.
    pub fn into_batch(self) -> Batch {
        Batch { rows: self.rows, dead_letters: self.dead_letters, refused: self.refused.into_iter().collect() }
    }
}

impl Judge {
    /// A judge that knows these polls.
    pub fn new(polls: Vec<Poll>) -> Judge {
        Judge { polls: polls.into_iter().map(|poll| (poll.slug.clone(), poll)).collect() }
    }

    /// Whether every poll that an entry names is known.
    pub fn knows_polls_of(&self, entry: &ReadEntry) -> bool {
        let mut ballots = entry.lines.iter().filter_map(|line| line.ballot.as_ref().ok());
        ballots.all(|ballot| self.polls.contains_key(&ballot.poll))
    }

    /// Adds an entry's ballots to a docket.
    pub fn judge(&self, entry: &ReadEntry, docket: &mut Docket, now_ms: i64) {
        for line in &entry.lines {
            docket.ballots += 1;
            let judged = line.ballot.as_ref().map_err(Clone::clone).and_then(|ballot| self.row(ballot));
            match judged {
                Ok((poll, row)) if poll.is_open_at(row.at_ms) => docket.rows.push(row),
                Ok((poll, _)) => *docket.refused.entry(poll.id).or_default() += 1,
                Err(reason) => {
                    let bytes = &entry.bytes[line.range.clone()];
                    docket.dead_letters.push(DeadLetter {
                        id: origin_hash(&entry.origin, line.number).0,
                        origin: entry.origin.clone(),
                        reason: reason.chars().take(380).collect(),
                        bytes: bytes[..bytes.len().min(DEAD_LETTER_MAX_LEN)].to_vec(),
                        found_at_ms: now_ms,
                    });
                }
            }
        }
    }

    fn row(&self, ballot: &Ballot) -> Result<(&Poll, Row), String> {
        let poll = self.polls.get(&ballot.poll).ok_or_else(|| format!("there is no poll {}", ballot.poll))?;
        let picks = poll.pick_set(ballot.picks.iter().map(Slug::as_str)).map_err(|refusal| refusal.to_string())?;
        Ok((poll, Row { poll_id: poll.id, identity: ballot.identity, picks, at_ms: ballot.at_ms }))
    }
}

/// The polls as the database has them, read again when they may have changed.
#[derive(Default)]
pub struct Polls {
    judge: Judge,
    read: Option<Instant>,
}

impl Polls {
    /// Judges an entry by polls that are at most a second old, and by fresh ones if it names one not known.
    ///
    /// # Errors
    /// [`store::Error::Failure`] when the polls cannot be read.
    pub fn judge(&mut self, store: &mut dyn Store, entry: &ReadEntry, docket: &mut Docket) -> Result<(), store::Error> {
        let age = self.read.map(|at| at.elapsed());
        let stale = age.is_none_or(|age| age > POLLS_FRESH);
        let unknown = || age.is_some_and(|age| age > POLLS_FRESH / 10) && !self.judge.knows_polls_of(entry);
        if stale || unknown() {
            self.judge = Judge::new(store.polls()?);
            self.read = Some(Instant::now());
        }
        self.judge.judge(entry, docket, super::now_ms());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Choice;

    fn judge() -> Judge {
        let choice = |key: &str| Choice { key: Slug::new(key).unwrap(), label: key.into() };
        let choices = vec![choice("yes"), choice("no")];
        let mut poll = Poll::new(Slug::new("now").unwrap(), "Now?".into(), choices, 1, None).unwrap();
        poll.closed_at_ms = Some(1000);
        Judge::new(vec![poll])
    }

    fn docket(text: &str) -> Docket {
        let entry = ReadEntry::new("q 1".into(), text.into(), &IdentityKey::new(None), 500);
        let mut docket = Docket::default();
        judge().judge(&entry, &mut docket, 500);
        docket
    }

    #[test]
    fn each_line_is_judged_by_itself_and_none_is_dropped() {
        let docket = docket(
            "{\"poll\":\"now\",\"picks\":[\"yes\"]}\n\
             rubbish\n\
             {\"poll\":\"now\",\"picks\":[\"yes\"],\"at\":1000}\n\
             {\"poll\":\"other\",\"picks\":[\"yes\"]}\n\
             {\"poll\":\"now\",\"picks\":[\"blue\"]}\n",
        );
        assert_eq!((docket.ballots(), docket.rows(), docket.refused(), docket.dead_letters()), (5, 1, 1, 3));
        let letters = docket.into_batch().dead_letters;
        assert_eq!(letters[0].bytes, b"rubbish");
        assert!(letters[1].reason.contains("no poll other"), "{}", letters[1].reason);
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
