//! `poll verify --repair`: a tally that is wrong is set to the recount, whatever votes come in meanwhile.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql::prelude::Queryable;
use rustix::process::Signal;
use serde_json::{Value, json};
use weir::store::{self, DatabaseUrl, Store};

use crate::support::{MariaDb, Memcached, Site, signal, stderr, stdout, wait_until};

/// Runs statements as a person would, past weir.
fn by_hand(url: &str, statements: &[&str]) {
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(60)).unwrap();
            statements.iter().for_each(|statement| connection.execute_batch(statement).unwrap());
        }
        None => {
            let mut connection = mysql::Conn::new(url).unwrap();
            statements.iter().for_each(|statement| connection.query_drop(statement).unwrap());
        }
    }
}

/// A site with a poll, in SQLite and in MariaDB.
fn on_every_database(check: impl Fn(&Memcached, &Site, &str)) {
    let mariadb = MariaDb::start();
    for mariadb_url in [None, Some(mariadb.create("polls"))] {
        let memcached = Memcached::start();
        let mut site = Site::new(&[&memcached]);
        let url = mariadb_url.unwrap_or_else(|| format!("sqlite:{}", site.path("polls.sqlite").display()));
        site.set("WEIR_DATABASE", &url);
        site.create_now();
        check(&memcached, &site, &url);
    }
}

/// Flushes that run until the test ends, however it ends.
struct Flushes(Vec<Child>);

impl Drop for Flushes {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|flush| drop((flush.kill(), flush.wait())));
    }
}

/// Ends the voters, also when the test fails: it waits for them.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open(url: &str) -> Box<dyn Store> {
    store::open(&DatabaseUrl::new(url).unwrap(), Duration::from_secs(60)).unwrap()
}

