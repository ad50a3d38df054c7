//! What voters tried, what they were told, and whether what was counted agrees with it.
//!
//! Voters have names, so the identity of every vote that was tried is known, also when no answer came.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use weir::poll::ballot::{IdentityKey, Voter};
use weir::slug::Slug;

use crate::support::{Site, stderr, stdout};

/// The identity that weir gives a voter of the poll `now`.
pub(crate) fn identity(voter: &str) -> String {
    IdentityKey::new(None).named(&Slug::new("now").unwrap(), &Voter::new(voter).unwrap()).to_string()
}

/// What is known of one vote.
#[derive(Debug, Default, Clone)]
pub(crate) struct Entry {
    /// Who it is, for messages.
    pub(crate) voter: String,
    /// On how many servers it was when it was acknowledged; `None`: it was not. What is in the database or in the spool
    /// cannot be lost with a memcached, and has as many as there can be.
    pub(crate) copies: Option<usize>,
    /// How many servers had been lost when it was last tried.
    losses_before: usize,
}

const RESULTS: &[&str] = &["poll", "results", "now", "--format", "json"];

/// A port of loopback on which no memcached listens.
pub(crate) const NOBODY: &str = "127.0.0.1:1";

fn results(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
}

/// Copies of what no memcached can lose.
pub(crate) const DURABLE: usize = usize::MAX;

/// All votes, by identity.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) votes: BTreeMap<String, Entry>,
    /// What each memcached that was killed held.
    pub(crate) losses: Vec<BTreeSet<String>>,
    /// Votes of nobody's name without an answer: they may be counted, under identities that nobody knows.
    pub(crate) nameless_unanswered: u64,
}

/// What a check found to be true.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) tried: u64,
    pub(crate) acknowledged: u64,
    pub(crate) counted: u64,
    /// Acknowledged, and lost with the only servers that had it.
    pub(crate) lost_with_servers: u64,
}

impl Ledger {
    /// A vote is about to be cast.
    pub(crate) fn tried(&mut self, voter: &str) {
        self.tried_after(voter, self.losses.len());
    }

    /// It was about to be cast when so many servers had been lost.
    pub(crate) fn tried_after(&mut self, voter: &str, losses_before: usize) {
        let entry = self.votes.entry(identity(voter)).or_default();
        (entry.voter, entry.losses_before) = (voter.to_string(), losses_before);
    }

    /// It was acknowledged, with so many copies.
    pub(crate) fn acknowledged(&mut self, voter: &str, copies: usize) {
        let entry = self.votes.entry(identity(voter)).or_default();
        entry.copies = Some(entry.copies.unwrap_or_default().max(copies));
    }

    /// A vote of nobody's name was acknowledged under this identity.
    pub(crate) fn acknowledged_as(&mut self, identity: &str, copies: usize) {
        self.votes.entry(identity.to_string()).or_default().copies = Some(copies);
    }

    /// With how many servers a vote was lost since it was last tried.
    fn lost_with(&self, identity: &str, entry: &Entry) -> usize {
        self.losses.iter().skip(entry.losses_before).filter(|loss| loss.contains(identity)).count()
    }

    /// Acknowledged is counted, counted was tried, each once, and every tally is that of a recount, in the database and
    /// in what memcached serves. The queues must be drained and all servers alive.
    pub(crate) fn check(&self, site: &Site) -> Result<Sums, String> {
        let csv = site.ok(&["poll", "export", "now"]);
        let ids: Vec<_> = csv.lines().skip(1).map(|line| line.rsplit(',').nth(1).unwrap().to_string()).collect();
        let counted: BTreeSet<_> = ids.iter().collect();
        if counted.len() != ids.len() {
            return Err(format!("{} ballots are counted twice", ids.len() - counted.len()));
        }
        let unknown = counted.iter().filter(|id| !self.votes.contains_key(**id)).count() as u64;
        if unknown > self.nameless_unanswered {
            let may = self.nameless_unanswered;
            return Err(format!("{unknown} ballots that nobody knows of are counted, where {may} may be"));
        }
        let missing = self.votes.iter().filter(|(id, entry)| entry.copies.is_some() && !counted.contains(id));
        let (excused, lost): (Vec<_>, Vec<_>) =
            missing.partition(|(id, entry)| entry.copies.is_some_and(|copies| self.lost_with(id, entry) >= copies));
        if !lost.is_empty() {
            return Err(format!("{} acknowledged votes are lost, as {:?}", lost.len(), lost[0]));
        }
        let verified = site.run(&["poll", "verify", "--json"]);
        if !verified.status.success() {
            return Err(format!("tallies are not what a recount gives: {}", stdout(&verified)));
        }
        let served = results(&mut site.command(RESULTS));
        let stored = results(site.command(RESULTS).env("WEIR_MEMCACHED", NOBODY).env("WEIR_COPIES", "1"));
        if stored["total"] != json!(ids.len()) || ["total", "choices"].iter().any(|key| served[key] != stored[key]) {
            return Err(format!("{} are counted, the database tells {stored}, memcached {served}", ids.len()));
        }
        let letters = &site.status()["dead_letters"];
        if *letters != json!(0) {
            return Err(format!("{letters} dead letters"));
        }
        Ok(Sums {
            tried: self.votes.len() as u64,
            acknowledged: self.votes.values().filter(|entry| entry.copies.is_some()).count() as u64,
            counted: ids.len() as u64,
            lost_with_servers: excused.len() as u64,
        })
    }
}
