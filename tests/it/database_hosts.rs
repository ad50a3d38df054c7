//! Several database hosts in one URL: the first that takes writes is used, a lost one is left for the next, and an error
//! names each.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, MysqlProxy, Site, free_port, stderr, stdout, wait_until};

/// The URL of one host with others before it.
fn behind(others: &[&str], url: &str, host: &str) -> String {
    url.replace(host, &format!("{},{host}", others.join(",")))
}

#[test]
fn a_read_only_host_is_passed_over_and_an_error_names_every_host() {
    let memcached = Memcached::start();
    let (replica, primary) = (MariaDb::start(), MariaDb::start());
    replica.create("polls");
    let url = primary.create("polls");
    replica.connect(None).query_drop("SET GLOBAL read_only = 1").unwrap();
    let absent = format!("127.0.0.1:{}", free_port());
    let list = behind(&[&absent, &replica.address()], &url, &primary.address());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", &list);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    let other = |table: &str| replica.connect(Some("polls")).query::<String, _>(format!("SHOW TABLES LIKE '{table}'"));
    assert!(other("%").unwrap().is_empty(), "the read-only host was written to");
    let shown = site.ok(&["config"]);
    let hosts = format!("{absent},{},{}", replica.address(), primary.address());
    assert!(shown.contains(&format!("mysql://weir:***@{hosts}/polls")), "{shown}");

    // Now the other two are of no use either: the error says what is wrong with each.
    primary.connect(None).query_drop("SET GLOBAL read_only = 1").unwrap();
    let message = site.fails(1, &["poll", "flush"]);
    assert_eq!(message.matches("the server is read-only").count(), 2, "{message}");
    for host in [&absent, &replica.address(), &primary.address()] {
        assert!(message.contains(&format!("{host}: ")) && !message.contains("s3cret"), "{message}");
    }
    // The fail-over: the replica is promoted.
    primary.connect(None).query_drop("SET GLOBAL read_only = 0").unwrap();
    site.ok(&["poll", "verify"]);
    assert_eq!(site.counted("now").len(), 1);
}

#[test]
fn a_host_that_turns_read_only_or_is_killed_in_a_spike_is_left_for_the_next() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let hosts = [MysqlProxy::start(&mariadb.address()), MysqlProxy::start(&mariadb.address())];
    let url = hosts[1].url(&mariadb.create("polls"));
    let url = behind(&[hosts[0].address()], &url, hosts[1].address());
    let queued = Site::new(&[&memcached]).with("WEIR_DATABASE", &url);
    queued.create_now();
    // Voters for whom memcached is away.
    let direct =
        Site::new(&[]).with("WEIR_DATABASE", &url).with("WEIR_MEMCACHED", format!("127.0.0.1:{}", free_port()));
    let mut service = queued.start(&["poll", "flush", "--every", "20ms"]);
    let mut acknowledged = Vec::new();
    let mut places = Vec::new();
    for round in 0..60 {
        if round == 20 {
            hosts[0].kill();
        }
        let batch = queued.batch("now\tyes\n".repeat(50));
        assert_eq!(serde_json::from_slice::<Value>(&batch.stdout).unwrap()["queued"], json!(50));
        let output = direct.run(&["poll", "vote", "now", "no"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let line = stdout(&output);
        let (place, id) = line.trim_end().split_once(' ').unwrap();
        places.push(place.to_string());
        acknowledged.push(id.to_string());
    }
    assert!(places.iter().all(|place| place == "stored"), "the second host is there: {places:?}");
    wait_until("the service has found the second host", || queued.status()["servers"][0]["depth"] == json!(0));
    crate::support::signal(&service, rustix::process::Signal::TERM);
    assert!(service.wait().unwrap().success());
    queued.ok(&["poll", "flush"]);
    queued.ok(&["poll", "verify"]);
    let counted = queued.counted("now");
    assert_eq!(counted.len(), 60 * 50 + acknowledged.len());
    assert!(acknowledged.iter().all(|id| counted.contains(id)));
}

#[test]
fn hosts_that_do_not_answer_take_no_longer_together_than_one() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let silent = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = silent.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    let url = behind(&[&first, &second], &mariadb.create("polls"), &mariadb.address());
    let mut site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("unused"));
    site.set("WEIR_DATABASE", url.replace(&format!("{first},{second},"), ""));
    site.create_now();
    site.set("WEIR_MEMCACHED", format!("127.0.0.1:{}", free_port()));
    site.set("WEIR_DATABASE", url);
    let begun = Instant::now();
    assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("stored"));
    // 3 s for all, by thirds; the rest is a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