#[test]
fn a_wrong_tally_is_set_to_the_recount_and_every_change_is_reported() {
    on_every_database(|_, site, url| {
        site.ok(&["poll", "create", "later", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
        assert!(site.batch("now\tyes\nnow\tyes\nnow\tno\nlater\ta\n").status.success());
        site.ok(&["poll", "flush"]);
        assert_eq!(site.ok(&["poll", "verify", "--repair"]), "now: ok, 3 ballots\nlater: ok, 1 ballots\n");
        let spoil =
            ["UPDATE polls SET ballots = 9 WHERE slug = 'now'", "UPDATE choices SET votes = 7 WHERE choice = 'no'"];
        by_hand(url, &spoil);
        site.fails(1, &["poll", "verify"]);
        let repaired = site.ok(&["poll", "verify", "--repair"]);
        assert_eq!(repaired, "now: repaired, 9 ballots are now 3\n  no: 7 votes are now 1\nlater: ok, 1 ballots\n");
        site.ok(&["poll", "verify"]);
        // Readers see it without waiting for a flush.
        assert_eq!(site.json(&["poll", "results", "now"])["total"], json!(3));
        by_hand(url, &spoil);
        let repaired = site.json(&["poll", "verify", "--repair", "now"]);
        let choices = json!([{"key": "yes", "votes": 2, "tallied": 2}, {"key": "no", "votes": 1, "tallied": 7}]);
        let wanted =
            json!({"poll": "now", "ok": false, "repaired": true, "ballots": 3, "tallied": 9, "choices": choices});
        assert_eq!(repaired, wanted);
        let sound = site.json(&["poll", "verify", "--repair", "now"]);
        assert_eq!((&sound["ok"], &sound["repaired"]), (&json!(true), &json!(false)));
    });
}

#[test]
fn a_repair_that_cannot_tell_memcached_leaves_that_to_the_next_flush() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    by_hand(&format!("sqlite:{}", site.path("polls.sqlite").display()), &["UPDATE polls SET ballots = 5"]);
    memcached.kill();
    let output = site.run(&["poll", "verify", "--repair"]);
    assert!(output.status.success() && stdout(&output).starts_with("now: repaired"), "{}", stderr(&output));
    assert!(stderr(&output).contains("the next flush"), "{}", stderr(&output));
}

#[test]
fn repairs_while_votes_come_in_and_are_flushed_leave_tallies_that_are_the_recount() {
    const ROUNDS: u64 = 12;
    on_every_database(|_, site, url| {
        // Votes that go to the database directly, and votes that several flushes bring.
        let mut direct = Site::new(&[]).with("WEIR_MEMCACHED", "127.0.0.1:1").with("WEIR_DATABASE", url);
        direct.set("WEIR_SPOOL", site.path("spool of the direct").display().to_string());
        let flush = |_| site.start(&["poll", "flush", "--every", "10ms", "--quiet"]);
        let mut flushes = Flushes((0..2).map(flush).collect());
        let over = AtomicBool::new(false);
        // A third of the voters has voted before, so that batches are split into groups. Returns the number of voters.
        let vote = |site: &Site, name: &str| {
            let mut voters = 0;
            while !over.load(Ordering::Relaxed) {
                let line = |n: u64| format!("now\t{}\t{name} {}\n", ["yes", "no", "yes"][n as usize % 3], voters + n);
                let output = site.batch((0..300).map(line).collect::<String>());
                assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
                voters += 200;
            }
            voters + 100
        };
        let (queued, stored) = std::thread::scope(|scope| {
            let ends = Ends(&over);
            let queuing = scope.spawn(|| vote(site, "queued"));
            let storing = scope.spawn(|| vote(&direct, "stored"));
            let (mut store, mut broken) = (open(url), 0);
            for round in 0..ROUNDS {
                let now = store.polls().unwrap().remove(0);
                let before = store.tally(&now).unwrap().ballots;
                wait_until("votes are counted", || store.tally(&now).unwrap().ballots > before);
                if round % 2 == 0 {
                    by_hand(
                        url,
                        &["UPDATE polls SET ballots = ballots + 1000000", "UPDATE choices SET votes = votes + 7"],
                    );
                }
                // Two at once: the second finds that there is nothing left to do.
                let repairs: Vec<_> = (0..2).map(|_| site.start(&["poll", "verify", "--repair", "--json"])).collect();
                for repair in repairs {
                    let output = repair.wait_with_output().unwrap();
                    assert!(output.status.success(), "{}", stderr(&output));
                    let verdict: Value = serde_json::from_str(&stdout(&output)).unwrap();
                    broken += u64::from(verdict["repaired"] == json!(true));
                }
                let (stored, counted) = store.recount(&now).unwrap();
                assert_eq!(stored, counted, "round {round}");
            }
            drop(ends);
            assert_eq!(broken, ROUNDS / 2);
            (queuing.join().unwrap(), storing.join().unwrap())
        });
        for flush in flushes.0.drain(..) {
            signal(&flush, Signal::TERM);
            assert!(flush.wait_with_output().unwrap().status.success());
        }
        site.ok(&["poll", "flush"]);
        direct.run(&["poll", "flush"]);
        assert!(queued > 100 && stored > 100, "{queued} {stored}");
        assert_eq!(site.counted("now").len() as u64, queued + stored);
        site.ok(&["poll", "verify"]);
    });
}

#[test]
fn numbers_that_weir_never_writes_are_reported_or_repaired_and_end_no_command() {
    on_every_database(|_, site, url| {
        assert!(site.batch("now\tyes\nnow\tno\n").status.success());
        site.ok(&["poll", "flush"]);
        let below = [
            "UPDATE polls SET ballots = -5",
            "UPDATE choices SET votes = -1",
            "UPDATE ballots SET picks = -1 WHERE picks = 2",
        ];
        by_hand(url, &below);
        site.fails(1, &["poll", "verify"]);
        site.ok(&["poll", "verify", "--repair"]);
        site.ok(&["poll", "verify"]);
        assert_eq!(site.ok(&["poll", "export", "now"]).lines().count(), 3);
        for broken in ["pick_max = 300", "pick_max = -1", "slug = 'No Slug'"] {
            by_hand(url, &[&format!("UPDATE polls SET {broken}")]);
            for command in ["list", "results", "verify", "flush"] {
                let output = site.run(&["poll", command]);
                assert!(!output.status.success(), "{command} with {broken}: {}", stdout(&output));
            }
        }
    });
}
