//! Sockets: how many are served at once, how slow a client may be, and how they end.
//!
//! Behind a proxy that is trusted to keep slow clients away none of this would matter; it is here for the day when it
//! is not.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use super::app::{App, router};
use super::client::Peer;
use super::{Config, Error};

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

/// Accepts and serves until a signal comes, then ends in order.
pub(super) async fn serve(app: Arc<App>, config: &Config, listening: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    let fail = |source| Error::Listen { listen: config.listen, source };
    raise_descriptor_limit();
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let [mut terminated, mut interrupted] = [
        signal(SignalKind::terminate()).map_err(Error::Start)?,
        signal(SignalKind::interrupt()).map_err(Error::Start)?,
    ];
    listening(listener.local_addr().map_err(fail)?);
    let router = router(app.clone());
    let slots = Arc::new(Semaphore::new(config.connections_max.max(1)));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
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
        let (app, router, watcher) = (app.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            app.metrics.connections.fetch_add(1, Ordering::Relaxed);
            if has_spoken(&app, &stream).await {
                talk(stream, peer, router, watcher).await;
            }
            app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(slot);
        });
    }
    drop(listener);
    tracing::info!("ending: no new connections are taken");
    app.ending.send_replace(true);
    if tokio::time::timeout(END_LIMIT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end within {} s and were cut", END_LIMIT.as_secs());
    }
    Ok(())
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

/// Answers requests until either side ends it. Boxed, because a task is as large as the largest thing it may come to wait
/// for, and most wait for less.
fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_MAX_LEN)
        .serve_connection(TokioIo::new(stream), service);
    let served = watcher.watch(connection);
    Box::pin(async move {
        // What a connection ends with is its client's doing.
        if let Err(error) = served.await {
            tracing::trace!("connection: {error}");
        }
    })
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
