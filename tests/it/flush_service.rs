//! `poll flush --every` as a service manager sees it, and queues drained beside each other.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mysql::prelude::Queryable;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LIMIT, Manager, MariaDb, Memcached, Site, signal, stderr, stdout, wait_until};

/// A service under that manager, and the lines that it writes to stderr.
fn serve(site: &Site) -> (Child, Receiver<String>) {
    let mut command = site.command(&["poll", "flush", "--every", "20ms"]);
    Manager::watch(site, &mut command);
    let mut service =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(service.stderr.take().unwrap()).lines();
    let (sender, receiver) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (service, receiver)
}

fn line(lines: &Receiver<String>) -> String {
    lines.recv_timeout(LIMIT).unwrap()
}

#[test]
fn a_service_manager_is_told_of_readiness_status_life_and_end() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let manager = Manager::listen(&site);
    let (service, _) = serve(&site);
    manager.hear("READY=1");
    (0..3).for_each(|_| drop(manager.hear("WATCHDOG=1")));
    site.ok(&["poll", "vote", "now", "yes"]);
    while manager.hear("STATUS=") != "1 ballots in the last flush" {}
    signal(&service, Signal::TERM);
    manager.hear("STOPPING=1");
    let ended = service.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    // One line for the one flush that had work.
    assert_eq!(stdout(&ended), "1 ballots: 1 counted, 0 duplicates, 0 dead letters\n");
}

#[test]
fn a_service_manager_that_does_not_listen_holds_up_nothing() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let _deaf = Manager::listen(&site);
    let (mut service, _) = serve(&site);
    for number in 1..=30 {
        site.ok(&["poll", "vote", "now", "yes"]);
        wait_until("the vote is counted", || site.counted("now").len() == number);
    }
    signal(&service, Signal::TERM);
    assert_eq!(service.wait().unwrap().code(), Some(0));
}

#[test]
fn a_database_that_goes_away_is_told_of_once_and_once_when_it_is_back() {
    let (memcached, mut mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    let manager = Manager::listen(&site);
    let (mut service, lines) = serve(&site);
    manager.hear("READY=1");
    site.ok(&["poll", "vote", "now", "yes"]);
    while manager.hear("STATUS=") != "1 ballots in the last flush" {}
    mariadb.kill();
    let gone = line(&lines);
    assert!(
        gone.starts_with("weir: warning: database mysql://weir:***@") && gone.ends_with("until it works"),
        "{gone}"
    );
    manager.hear("STATUS=waiting: database mysql://weir:***@");
    // It is alive, and waits.
    (0..5).for_each(|_| drop(manager.hear("WATCHDOG=1")));
    assert!(site.ok(&["poll", "vote", "now", "no"]).starts_with("queued "));
    mariadb.restart();
    let back = line(&lines);
    assert!(back.starts_with("weir: flushing again, after "), "{back}");
    wait_until("the second vote is counted", || site.counted("now").len() == 2);
    signal(&service, Signal::INT);
    assert_eq!(service.wait().unwrap().code(), Some(0));
    assert_eq!(lines.iter().collect::<Vec<_>>(), [""; 0]);
}

/// A site with a backlog of 60 000 ballots, a service that has inserted a first chunk of them and cannot commit it, and
/// the connection whose transaction is in the way.
fn stuck_in_a_chunk(memcached: &Memcached, mariadb: &MariaDb) -> (Site, Child, mysql::Conn) {
    let site = Site::new(&[memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    assert!(site.batch("now\tyes\n".repeat(60_000)).status.success());
    let mut other = mariadb.connect(Some("polls"));
    other.query_drop("START TRANSACTION").unwrap();
    other.query_drop("SELECT * FROM polls FOR UPDATE").unwrap();
    let service = site.start(&["poll", "flush", "--every", "1s", "--json"]);
    let mut watcher = mariadb.connect(Some("polls"));
    wait_until("the service waits for the row", || {
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE polls SET ballots%'";
        watcher.query_first::<u64, _>(sql).unwrap() == Some(1)
    });
    (site, service, other)
}

#[test]
fn a_service_told_to_end_finishes_its_chunk_and_leaves_the_rest_queued() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let (site, service, mut other) = stuck_in_a_chunk(&memcached, &mariadb);
    signal(&service, Signal::TERM);
    // The signal has been taken when it is no longer pending; then the chunk may go on.
    let status = format!("/proc/{}/status", service.id());
    wait_until("the signal has been taken", || {
        let text = std::fs::read_to_string(&status).unwrap();
        let pending = text.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
        pending.map(|line| line.split_whitespace().nth(1).unwrap()).all(|mask| mask.trim_start_matches('0').is_empty())
    });
    other.query_drop("ROLLBACK").unwrap();
    let ended = service.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), stderr(&ended)), (Some(0), String::new()));
    let counted = site.counted("now").len();
    assert!(counted > 0 && counted < 60_000, "{counted}");
    let told: serde_json::Value = serde_json::from_str(stdout(&ended).trim()).unwrap();
    assert_eq!(told["counted"], json!(counted));
    assert_eq!(
        site.json(&["poll", "flush"]),
        json!({
            "ballots": 60_000 - counted, "counted": 60_000 - counted, "duplicates": 0, "dead_letters": 0
        })
    );
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_second_signal_ends_a_service_at_once_and_loses_nothing() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let (site, mut service, mut other) = stuck_in_a_chunk(&memcached, &mariadb);
    wait_until("it has ended", || {
        signal(&service, Signal::INT);
        std::thread::sleep(Duration::from_millis(20));
        service.try_wait().unwrap().is_some()
    });
    assert_eq!(service.wait().unwrap().code(), Some(130));
    other.query_drop("ROLLBACK").unwrap();
    wait_until("the queue is free again", || {
        site.run(&["poll", "flush"]);
        site.counted("now").len() == 60_000
    });
    site.ok(&["poll", "verify"]);
}

