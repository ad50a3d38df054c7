//! What a monitor asks: is the process alive, can it take votes, and its numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::poll::now_ms;
use crate::poll::site::Site;
use crate::poll::status::{Status, status};
use crate::store;

use super::app::App;
use super::reader::Look;

/// How long a look at the queues is good.
const FRESH: Duration = Duration::from_secs(2);

/// How long the look waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the queues with a thread of its own.
pub(super) struct Health(Look<Site, Arc<Status>>);

impl Health {
    pub(super) fn start(site: Site) -> std::io::Result<Health> {
        Look::start("looks at queues", FRESH, site).map(Health)
    }

    async fn status(&self) -> Option<Arc<Status>> {
        let read = |site: &mut Site| {
            let store = store::open(&site.database, DATABASE_PATIENCE);
            Some(status(&site.memcached, &site.keys, site.timeout, site.copies, store, &site.spool).into())
        };
        self.0.look(read).await.ok()
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
