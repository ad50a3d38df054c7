//! Turnout: how many ballots of a poll were cast when. The flush puts it on every memcached server beside the totals,
//! so that a chart of it needs no database.
//!
//! To count it, all ballots of the poll are read. So it is counted only of polls for which a reader has asked, by a mark in
//! the turnout's place; at most every [`PAUSE_MS`], and the longer it takes the more seldom: on average one part in
//! [`SHARE`] of the time goes into it, by whichever host flushes first. Any flush will do, one of cron as well.

use serde::{Deserialize, Serialize};

use crate::queue::{self, Lifetime};
use crate::slug::Slug;
use crate::store::{self, Store};

use super::ballot::Poll;
use super::servers::Servers;
use super::{now_ms, vote::note};

/// What stands in a turnout's place when a reader has asked for it.
const WANTED: &[u8] = b"null";

/// For how long such a mark stands, in seconds: longer than between two flushes of a site.
const WANTED_SECONDS: u32 = 86_400;

/// How long a turnout is good enough at least.
const PAUSE_MS: i64 = 5_000;

/// Of how much time one part may be spent on counting.
const SHARE: i64 = 50;

/// The steps of time that are understood at a glance.
const STEPS_MS: [i64; 14] = [
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    900_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];

/// How many steps there are at most, but for a poll of many years.
const STEPS_MAX: i64 = 120;

/// A poll's turnout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turnout {
    /// The poll.
    pub poll: Slug,
    /// When it was counted, in milliseconds of Unix time.
    pub as_of_ms: i64,
    /// How long counting took.
    pub took_ms: i64,
    /// Where the first step begins, in milliseconds of Unix time.
    pub from_ms: i64,
    /// How long a step is.
    pub step_ms: i64,
    /// How many ballots were cast in each step, to the present or the poll's end.
    pub ballots: Vec<u64>,
}

impl Turnout {
    /// Counts a poll's turnout.
    ///
    /// # Errors
    /// [`store::Error::Failure`].
    pub fn count(poll: &Poll, store: &mut dyn Store) -> Result<Turnout, store::Error> {
        let began = now_ms();
        let from_ms = poll.created_at_ms;
        let until_ms = poll.ends_at_ms().map_or(began, |end| end.min(began)).max(from_ms);
        let step_ms = step_for(until_ms - from_ms);
        let steps = (until_ms - from_ms) / step_ms + 1;
        let mut ballots = vec![0; usize::try_from(steps).unwrap_or(1)];
        // A clock that runs ahead may have cast a ballot in the future; it is shown in the last step.
        let last = ballots.len().saturating_sub(1);
        for (step, cast) in store.turnout(poll, from_ms, step_ms)? {
            let index = usize::try_from(step).unwrap_or(last).min(last);
            if let Some(sum) = ballots.get_mut(index) {
                *sum += cast;
            }
        }
        let as_of_ms = now_ms();
        Ok(Turnout { poll: poll.slug.clone(), as_of_ms, took_ms: as_of_ms - began, from_ms, step_ms, ballots })
    }

    /// Whether its numbers fit each other, as those of [`Turnout::count`] do: memcached may hold anything.
    fn is_sound(&self) -> bool {
        let steps = i64::try_from(self.ballots.len()).ok();
        let end =
            steps.and_then(|steps| self.step_ms.checked_mul(steps)).and_then(|span| self.from_ms.checked_add(span));
        let sum = self.ballots.iter().try_fold(0u64, |sum, ballots| sum.checked_add(*ballots));
        self.step_ms > 0
            && self.took_ms >= 0
            && self.as_of_ms >= 0
            && self.from_ms >= 0
            && end.is_some()
            && sum.is_some()
    }

    fn is_due(&self, poll: &Poll, now_ms: i64) -> bool {
        // Ballots that were queued before the end are flushed a while after it.
        let settled = poll.ends_at_ms().is_some_and(|end| self.as_of_ms > end + 3_600_000);
        !settled && now_ms - self.as_of_ms > PAUSE_MS.max(self.took_ms.saturating_mul(SHARE))
    }
}

