//! Totals: what the flushed ballots of a poll come to, as every reader of them sees it.
//!
//! The flush puts them on every memcached server as the very JSON object that `poll results --format json`
//! prints, with the time they are of; so reading results needs no database while memcached answers.

use serde::{Deserialize, Serialize};

use crate::slug::Slug;
use crate::store::{self, Store, Tally};

use super::ballot::{Poll, time_text};
use super::servers::Servers;
use super::vote::note;

/// One choice and its votes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceTotal {
    /// The choice.
    pub key: Slug,
    /// What a voter reads.
    pub label: String,
    /// How many ballots picked it.
    pub votes: u64,
    /// Votes per ballot, 0 to 1. Where several may be picked, shares add up to more than 1.
    pub share: f64,
}

/// A poll's totals at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// The poll.
    pub poll: Slug,
    /// What is asked.
    pub question: String,
    /// Whether it takes votes.
    pub open: bool,
    /// How many ballots are counted.
    pub total: u64,
    /// The moment these totals are of: RFC 3339.
    pub as_of: String,
    /// When it stops taking votes, or stopped: RFC 3339.
    pub ends_at: Option<String>,
    /// Its choices, in their order.
    pub choices: Vec<ChoiceTotal>,
}

impl Totals {
    /// A poll's totals at `now_ms`.
    pub fn new(poll: &Poll, tally: &Tally, now_ms: i64) -> Totals {
        let share = |votes: u64| if tally.ballots == 0 { 0.0 } else { votes as f64 / tally.ballots as f64 };
        let choices = poll.choices.iter().zip(&tally.votes).map(|(choice, &votes)| ChoiceTotal {
            key: choice.key.clone(),
            label: choice.label.clone(),
            votes,
            share: share(votes),
        });
        Totals {
            poll: poll.slug.clone(),
            question: poll.question.clone(),
            open: poll.is_open_at(now_ms),
            total: tally.ballots,
            as_of: time_text(now_ms),
            ends_at: poll.ends_at_ms().map(time_text),
            choices: choices.collect(),
        }
    }
}

/// The totals that memcached has of a poll, from the first server that has them.
pub fn cached(slug: &Slug, servers: &mut Servers, failures: &mut Vec<String>) -> Option<Totals> {
    for index in 0..servers.len() {
        match servers.attempt(index, |connection, keys| connection.get(&keys.totals(slug))) {
            Ok(Some(bytes)) => match serde_json::from_slice::<Totals>(&bytes) {
                Ok(mut totals) => {
                    // A poll may have ended since: its end is in there, so the answer need not be stale.
                    let ended = totals.ends_at.as_ref().and_then(|end| end.parse::<jiff::Timestamp>().ok());
                    totals.open &= ended.is_none_or(|end| jiff::Timestamp::now() < end);
                    return Some(totals);
                }
                Err(error) => failures.push(format!("totals of {slug} in memcached: {error}")),
            },
            Ok(None) => {}
            Err(error) => note(failures, &error),
        }
    }
    None
}

/// The totals that the database has of a poll.
///
/// # Errors
/// [`store::Error::Failure`].
pub fn stored(poll: &Poll, store: &mut dyn Store) -> Result<Totals, store::Error> {
    Ok(Totals::new(poll, &store.tally(poll)?, super::now_ms()))
}

/// Puts totals on every server; what failed is returned, one message a server.
pub fn publish(totals: &[Totals], servers: &mut Servers) -> Vec<crate::queue::Error> {
    let keys = servers.keys();
    let encode = |one: &Totals| Some((keys.totals(&one.poll), serde_json::to_vec(one).ok()?));
    let encoded: Vec<_> = totals.iter().filter_map(encode).collect();
    servers.store_everywhere(&encoded)
}