fn a_silent_server_holds_up_no_other(site: &Site, servers: &[Memcached; 3]) {
    site.create_now();
    assert!(site.batch("now\tyes\n".repeat(3000)).status.success());
    let entries = |server: &Memcached| -> u64 {
        let mut talk = server.talk();
        let (curr, mut count) = (talk.get("poll-queue-curr").unwrap().parse::<u64>().unwrap(), 0);
        for ticket in (curr & !((1 << 34) - 1)) + 1..=curr {
            count += talk.get(&format!("poll-queue-key-{ticket}")).unwrap().lines().count() as u64;
        }
        count
    };
    let reachable = entries(&servers[1]) + entries(&servers[2]);
    assert!(reachable > 0 && reachable < 3000);
    // The first in order, so one after the other would wait for it.
    servers[0].black_hole();
    let mut flusher = site.start(&["poll", "flush"]);
    wait_until("the others' votes are counted", || site.json(&["poll", "verify"])["ballots"] == json!(reachable));
    assert!(flusher.try_wait().unwrap().is_none(), "it waits for the silent server");
    servers[0].revive();
    assert_eq!(flusher.wait().unwrap().code(), Some(0));
    assert_eq!(site.counted("now").len(), 3000);
}

#[test]
fn a_silent_server_holds_up_no_other_in_sqlite() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_TIMEOUT", "60s");
    a_silent_server_holds_up_no_other(&site, &servers);
}

#[test]
fn a_silent_server_holds_up_no_other_in_mariadb() {
    let (servers, mariadb) = ([Memcached::start(), Memcached::start(), Memcached::start()], MariaDb::start());
    let site = Site::new(&servers.each_ref()).with("WEIR_TIMEOUT", "60s");
    a_silent_server_holds_up_no_other(&site.with("WEIR_DATABASE", mariadb.create("polls")), &servers);
}

#[test]
fn many_queues_are_flushed_at_once_by_several_processes_and_each_ballot_counts_once() {
    let mariadb = MariaDb::start();
    let servers: Vec<_> = (0..10).map(|_| Memcached::start_with_memory(64)).collect();
    let site = Site::new(&servers.iter().collect::<Vec<_>>()).with("WEIR_COPIES", "2");
    let site = site.with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    let lines: String =
        (0..20_000).map(|number| format!("now\t{}\tvoter {number}\n", ["yes", "no"][number % 2])).collect();
    for _ in 0..2 {
        site.batch(&lines);
        let flushers: Vec<_> = (0..2).map(|_| site.start(&["poll", "flush"])).collect();
        for flusher in flushers {
            let output = flusher.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
        }
    }
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now").len(), 20_000);
    site.ok(&["poll", "verify"]);
    let depths: Vec<_> = site.status()["servers"].as_array().unwrap().iter().map(|one| one["depth"].clone()).collect();
    assert_eq!(depths, vec![json!(0); 10]);
}

#[test]
fn a_quiet_flush_is_fit_for_cron() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let output = site.run(&["--quiet", "poll", "flush"]);
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), String::new(), String::new()));
    assert_eq!(site.counted("now").len(), 1);
}
