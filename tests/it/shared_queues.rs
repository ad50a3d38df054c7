//! Several flushes, as of several hosts, on the same memcached servers and one MariaDB.

use std::process::{Child, Stdio};

use mysql::prelude::Queryable;
use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Site, stderr, stdout};

/// Three servers, of which each holds some of so many ballots, and whose queues the database knows.
fn filled(servers: &[Memcached; 3], mariadb: &MariaDb, ballots: usize) -> Site {
    let site = Site::new(&servers.each_ref()).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    cast(&site, 300);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(300));
    cast(&site, ballots);
    let status = site.status();
    let depths: Vec<_> = status["servers"].as_array().unwrap().iter().map(|server| &server["depth"]).collect();
    assert!(depths.iter().all(|depth| depth.as_u64() > Some(0)), "{status}");
    site
}

fn cast(site: &Site, ballots: usize) {
    let output = site.batch("now\tyes\nnow\tno\n".repeat(ballots / 2));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_flush_drains_the_queues_that_no_other_holds_and_leaves_the_rest_to_it() {
    const BALLOTS: usize = 3_000;
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let mariadb = MariaDb::start();
    let site = filled(&servers, &mariadb, BALLOTS);
    let id: u64 = servers[1].talk().get("poll-queue-server").unwrap().parse().unwrap();
    let held = format!("poll-queue@{id:016x}");
    let mut other_host = mariadb.connect(Some("polls"));
    other_host.query_drop("START TRANSACTION").unwrap();
    let sql = "SELECT head FROM queues WHERE name = ? FOR UPDATE";
    assert!(other_host.exec_first::<i64, _, _>(sql, (&held,)).unwrap().is_some());
    let output = site.run(&["poll", "flush", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output).trim_end(), format!("weir: {held}: another flush is at work on it"));
    let first: Value = serde_json::from_str(&stdout(&output)).unwrap();
    other_host.query_drop("ROLLBACK").unwrap();
    let second = site.json(&["poll", "flush"]);
    let counted = |flush: &Value| flush["counted"].as_u64().unwrap();
    assert!(counted(&first) > 0 && counted(&second) > 0, "{first} {second}");
    assert_eq!(counted(&first) + counted(&second), BALLOTS as u64);
    assert_eq!(site.counted("now").len(), BALLOTS + 300);
    site.ok(&["poll", "verify"]);
}

#[test]
fn flushes_of_several_hosts_at_once_count_each_ballot_once_and_none_fails() {
    const BALLOTS: usize = 60_000;
    const HOSTS: usize = 4;
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let mariadb = MariaDb::start();
    let site = filled(&servers, &mariadb, BALLOTS);
    let start = |host: usize| -> Child {
        let mut command = site.command(&["poll", "flush", "--json"]);
        // What a host does not share with others.
        command.env("WEIR_SPOOL", site.path(&format!("spool of host {host}")));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut counted = 0;
    for _ in 0..3 {
        let flushes: Vec<_> = (0..HOSTS).map(start).collect();
        // Votes go on meanwhile.
        cast(&site, 2_000);
        for flush in flushes {
            let output = flush.wait_with_output().unwrap();
            assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
            let told = stderr(&output);
            assert!(told.lines().all(|line| line.ends_with("another flush is at work on it")), "{told}");
            let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
            assert_eq!(summary["duplicates"], json!(0), "{summary}");
            counted += summary["counted"].as_u64().unwrap();
        }
    }
    counted += site.json(&["poll", "flush"])["counted"].as_u64().unwrap();
    assert_eq!(counted, BALLOTS as u64 + 6_000);
    assert_eq!(site.counted("now").len(), BALLOTS + 6_300);
    assert!(site.status()["servers"].as_array().unwrap().iter().all(|server| server["depth"] == json!(0)));
    site.ok(&["poll", "verify"]);
}
