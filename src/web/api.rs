//! The JSON interface, described in `assets/openapi.json`. Objects are those of the command line: `poll list --json`,
//! `poll results --json`, `poll vote --json`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::poll::ballot::{Poll, Refusal, time_text};
use crate::poll::shown::Shown;
use crate::slug::Slug;

use super::app::{App, Name};
use super::client::Client;
use super::desk::{Seen, View};
use super::form::{BodyError, read_body};
use super::gate::retry_after;
use super::metrics::Reason;
use super::reader::Busy;
use super::vote::{Verdict, cast};

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Polls<'a> {
    polls: Vec<Shown<'a>>,
    as_of: String,
}

#[derive(Serialize)]
struct Receipt<'a> {
    status: &'static str,
    poll: &'a str,
    id: String,
}

#[derive(Deserialize)]
struct Ballot {
    choices: Vec<String>,
}

/// An error as the interface tells it.
pub(super) fn failure(status: StatusCode, error: &str, message: &str) -> Response {
    json(status, &Failure { error, message })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, JSON, body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const JSON: [(header::HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// When who does not know the outcome of a vote may cast it again: the claim of the first has lapsed by then.
pub(super) const UNKNOWN_SECONDS: u64 = crate::queue::CLAIM_SECONDS as u64;

fn busy() -> Response {
    let mut answer = failure(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much is going on: try again in a moment");
    retry_after(&mut answer, 1);
    answer
}

/// `GET /api/v1/polls`: the open ones.
pub(super) async fn polls(State(app): State<Arc<App>>) -> Response {
    match app.desk.list().await {
        Ok(list) => {
            let shown = list.polls.iter().map(Shown::new).filter(|poll| poll.open);
            json(StatusCode::OK, &Polls { polls: shown.collect(), as_of: time_text(list.as_of_ms) })
        }
        Err(Busy) => busy(),
    }
}

/// The poll of that name, or the answer that says why not.
async fn view_of(app: &App, name: &str) -> Result<Arc<View>, Response> {
    let unknown = || failure(StatusCode::NOT_FOUND, "unknown_poll", "there is no poll of that name");
    let slug = Slug::new(name).map_err(|_| unknown())?;
    match app.desk.look(&slug).await {
        Ok(Seen::Poll(view)) => Ok(view),
        Ok(Seen::Unknown) => Err(unknown()),
        Ok(Seen::CannotTell) | Err(Busy) => Err(busy()),
    }
}

/// `GET /api/v1/polls/POLL`.
pub(super) async fn poll(State(app): State<Arc<App>>, Name(name): Name) -> Response {
    view_of(&app, &name).await.map_or_else(|answer| answer, |view| json(StatusCode::OK, &Shown::new(&view.poll)))
}

/// A poll's totals as JSON, made once for all who ask.
pub(super) fn results_json(view: &View) -> Option<Bytes> {
    if let Some(json) = view.json.get() {
        return Some(json.clone());
    }
    let json = Bytes::from(serde_json::to_vec(view.totals.as_ref()?).ok()?);
    Some(view.json.get_or_init(|| json).clone())
}

/// `GET /api/v1/polls/POLL/results`.
pub(super) async fn results(State(app): State<Arc<App>>, Name(name): Name) -> Response {
    match view_of(&app, &name).await {
        Ok(view) => results_json(&view).map_or_else(busy, |body| (JSON, body).into_response()),
        Err(answer) => answer,
    }
}

/// `POST /api/v1/polls/POLL/votes`. Its content type is what no form of another site can send without asking first, and
/// nobody is allowed when asking.
pub(super) async fn vote(State(app): State<Arc<App>>, Name(name): Name, client: Client, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let ballot = match read_ballot(&parts.headers, body).await {
        Ok(ballot) => ballot,
        Err((status, message)) => {
            app.metrics.refused(Reason::BadRequest);
            return failure(status, Reason::BadRequest.name(), &message);
        }
    };
    let Ok(slug) = Slug::new(&name) else {
        app.metrics.refused(Reason::UnknownPoll);
        return failure(StatusCode::NOT_FOUND, Reason::UnknownPoll.name(), "there is no poll of that name");
    };
    let judged = cast(&app, client, &parts.headers, &slug, &ballot.choices).await;
    let mut answer = match &judged.verdict {
        Verdict::Taken(place, identity) => {
            let receipt = Receipt { status: place.name(), poll: slug.as_str(), id: identity.to_string() };
            json(StatusCode::CREATED, &receipt)
        }
        Verdict::Refused(refusal) => {
            let reason = Reason::of(refusal);
            failure(status_of(reason), reason.name(), &told(refusal))
        }
        Verdict::Busy => busy(),
        Verdict::NotTaken => {
            let says = "the vote was not taken: nothing takes votes just now";
            let mut answer = failure(StatusCode::SERVICE_UNAVAILABLE, Reason::NotTaken.name(), says);
            retry_after(&mut answer, 5);
            answer
        }
        Verdict::Unknown => {
            let says = "it is not known whether the vote was taken: a voter who is known by cookie or address may vote again and \
                        counts once";
            let mut answer = failure(StatusCode::SERVICE_UNAVAILABLE, Reason::Unknown.name(), says);
            retry_after(&mut answer, UNKNOWN_SECONDS);
            answer
        }
    };
    answer.headers_mut().extend(judged.cookies);
    answer
}

async fn read_ballot(headers: &HeaderMap, body: Body) -> Result<Ballot, (StatusCode, String)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected the content type application/json".into()));
    }
    let bytes = read_body(body).await.map_err(|error| match error {
        BodyError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        BodyError::Broken => (StatusCode::BAD_REQUEST, error.to_string()),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, error.to_string()),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("expected {{\"choices\":[\"KEY\"]}}: {error}")))
}

/// The refusal in words that fit whoever has no command line.
pub(super) fn told(refusal: &Refusal) -> String {
    match refusal {
        Refusal::UnknownPoll(poll) => format!("there is no poll {poll}"),
        Refusal::Closed { poll, at } => format!("poll {poll} closed at {at}"),
        Refusal::UnderWay(_) => {
            let wait = crate::queue::CLAIM_SECONDS;
            format!(
                "Your vote is being taken just now. If you are not told that it is in, vote again in {wait} seconds."
            )
        }
        other => other.to_string(),
    }
}

/// The status code of a refusal.
pub(super) fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::UnknownPoll => StatusCode::NOT_FOUND,
        Reason::Closed => StatusCode::GONE,
        Reason::AlreadyVoted | Reason::UnderWay => StatusCode::CONFLICT,
        Reason::BadPick => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::BadRequest => StatusCode::BAD_REQUEST,
        Reason::OtherOrigin => StatusCode::FORBIDDEN,
        Reason::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Reason::Busy | Reason::NotTaken | Reason::Unknown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether a poll takes votes just now.
pub(super) fn is_open(poll: &Poll) -> bool {
    poll.is_open_at(crate::poll::now_ms())
}
