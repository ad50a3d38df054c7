//! Scripts of the old notes on the same prefix, while weir flushes. The client here does what the notes say, to the
//! letter: the lock with its waiting, the creating of lock and pointer when they are missing, pointer, set, release.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Memcached, Site, Talk};

/// One message the way the notes store it.
fn put(memcached: &mut Talk, message: &str) {
    let mut total_sleep_us: i64 = 1_000_000;
    while total_sleep_us > 0 {
        match memcached.incr("poll-queue-lock") {
            None => {
                memcached.set("poll-queue-lock", "1");
                memcached.set("poll-queue-curr", "0");
                break;
            }
            Some(1) => break,
            Some(_) => {
                std::thread::sleep(Duration::from_millis(1));
                total_sleep_us -= 1000;
            }
        }
    }
    let next_key = memcached.incr("poll-queue-curr");
    if next_key.is_none() {
        memcached.set("poll-queue-curr", "1");
    }
    // `sprintf "%d"` of Perl's undef is 0.
    memcached.set(&format!("poll-queue-key-{}", next_key.unwrap_or(0)), message);
    memcached.set("poll-queue-lock", "0");
}

fn message(voter: &str) -> String {
    json!({"poll": "now", "picks": ["yes"], "voter": voter}).to_string()
}

fn site(memcached: &Memcached) -> Site {
    let site = Site::new(&[memcached]);
    site.create_now();
    site
}

#[test]
fn a_script_that_starts_the_queue_itself_is_drained_and_the_queue_goes_on_in_a_fresh_epoch() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    let mut script = memcached.talk();
    for number in 1..=3 {
        put(&mut script, &message(&format!("before {number}")));
    }
    assert_eq!(script.get("poll-queue-curr").as_deref(), Some("3"));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(3));
    assert_eq!(script.get("poll-queue-curr").unwrap().len(), 19);
    for number in 1..=3 {
        put(&mut script, &message(&format!("after {number}")));
    }
    site.ok(&["poll", "vote", "now", "no"]);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(4));
    assert_eq!(site.counted("now").len(), 7);
}

#[test]
fn the_same_low_numbers_after_a_restart_are_new_messages() {
    let mut memcached = Memcached::start();
    let site = site(&memcached);
    for life in 0..3 {
        let mut script = memcached.talk();
        for number in 0..=life * 2 {
            put(&mut script, &message(&format!("{life} {number}")));
        }
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(life * 2 + 1));
        memcached.restart();
    }
    assert_eq!(site.counted("now").len(), 1 + 3 + 5);
}

#[test]
fn a_message_in_slot_0_is_found() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    let mut script = memcached.talk();
    script.set("poll-queue-lock", "0");
    put(&mut script, &message("ann"));
    put(&mut script, &message("bob"));
    assert!(script.get("poll-queue-key-0").is_some() && script.get("poll-queue-key-2").is_some());
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn weirs_writers_and_scripts_share_a_counter_that_a_script_began() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    put(&mut memcached.talk(), &message("ann"));
    site.ok(&["poll", "vote", "now", "no", "--voter", "bob"]);
    site.ok(&["poll", "vote", "now", "no", "--locked"]);
    put(&mut memcached.talk(), "{\"poll\":\"now\",\"picks\":[\"yes\"]}");
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(4));
}

#[test]
fn a_lock_that_a_legacy_writer_left_held_does_not_hold_up_a_flush() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    site.ok(&["poll", "vote", "now", "no"]);
    assert_eq!(memcached.talk().incr("poll-queue-lock"), Some(1));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    assert_eq!(memcached.talk().get("poll-queue-lock").as_deref(), Some("1"));
    // Who wants it takes it over after a second.
    site.ok(&["poll", "vote", "now", "no", "--locked"]);
    assert_eq!(memcached.talk().get("poll-queue-lock").as_deref(), Some("0"));
}

#[test]
fn a_lock_that_changes_hands_is_not_taken_over() {
    let memcached = Memcached::start();
    let site = site(&memcached);
    site.ok(&["poll", "vote", "now", "no"]);
    let mut scripts = memcached.talk();
    scripts.set("poll-queue-lock", "1");
    std::thread::scope(|scope| {
        let vote = scope.spawn(|| site.ok(&["poll", "vote", "now", "no", "--locked"]));
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(150));
            // One gives it back and the next gets it.
            scripts.set("poll-queue-lock", "1");
            assert!(!vote.is_finished(), "the lock was taken over");
        }
        scripts.set("poll-queue-lock", "0");
        vote.join().unwrap()
    });
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn scripts_and_weir_write_all_the_while_weir_flushes_and_every_message_counts_once() {
    const SCRIPTS: usize = 3;
    const MESSAGES: usize = 50;
    let memcached = Memcached::start();
    let site = site(&memcached);
    // The first script of all sets the counter to 0 once. Two that do so at one moment overwrite each other's first
    // messages, with or without weir: that is the notes' own, so it is kept out of this.
    put(&mut memcached.talk(), &message("first"));
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let scripts: Vec<_> = (0..SCRIPTS)
            .map(|script| {
                let mut talk = memcached.talk();
                scope.spawn(move || {
                    (0..MESSAGES).for_each(|number| put(&mut talk, &message(&format!("{script} {number}"))));
                })
            })
            .collect();
        let voter = scope.spawn(|| (0..20).for_each(|_| drop(site.ok(&["poll", "vote", "now", "no"]))));
        let flusher = scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                site.ok(&["poll", "flush"]);
            }
        });
        scripts.into_iter().chain([voter]).for_each(|writer| writer.join().unwrap());
        writing.store(false, Ordering::Relaxed);
        flusher.join().unwrap();
    });
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now").len(), 1 + SCRIPTS * MESSAGES + 20);
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    assert_eq!(site.json(&["poll", "status"])["servers"][0]["depth"], json!(0));
}
