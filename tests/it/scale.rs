//! Queues at their longest: how much is asked of the server to pass what is empty, and how much is written at once.

use std::time::Duration;

use serde_json::json;
use weir::poll::drain::{Drain, Holes, Step};
use weir::poll::pulse::Pulse;
use weir::store;

use crate::support::{Memcached, Site, backend};

/// What else a vote and a flush ask of a server.
const BESIDES: u64 = 200;

#[test]
fn a_million_empty_slots_are_each_read_once_and_nothing_is_written_for_them() {
    const SLOTS: u64 = 1_000_000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut voters = memcached.talk();
    // So many voters took tickets and were killed.
    voters.incr_by("poll-queue-curr", SLOTS).unwrap();
    site.ok(&["poll", "vote", "now", "no"]);
    let asked = |talk: &mut crate::support::Talk| (talk.stat("cmd_get"), talk.stat("cmd_set"));
    let before = asked(&mut voters);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    let after = asked(&mut voters);
    assert!((SLOTS..SLOTS + BESIDES).contains(&(after.0 - before.0)), "{before:?} {after:?}");
    assert!(after.1 - before.1 < BESIDES, "{before:?} {after:?}");
    // A service does not read them again before their time.
    site.ok(&["poll", "vote", "now", "yes"]);
    let backend = backend(&memcached, &site);
    let (mut watch, pulse) = (|_| {}, Pulse::default());
    let mut drain = Drain::open(&backend, &backend.memcached[0], &mut watch, &pulse).unwrap();
    let mut store = store::open(&backend.database, Duration::from_secs(10)).unwrap();
    let row = store.queues().unwrap().remove(0);
    assert!(row.slots.len() < 500, "{}", row.slots);
    drain.run(store.as_mut(), Holes::Due, None).unwrap();
    let early = asked(&mut voters);
    drain.run(store.as_mut(), Holes::Due, None).unwrap();
    let late = asked(&mut voters);
    assert!(late.0 - early.0 < BESIDES, "{early:?} {late:?}");
    assert_eq!(drain.count.counted, 1);
    assert_eq!(site.counted("now").len(), 3);
    site.ok(&["poll", "verify"]);
}

#[test]
fn many_large_dead_letters_are_written_a_few_at_a_time() {
    const LETTERS: usize = 40;
    const LETTER_LEN: usize = 1_000_000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut script = memcached.talk();
    script.set("poll-queue-lock", "0");
    script.set("poll-queue-curr", &LETTERS.to_string());
    for ticket in 1..=LETTERS {
        script.set(&format!("poll-queue-key-{ticket}"), &"x".repeat(LETTER_LEN));
    }
    let mut commits = 0;
    let backend = backend(&memcached, &site);
    let mut watch = |step| commits += usize::from(matches!(step, Step::Committed { .. }));
    let pulse = Pulse::default();
    let mut drain = Drain::open(&backend, &backend.memcached[0], &mut watch, &pulse).unwrap();
    let mut store = store::open(&backend.database, Duration::from_secs(10)).unwrap();
    drain.run(store.as_mut(), Holes::All, None).unwrap();
    let dead_letters = drain.count.dead_letters;
    assert_eq!(dead_letters, LETTERS as u64);
    assert!(commits >= LETTERS * LETTER_LEN / store::TRANSACTION_BYTES_MAX, "{commits}");
    assert_eq!(site.status()["dead_letters"], json!(LETTERS));
}
