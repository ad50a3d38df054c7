//! The way in: a ballot goes into the queue of a memcached server, else into the database, else into the spool.
//!
//! The order of a vote, on the connection to the first server of its rank that answers:
//! 1. read the poll's definition and check the ballot against it;
//! 2. for a named voter, claim the mark that says "has voted" (short-lived);
//! 3. take a ticket and fill its slot (see [`crate::queue`]): the vote is acknowledged;
//! 4. make the mark last.
//!
//! A server that fails at any step is passed over for the next in rank. An answer that never came leaves an
//! entry that may or may not be in that server's queue; the ballot then goes elsewhere under the same identity
//! and counts once. The database is touched only when every server failed, or when none of them has the
//! poll's definition.
//!
//! A process whose voter secret is not that of the polls casts no vote at all (see [`secret`]), and a database that is not
//! the one of a poll's definition gets none of its ballots.
//!
//! It refuses to drop a ballot in doubt: when nobody can tell whether the poll exists, the ballot is kept and the
//! flush decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::failpoint::{self, Step};
use crate::slug::Slug;
use crate::store::{Batch, DatabaseUrl, Row, TRANSACTION_ROWS_MAX};

use super::ballot::{Ballot, Identity, IdentityKey, Poll, Refusal, Voter};
use super::database::{Database, DatabaseError};
use super::definition::{Definitions, Known};
use super::moment::Moment;
use super::pending::{Pending, enqueue_on};
use super::secret;
use super::servers::Servers;
use super::spool::Spool;
use super::wire::write_line;

/// How long a voter waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// Where an acknowledged ballot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a queue in memcached.
    Queued,
    /// In the database.
    Stored,
    /// In a synced file of the spool.
    Spooled,
}

impl Place {
    /// What receipts call it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Queued => "queued",
            Place::Stored => "stored",
            Place::Spooled => "spooled",
        }
    }
}

/// A vote as it comes in, its names checked.
#[derive(Debug, Clone)]
pub struct Vote {
    /// The poll.
    pub poll: Slug,
    /// The choices.
    pub picks: Arc<[Slug]>,
    /// The voter, if named.
    pub voter: Option<Voter>,
}

/// What became of one vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is acknowledged and will be counted.
    Taken(Place, Identity),
    /// It is not counted, and this is why.
    Refused(Box<Refusal>),
    /// No way in was left, and it is not acknowledged. A queue may hold it all the same: casting it again is safe
    /// for a named voter, and may count an anonymous vote twice.
    NotTaken,
}

/// What became of some votes.
#[derive(Debug, Default)]
pub struct Deposit {
    /// One outcome a vote, in the order given.
    pub outcomes: Vec<Outcome>,
    /// What failed on the way.
    pub failures: Vec<String>,
    /// Ballots that the database had already, out of those stored there in bulk.
    pub duplicates: u64,
    /// Votes taken with fewer copies than asked for.
    pub short_of_copies: u64,
    /// Servers found to be of a kind that cannot be used.
    pub unsupported: Vec<String>,
}

/// How votes are taken.
pub struct Settings {
    /// On how many servers each entry is stored.
    pub copies: usize,
    /// Whether the enqueue holds the notes' lock.
    pub locked: bool,
}

/// The polling booth: takes votes.
pub struct Booth {
    servers: Servers,
    database: Database,
    spool: Spool,
    key: IdentityKey,
    /// That of the key's secret.
    fingerprint: Option<u64>,
    settings: Settings,
    definitions: Definitions,
    home: Option<usize>,
    strict: bool,
}

impl Booth {
    /// A booth; nothing is opened yet.
    pub fn new(servers: Servers, database: DatabaseUrl, spool: Spool, key: IdentityKey, settings: Settings) -> Booth {
        let database = Database::new(database, DATABASE_PATIENCE);
        let (fingerprint, definitions) = (secret::fingerprint(&key), Definitions::default());
        Booth { servers, database, spool, key, fingerprint, settings, definitions, home: None, strict: false }
    }

    /// The same booth, but a vote is not taken when only servers of a kind that cannot be used stand in its way: a
    /// setting is wrong, and whoever votes learns of it. Otherwise such a vote goes to the database or the spool, as when
    /// the servers are down.
    pub fn strict(mut self) -> Booth {
        self.strict = true;
        self
    }

    /// The same booth beside one server, given by its index: votes of no name, which leave no mark to be found again,
    /// try that server first. Named voters' votes go by their identities all the same.
    pub(super) fn at_home(mut self, server: usize) -> Booth {
        self.home = Some(server);
        self
    }

