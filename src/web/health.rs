//! What a monitor asks: is the process alive, can it take votes, and its numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::poll::life::Life;
use crate::poll::now_ms;
use crate::poll::site::Site;
use crate::poll::status::{Status, status};
use crate::store;

use super::app::App;
use super::reader::Look;
use super::readiness::Ready;

/// How long a look at the queues is good.
const FRESH: Duration = Duration::from_secs(2);

/// How long the look waits for one answer of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the queues with a thread of its own.
pub(super) struct Health(Look<Site, Arc<Status>>);

impl Health {
    pub(super) fn start(site: Site, life: Life) -> std::io::Result<Health> {
        Look::start(life, FRESH, move || site.clone()).map(Health)
    }

    async fn status(&self) -> Option<Arc<Status>> {
        let read = |site: &mut Site| {
            let store = store::open(&site.database, DATABASE_PATIENCE);
            Some(status(site, store).into())
        };
        self.0.look(read).await.ok()
    }
}

/// `GET /healthz`: whether the threads that take votes work. A service in which they do not is to be started again.
pub(super) async fn alive(State(app): State<Arc<App>>) -> Response {
    match app.trouble() {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("not healthy: {trouble}\n")).into_response(),
    }
}

/// `GET /readyz`: whether a vote would be taken, and by what.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = match app.trouble() {
        _ if *app.ending.borrow() => Ready::No("the service is ending".into()),
        Some(trouble) => Ready::No(trouble),
        None => app.readiness.look().await,
    };
    match ready {
        Ready::Yes(how) => format!("ready: {how}\n").into_response(),
        Ready::No(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let status = app.health.status().await;
    let text = app.metrics.text(app.batcher.waiting(), status.as_deref(), app.flushed.as_deref(), now_ms());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
