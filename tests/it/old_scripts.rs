//! Scripts of the old notes and weir on one prefix, where each could begin the counter under the other's feet.

use serde_json::json;

use crate::support::{Memcached, Site};

const NAMELESS: &str = r#"{"poll":"now","picks":["yes"]}"#;

#[test]
fn a_vote_queued_while_a_script_is_about_to_start_the_counter_at_0_was_lost() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut script = memcached.talk();
    assert_eq!(script.incr("poll-queue-lock"), None);
    assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued "));
    script.set("poll-queue-lock", "1");
    script.set("poll-queue-curr", "0");
    let ticket = script.incr("poll-queue-curr").unwrap();
    script.set(&format!("poll-queue-key-{ticket}"), NAMELESS);
    script.set("poll-queue-lock", "0");
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    assert_eq!(site.counted("now").len(), 2);
}

#[test]
fn votes_of_scripts_that_started_the_counter_anew_were_taken_for_those_before() {
    for again in [3, 5] {
        let memcached = Memcached::start();
        let site = Site::new(&[&memcached]);
        site.create_now();
        let vote = |votes: u64| {
            let mut script = memcached.talk();
            for _ in 0..votes {
                while script.incr("poll-queue-lock") != Some(1) {}
                let ticket = script.incr("poll-queue-curr").unwrap();
                script.set(&format!("poll-queue-key-{ticket}"), NAMELESS);
                script.set("poll-queue-lock", "0");
            }
        };
        let begin = || {
            let mut script = memcached.talk();
            script.delete("poll-queue-lock");
            assert_eq!(script.incr("poll-queue-lock"), None);
            script.set("poll-queue-lock", "1");
            script.set("poll-queue-curr", "0");
            script.set("poll-queue-lock", "0");
        };
        begin();
        vote(4);
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(4));
        begin();
        vote(again);
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(again));
    }
}
