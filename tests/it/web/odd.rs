//! Odd requests: nothing that is sent makes the service panic, hang or grow.

use std::io::{Read, Write};
use std::net::TcpStream;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::support::{Memcached, Service, Site};

const METHODS: [&str; 8] = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW", "get"];
const PATHS: [&str; 22] = [
    "/",
    "/polls/now",
    "/polls/now/results",
    "/polls/now/events/x",
    "/polls/",
    "/polls//",
    "/polls/%00",
    "/polls/%ff%fe",
    "/polls/..%2f..%2fetc",
    "/polls/NOW",
    "/polls/now?embed=9999999999",
    "/polls/now?embed",
    "/polls/now?embed=%ff",
    "/polls/now/results?voted=-1",
    "/api/v1/polls/now/votes",
    "/api/v1/polls/%0d%0a/votes",
    "/api/v1/polls/now",
    "/api/v1/",
    "/assets/%2e%2e",
    "*",
    "//",
    "/metrics?x=%",
];
const HEADERS: [&str; 20] = [
    "Host: x",
    "Host:",
    "Host: \u{e9}",
    "Origin: null",
    "Origin: http://x",
    "Origin: ://",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: \u{ff}",
    "Content-Type: application/json",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: ;",
    "Cookie: weir-voter=; weir-voted=",
    "Cookie: weir-voter=0123456789abcdef0123456789abcdef.zz",
    "Cookie: \u{e9}=\u{e9}; =",
    "X-Forwarded-For: , ,::, [",
    "X-Forwarded-For: 999.1.1.1",
    "X-Forwarded-Proto: \u{7f}",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
];
const BODIES: [&[u8]; 14] = [
    b"",
    b"choice=yes",
    b"choice=%00%ff",
    b"choice=&choice=&&&=",
    b"{\"choices\":[\"yes\"]}",
    b"{\"choices\":[1]}",
    b"{",
    b"{\"choices\":[\"\\ud800\"]}",
    b"[[[[[[[[[[[[",
    b"\xff\xfe\x00",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\nx",
    b"{\"choices\":[]}",
    b"{\"choices\":[\"yes\",\"yes\"]}",
];

fn odd_request(random: &mut ChaCha8Rng) -> Vec<u8> {
    fn any<'a, T: ?Sized>(random: &mut ChaCha8Rng, all: &[&'a T]) -> &'a T {
        all[random.random_range(0..all.len())]
    }
    let body = any(random, &BODIES);
    let mut bytes = format!("{} {} HTTP/1.1\r\n", any(random, &METHODS), any(random, &PATHS)).into_bytes();
    for _ in 0..random.random_range(0..5) {
        // As single bytes, which is not UTF-8.
        bytes.extend(any(random, &HEADERS).chars().map(|letter| letter as u8));
        bytes.extend(b"\r\n");
    }
    match random.random_range(0..4) {
        0 => bytes.extend(b"Content-Length: 99999999999\r\n"),
        1 => {}
        _ => bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes()),
    }
    bytes.extend(b"Connection: close\r\n\r\n");
    bytes.extend(body);
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    bytes
}

#[test]
fn no_odd_request_makes_it_panic_and_it_serves_on() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let arguments = ["--rate-limit", "0", "--trusted-proxy", "127.0.0.1"];
    let service = Service::start(&site, &arguments);
    let (mut random, mut answered) = (ChaCha8Rng::seed_from_u64(6), 0);
    for number in 0..3000 {
        let request = odd_request(&mut random);
        let answer = service.raw(&request);
        let text = String::from_utf8_lossy(&answer);
        answered += u32::from(text.starts_with("HTTP/1.1 "));
        assert!(!text.starts_with("HTTP/1.1 500"), "{number}: {}\n{text}", String::from_utf8_lossy(&request));
    }
    // Else the odd ones have not come far.
    assert!(answered > 2000, "{answered}");
    assert_eq!(service.get("/polls/now").status, 200);
    assert_eq!(service.end(), Some(0));
    let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    site.ok(&["poll", "verify"]);
}