    fn choice(&self, one: &Pending, rank: usize) -> usize {
        let ranking = self.servers.ranking();
        match self.home {
            Some(home) if !one.named => ranking.from_home(home, rank),
            _ => ranking.choice(one.ballot.identity, rank),
        }
    }

    /// Takes votes: together they cost little more than one. Each outcome says whether its vote is acknowledged.
    pub fn cast(&mut self, votes: Vec<Vote>) -> Deposit {
        self.cast_as(votes, &|_| None)
    }

    /// The same, where `identities` gives the vote at an index its identity, unless its voter has a name. Without one it
    /// gets a new one.
    pub fn cast_as(&mut self, votes: Vec<Vote>, identities: &dyn Fn(usize) -> Option<Identity>) -> Deposit {
        let mut deposit = Deposit::default();
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize(votes.len(), None);
        let mut pending = Vec::with_capacity(votes.len());
        let mut moment = Moment::new();
        for (index, vote) in votes.into_iter().enumerate() {
            let identity = match &vote.voter {
                Some(voter) => self.key.named(&vote.poll, voter),
                None => identities(index).unwrap_or_else(|| moment.next_identity()),
            };
            match self.check(vote, index, identity, &mut moment, &mut deposit.failures) {
                Ok(one) => pending.push(one),
                // Secret and database are the whole process's: with another one, no vote may be cast.
                Err(refusal) if secret::is_wrong_setting(&refusal) => {
                    note(&mut deposit.failures, &refusal);
                    deposit.outcomes = vec![Outcome::Refused(Box::new(refusal)); outcomes.len()];
                    return deposit;
                }
                Err(refusal) => outcomes[index] = Some(Outcome::Refused(Box::new(refusal))),
            }
        }
        let (taken, left) = self.enqueue(pending, &mut deposit);
        for one in taken {
            outcomes[one.index] = Some(match one.refused {
                Some(refusal) => Outcome::Refused(refusal),
                None => Outcome::Taken(Place::Queued, one.ballot.identity),
            });
        }
        deposit.unsupported = self.servers.unsupported();
        if self.strict && !deposit.unsupported.is_empty() {
            left.into_iter().for_each(|one| {
                outcomes[one.index] = Some(one.refused.map_or(Outcome::NotTaken, Outcome::Refused));
            });
        } else {
            self.fall_back(left, &mut outcomes, &mut deposit);
        }
        deposit.outcomes = outcomes.into_iter().flatten().collect();
        deposit
    }

    fn check(
        &mut self,
        vote: Vote,
        index: usize,
        identity: Identity,
        moment: &mut Moment,
        failures: &mut Vec<String>,
    ) -> Result<Pending, Refusal> {
        let named = vote.voter.is_some();
        let ballot = Ballot { poll: vote.poll, picks: vote.picks, identity, at_ms: moment.at_ms };
        if !moment.has_checked(&ballot) {
            let Booth { servers, database, definitions, .. } = self;
            let found = definitions.get(&ballot.poll, moment.now, identity, servers, database, failures);
            secret::compare(self.fingerprint, found.secret, || format!("poll {}", ballot.poll))?;
            if let Some(foreign) = &found.foreign {
                return Err(Refusal::OtherDatabase(foreign.clone()));
            }
            match &found.known {
                Known::Poll(poll) => row_of(poll, &ballot).map(|_| ())?,
                Known::Unknown => return Err(Refusal::UnknownPoll(ballot.poll)),
                Known::CannotTell => {}
            }
            moment.passed(&ballot);
        }
        Ok(Pending { index, ballot, named, copies: 0, on: Vec::new(), refused: None })
    }

    /// Puts ballots into queues, each on its next servers in rank until it has its copies. Returns those that
    /// are done with (at least one copy, or refused) and those that no server took.
    fn enqueue(&mut self, mut pending: Vec<Pending>, deposit: &mut Deposit) -> (Vec<Pending>, Vec<Pending>) {
        let mut done = Vec::with_capacity(pending.len());
        for rank in 0..self.servers.len() {
            let mut by_server: BTreeMap<usize, Vec<Pending>> = BTreeMap::new();
            for one in std::mem::take(&mut pending) {
                by_server.entry(self.choice(&one, rank)).or_default().push(one);
            }
            for (server, mut ballots) in by_server {
                if ballots.iter().any(|one| one.copies > 0) {
                    failpoint::pass(Step::Copied);
                }
                let locked = self.settings.locked;
                let attempt = if self.settings.copies > 1 {
                    self.servers.attempt_with_id(server, |connection, keys, id| {
                        enqueue_on(connection, keys, &mut ballots, Some(id), locked)
                    })
                } else {
                    self.servers
                        .attempt(server, |connection, keys| enqueue_on(connection, keys, &mut ballots, None, locked))
                };
                match attempt {
                    Ok(true) => note(&mut deposit.failures, &self.servers.same_server(server)),
                    Ok(false) => {}
                    Err(error) => note(&mut deposit.failures, &error),
                }
                for one in ballots {
                    let finished = one.refused.is_some() || one.copies >= self.settings.copies;
                    if finished { done.push(one) } else { pending.push(one) }
                }
            }
        }
        let (some, none): (Vec<_>, Vec<_>) = pending.into_iter().partition(|one| one.copies > 0);
        deposit.short_of_copies += some.len() as u64;
        done.extend(some);
        (done, none)
    }

