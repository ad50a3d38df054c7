//! Results as they change, as server-sent events: the JSON of the interface, sent when it is another.
//!
//! Each follower looks at what the desk has every second, which costs memcached one look for all of them together. A
//! follower who reads slowly misses what has been overtaken, and nothing piles up.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

use crate::slug::Slug;

use super::app::App;
use super::desk::{Seen, View};

/// How often a follower looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How often something is sent so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Counts followers as they come and go.
struct Follower(Arc<App>);

impl Follower {
    fn new(app: Arc<App>) -> Follower {
        app.metrics.listeners.fetch_add(1, Ordering::Relaxed);
        Follower(app)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.metrics.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /polls/POLL/events`.
pub(super) async fn events(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Ok(slug) = Slug::new(&name) else { return StatusCode::NOT_FOUND.into_response() };
    if !matches!(app.desk.look(&slug).await, Ok(Seen::Poll(_))) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let follower = Follower::new(app.clone());
    let ending = app.ending.subscribe();
    let looks =
        IntervalStream::new(tokio::time::interval(PAUSE)).take_while(move |_| !*ending.borrow()).then(move |_| {
            let (app, slug) = (follower.0.clone(), slug.clone());
            async move { app.desk.look(&slug).await.ok() }
        });
    let mut last: Option<Arc<View>> = None;
    let changes = looks.filter_map(move |seen| {
        let Some(Seen::Poll(view)) = seen else { return None };
        if last.as_ref().is_some_and(|last| last.totals == view.totals) {
            return None;
        }
        let json = super::api::results_json(&view)?;
        last = Some(view);
        let event = Event::default().event("results").data(String::from_utf8_lossy(&json));
        Some(Ok::<_, Infallible>(event))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    // nginx would hold events back to fill its buffers.
    ([(header::HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(changes).keep_alive(keep_alive))
        .into_response()
}
