//! What a MySQL server or cluster answers in its bad hours: nothing is lost, nothing counts twice, and no process ends by a
//! panic.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Fate, MariaDb, Memcached, MysqlProxy, Site, stderr, stdout};

/// A site whose database is reached through a proxy.
struct Ground {
    memcached: Memcached,
    _mariadb: MariaDb,
    proxy: MysqlProxy,
    site: Site,
}

impl Ground {
    /// With the poll `now`.
    fn new() -> Ground {
        let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
        let proxy = MysqlProxy::start(&mariadb.address());
        let site = Site::new(&[&memcached]).with("WEIR_DATABASE", proxy.url(&mariadb.create("polls")));
        site.create_now();
        Ground { memcached, _mariadb: mariadb, proxy, site }
    }

    /// Votes; `queued`, `stored` or `spooled`.
    fn vote(&self) -> String {
        let output = self.site.run(&["poll", "vote", "now", "yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).split(' ').next().unwrap().to_string()
    }

    /// Casts so many votes by way of memcached.
    fn queue(&self, votes: usize) {
        let output = self.site.batch("now\tyes\n".repeat(votes / 2) + &"now\tno\n".repeat(votes - votes / 2));
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["queued"], json!(votes));
    }

    /// Lifts everything, flushes, and checks that so many votes are counted, each once.
    fn check(&mut self, votes: usize) {
        self.proxy.lift();
        self.memcached.restart();
        self.site.ok(&["poll", "flush"]);
        assert_eq!(self.site.counted("now").len(), votes);
        self.site.ok(&["poll", "verify"]);
    }
}

/// What a Galera node that is not part of the primary component still answers.
fn unless_not_ready(sql: &str) -> Fate {
    let harmless = sql.starts_with("SET ") || (sql.starts_with("SELECT @@") && !sql.contains(" FROM "));
    if harmless { Fate::Pass } else { Fate::Fail(1047) }
}

#[test]
fn a_database_that_is_up_but_not_ready_counts_as_down() {
    let mut ground = Ground::new();
    ground.queue(10);
    ground.proxy.set(unless_not_ready);
    for command in [
        &["poll", "flush"][..],
        &["poll", "create", "then", "--question", "Then?", "--choice", "yes=Yes", "--choice", "no=No"],
        &["poll", "close", "now"],
        &["poll", "open", "now"],
        &["poll", "export", "now"],
        &["poll", "verify"],
        &["poll", "list"],
        &["poll", "dead-letters", "list"],
    ] {
        let message = ground.site.fails(1, command);
        assert!(message.contains("1047") && message.contains(ground.proxy.address()), "{command:?}: {message}");
    }
    assert_eq!(ground.site.status()["servers"][0]["depth"], json!(1));
    ground.memcached.kill();
    assert_eq!(ground.vote(), "spooled");
    ground.memcached.restart();
    // What memcached held is gone with it.
    ground.check(1);
}

#[test]
fn an_answer_that_cannot_be_read_is_an_error_and_no_panic() {
    let mut ground = Ground::new();
    for text in ["SELECT version", "SET NAMES", "SET autocommit=0", "INSERT IGNORE INTO ballots", "COMMIT"] {
        ground.queue(3);
        ground.proxy.set_for(text, Fate::Garbage);
        let output = ground.site.command(&["poll", "flush"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}: {}", stderr(&output));
        assert!(stderr(&output).contains(ground.proxy.address()), "{}", stderr(&output));
        ground.proxy.lift();
        ground.site.ok(&["poll", "flush"]);
    }
    ground.memcached.kill();
    ground.proxy.set_for("SELECT version", Fate::Garbage);
    let output = ground.site.command(&["poll", "vote", "now", "yes"]).output().unwrap();
    assert!(output.status.success() && stdout(&output).starts_with("spooled"), "{}", stderr(&output));
    ground.check(5 * 3 + 1);
}

#[test]
fn every_error_of_a_clusters_life_at_every_statement_is_retried_or_goes_to_the_spool() {
    let mut ground = Ground::new();
    ground.memcached.kill();
    let (mut votes, mut stored, mut spooled) = (0, 0, 0);
    let statements = ["SET autocommit=0", "INSERT IGNORE INTO ballots", "UPDATE polls", "COMMIT"];
    for statement in statements {
        for code in [1020, 1047, 1053, 1180, 1205, 1213, 1290, 1792, 1836, 1927] {
            let met = ground.proxy.set_once(statement, Fate::Fail(code));
            votes += 1;
            match ground.vote().as_str() {
                "stored" => stored += 1,
                _ => spooled += 1,
            }
            assert!(met.load(Ordering::SeqCst), "{statement}");
        }
        let met = ground.proxy.set_once(statement, Fate::HangUp);
        votes += 1;
        ground.vote();
        assert!(met.load(Ordering::SeqCst), "{statement}");
    }
    // Those that end a transaction in favour of another are retried.
    assert_eq!((stored, spooled), (4 * statements.len(), 6 * statements.len()));
    ground.check(votes);
}

#[test]
fn a_flush_through_every_error_of_a_clusters_life_counts_each_vote_once() {
    let mut ground = Ground::new();
    ground.queue(30);
    ground.site.ok(&["poll", "flush"]);
    let mut votes = 30;
    for statement in ["SET autocommit=0", "UPDATE queues", "INSERT IGNORE INTO ballots", "UPDATE polls", "COMMIT"] {
        for fate in [1047, 1053, 1180, 1213, 1290].map(Fate::Fail).into_iter().chain([Fate::HangUp]) {
            ground.queue(30);
            votes += 30;
            let met = ground.proxy.set_once(statement, fate);
            let output = ground.site.run(&["poll", "flush"]);
            assert!([Some(0), Some(1)].contains(&output.status.code()), "{fate:?}: {}", stderr(&output));
            let retried = [Fate::Fail(1180), Fate::Fail(1213)].contains(&fate);
            assert_eq!(output.status.success(), retried, "{statement} {fate:?}: {}", stderr(&output));
            assert!(met.load(Ordering::SeqCst), "{statement}");
            ground.proxy.lift();
            ground.site.ok(&["poll", "flush"]);
        }
    }
    ground.check(votes);
}

#[test]
fn polls_are_created_opened_and_closed_through_deadlocks() {
    let ground = Ground::new();
    for (statement, command) in [
        ("INSERT INTO choices", "create then --question Then? --choice yes=Yes --choice no=No"),
        ("UPDATE polls SET closes_at_ms", "close now"),
        ("UPDATE polls SET closes_at_ms", "open now"),
    ] {
        for code in [1205, 1213] {
            let met = ground.proxy.set_once(statement, Fate::Fail(code));
            let command = command.replace("then", if code == 1205 { "then" } else { "later" });
            ground.site.ok(&["poll"].into_iter().chain(command.split(' ')).collect::<Vec<_>>());
            assert!(met.load(Ordering::SeqCst), "{statement}");
        }
    }
    assert_eq!(ground.site.ok(&["poll", "list", "--json"]).lines().count(), 3);
}

#[test]
fn a_transaction_that_the_server_ended_unasked_is_tried_again_whole() {
    let mut ground = Ground::new();
    let mut votes = 0;
    // With and without a head to move, before the ballots, before the tallies, and before the commit.
    for statement in ["INSERT IGNORE INTO ballots", "UPDATE polls", "COMMIT"] {
        for _ in 0..2 {
            ground.queue(500);
            votes += 500;
            let met = ground.proxy.set_once(statement, Fate::RollBackBefore);
            assert_eq!(ground.site.json(&["poll", "flush"])["counted"], json!(500));
            assert!(met.load(Ordering::SeqCst), "{statement}");
            ground.proxy.lift();
            ground.site.ok(&["poll", "verify"]);
        }
    }
    ground.memcached.kill();
    for statement in ["INSERT IGNORE INTO ballots", "UPDATE polls", "COMMIT"] {
        let met = ground.proxy.set_once(statement, Fate::RollBackBefore);
        assert_eq!(ground.vote(), "stored");
        votes += 1;
        assert!(met.load(Ordering::SeqCst), "{statement}");
    }
    ground.check(votes);
}

#[test]
fn without_the_check_a_transaction_that_the_server_ended_unasked_loses_votes() {
    let mut ground = Ground::new();
    ground.queue(500);
    ground.site.set("WEIR_SKIP_TRANSACTION_CHECK", "1");
    ground.proxy.set_once("UPDATE polls", Fate::RollBackBefore);
    ground.site.run(&["poll", "flush"]);
    ground.proxy.lift();
    let verified = ground.site.run(&["poll", "verify"]);
    assert!(!verified.status.success(), "the tallies were raised in a transaction of their own");
}
