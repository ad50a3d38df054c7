//! `weir poll serve`: polls as pages and as a JSON interface, in one process that a site puts behind its proxy.
//!
//! | file | job |
//! |---|---|
//! | `app` | what every request shares, and which path goes where |
//! | `connection` | sockets: how many, how slow, how they end |
//! | `gate` | every request passes it: who asks, how often, and the headers of every answer |
//! | `client` | a client's address, also behind trusted proxies |
//! | `rate` | how often one address may ask |
//! | `cookie` | the signed cookies: which browser this is, and where it has voted |
//! | `vote` | a vote from a request to the batcher and back |
//! | `form` | votes of the page's form |
//! | `api` | the JSON interface |
//! | `page/` | the pages |
//! | `live` | results as they change, as server-sent events |
//! | `desk` | what is known of polls, read by threads of their own and kept for a second |
//! | `last_known` | the definitions read last, in files, for a start in an outage |
//! | `reader` | threads that read what blocks, and how long a request waits for them |
//! | `flushing` | the built-in flusher |
//! | `readiness` | whether a vote would be taken, tried out |
//! | `metrics`, `health` | what a monitor asks |
//! | `assets` | style, script, icon and interface description, all first-party |
//!
//! # What may block
//! memcached, databases and files are blocking, so no task of the runtime touches them: votes are handed to the
//! [batcher](crate::poll::batcher), and everything else is read by threads that answer through a channel.
//!
//! It refuses to keep or log a client's address: only its keyed hash goes anywhere, as a voter's name does. It refuses
//! TLS, HTTP/2 and compression, which are the proxy's work.

mod api;
mod app;
mod assets;
mod client;
mod connection;
mod cookie;
mod desk;
mod flushing;
mod form;
mod gate;
mod health;
mod last_known;
mod live;
mod metrics;
mod page;
mod rate;
mod reader;
mod readiness;
mod vote;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use ipnet::IpNet;

use crate::poll::ballot::Refusal;
use crate::poll::batcher::{Batcher, Limits};
use crate::poll::pulse::Pulse;
use crate::poll::secret::{self, CheckError, SecretError};
use crate::poll::site::Site;

use app::App;
use flushing::Flushing;

/// How long the start waits for one answer of the database: without it, votes are taken all the same.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// How a service is set up.
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The pause between two flushes of the built-in flusher; without one it is off.
    pub flush_every: Option<Duration>,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may show polls in a frame, such as `https://news.example`.
    pub embed_origins: Vec<String>,
    /// Requests a second that one address may make over a while; 0 for no limit.
    pub rate_limit: u32,
    /// What the pages are headed with.
    pub title: String,
    /// How many votes may wait in each lane of the batcher before voters are asked to come back.
    pub waiting_max: usize,
    /// How many connections are served at once; three in four of them may follow results live.
    pub connections_max: usize,
}

/// Why a service could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no threads or no descriptors.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// The secret could not be read or made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The votes of the database are made with another secret.
    #[error(transparent)]
    OtherSecret(Refusal),
}

/// How far a service has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It takes requests at this address; from now on a signal ends it in order.
    Listening(SocketAddr),
    /// It takes no more connections, answers what is under way, and flushes.
    Ending,
}

/// Serves the polls of a site until SIGTERM or SIGINT; then stops accepting, answers what is under way, flushes, and
/// returns. `pulse` is beaten every second while the service lives: requests are accepted, its threads work, and the flusher
/// rests or moves.
/// `tell` hears of each stage.
///
/// # Errors
/// [`Error`]; nothing was served.
pub fn serve(site: Site, config: &Config, pulse: &Pulse, mut tell: impl FnMut(Stage)) -> Result<(), Error> {
    let site = secret::find_or_make(site)?;
    match secret::keep(&site, DATABASE_PATIENCE) {
        Err(CheckError::Refused(refusal)) => return Err(Error::OtherSecret(refusal)),
        Err(CheckError::Store(error)) => tracing::warn!("{error}; the voter secret will be checked later"),
        Ok(()) => {}
    }
    let flusher = config.flush_every.map(|every| Flushing::start(&site, every));
    let flusher = flusher.transpose().map_err(Error::Start)?;
    let batch_limit = app::work_limit(&site);
    let limits = Limits { gathered_max: config.waiting_max, batch_limit, ..Limits::default() };
    let batcher = Batcher::start(&site, limits).map_err(Error::Start)?;
    let app = App::new(config, site, batcher, flusher.as_ref().map(Flushing::seen)).map_err(Error::Start)?;
    let life = flusher.as_ref().map(Flushing::life);
    let is_flushing_alive = || life.as_ref().is_none_or(flushing::Life::is_seen);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    let served = runtime.block_on(connection::serve(Arc::new(app), config, pulse, is_flushing_alive, &mut tell));
    // Whatever connection was still open is cut here, and the batcher, owned by what is dropped with them, casts and
    // answers all it has.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(flusher);
    served
}
