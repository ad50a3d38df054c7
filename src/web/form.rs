//! Votes of the page's form, for browsers with and without JavaScript.
//!
//! A vote that is taken is answered with a redirect to the results, so that going back or reloading never votes
//! again; one that is not is answered with a page that says why, and shows the results to who has voted already.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::poll::ballot::Refusal;
use crate::slug::Slug;

use super::api::{UNKNOWN_SECONDS, status_of, told};
use super::app::{App, BODY_MAX_LEN, Name};
use super::client::Client;
use super::gate::{is_of_own_page, retry_after};
use super::metrics::Reason;
use super::page::{self, Shape};
use super::vote::{Verdict, cast};

/// How long a client may take for the body of a vote.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request is too long")]
    TooLong,
    #[error("the request broke off")]
    Broken,
    #[error("the request took too long")]
    TooSlow,
}

/// Reads a whole body, within its limits of length and time.
pub(super) async fn read_body(body: Body) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(BODY_LIMIT, to_bytes(body, BODY_MAX_LEN)).await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| cause.source());
            let too_long = causes.any(|cause| cause.to_string().contains("length limit"));
            Err(if too_long { BodyError::TooLong } else { BodyError::Broken })
        }
    }
}

/// `POST /polls/POLL`.
pub(super) async fn vote(
    State(app): State<Arc<App>>,
    Name(name): Name,
    shape: Shape,
    client: Client,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let refuse = |status: StatusCode, reason: Reason, says: &str| {
        app.metrics.refused(reason);
        page::failure(&app, status, says, shape.is_embedded())
    };
    if !is_of_own_page(&parts.headers) {
        let says = "Your browser did not say which page this vote came from, so it was not taken.";
        return refuse(StatusCode::FORBIDDEN, Reason::OtherOrigin, says);
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        let says = "This address takes votes from its own form only.";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Reason::BadRequest, says);
    }
    let bytes = match read_body(body).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLong) => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, Reason::BadRequest, "This vote is too long to be one.");
        }
        Err(BodyError::Broken | BodyError::TooSlow) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                Reason::BadRequest,
                "The vote broke off on its way. Please try again.",
            );
        }
    };
    let Ok(slug) = Slug::new(&name) else {
        return refuse(StatusCode::NOT_FOUND, Reason::UnknownPoll, page::NO_SUCH_POLL);
    };
    let pairs = url::form_urlencoded::parse(&bytes);
    let picks: Vec<String> = pairs.filter(|(key, _)| key == "choice").map(|(_, value)| value.into_owned()).collect();
    let judged = cast(&app, client, &parts.headers, &slug, &picks).await;
    let mut answer = match (&judged.verdict, &judged.view) {
        (Verdict::Taken(..), _) => {
            let target = format!("/polls/{slug}/results?voted=1{}", if shape.is_embedded() { "&embed=1" } else { "" });
            let location = HeaderValue::try_from(target).unwrap_or(HeaderValue::from_static("/"));
            (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
        }
        (Verdict::Refused(refusal @ Refusal::AlreadyVoted(_)), Some(view)) => {
            let body = page::results_page(&app, view, page::Notice::Already, shape.is_embedded());
            (status_of(Reason::of(refusal)), body).into_response()
        }
        (Verdict::Refused(refusal @ Refusal::Closed { .. }), Some(view)) => {
            let body = page::results_page(&app, view, page::Notice::TooLate, shape.is_embedded());
            (status_of(Reason::of(refusal)), body).into_response()
        }
        (Verdict::Refused(refusal), Some(view)) if Reason::of(refusal) == Reason::BadPick => {
            let body = page::vote_page(&app, view, Some(&page::advice(refusal, &view.poll)), shape.is_embedded());
            (status_of(Reason::BadPick), body).into_response()
        }
        (Verdict::Refused(Refusal::UnknownPoll(_)), _) => {
            page::failure(&app, StatusCode::NOT_FOUND, page::NO_SUCH_POLL, shape.is_embedded())
        }
        (Verdict::Refused(refusal), _) => {
            page::failure(&app, status_of(Reason::of(refusal)), &told(refusal), shape.is_embedded())
        }
        (Verdict::Busy, _) => later(&app, 1, "So many votes are coming in that yours could not be taken.", shape),
        (Verdict::NotTaken, _) => later(&app, 5, "Your vote could not be taken just now.", shape),
        (Verdict::Unknown, _) => {
            let says =
                "It is not known whether your vote was taken. Please look at the results in a minute, or vote again.";
            let mut answer = page::failure(&app, StatusCode::SERVICE_UNAVAILABLE, says, shape.is_embedded());
            retry_after(&mut answer, UNKNOWN_SECONDS);
            answer
        }
    };
    answer.headers_mut().extend(judged.cookies);
    answer
}

fn later(app: &App, seconds: u64, says: &str, shape: Shape) -> Response {
    let says = format!("{says} It has not been counted. Please go back and try again in a few seconds.");
    let mut answer = page::failure(app, StatusCode::SERVICE_UNAVAILABLE, &says, shape.is_embedded());
    retry_after(&mut answer, seconds);
    answer
}
