//! The ways a vote takes when servers are away: another server, the database, the spool; and nothing lost, nothing
//! twice, on any of them.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Site, stderr, stdout};

const VOTE: [&str; 4] = ["poll", "vote", "now", "yes"];

/// Votes; where the ballot is, its receipt, and what was said on stderr.
fn vote(site: &Site) -> (String, String, String) {
    let output = site.run(&VOTE);
    assert!(output.status.success(), "{}", stderr(&output));
    let line = stdout(&output);
    let (place, id) = line.trim_end().split_once(' ').unwrap();
    (place.into(), id.into(), stderr(&output))
}

/// Votes, expects it to end up in `place` with one warning that names each of `culprits`; the receipt.
fn vote_with_warning(site: &Site, place: &str, culprits: &[&str]) -> String {
    let (found, id, message) = vote(site);
    let told_once = culprits.iter().all(|culprit| message.matches(culprit).count() == 1);
    assert!(message.starts_with("weir: warning: ") && message.lines().count() == 1 && told_once, "{message}");
    assert_eq!(found, place);
    id
}

fn assert_counted(site: &Site, mut receipts: Vec<String>) {
    receipts.sort();
    assert_eq!(site.counted("now"), receipts);
    site.ok(&["poll", "verify"]);
}

#[test]
fn without_memcached_votes_go_to_sqlite_and_without_that_to_the_spool() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    let server = format!("memcached {}", memcached.address());
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.create_now();
    memcached.kill();
    let stored = vote_with_warning(&site, "stored", &[&server, "votes went to the database"]);
    assert_counted(&site, vec![stored.clone()]);
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    let spooled = vote_with_warning(&site, "spooled", &[&server, "sqlite:/dev/null/none", "votes went to the spool"]);
    site.set("WEIR_DATABASE", database);
    assert_eq!(site.json(&["poll", "list"])["poll"], json!("now"));
    assert_eq!(site.flush_partly()["counted"], json!(1));
    assert_eq!(site.flush_partly()["ballots"], json!(0));
    assert_counted(&site, vec![stored, spooled]);
}

#[test]
fn without_memcached_votes_go_to_mariadb_and_without_that_to_the_spool() {
    let (mut memcached, mut mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    let server = format!("memcached {}", memcached.address());
    site.create_now();
    memcached.kill();
    let mut receipts = vec![vote_with_warning(&site, "stored", &[&server, "votes went to the database"])];
    mariadb.kill();
    let refused = "connecting: Could not connect to address";
    receipts.push(vote_with_warning(&site, "spooled", &[&server, "mysql://weir:***@", refused, "went to the spool"]));
    mariadb.restart();
    mariadb.black_hole();
    let silent = "connecting: no answer in time";
    receipts.push(vote_with_warning(&site, "spooled", &[&server, "mysql://weir:***@", silent, "went to the spool"]));
    mariadb.restart();
    memcached.restart();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    assert_counted(&site, receipts);
}

#[test]
fn a_batch_falls_back_as_a_whole_and_tells_of_it_once() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.create_now();
    memcached.kill();
    let votes = "now\tyes\tann\n".to_string() + &"now\tno\n".repeat(4999);
    let cast = |site: &Site| {
        let output = site.batch(&votes);
        assert_eq!(stderr(&output).matches(&memcached.address()).count(), 1, "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(cast(&site)["stored"], json!(5000));
    // The same again: the database knows ann.
    let again = cast(&site);
    assert_eq!((&again["stored"], &again["duplicates"]), (&json!(5000), &json!(1)));
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    assert_eq!(cast(&site)["spooled"], json!(5000));
    site.set("WEIR_DATABASE", database);
    let flushed = site.flush_partly();
    assert_eq!((&flushed["counted"], &flushed["duplicates"]), (&json!(4999), &json!(1)));
    assert_eq!(site.counted("now").len(), 1 + 3 * 4999);
    site.ok(&["poll", "verify"]);
}

#[test]
fn spooled_votes_wait_through_a_flush_that_has_no_database() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.create_now();
    memcached.kill();
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    let receipts: Vec<_> = (0..3).map(|_| vote(&site).1).collect();
    assert!(site.fails(1, &["poll", "flush"]).contains("sqlite:/dev/null/none"));
    assert_eq!(site.status()["spool_files"], json!(3));
    site.set("WEIR_DATABASE", database);
    memcached.restart();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(3));
    assert_eq!(site.status()["spool_files"], json!(0));
    assert_counted(&site, receipts);
}