    fn fall_back(&mut self, mut left: Vec<Pending>, outcomes: &mut [Option<Outcome>], deposit: &mut Deposit) {
        while !left.is_empty() {
            failpoint::pass(Step::FellBack);
            let rest = left.split_off(left.len().min(TRANSACTION_ROWS_MAX));
            let place = match self.store(&mut left, deposit) {
                Ok(()) => Some(Place::Stored),
                Err(error) => {
                    note(&mut deposit.failures, &error);
                    self.spool(&left, deposit)
                }
            };
            for one in left {
                outcomes[one.index] = Some(match (one.refused, place) {
                    (Some(refusal), _) => Outcome::Refused(refusal),
                    (None, Some(place)) => Outcome::Taken(place, one.ballot.identity),
                    (None, None) => Outcome::NotTaken,
                });
            }
            left = rest;
        }
    }

    fn spool(&self, pending: &[Pending], deposit: &mut Deposit) -> Option<Place> {
        let mut entry = String::new();
        let accepted = pending.iter().filter(|one| one.refused.is_none());
        accepted.for_each(|one| write_line(&mut entry, &one.ballot));
        match self.spool.append(entry.as_bytes()) {
            Ok(()) => Some(Place::Spooled),
            Err(error) => {
                note(&mut deposit.failures, &error);
                None
            }
        }
    }

    /// Writes ballots straight into the database: the same fold as a flush, without a queue.
    fn store(&mut self, pending: &mut [Pending], deposit: &mut Deposit) -> Result<(), DatabaseError> {
        let properties = self.database.properties()?;
        let theirs = properties.secret_fingerprint;
        if let Err(refusal) = secret::compare(self.fingerprint, theirs, || "the database".into()) {
            note(&mut deposit.failures, &refusal);
            pending.iter_mut().for_each(|one| one.refused = Some(Box::new(refusal.clone())));
            return Ok(());
        }
        let mut polls: BTreeMap<Slug, Option<Poll>> = BTreeMap::new();
        let mut rows = Vec::with_capacity(pending.len());
        for one in pending.iter_mut() {
            if !polls.contains_key(&one.ballot.poll) {
                let owner = self.definitions.database_of(&one.ballot.poll);
                self.database.check_owns(properties.database_id, &one.ballot.poll, owner)?;
                let poll = self.database.with(|store| store.poll(&one.ballot.poll))?;
                polls.insert(one.ballot.poll.clone(), poll);
            }
            match polls.get(&one.ballot.poll).and_then(Option::as_ref) {
                None => one.refused = Some(Box::new(Refusal::UnknownPoll(one.ballot.poll.clone()))),
                Some(poll) => match row_of(poll, &one.ballot) {
                    Ok(row) => rows.push(row),
                    Err(refusal) => one.refused = Some(Box::new(refusal)),
                },
            }
        }
        let batch = Batch { rows, ..Batch::default() };
        let folded = self.database.with(|store| store.fold(batch, None))?;
        failpoint::pass(Step::Stored);
        match pending {
            // In bulk the database tells only how many it had already.
            [one] if one.named && one.refused.is_none() && folded.duplicates == 1 => {
                one.refused = Some(Box::new(Refusal::AlreadyVoted(one.ballot.poll.clone())));
            }
            _ => deposit.duplicates += folded.duplicates,
        }
        Ok(())
    }
}

/// Adds a failure, unless it is noted already: what rests fails as it did before.
pub(super) fn note(failures: &mut Vec<String>, error: &impl std::fmt::Display) {
    let failure = error.to_string();
    if !failures.contains(&failure) {
        failures.push(failure);
    }
}

/// The row that a ballot becomes, or why it is refused.
fn row_of(poll: &Poll, ballot: &Ballot) -> Result<Row, Refusal> {
    if let Some(refusal) = poll.closed_refusal(ballot.at_ms) {
        return Err(refusal);
    }
    let picks = poll.pick_set(ballot.picks.iter().map(Slug::as_str))?;
    Ok(Row { poll_id: poll.id, identity: ballot.identity, picks, at_ms: ballot.at_ms })
}
