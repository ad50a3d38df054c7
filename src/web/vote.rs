//! A vote, from a request to the batcher and back.

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use tokio::sync::oneshot;

use crate::poll::ballot::{Identity, Once, Poll, Refusal, Voter};
use crate::poll::batcher::NotGathered;
use crate::poll::now_ms;
use crate::poll::vote::{Outcome, Place, Vote};
use crate::slug::{Slug, shown};

use super::app::App;
use super::client::Client;
use super::desk::{Seen, View};
use super::metrics::Reason;

/// The most picks that are looked at: more than any poll has choices.
const PICKS_MAX: usize = 64;

/// What became of a request's vote.
pub(super) enum Verdict {
    /// It is acknowledged.
    Taken(Place, Identity),
    /// It is not counted.
    Refused(Refusal),
    /// Too many wait; it was not begun.
    Busy,
    /// Nothing takes votes just now.
    NotTaken,
    /// The writer failed under it, and nobody knows whether it was taken.
    Unknown,
}

impl Verdict {
    /// What the counter and the JSON interface call it.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Verdict::Taken(..) => None,
            Verdict::Refused(refusal) => Some(Reason::of(refusal)),
            Verdict::Busy => Some(Reason::Busy),
            Verdict::NotTaken => Some(Reason::NotTaken),
            Verdict::Unknown => Some(Reason::Unknown),
        }
    }
}

/// A verdict, the cookies that go with it, and the poll where there is one.
pub(super) struct Judged {
    pub verdict: Verdict,
    pub cookies: HeaderMap,
    pub view: Option<Arc<View>>,
}

/// Casts the vote of a request.
pub(super) async fn cast(app: &App, client: Client, headers: &HeaderMap, poll: &Slug, picks: &[String]) -> Judged {
    let began = Instant::now();
    let mut cookies = HeaderMap::new();
    let (verdict, view) = match app.desk.look(poll).await {
        Ok(Seen::Poll(view)) => (cast_in(app, client, headers, &view, picks, &mut cookies).await, Some(view)),
        Ok(Seen::Unknown) => (Verdict::Refused(Refusal::UnknownPoll(poll.clone())), None),
        Ok(Seen::CannotTell) => (Verdict::NotTaken, None),
        Err(super::reader::Busy) => (Verdict::Busy, None),
    };
    match (&verdict, verdict.reason()) {
        (Verdict::Taken(place, _), _) => app.metrics.taken(*place, began.elapsed()),
        (_, reason) => reason.into_iter().for_each(|reason| app.metrics.refused(reason)),
    }
    Judged { verdict, cookies, view }
}

async fn cast_in(
    app: &App,
    client: Client,
    headers: &HeaderMap,
    view: &View,
    picks: &[String],
    cookies: &mut HeaderMap,
) -> Verdict {
    let poll = &view.poll;
    let picks = match judge(poll, picks) {
        Ok(picks) => picks,
        Err(refusal) => return Verdict::Refused(refusal),
    };
    let known = app.cookies.token(headers, client.https);
    let token = known.unwrap_or_else(super::cookie::Token::new);
    // The receipt is asked only where an address alone would let the same browser vote from a second one; elsewhere the
    // mark in memcached and the ballot's key say it.
    if poll.once == Once::CookieAndIp && app.cookies.has_voted(headers, token, &poll.slug) {
        return Verdict::Refused(Refusal::AlreadyVoted(poll.slug.clone()));
    }
    let name = match poll.once {
        Once::None => None,
        Once::Cookie => Some(format!("cookie {}", token.hex())),
        Once::Ip | Once::CookieAndIp => Some(format!("address {}", client.address)),
    };
    let Ok(voter) = name.as_deref().map(Voter::new).transpose() else { return Verdict::NotTaken };
    let (sender, receiver) = oneshot::channel();
    let vote = Vote { poll: poll.slug.clone(), picks, voter };
    let submitted = app.batcher.submit(vote, move |answer| {
        // A client that has gone away need not be told; its vote counts all the same.
        let _ = sender.send(answer.outcome);
    });
    match submitted {
        Ok(()) => {}
        Err(NotGathered::Full) => return Verdict::Busy,
        Err(NotGathered::Unknown) => return Verdict::Unknown,
    }
    let verdict = match receiver.await {
        Ok(Outcome::Taken(place, identity)) => Verdict::Taken(place, identity),
        // No voter can do anything about the service's secret.
        Ok(Outcome::Refused(refusal)) if crate::poll::secret::is_wrong_setting(&refusal) => Verdict::NotTaken,
        Ok(Outcome::Refused(refusal)) => Verdict::Refused(*refusal),
        Ok(Outcome::NotTaken) => Verdict::NotTaken,
        Err(_) => Verdict::Unknown,
    };
    let has_voted = matches!(verdict, Verdict::Taken(..) | Verdict::Refused(Refusal::AlreadyVoted(_)));
    if has_voted && poll.once != Once::None {
        if known.is_none() {
            app.cookies.set_token(cookies, token, client.https);
        }
        app.cookies.set_voted(cookies, token, &poll.slug, client.https);
    }
    verdict
}

/// The picks as names, if the poll as it is shown takes such a vote now. The booth judges again by what it reads itself; in
/// an outage it may have read nothing, and then only this keeps a wrong vote out of the spool.
fn judge(poll: &Poll, picks: &[String]) -> Result<Arc<[Slug]>, Refusal> {
    if picks.len() > PICKS_MAX {
        let (most, given) = (poll.pick_max, picks.len());
        return Err(Refusal::TooManyPicks { poll: poll.slug.clone(), most, given });
    }
    let read = |pick: &String| {
        Slug::new(pick).map_err(|_| {
            let known: Vec<&str> = poll.choices.iter().map(|choice| choice.key.as_str()).collect();
            let (poll, choice) = (poll.slug.clone(), shown(pick));
            Refusal::UnknownChoice { poll, choice, known: known.join(", ") }
        })
    };
    let picks: Arc<[Slug]> = picks.iter().map(read).collect::<Result<_, _>>()?;
    match poll.closed_refusal(now_ms()) {
        Some(refusal) => Err(refusal),
        None => poll.pick_set(picks.iter().map(Slug::as_str)).map(|_| picks),
    }
}
