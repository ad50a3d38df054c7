//! What a monitor asks: is the process alive, can it take votes, and its numbers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::poll::now_ms;
use crate::poll::site::Site;
use crate::poll::status::{Status, status};
use crate::store;

use super::app::App;
use super::desk::Reader;

/// How long a look at the queues is good.
const FRESH: Duration = Duration::from_secs(2);

/// How long the look waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the queues with a thread of its own.
pub(super) struct Health {
    reader: Reader<Site>,
    seen: Mutex<Option<(Instant, Arc<Status>)>>,
}

impl Health {
    pub(super) fn start(site: Site) -> std::io::Result<Health> {
        Ok(Health { reader: Reader::start("looks at queues", site)?, seen: Mutex::default() })
    }

    async fn status(&self) -> Option<Arc<Status>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, status)) = seen.filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(status);
        }
        let looked = self.reader.ask(|site| {
            let store = store::open(&site.database, DATABASE_PATIENCE);
            status(&site.memcached, &site.keys, site.timeout, site.copies, store, &site.spool)
        });
        let status = match looked.await {
            Ok(status) => Arc::new(status),
            Err(super::desk::Busy) => return None,
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), status.clone()));
        Some(status)
    }
}

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: votes find a place.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if *app.ending.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending\n").into_response();
    }
    match app.desk.is_ready().await {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no memcached server answers, and no database\n").into_response(),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let status = app.health.status().await;
    let text = app.metrics.text(app.batcher.waiting(), status.as_deref(), app.flushed.as_deref(), now_ms());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