#[test]
fn long_bodies_and_long_heads_are_refused() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &[]);
    let long = "x".repeat(20_000);
    assert_eq!(service.form("/polls/now", &format!("choice={long}"), &[]).status, 413);
    assert_eq!(service.api_vote("now", &[&long], &[]).status, 413);
    assert_eq!(service.request("GET", "/", &[("X-Long", &long)], "").status, 431);
}

#[test]
fn an_address_that_asks_too_often_is_held_back_and_told_for_how_long() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &["--rate-limit", "1", "--trusted-proxy", "127.0.0.1"]);
    let ask = |address| service.request("GET", "/polls/now", &[("X-Forwarded-For", address)], "");
    let held = std::iter::repeat_with(|| ask("192.0.2.1")).take(1000).find(|answer| answer.status != 200).unwrap();
    assert_eq!(held.status, 429);
    assert!((1..=4).contains(&held.headers["retry-after"].parse::<u64>().unwrap()));
    assert_eq!(ask("192.0.2.2").status, 200);
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_client_that_says_nothing_or_half_a_request_or_no_second_one_is_let_go() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &[]);
    let connect = |says: &str| {
        let mut client = TcpStream::connect(service.address).unwrap();
        client.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
        client.write_all(says.as_bytes()).unwrap();
        client
    };
    let vote = "POST /api/v1/polls/now/votes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let half = format!("{vote}Content-Length: 100\r\n\r\n{{");
    for (mut client, status) in [
        (connect(""), None),
        (connect("GET / HTTP/1.1\r\nHost:"), Some("4")),
        (connect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), Some("200 ")),
        (connect(&half), Some("408 ")),
        (connect("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"), Some("200 ")),
    ] {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let as_told = status.is_some_and(|status| answer.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(answer.is_empty() || as_told, "{status:?}: {answer}");
    }
}

#[test]
fn a_link_with_an_odd_query_was_answered_with_an_error_of_the_parser() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &[]);
    for query in ["embed=true", "embed=1&embed=1", "embed", "voted=&embed=%ff", "utm_source=%", "&&=&"] {
        let page = service.get(&format!("/polls/now?{query}"));
        assert!(page.status == 200 && page.body.contains("<form"), "{query}: {}", page.body);
    }
    assert!(!service.get("/polls/now?embed=1&embed=1").body.contains("masthead"));
    // In a frame an error has no head of the site either.
    assert!(!service.get("/nothing?embed=1").body.contains("masthead"));
    let nameless = service.get("/polls/%ff");
    assert!(nameless.status == 404 && nameless.body.contains("There is no poll"), "{}", nameless.body);
    assert_eq!(service.get("/api/v1/polls/%ff/results").json()["error"], "unknown_poll");
}

#[test]
fn a_request_that_named_two_hosts_or_none_was_served() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let service = Service::start(&site, &[]);
    for (version, hosts, status) in
        [("1.1", "", 400), ("1.1", "Host: a\r\nHost: b\r\n", 400), ("1.1", "Host: a\r\n", 200), ("1.0", "", 200)]
    {
        let request = format!("GET /healthz HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        let answer = String::from_utf8(service.raw(request.as_bytes())).unwrap();
        assert!(answer.split(' ').nth(1) == Some(&status.to_string()), "{hosts:?}: {answer}");
    }
}

#[test]
fn every_question_whether_it_is_ready_went_to_memcached() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let service = Service::start(&site, &["--flush-every", "0"]);
    let sets = || memcached.talk().stat("cmd_set");
    let before = sets();
    (0..40).for_each(|_| assert_eq!(service.get("/readyz").status, 200));
    let asked = sets() - before;
    assert!((1..40).contains(&asked), "{asked}");
}
