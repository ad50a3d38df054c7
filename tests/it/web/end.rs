//! Servers that die under the service, and how it ends itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::{Memcached, Service, Site, wait_until};

/// Creates a poll in which everybody may vote as often as they like.
fn create_free(site: &Site) {
    let choices = ["--choice", "yes=Yes", "--choice", "no=No", "--question", "Free?", "--once", "none"];
    site.ok(&[&["poll", "create", "free"], &choices[..]].concat());
}

#[test]
fn with_a_memcached_killed_under_load_no_request_fails_and_no_acknowledged_vote_is_lost() {
    const CLIENTS: usize = 6;
    let mut servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    create_free(&site);
    let service = Service::start(&site, &["--flush-every", "50ms", "--rate-limit", "0"]);
    let (taken, killed) = (AtomicU64::new(0), AtomicBool::new(false));
    let receipts: BTreeSet<String> = std::thread::scope(|scope| {
        let (service, taken, killed) = (&service, &taken, &killed);
        let vote = move || {
            let (mut receipts, mut after) = (Vec::new(), 0);
            while after < 50 {
                after += usize::from(killed.load(Ordering::Relaxed));
                let answer = service.api_vote("free", &["yes"], &[]);
                assert_eq!(answer.status, 201, "{}", answer.body);
                taken.fetch_add(1, Ordering::Relaxed);
                receipts.push(answer.json()["id"].as_str().unwrap().to_string());
            }
            receipts
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(vote)).collect();
        wait_until("votes are taken", || taken.load(Ordering::Relaxed) > 100);
        servers[0].kill();
        killed.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(service.end(), Some(0));
    let counted: BTreeSet<_> = site.counted("free").into_iter().collect();
    assert_eq!(receipts.difference(&counted).count(), 0);
    assert_eq!(counted.len(), receipts.len());
    site.ok(&["poll", "verify"]);
}

#[test]
fn without_memcached_votes_go_to_the_database_and_without_that_to_the_spool() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    create_free(&site);
    memcached.kill();
    let service = Service::start(&site, &["--flush-every", "0"]);
    assert_eq!(service.api_vote("free", &["no"], &[]).json()["status"], "stored");
    assert_eq!(service.get("/readyz").status, 200);
    assert_eq!(service.end(), Some(0));
    memcached.restart();
    site.ok(&["poll", "flush"]);
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    let service = Service::start(&site, &["--flush-every", "0"]);
    assert_eq!(service.api_vote("free", &["no"], &[]).json()["status"], "queued");
    memcached.kill();
    assert_eq!(service.api_vote("free", &["no"], &[]).json()["status"], "spooled");
    assert_eq!((service.get("/readyz").status, service.get("/healthz").status), (200, 200));
    assert_eq!(service.end(), Some(0));
    site.set("WEIR_DATABASE", database);
    memcached.restart();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}

#[test]
fn a_full_queue_answers_503_with_the_time_to_come_back() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    create_free(&site);
    let service = Service::start(&site, &["--flush-every", "0", "--waiting-max", "3", "--rate-limit", "0"]);
    assert_eq!(service.get("/polls/free").status, 200);
    memcached.black_hole();
    std::thread::scope(|scope| {
        // One is under way and three wait; the definition was known for a second.
        let vote = || service.api_vote("free", &["yes"], &[]);
        let votes: Vec<_> = (0..12).map(|_| scope.spawn(vote)).collect();
        std::thread::sleep(std::time::Duration::from_millis(600));
        memcached.revive();
        let answers: Vec<_> = votes.into_iter().map(|vote| vote.join().unwrap()).collect();
        let (taken, full): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert!(!taken.is_empty() && !full.is_empty(), "{} taken", taken.len());
        assert!(full.iter().all(|answer| answer.status == 503 && answer.headers.contains_key("retry-after")));
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(taken.len()));
    });
}

#[test]
fn sigterm_ends_it_in_order_with_the_queue_flushed() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    create_free(&site);
    let service = Service::start(&site, &["--flush-every", "1h"]);
    (0..5).for_each(|_| assert_eq!(service.api_vote("free", &["yes"], &[]).status, 201));
    // A follower of live results does not hold it up.
    let follower = std::net::TcpStream::connect(service.address).unwrap();
    std::io::Write::write_all(&mut &follower, b"GET /polls/free/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_until("it follows", || service.get("/metrics").body.contains("weir_listeners 1"));
    assert_eq!(service.end(), Some(0));
    assert_eq!(site.counted("free").len(), 5);
}
