//! Epochs that the counter has left by itself: it was evicted while entries under it live on.

use serde_json::json;

use crate::support::{Memcached, Site};

#[test]
fn a_vote_after_a_long_run_of_empty_slots_is_counted_although_the_counter_was_lost() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    // So many voters took tickets and died.
    let mut voters = memcached.talk();
    for _ in 0..1000 {
        voters.incr("poll-queue-curr").unwrap();
    }
    assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued "));
    memcached.talk().delete("poll-queue-curr");
    assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued "));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    assert_eq!(site.counted("now").len(), 3);
}

/// The counter is begun at 0, as a script of the notes begins it, and lost after `flushed` and some more votes.
fn lost_legacy_counter(flushed: u64) {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut script = memcached.talk();
    script.set("poll-queue-lock", "0");
    script.set("poll-queue-curr", "0");
    let vote = |votes: u64| {
        (0..votes).for_each(|_| assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued ")));
    };
    vote(flushed);
    if flushed > 0 {
        // A flush that has read the position and dies leaves the shadow epoch behind.
        script.set("poll-queue-legacy", &(((1_u64 << 28) + 5) << 34).to_string());
    }
    vote(2);
    script.delete("poll-queue-curr");
    vote(1);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(flushed + 3));
    assert_eq!(site.counted("now").len() as u64, flushed + 3);
    // What was left of epoch 0 is done with: the next script that begins the counter anew is heard.
    assert_eq!(script.get("poll-queue-legacy"), None);
    script.delete("poll-queue-lock");
    assert_eq!(script.incr("poll-queue-lock"), None);
    script.set("poll-queue-lock", "1");
    script.set("poll-queue-curr", "0");
    assert_eq!(script.incr("poll-queue-curr"), Some(1));
    script.set("poll-queue-key-1", r#"{"poll":"now","picks":["yes"]}"#);
    script.set("poll-queue-lock", "0");
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}

#[test]
fn votes_under_a_counter_that_a_legacy_writer_had_begun_are_counted_although_it_was_lost() {
    lost_legacy_counter(0);
    lost_legacy_counter(3);
}