fn step_for(span_ms: i64) -> i64 {
    let fitting = STEPS_MS.into_iter().find(|step| span_ms / step < STEPS_MAX);
    fitting.unwrap_or(STEPS_MS[STEPS_MS.len() - 1])
}

/// What stands in memcached in a turnout's place.
enum Found {
    Turnout(Turnout),
    Wanted,
    Missing,
}

/// What the first server says that has something sound.
fn find(slug: &Slug, servers: &mut Servers, failures: &mut Vec<String>) -> Found {
    let mut is_wanted = false;
    for index in 0..servers.len() {
        match servers.attempt(index, |connection, keys| connection.get(&keys.turnout(slug))) {
            Ok(Some(bytes)) => match serde_json::from_slice::<Option<Turnout>>(&bytes) {
                Ok(Some(turnout)) if turnout.is_sound() => return Found::Turnout(turnout),
                Ok(None) => is_wanted = true,
                odd => {
                    let why = odd.err().map_or("its numbers do not fit each other".into(), |error| error.to_string());
                    failures.push(format!("turnout of {slug} in memcached: {why}"));
                    // To be put right by the next flush.
                    is_wanted = true;
                }
            },
            Ok(None) => {}
            Err(error) => note(failures, &error),
        }
    }
    if is_wanted { Found::Wanted } else { Found::Missing }
}

/// The turnout that memcached has of a poll, from the first server that has it. Where there is none, the next flush is
/// asked for it.
pub fn wanted(slug: &Slug, servers: &mut Servers, failures: &mut Vec<String>) -> Option<Turnout> {
    match find(slug, servers, failures) {
        Found::Turnout(turnout) => return Some(turnout),
        Found::Wanted => {}
        Found::Missing => {
            for index in 0..servers.len() {
                let mark = |connection: &mut queue::Connection, keys: &queue::Keys| {
                    connection.add(&keys.turnout(slug), WANTED, Lifetime::Seconds(WANTED_SECONDS))
                };
                if let Err(error) = servers.attempt(index, mark) {
                    note(failures, &error);
                }
            }
        }
    }
    None
}

/// Counts what is wanted and due and puts it on every server; servers that failed are returned with their failures.
///
/// # Errors
/// [`store::Error::Failure`].
pub fn refresh(
    polls: &[Poll],
    store: &mut dyn Store,
    servers: &mut Servers,
) -> Result<Vec<queue::Error>, store::Error> {
    let mut failed = Vec::new();
    for poll in polls {
        match find(&poll.slug, servers, &mut Vec::new()) {
            Found::Missing => continue,
            Found::Turnout(turnout) if !turnout.is_due(poll, now_ms()) => continue,
            Found::Turnout(_) | Found::Wanted => {}
        }
        let Ok(json) = serde_json::to_vec(&Turnout::count(poll, store)?) else { continue };
        let key = servers.keys().turnout(&poll.slug);
        failed.extend(servers.store_everywhere(&[(key, json)]));
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnout_whose_numbers_overflow_would_have_ended_the_thread_that_draws_it() {
        let sound = |from_ms, step_ms, ballots: &[u64]| {
            let ballots = ballots.to_vec();
            Turnout { poll: Slug::new("now").unwrap(), as_of_ms: 0, took_ms: 0, from_ms, step_ms, ballots }.is_sound()
        };
        assert!(sound(0, 1000, &[1, 2]) && sound(0, 1, &[]));
        assert!(!sound(0, 0, &[1]) && !sound(-1, 1, &[1]) && !sound(i64::MAX, 1, &[1]) && !sound(0, i64::MAX, &[1, 2]));
        assert!(!sound(0, 1, &[u64::MAX, 1]));
    }

    #[test]
    fn steps_are_few_and_round() {
        assert_eq!(step_for(0), 1_000);
        assert_eq!(step_for(119_999), 1_000);
        assert_eq!(step_for(120_000), 5_000);
        assert_eq!(step_for(24 * 3_600_000), 900_000);
        assert_eq!(step_for(i64::MAX), 604_800_000);
    }
}
