//! A node that runs and takes no statements, and one that lags behind the others.

use std::time::Duration;

use mysql::prelude::Queryable;
use serde_json::json;

use crate::galera::{Cluster, Shared};
use crate::host::{Ended, Host, Problems, Service};
use crate::ledger::{DURABLE, Ledger, NOBODY};
use crate::process::Running;
use crate::run::settle;
use crate::support::{Memcached, wait_until};

/// The node that they are about.
const NODE: usize = 2;

const PATIENCE: Duration = Duration::from_secs(20);

/// How long a lagging node lags under a flush.
const LAG: Duration = Duration::from_millis(1500);

/// A database of its own, and a host for the node and for another one.
fn hosts(cluster: &mut Cluster, memcached: &Memcached, database: &str) -> [Host; 2] {
    cluster.root(0).query_drop(format!("CREATE DATABASE {database}")).unwrap();
    [NODE, 0].map(|node| Host::new(memcached, &cluster.url(node, database)))
}

fn vote(host: &Host, ledger: &mut Ledger, problems: &Problems, voter: &str, memcached: Option<&str>) -> Option<Ended> {
    ledger.tried(voter);
    let mut command = host.site.command(&["poll", "vote", "now", "yes", "--voter", voter]);
    command.envs(memcached.map(|address| ("WEIR_MEMCACHED", address)));
    let ended = host.end(&mut command, problems)?;
    if ended.code() == Some(0) {
        ledger.acknowledged(voter, DURABLE);
    }
    Some(ended)
}

/// The node is made not ready by `fault` while a service flushes there.
fn a_node_that_is_not_ready(database: &str, fault: fn(&mut Cluster)) {
    let shared = Shared::get();
    let mut cluster = shared.lock();
    let memcached = Memcached::start();
    let [host, other] = hosts(&mut cluster, &memcached, database);
    host.site.create_now();
    let (mut ledger, problems) = (Ledger::default(), Problems::default());
    let mut service = Service::start(&host, Duration::from_millis(100), &[]);
    vote(&host, &mut ledger, &problems, "before", None);
    service.wait_until("the service has counted a vote", || !host.site.counted("now").is_empty());
    fault(&mut cluster);
    wait_until("the node is not ready", || !cluster.is_ready(NODE));

    let queued = vote(&host, &mut ledger, &problems, "queued", None);
    if queued.is_none_or(|ended| !ended.stdout.starts_with("queued")) {
        problems.note("a vote was not queued");
    }
    match vote(&host, &mut ledger, &problems, "spooled", Some(NOBODY)) {
        Some(ended) if ended.code() == Some(0) && ended.stdout.starts_with("spooled") => {}
        ended => problems.note(format!("a vote without memcached was not spooled: {ended:?}")),
    }
    let address = cluster.address(NODE);
    for arguments in [
        &["poll", "flush"][..],
        &["poll", "close", "now"],
        &["poll", "open", "now"],
        &["poll", "create", "later", "--question", "Later?", "--choice", "yes=Yes", "--choice", "no=No"],
        &["poll", "status", "--check"],
        &["poll", "verify"],
        &["poll", "export", "now"],
        &["poll", "dead-letters", "list"],
    ] {
        match host.weir(arguments, &problems) {
            Some(ended) if matches!(ended.code(), Some(1 | 4)) => {
                if !(ended.stdout.clone() + &ended.stderr).contains(&address) {
                    problems.note(format!("{arguments:?} does not name {address}: {}", ended.stderr));
                }
            }
            // An ending that is not documented is noted already.
            Some(ended) if ended.code() != Some(0) => {}
            ended => problems.note(format!("{arguments:?} did not fail: {ended:?}")),
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    if service.has_ended() {
        problems.note(format!("poll flush --every has ended by itself: {}", service.log()));
        service = Service::start(&host, Duration::from_millis(100), &[]);
    }
    cluster.heal();
    // The service goes on by itself: nobody else flushes here.
    let begun = std::time::Instant::now();
    while host.site.counted("now").len() < ledger.votes.values().filter(|entry| entry.copies.is_some()).count() {
        if begun.elapsed() > PATIENCE {
            problems.note(format!("poll flush --every did not go on when the node was back: {}", service.log()));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    service.end(&problems);
    if let Err(why) = settle(&[host, other], &ledger, &problems, PATIENCE) {
        problems.note(why);
    }
    let problems = problems.into_inner();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_node_that_is_cut_off_counts_as_down_and_recovers() {
    a_node_that_is_not_ready("cut_off", |cluster| assert!(cluster.isolate(NODE, true)));
}

#[test]
fn a_node_without_a_quorum_counts_as_down_and_recovers() {
    a_node_that_is_not_ready("no_quorum", |cluster| {
        cluster.stop(0);
        cluster.stop(1);
    });
}

/// Changes something on another node while this one lags, and flushes here.
fn on_a_node_that_lags(database: &str, before: fn(&Host), change: fn(&Host)) {
    let shared = Shared::get();
    let mut cluster = shared.lock();
    let memcached = Memcached::start();
    let [host, other] = hosts(&mut cluster, &memcached, database);
    host.site.ok(&["poll", "list"]);
    before(&other);
    host.site.ok(&["poll", "flush"]);
    let (mut ledger, problems) = (Ledger::default(), Problems::default());
    assert!(cluster.hold_back(NODE), "the node does not lag");
    change(&other);
    for voter in ["ann", "bob"] {
        let ended = vote(&other, &mut ledger, &problems, voter, None);
        assert!(ended.as_ref().is_some_and(|ended| ended.code() == Some(0)), "{ended:?}");
    }
    let mut flush = Running::start(&mut host.site.command(&["poll", "flush"]));
    flush.wait_for(LAG);
    cluster.let_go(NODE);
    let ended = flush.end_within_limit();
    assert!(matches!(ended.status.code(), Some(0 | 1 | 4)), "{}", ended.stderr);
    let hosts = [host, other];
    if let Err(why) = settle(&hosts, &ledger, &problems, PATIENCE) {
        problems.note(why);
    }
    let counted = |host: &Host| host.site.json(&["poll", "results", "now"])["total"].clone();
    if counted(&hosts[0]) != json!(2) {
        problems.note(format!(
            "{} votes are counted; the flush printed {}{}",
            counted(&hosts[0]),
            ended.stdout,
            ended.stderr
        ));
    }
    let problems = problems.into_inner();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_flush_on_a_node_that_lags_counts_the_votes_of_a_poll_that_was_just_created() {
    on_a_node_that_lags("just_created", |_| {}, |other| other.site.create_now());
}

#[test]
fn a_flush_on_a_node_that_lags_counts_the_votes_of_a_poll_that_was_just_opened() {
    let close = |other: &Host| {
        other.site.create_now();
        other.site.ok(&["poll", "close", "now"]);
    };
    on_a_node_that_lags("just_opened", close, |other| {
        other.site.ok(&["poll", "open", "now"]);
    });
}
