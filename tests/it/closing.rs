//! Closing a poll while people vote: a vote that was acknowledged is counted, and a later one is kept with its reason.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::poll::now_ms;
use weir::poll::vote::{Booth, Outcome, Place, Vote};
use weir::slug::Slug;

use crate::batcher::library;
use crate::support::{Memcached, Site, Talk, wait_until};

/// Votes until the poll refuses; the identities of the votes that were acknowledged as queued.
fn vote_until_closed(booth: &mut Booth, queued: &AtomicUsize) -> Vec<String> {
    let slug = |text| Slug::new(text).unwrap();
    let mut acknowledged = Vec::new();
    loop {
        let vote = Vote { poll: slug("now"), picks: [slug("yes")].into(), voter: None };
        match booth.cast(vec![vote]).outcomes.remove(0) {
            Outcome::Taken(Place::Queued, identity) => acknowledged.push(identity.to_string()),
            Outcome::Refused(_) => return acknowledged,
            other => panic!("{other:?}"),
        }
        queued.fetch_add(1, Ordering::Relaxed);
        // Not to wait for anything: enough votes will do.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `close` while voters of long-lived processes vote; every vote acknowledged around it.
fn close_under_load(site: &Site, servers: &[&Memcached], close: impl FnOnce()) -> Vec<String> {
    const VOTERS: usize = 4;
    let queued = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let voter = || vote_until_closed(&mut library(site, servers).booth(false), &queued);
        let voters: Vec<_> = (0..VOTERS).map(|_| scope.spawn(voter)).collect();
        wait_until("votes come in", || queued.load(Ordering::Relaxed) > 100);
        close();
        voters.into_iter().flat_map(|voter| voter.join().unwrap()).collect()
    })
}

/// Writes an entry as a host does whose clock shows `at_ms`.
fn put(script: &mut Talk, at_ms: i64) {
    let ticket = script.incr("poll-queue-curr").unwrap();
    let entry = format!(r#"{{"poll":"now","picks":["no"],"voter":"at {at_ms}","at":{at_ms}}}"#);
    script.set(&format!("poll-queue-key-{ticket}"), &entry);
}

fn letters(site: &Site) -> Vec<Value> {
    let text = site.ok(&["poll", "dead-letters", "list", "--all", "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_vote_acknowledged_while_its_poll_is_closed_is_counted() {
    let servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref());
    site.create_now();
    let mut acknowledged = Vec::new();
    for _ in 0..4 {
        let close = || drop(site.ok(&["poll", "close", "now"]));
        acknowledged.extend(close_under_load(&site, &servers.each_ref(), close));
        let flushed = site.json(&["poll", "flush"]);
        assert_eq!(flushed["dead_letters"], json!(0), "{flushed}");
        site.ok(&["poll", "open", "now"]);
    }
    acknowledged.sort();
    let counted = site.counted("now");
    assert!(counted == acknowledged, "{} acknowledged, {} counted", acknowledged.len(), counted.len());
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_vote_acknowledged_while_close_waits_for_the_database_is_counted() {
    const WAIT: Duration = Duration::from_millis(6500);
    let servers = [Memcached::start()];
    let site = Site::new(&servers.each_ref());
    site.create_now();
    let close = || {
        let database = rusqlite::Connection::open(site.path("polls.sqlite")).unwrap();
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut close = site.start(&["poll", "close", "now"]);
        // The time that passes is the matter of this test: more than the grace, less than SQLite waits.
        let begun = Instant::now();
        while begun.elapsed() < WAIT {
            assert!(close.try_wait().unwrap().is_none(), "it did not wait for the database");
            std::thread::sleep(Duration::from_millis(50));
        }
        database.execute_batch("COMMIT").unwrap();
        assert!(close.wait().unwrap().success());
    };
    let mut acknowledged = close_under_load(&site, &servers.each_ref(), close);
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!(flushed["dead_letters"], json!(0), "{flushed}");
    acknowledged.sort();
    let counted = site.counted("now");
    assert!(counted == acknowledged, "{} acknowledged, {} counted", acknowledged.len(), counted.len());
}

#[test]
fn a_vote_of_a_clock_that_is_ahead_is_counted_and_one_cast_long_after_the_end_is_kept_with_both_times() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut script = memcached.talk();
    put(&mut script, now_ms() + 2000);
    site.ok(&["poll", "close", "now"]);
    let late_ms = now_ms() + 10_000;
    put(&mut script, late_ms);
    let flushed = site.run(&["poll", "flush"]);
    let said = String::from_utf8_lossy(&flushed.stdout);
    assert!(said.starts_with("3 ballots: 2 counted, 0 duplicates, 1 dead letter"), "{said}");
    let letter = letters(&site).remove(0);
    let reason = letter["reason"].as_str().unwrap();
    let cast = jiff::Timestamp::from_millisecond(late_ms).unwrap();
    let closed = jiff::Timestamp::from_millisecond(late_ms - 10_000).unwrap();
    assert!(reason.starts_with(&format!("cast at {cast:.3}, ")), "{reason}");
    // Closed in this second or the one before.
    assert!(reason.contains(&closed.strftime("after poll now closed at %Y-%m-%dT%H:").to_string()), "{reason}");

    // It stays for as long as the poll ended before it was cast.
    site.fails(4, &["poll", "dead-letters", "retry", "--all"]);
    assert_eq!(letters(&site).len(), 1);
    site.ok(&["poll", "open", "now"]);
    site.ok(&["poll", "dead-letters", "retry", "--all"]);
    assert_eq!((site.counted("now").len(), letters(&site).len()), (3, 0));
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_vote_that_is_queued_when_its_poll_is_opened_again_is_counted() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut script = memcached.talk();
    site.ok(&["poll", "close", "now"]);
    put(&mut script, now_ms() + 8000);
    site.ok(&["poll", "open", "now"]);
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!((&flushed["counted"], &flushed["dead_letters"]), (&json!(2), &json!(0)));
}

#[test]
fn results_are_not_called_final_before_late_votes_are_counted() {
    use crate::support::Service;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "close", "now"]);
    site.ok(&["poll", "flush"]);
    let service = Service::start(&site, &[]);
    let page = || service.get("/polls/now/results").body;
    assert!(page().contains("The last votes are being counted"), "{}", page());
    wait_until("they are final", || page().contains("Final results"));
}
