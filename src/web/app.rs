//! What every request shares, and which path goes where.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use ipnet::IpNet;
use tokio::sync::watch;

use crate::poll::batcher::Batcher;
use crate::poll::life::Life;
use crate::poll::site::Site;

use super::client::Client;
use super::cookie::Cookies;
use super::desk::Desk;
use super::health::Health;
use super::last_known::LastKnown;
use super::live::Followers;
use super::metrics::{Flushed, Metrics};
use super::rate::RateLimit;
use super::readiness::Readiness;
use super::{Config, api, assets, form, gate, health, live, page};

/// The longest body of a vote, in bytes: 64 picks of 64 bytes fit in either form.
pub(super) const BODY_MAX_LEN: usize = 16 * 1024;

/// What every request shares.
pub(super) struct App {
    pub batcher: Batcher,
    pub desk: Arc<Desk>,
    pub cookies: Cookies,
    pub rate: RateLimit,
    pub metrics: Metrics,
    pub flushed: Option<Arc<Flushed>>,
    pub followers: Followers,
    pub health: Health,
    pub readiness: Readiness,
    pub trusted_proxies: Vec<IpNet>,
    pub content_policy: HeaderValue,
    pub is_framed: bool,
    pub title: String,
    /// Turns true when the service is to end.
    pub ending: watch::Sender<bool>,
}

impl App {
    pub(super) fn new(
        config: &Config,
        site: Site,
        batcher: Batcher,
        flushed: Option<Arc<Flushed>>,
    ) -> std::io::Result<App> {
        let is_framed = !config.embed_origins.is_empty();
        let last_known = Arc::new(LastKnown::read(&site.spool));
        let limit = work_limit(&site);
        Ok(App {
            batcher,
            desk: Arc::new(Desk::open(&site, last_known.clone(), limit)?),
            cookies: Cookies::new(&site.identity_key, is_framed),
            rate: RateLimit::new(config.rate_limit),
            metrics: Metrics::default(),
            flushed,
            followers: Followers::new(config.connections_max, config.rate_limit > 0),
            readiness: Readiness::start(&site, last_known, Life::new("looks for ways in", limit))?,
            health: Health::start(site, Life::new("looks at queues", limit))?,
            trusted_proxies: config.trusted_proxies.clone(),
            content_policy: gate::content_policy(&config.embed_origins).map_err(std::io::Error::other)?,
            is_framed,
            title: config.title.clone(),
            ending: watch::Sender::new(false),
        })
    }

    /// What keeps votes from being taken although the servers answer, if anything does: a thread that hangs or panics.
    /// Those that only monitors ask do not count.
    pub(super) fn trouble(&self) -> Option<String> {
        self.batcher.trouble().or_else(|| self.desk.trouble())
    }
}

/// How long a thread may take for one piece of work: longer than all its time-outs together.
pub(super) fn work_limit(site: &Site) -> Duration {
    Duration::from_secs(60) + site.timeout * 4 * u32::try_from(site.memcached.len()).unwrap_or(1)
}

/// Every path, with the gate around all of them.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/polls/{poll}", get(page::poll).post(form::vote))
        .route("/polls/{poll}/results", get(page::results))
        .route("/polls/{poll}/events", get(live::events))
        .route("/api/v1/polls", get(api::polls))
        .route("/api/v1/polls/{poll}", get(api::poll))
        .route("/api/v1/polls/{poll}/votes", post(api::vote))
        .route("/api/v1/polls/{poll}/results", get(api::results))
        .route("/api/v1/openapi.json", get(assets::openapi))
        .route("/assets/{file}", get(assets::file))
        .route("/favicon.ico", get(assets::icon))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(app.clone(), gate::pass))
        .with_state(app)
}

async fn unknown_path(State(app): State<Arc<App>>, request: Request) -> Response {
    let (status, says) = (StatusCode::NOT_FOUND, "There is nothing at this address.");
    match request.uri().path().starts_with("/api/") {
        true => api::failure(status, "not_found", says),
        false => page::failure(&app, status, says, page::Shape::of(request.uri()).is_embedded()),
    }
}

async fn unknown_method(State(app): State<Arc<App>>, request: Request) -> Response {
    let (status, says) = (StatusCode::METHOD_NOT_ALLOWED, "This address does not take such a request.");
    match request.uri().path().starts_with("/api/") {
        true => api::failure(status, "method_not_allowed", says),
        false => page::failure(&app, status, says, page::Shape::of(request.uri()).is_embedded()),
    }
}

/// The poll that a path names, or what stands in its place: empty where that is no text, which names no poll.
pub(super) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, Infallible> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        Ok(Name(name.map(|Path(name)| name).unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Client, StatusCode> {
        parts.extensions.get::<Client>().copied().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
