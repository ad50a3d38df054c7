//! Sockets: how many are served at once, how slow a client may be, and how they end.
//!
//! Behind a proxy that is trusted to keep slow clients away none of this would matter; it is here for the day when it
//! is not.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tower::Service;

use super::app::{App, router};
use super::client::Peer;
use super::live::Follow;
use super::{Config, Error, Pulse, Stage};

/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// How long a client may leave what was sent to it unread.
const UNREAD_LIMIT_MS: u32 = 20_000;

/// The longest head of a request, in bytes, and the buffer of a connection.
const HEAD_MAX_LEN: usize = 16 * 1024;

/// How long connections may take to end once the service is to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the system could not give a descriptor.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often it is told that the service is alive.
const BEAT: Duration = Duration::from_secs(1);

/// Accepts and serves until a signal comes, then ends in order.
pub(super) async fn serve(
    app: Arc<App>,
    config: &Config,
    pulse: &Pulse,
    is_flushing_alive: impl Fn() -> bool,
    tell: &mut dyn FnMut(Stage),
) -> Result<(), Error> {
    let fail = |source| Error::Listen { listen: config.listen, source };
    raise_descriptor_limit();
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let [mut terminated, mut interrupted] = [
        signal(SignalKind::terminate()).map_err(Error::Start)?,
        signal(SignalKind::interrupt()).map_err(Error::Start)?,
    ];
    tell(Stage::Listening(listener.local_addr().map_err(fail)?));
    let router = router(app.clone());
    let connections_max = config.connections_max.clamp(1, Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            _ = beat.tick() => {
                if is_flushing_alive() && app.trouble().is_none() {
                    pulse.beat();
                }
                continue;
            }
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        // A client that is gone already is found out by the first read.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_LIMIT_MS);
        let open = Open::new(app.clone(), slot);
        let router = router.clone();
        tokio::spawn(async move {
            if !has_spoken(&open.app, &stream).await {
                return;
            }
            // Each boxed, because a task is as large as the largest thing it may come to wait for, and most wait for less.
            if let Some((follow, headers, stream)) = Box::pin(talk(&open.app, stream, peer, router)).await {
                Box::pin(follow.run(stream, headers)).await;
            }
        });
    }
    drop(listener);
    tracing::info!("ending: no new connections are taken");
    tell(Stage::Ending);
    app.ending.send_replace(true);
    // When all slots are free, every connection has ended.
    let all = slots.acquire_many(u32::try_from(connections_max).unwrap_or(u32::MAX));
    if tokio::time::timeout(END_LIMIT, all).await.is_err() {
        tracing::warn!("some connections did not end within {} s and were cut", END_LIMIT.as_secs());
    }
    Ok(())
}

/// An open connection, counted until dropped.
struct Open {
    app: Arc<App>,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(app: Arc<App>, slot: OwnedSemaphorePermit) -> Open {
        app.metrics.connections.fetch_add(1, Ordering::Relaxed);
        Open { app, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the client says anything in time. Only then is it given buffers: ten thousand that say nothing should cost
/// little.
async fn has_spoken(app: &App, stream: &TcpStream) -> bool {
    let mut ending = app.ending.subscribe();
    let mut first = [0];
    tokio::select! {
        // Not "readable", which a fresh socket may seem to be.
        spoken = tokio::time::timeout(HEAD_LIMIT, stream.peek(&mut first)) => matches!(spoken, Ok(Ok(1))),
        _ = ending.wait_for(|ending| *ending) => false,
    }
}

/// Answers requests until either side ends it, or until one asks to follow results: then the socket is given back, with
/// the headers of the answer that is still to be written.
async fn talk(
    app: &App,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> Option<(Follow, HeaderMap, TcpStream)> {
    let (sender, followed) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (is_get, sender) = (request.method() == Method::GET, sender.clone());
        let answer = router.clone().call(request.map(Body::new));
        async move {
            let mut answer = answer.await?;
            let follow = answer.extensions_mut().remove::<Follow>().filter(|_| is_get);
            let take = |follow| Some((follow, sender.lock().unwrap_or_else(PoisonError::into_inner).take()?));
            if let Some((follow, sender)) = follow.and_then(take) {
                // The other end waits for as long as this does, and answers in this one's stead.
                let _ = sender.send((follow, std::mem::take(answer.headers_mut())));
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        // Who says that no more will come is answered all the same.
        .half_close(true)
        .max_buf_size(HEAD_MAX_LEN)
        .serve_connection(TokioIo::new(stream), service);
    let mut ending = app.ending.subscribe();
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        Ok((follow, headers)) = followed => {
            return Some((follow, headers, connection.into_parts().io.into_inner()));
        }
        () = async { drop(ending.wait_for(|ending| *ending).await) } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
    };
    // What a connection ends with is its client's doing.
    if let Err(error) = ended {
        tracing::trace!("connection: {error}");
    }
    None
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Each connection is a descriptor, and the usual soft limit of 1024 is less than a spike.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}
