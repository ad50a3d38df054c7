//! Queues at their longest: how much is asked of the server to pass what is empty, and how much is written at once.

use std::time::Duration;

use serde_json::json;
use weir::poll::ballot::IdentityKey;
use weir::poll::drain::{Count, Drain, Step};
use weir::poll::pulse::Pulse;
use weir::queue::{Address, Keys, Prefix};
use weir::store::{self, DatabaseUrl};

use crate::support::{Memcached, Site};

/// What else a vote and a flush ask of a server.
const BESIDES: u64 = 200;

#[test]
fn a_million_empty_slots_are_each_looked_at_once_and_closed_once() {
    const SLOTS: u64 = 1_000_000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut voters = memcached.talk();
    // So many voters took tickets and died.
    voters.incr_by("poll-queue-curr", SLOTS).unwrap();
    site.ok(&["poll", "vote", "now", "no"]);
    let asked = |talk: &mut crate::support::Talk| (talk.stat("cmd_get"), talk.stat("cmd_set"));
    let before = asked(&mut voters);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    let after = asked(&mut voters);
    assert!((SLOTS..SLOTS + BESIDES).contains(&(after.0 - before.0)), "{before:?} {after:?}");
    assert!((SLOTS..SLOTS + BESIDES).contains(&(after.1 - before.1)), "{before:?} {after:?}");
    // What is passed is not passed again.
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    let last = asked(&mut voters);
    assert!(last.0 - after.0 < BESIDES && last.1 - after.1 < BESIDES, "{after:?} {last:?}");
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
    let mut drain = Drain {
        address: &Address::new(&memcached.address()).unwrap(),
        keys: &Keys::new(Prefix::new("poll-queue").unwrap()),
        timeout: Duration::from_secs(10),
        key: &IdentityKey::new(None),
        watch: &mut |step| commits += usize::from(step == Step::Committed),
        pulse: &Pulse::default(),
        count: Count::default(),
        took_over_lock: false,
        head: None,
    };
    let database = DatabaseUrl::new(&format!("sqlite:{}", site.path("polls.sqlite").display())).unwrap();
    drain.run(store::open(&database, Duration::from_secs(10)).unwrap().as_mut()).unwrap();
    assert_eq!(drain.count.dead_letters, LETTERS as u64);
    assert!(commits >= LETTERS * LETTER_LEN / store::TRANSACTION_BYTES_MAX, "{commits}");
    assert_eq!(site.status()["dead_letters"], json!(LETTERS));
}
