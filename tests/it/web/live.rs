//! Live results as a program reads them: who may follow, what is sent, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::{LIMIT, Memcached, Service, Site, wait_until};

/// A follower: the head of the answer has been read.
struct Follower {
    lines: BufReader<TcpStream>,
    head: String,
}

impl Follower {
    fn new(service: &Service, more: &str) -> Follower {
        let stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Follower::on(stream, more)
    }

    fn on(mut stream: TcpStream, more: &str) -> Follower {
        write!(stream, "GET /polls/now/events HTTP/1.1\r\nHost: x\r\n{more}\r\n").unwrap();
        let (mut lines, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        Follower { lines, head }
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// The next event; none when the service has ended it.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(json) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
        }
    }
}

fn listeners(service: &Service, count: usize) {
    let line = format!("weir_listeners {count}\n");
    wait_until(&line, || service.get("/metrics").body.contains(&line));
}

#[test]
fn a_follower_is_told_of_each_change_and_of_the_end() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &["--flush-every", "100ms"]);
    let mut follower = Follower::new(&service, "");
    for header in
        ["content-type: text/event-stream\r\n", "cache-control: no-store\r\n", "x-content-type-options: nosniff\r\n"]
    {
        assert!(follower.head.contains(header), "{}", follower.head);
    }
    assert!(!follower.head.contains("content-length"), "{}", follower.head);
    assert_eq!(follower.next().unwrap()["total"], 0);
    for total in 1..=3 {
        assert_eq!(service.api_vote("now", &["yes"], &[]).status, 201);
        // In between there may be one of which only the time is another.
        while follower.next().unwrap()["total"] != total {}
    }
    assert_eq!(service.end(), Some(0));
    while follower.next().is_some() {}
}

#[test]
fn a_connection_that_has_asked_for_something_else_may_follow_too() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &[]);
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    assert_eq!(Follower::on(stream, "").next().unwrap()["total"], 0);
}

#[test]
fn one_address_could_hold_every_connection_by_following() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &["--connections-max", "32", "--trusted-proxy", "127.0.0.1"]);
    let follow = |address: u8| Follower::new(&service, &format!("X-Forwarded-For: 192.0.2.{address}\r\n"));
    let first = [follow(1), follow(1)];
    assert!(first.iter().all(|follower| follower.status() == "200"));
    let full = follow(1);
    assert!(full.status() == "503" && full.head.contains("retry-after: "), "{}", full.head);
    assert_eq!(follow(2).status(), "200");
    drop(first);
    listeners(&service, 0);
    // However many addresses there are, a quarter of the connections is left for votes.
    let many: Vec<_> = (0..30).map(|number| follow(number / 2)).collect();
    assert_eq!(many.iter().filter(|follower| follower.status() == "200").count(), 24);
    drop(many.into_iter().filter(|follower| follower.status() == "503").collect::<Vec<_>>());
    assert_eq!(service.api_vote("now", &["yes"], &[]).status, 201);
}

#[test]
fn asking_for_the_head_alone_or_for_no_poll_follows_nothing() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &[]);
    let head = service.request("HEAD", "/polls/now/events", &[], "");
    assert_eq!((head.status, head.headers["content-type"].as_str()), (200, "text/event-stream"));
    for path in ["/polls/never/events", "/polls/N/events"] {
        assert_eq!(service.get(path).status, 404);
    }
    listeners(&service, 0);
}