#[test]
fn a_vote_needs_no_database_while_memcached_has_the_polls_definition() {
    let (memcached, mut mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    mariadb.kill();
    let (place, receipt, message) = vote(&site);
    assert_eq!((place.as_str(), message.as_str()), ("queued", ""));
    assert_eq!(site.fails(3, &["poll", "vote", "now", "maybe"]).matches("mysql").count(), 0);
    mariadb.restart();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    assert_counted(&site, vec![receipt]);
}

/// How many connections wait on a listener that nobody has served.
fn connections(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| match listener.accept() {
        Ok(connection) => Some(connection),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    })
    .count()
}

#[test]
fn a_vote_opens_no_database_connection_while_memcached_has_the_polls_definition() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    site.set("WEIR_DATABASE", format!("mysql://weir@{}/polls", listener.local_addr().unwrap()));
    assert_eq!(vote(&site).0, "queued");
    assert!(site.batch("now\tyes\nnow\tno\tann\n").status.success());
    assert_eq!(connections(&listener), 0);
    // The listener would have seen one: without the definition the database is asked, and a vote is not
    // refused because nobody answers.
    memcached.talk().delete("poll-queue-poll-now");
    let (place, _, message) = vote(&site);
    assert!(place == "queued" && message.contains("needed the database"), "{message}");
    assert!(connections(&listener) > 0);
}

#[test]
fn votes_spread_over_the_servers_and_those_of_a_dead_one_go_to_the_others() {
    let mut servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref());
    site.create_now();
    let votes = "now\tyes\n".repeat(300);
    assert!(site.batch(&votes).status.success());
    let used = site.status()["servers"].as_array().unwrap().iter().filter(|server| server["depth"] != json!(0)).count();
    assert_eq!(used, 3);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(300));
    servers[1].kill();
    let cast = site.batch(&votes);
    let summary: Value = serde_json::from_slice(&cast.stdout).unwrap();
    assert_eq!(summary["queued"], json!(300));
    assert!(stderr(&cast).contains(&servers[1].address()), "{}", stderr(&cast));
    let message = site.fails(4, &["poll", "flush"]);
    assert!(message.contains(&servers[1].address()) && message.contains("next flush"), "{message}");
    assert_eq!(site.counted("now").len(), 600);
}

#[test]
fn a_black_holed_server_costs_its_time_out_and_no_vote() {
    let servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_TIMEOUT", "1s");
    site.create_now();
    assert!(site.batch("now\tyes\n".repeat(50)).status.success());
    servers[0].black_hole();
    let cast = site.batch("now\tyes\n".repeat(50));
    let summary: Value = serde_json::from_slice(&cast.stdout).unwrap();
    assert_eq!((&summary["accepted"], &summary["refused"]), (&json!(50), &json!(0)));
    site.flush_partly();
    let reached = site.counted("now").len();
    assert!((50..100).contains(&reached), "{reached}");
    servers[0].revive();
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now").len(), 100);
    site.ok(&["poll", "verify"]);
}

#[test]
fn with_every_server_black_holed_the_vote_goes_to_the_database() {
    let servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_TIMEOUT", "300ms");
    site.create_now();
    servers.iter().for_each(Memcached::black_hole);
    let told = servers.each_ref().map(|server| format!("{}: poll-queue-poll-now: no answer in time", server.address()));
    let receipt = vote_with_warning(&site, "stored", &[&told[0], &told[1]]);
    assert_counted(&site, vec![receipt]);
}

#[test]
fn two_copies_outlive_the_server_that_held_one_of_them() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    site.create_now();
    let mut receipts: Vec<_> = (0..3).map(|_| vote(&site).1).collect();
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!((&flushed["counted"], &flushed["duplicates"]), (&json!(3), &json!(3)));
    receipts.extend((0..5).map(|_| vote(&site).1));
    servers[0].kill();
    assert_eq!(site.flush_partly()["counted"], json!(5));
    receipts.push(vote_with_warning(&site, "queued", &[&servers[0].address(), "fewer than 2 servers"]));
    servers[0].restart();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    assert_counted(&site, receipts);
}
