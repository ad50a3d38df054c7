//! One vote a person, as each poll chose to tell persons apart.

use serde_json::json;

use crate::support::{Answer, Memcached, Service, Site};

fn site(memcached: &Memcached) -> Site {
    with_polls(Site::new(&[memcached]).with("WEIR_VOTER_SECRET", "s3cret"))
}

fn with_polls(site: Site) -> Site {
    for once in ["cookie", "ip", "cookie+ip", "none"] {
        let choices = ["--choice", "yes=Yes", "--choice", "no=No", "--question", "Once?", "--once", once];
        site.ok(&[&["poll", "create", &once.replace('+', "-")], &choices[..]].concat());
    }
    site
}

/// A vote from an address behind the proxy.
fn vote(service: &Service, poll: &str, address: &str, cookies: &str) -> Answer {
    service.api_vote(poll, &["yes"], &[("X-Forwarded-For", address), ("Cookie", cookies)])
}

const ONE: &str = "203.0.113.1";
const TWO: &str = "203.0.113.2";

#[test]
fn each_poll_tells_persons_apart_as_it_chose() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    let service = Service::start(&site, &["--flush-every", "0", "--trusted-proxy", "127.0.0.0/8"]);
    let first = vote(&service, "cookie", ONE, "");
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(vote(&service, "cookie", TWO, &first.cookies).json()["error"], "already_voted");
    // A number that we never signed is no number.
    let forged = first.cookies.replacen("weir-voter=", "weir-voter=0", 1);
    assert_eq!(vote(&service, "cookie", ONE, &forged).status, 201);

    assert_eq!(vote(&service, "ip", ONE, "").status, 201);
    assert_eq!(vote(&service, "ip", ONE, "").status, 409);
    assert_eq!(vote(&service, "ip", TWO, "").status, 201);
    assert_eq!(vote(&service, "ip", "2001:db8:1:2::1", "").status, 201);
    assert_eq!(vote(&service, "ip", "2001:db8:1:2:ffff::2", "").status, 409);
    assert_eq!(vote(&service, "ip", "2001:db8:1:3::1", "").status, 201);

    let both = vote(&service, "cookie-ip", ONE, "");
    assert_eq!(both.status, 201);
    assert_eq!(vote(&service, "cookie-ip", ONE, "").status, 409);
    assert_eq!(vote(&service, "cookie-ip", TWO, &both.cookies).status, 409);
    assert_eq!(vote(&service, "cookie-ip", TWO, "").status, 201);

    for _ in 0..3 {
        assert_eq!(vote(&service, "none", ONE, &first.cookies).status, 201);
    }
    // For good: memcached forgets everything, and the ballots' keys say it all the same.
    site.ok(&["poll", "flush"]);
    let mut memcached = memcached;
    memcached.restart();
    // Taken by the empty memcached or refused by the database: it does not count either way.
    assert!([201, 409].contains(&vote(&service, "ip", ONE, "").status));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(0));
    memcached.kill();
    assert_eq!(vote(&service, "ip", TWO, "").json()["error"], "already_voted");
    assert_eq!(site.counted("ip").len(), 4);
    let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
    assert!(!log.contains("203.0.113") && !log.contains("2001:db8"), "{log}");
}

#[test]
fn forwarding_headers_of_strangers_are_not_believed() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    let service = Service::start(&site, &["--flush-every", "0"]);
    assert_eq!(vote(&service, "ip", ONE, "").status, 201);
    assert_eq!(vote(&service, "ip", TWO, "").status, 409);
}

#[test]
fn who_has_voted_is_known_after_a_restart_without_a_secret_of_ones_own() {
    let memcached = Memcached::start();
    let site = with_polls(Site::new(&[&memcached]));
    let service = Service::start(&site, &["--flush-every", "0"]);
    let first = vote(&service, "cookie", ONE, "");
    assert_eq!((first.status, service.end()), (201, Some(0)));
    let service = Service::start(&site, &["--flush-every", "0"]);
    assert_eq!(vote(&service, "cookie", ONE, &first.cookies).status, 409);
    assert_eq!(vote(&service, "ip", ONE, "").status, 201);
}
