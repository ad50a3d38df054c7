//! Results as they change, as server-sent events: the JSON of the interface, sent when it is another.
//!
//! Each follower looks at what the desk has every second, which costs memcached one look for all of them together. A
//! follower who reads slowly misses what has been overtaken, and nothing piles up.
//!
//! Followers come by the thousand and stay for hours. So once a follower's request has passed the gate, its socket is taken
//! from the HTTP connection, whose two buffers of 8 KiB would be most of what it costs, and events are written to it
//! as they are; the answer ends with the connection. They are limited, so that votes always find a connection free.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::poll::results::Totals;
use crate::slug::Slug;

use super::app::{App, Name};
use super::client::Client;
use super::desk::{Seen, View};
use super::gate::retry_after;
use super::page::http_date;

/// How often a follower looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How often totals are sent of which only the time is another.
const SAME_PAUSE: Duration = Duration::from_secs(10);

/// How often something is sent so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a follower may leave unread what its socket has no room for.
const UNREAD_LIMIT: Duration = Duration::from_secs(20);

/// When who found no seat may ask again, in seconds.
const FULL_SECONDS: u64 = 30;

/// Who follows just now.
pub(super) struct Followers {
    all_max: usize,
    of_address_max: usize,
    seated: Mutex<Seated>,
}

#[derive(Default)]
struct Seated {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Followers {
    /// Three in four of all connections may follow; and one in sixteen from one address, if addresses are limited.
    pub(super) fn new(connections_max: usize, are_addresses_limited: bool) -> Followers {
        let all_max = (connections_max / 4 * 3).max(1);
        let of_address_max = if are_addresses_limited { (connections_max / 16).max(1) } else { all_max };
        Followers { all_max, of_address_max, seated: Mutex::default() }
    }

    fn enter(&self, address: IpAddr) -> bool {
        let mut seated = self.seated.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = seated.by_address.get(&address).copied().unwrap_or_default();
        let enters = seated.all < self.all_max && of_address < self.of_address_max;
        if enters {
            seated.all += 1;
            seated.by_address.insert(address, of_address + 1);
        }
        enters
    }

    fn leave(&self, address: IpAddr) {
        let mut seated = self.seated.lock().unwrap_or_else(PoisonError::into_inner);
        seated.all = seated.all.saturating_sub(1);
        match seated.by_address.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(seated.by_address.remove(&address)),
        }
    }
}

/// A follower's place, left when dropped.
struct Seat {
    app: Arc<App>,
    address: IpAddr,
}

impl Seat {
    fn take(app: &Arc<App>, address: IpAddr) -> Option<Arc<Seat>> {
        app.followers.enter(address).then(|| {
            app.metrics.listeners.fetch_add(1, Ordering::Relaxed);
            Arc::new(Seat { app: app.clone(), address })
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.app.followers.leave(self.address);
        self.app.metrics.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Goes with an answer whose connection is to be taken over: writes the events.
#[derive(Clone)]
pub(super) struct Follow {
    seat: Arc<Seat>,
    slug: Slug,
}

/// `GET /polls/POLL/events`.
pub(super) async fn events(State(app): State<Arc<App>>, Name(name): Name, client: Client) -> Response {
    let Ok(slug) = Slug::new(&name) else { return StatusCode::NOT_FOUND.into_response() };
    if !matches!(app.desk.look(&slug).await, Ok(Seen::Poll(_))) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(seat) = Seat::take(&app, client.address) else {
        let mut answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
        retry_after(&mut answer, FULL_SECONDS);
        return answer;
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would hold events back to fill its buffers.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut answer = headers.into_response();
    answer.extensions_mut().insert(Follow { seat, slug });
    answer
}

impl Follow {
    /// Answers with these headers and then with events, until the follower leaves or the service ends.
    pub(super) async fn run(self, mut stream: TcpStream, headers: HeaderMap) {
        let app = &self.seat.app;
        let mut ending = app.ending.subscribe();
        let mut looks = interval(PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending: Vec<u8> = head(&headers);
        let (mut last, mut sent): (Option<Arc<View>>, Instant) = (None, Instant::now());
        loop {
            if !pending.is_empty() {
                match timeout(UNREAD_LIMIT, stream.write_all(&pending)).await {
                    Ok(Ok(())) => (pending, sent) = (Vec::new(), Instant::now()),
                    _ => return,
                }
            }
            let mut odd = [0; 64];
            tokio::select! {
                _ = looks.tick() => {}
                _ = ending.wait_for(|ending| *ending) => return,
                // A follower has nothing more to say; nothing at all means that it has gone.
                read = stream.read(&mut odd) => match read {
                    Ok(1..) => continue,
                    _ => return,
                },
            }
            let Ok(Seen::Poll(view)) = app.desk.look(&self.slug).await else { continue };
            let news =
                is_news(last.as_ref().and_then(|last| last.totals.as_ref()), view.totals.as_ref(), sent.elapsed());
            match super::api::results_json(&view).filter(|_| news) {
                Some(json) => {
                    pending = [b"event: results\ndata: ", &json[..], b"\n\n"].concat();
                    last = Some(view);
                }
                None if sent.elapsed() >= KEEP_ALIVE => pending = b":\n\n".to_vec(),
                None => {}
            }
        }
    }
}

/// Whether totals are to be sent that come a while after others.
fn is_news(before: Option<&Totals>, now: Option<&Totals>, after: Duration) -> bool {
    match (before, now) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(now)) if before == now => false,
        (Some(before), Some(now)) => {
            after >= SAME_PAUSE || *before != Totals { as_of: before.as_of.clone(), ..now.clone() }
        }
    }
}

/// The head of the answer as it goes over the wire.
fn head(headers: &HeaderMap) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let date = http_date();
    let own = [("connection", "close".as_bytes()), ("date", date.as_bytes())];
    // The answer ends with its connection, and so has no length.
    let others = |name: &HeaderName| ![header::CONNECTION, header::DATE, header::CONTENT_LENGTH].contains(name);
    let given = headers.iter().filter(|(name, _)| others(name));
    let given = given.map(|(name, value)| (name.as_str(), value.as_bytes()));
    for (name, value) in given.chain(own) {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_could_take_every_connection_by_following() {
        let [one, two]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let followers = Followers::new(64, true);
        assert_eq!((0..100).filter(|_| followers.enter(one)).count(), 4);
        assert!(followers.enter(two));
        followers.leave(one);
        assert_eq!((followers.enter(one), followers.enter(one)), (true, false));
        (0..5).for_each(|_| followers.leave(one));
        assert!(!followers.seated.lock().unwrap().by_address.contains_key(&one));
        // Without a limit of addresses there is one of all, and it leaves room for votes.
        let followers = Followers::new(64, false);
        assert_eq!((0..100).filter(|_| followers.enter(one)).count(), 48);
    }

    #[test]
    fn totals_of_which_only_the_time_is_another_are_seldom_sent() {
        let totals = |as_of: &str, total| Totals {
            poll: Slug::new("now").unwrap(),
            question: "Now?".into(),
            open: true,
            total,
            as_of: as_of.into(),
            ends_at: None,
            choices: Vec::new(),
        };
        let (one, later, more) = (totals("1", 1), totals("2", 1), totals("2", 2));
        let (soon, long) = (Duration::from_secs(1), SAME_PAUSE);
        assert!(is_news(None, Some(&one), soon) && is_news(Some(&one), Some(&more), soon));
        assert!(is_news(Some(&one), Some(&later), long) && !is_news(Some(&one), Some(&later), soon));
        assert!(!is_news(Some(&one), Some(&one), long) && !is_news(Some(&one), None, long));
    }
}
