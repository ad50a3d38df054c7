//! Two plain servers, a primary and its replica: a primary that has become read-only, a replica that takes over.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql::prelude::Queryable;
use rand::RngExt;
use tempfile::TempDir;

use crate::host::{Host, Problems, Service};
use crate::ledger::{DURABLE, Ledger, NOBODY};
use crate::run::settle;
use crate::schedule::{Voters, draws};
use crate::server::{ACCOUNT, Server, Template, folder};
use crate::support::{Memcached, wait_until};
use crate::voters::Hall;

const PATIENCE: Duration = Duration::from_secs(20);

/// How many fail-overs every run of the tests has, and where their seeds begin.
const FAIL_OVERS: u64 = 4;
const FIRST_SEED: u64 = 1;

/// The fewest votes that a fail-over must have acknowledged.
const ACKNOWLEDGED_MIN: u64 = 300;

/// A primary and a replica that follows it, killed when dropped.
struct Pair {
    primary: Server,
    replica: Server,
    _template: Arc<Template>,
    _folder: TempDir,
}

fn options(id: u32, read_only: bool) -> Command {
    // Only its arguments are used.
    let mut options = Command::new("options");
    options.arg(format!("--server-id={id}")).args(["--log-bin=binlog", "--log-slave-updates", "--binlog-format=ROW"]);
    options.arg("--slave-net-timeout=5").arg("--skip-slave-start").args(read_only.then_some("--read-only"));
    options
}

fn started(template: &Template, folder: &Path, id: u32, read_only: bool) -> Server {
    let mut server = Server::new(template, folder);
    server.spawn(&options(id, read_only));
    wait_until("the server answers", || server.try_root().is_ok());
    server
}

impl Pair {
    fn start() -> Pair {
        let (template, home) = (Template::get(), folder("weir-pair"));
        let primary = started(&template, &home.path().join("primary"), 1, false);
        let replica = started(&template, &home.path().join("replica"), 2, true);
        let mut root = replica.root();
        root.query_drop(format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='repl', MASTER_PASSWORD='repl', \
             MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos",
            primary.port
        ))
        .unwrap();
        root.query_drop("START SLAVE").unwrap();
        primary.root().query_drop("CREATE DATABASE polls").unwrap();
        Pair { primary, replica, _template: template, _folder: home }
    }

    /// The primary's URL.
    fn url(&self) -> String {
        format!("mysql://{ACCOUNT}@{}/polls", self.primary.address())
    }

    /// The URL that names both.
    fn url_of_both(&self) -> String {
        format!("mysql://{ACCOUNT}@{},{}/polls", self.primary.address(), self.replica.address())
    }

    /// The replica's own count of ballots, if it has the table.
    fn replicated(&self) -> u64 {
        let count = self.replica.root().query_first("SELECT COUNT(*) FROM polls.ballots");
        count.ok().flatten().unwrap_or_default()
    }

    /// The replica follows no more and takes writes.
    fn promote(&self) {
        let mut root = self.replica.root();
        root.query_drop("STOP SLAVE").unwrap();
        root.query_drop("SET GLOBAL read_only = 0").unwrap();
    }
}

#[test]
fn a_primary_that_has_become_read_only_loses_no_vote() {
    let (pair, memcached) = (Pair::start(), Memcached::start());
    let host = Host::new(&memcached, &pair.url());
    host.site.create_now();
    let (mut ledger, problems) = (Ledger::default(), Problems::default());
    let mut service = Service::start(&host, Duration::from_millis(50), &[]);
    let mut vote = |voter: &str, memcached: Option<&str>, expected: &str| {
        ledger.tried(voter);
        let mut command = host.site.command(&["poll", "vote", "now", "yes", "--voter", voter]);
        command.envs(memcached.map(|address| ("WEIR_MEMCACHED", address)));
        match host.end(&mut command, &problems) {
            Some(ended) if ended.code() == Some(0) && ended.stdout.starts_with(expected) => {
                ledger.acknowledged(voter, DURABLE);
            }
            ended => problems.note(format!("{voter} was not {expected}: {ended:?}")),
        }
    };
    vote("before", None, "queued");
    vote("stored", Some(NOBODY), "stored");
    service.wait_until("both votes are counted", || host.site.counted("now").len() == 2);
    pair.primary.root().query_drop("SET GLOBAL read_only = 1").unwrap();
    vote("queued", None, "queued");
    vote("spooled", Some(NOBODY), "spooled");
    for arguments in [&["poll", "flush"][..], &["poll", "close", "now"]] {
        match host.weir(arguments, &problems) {
            Some(ended) if matches!(ended.code(), Some(1 | 4)) && ended.stderr.contains("read-only") => {}
            ended => problems.note(format!("{arguments:?} did not fail for a read-only server: {ended:?}")),
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    if service.has_ended() {
        problems.note(format!("poll flush --every has ended by itself: {}", service.log()));
        service = Service::start(&host, Duration::from_millis(50), &[]);
    }
    pair.primary.root().query_drop("SET GLOBAL read_only = 0").unwrap();
    service.wait_until("the service goes on by itself", || host.site.counted("now").len() == 4);
    service.end(&problems);
    settle(&[host], &ledger, &problems, PATIENCE).unwrap();
    let problems = problems.into_inner();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The first of two servers is killed while votes come in, and the second takes over with what it has by then. Either weir
/// knows both, or it is given the address of the second afterwards.
fn fail_over(seed: u64, knows_both: bool) -> Result<(), String> {
    let mut rng = draws(seed);
    let (mut pair, memcached) = (Pair::start(), Memcached::start());
    let host = Host::new(&memcached, &if knows_both { pair.url_of_both() } else { pair.url() });
    host.site.create_now();
    wait_until("the replica has the poll", || {
        let polls: Result<Option<u64>, _> = pair.replica.root().query_first("SELECT COUNT(*) FROM polls.polls");
        polls.is_ok_and(|polls| polls == Some(1))
    });
    let (ledger, problems, ends) = (Mutex::new(Ledger::default()), Problems::default(), AtomicBool::new(false));
    let mut hosts = [host];
    let hall = Hall { hosts: &hosts, ledger: &ledger, problems: &problems, ends: &ends, closes: false, direct: false };
    let mut service = Service::start(&hosts[0], Duration::from_millis(50), &[]);
    let (delivered, lost) = std::thread::scope(|scope| {
        let hall = &hall;
        for (kind, seed) in [(Voters::Named, 1), (Voters::Nameless, 2), (Voters::Singles, 3)] {
            scope.spawn(move || hall.vote(kind, 0, seed));
        }
        let ends = crate::run::Ends(&ends);
        let mut pause = |from: u64, to: u64| std::thread::sleep(Duration::from_millis(rng.random_range(from..to)));
        service.wait_until("the replica has counted votes", || pair.replicated() > 0);
        pause(0, 300);
        // From here on it lags: commits of the primary do not reach it any more.
        pair.replica.root().query_drop("STOP SLAVE").unwrap();
        let (before, begun) = (pair.replicated(), std::time::Instant::now());
        let on_primary = || -> u64 {
            pair.primary.root().query_first("SELECT COUNT(*) FROM polls.ballots").unwrap().unwrap_or_default()
        };
        while on_primary() <= before && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        pause(100, 1000);
        let committed = on_primary();
        pair.primary.kill();
        pause(0, 500);
        pair.promote();
        pause(500, 1000);
        drop(ends);
        (pair.replicated(), committed - before)
    });
    if service.has_ended() {
        problems.note(format!("poll flush --every has ended by itself: {}", service.log()));
    } else {
        service.end(&problems);
    }
    if !knows_both {
        hosts[0].site.set("WEIR_DATABASE", format!("mysql://{ACCOUNT}@{}/polls", pair.replica.address()));
    }
    let sums = settle(&hosts, &ledger.into_inner().unwrap(), &problems, PATIENCE);
    eprintln!("fail-over {seed}: {lost} commits of ballots were lost, {delivered} ballots soon after: {sums:?}");
    let mut problems = problems.into_inner();
    match sums {
        Ok(sums) if sums.acknowledged < ACKNOWLEDGED_MIN => problems.push(format!("an empty run: {sums:?}")),
        Ok(_) => {}
        Err(why) => problems.push(why),
    }
    if lost == 0 {
        problems.push("the replica had everything: nothing was tried".into());
    }
    if problems.is_empty() { Ok(()) } else { Err(format!("fail-over {seed}: {problems:#?}")) }
}

fn fail_overs(knows_both: bool) {
    let count = crate::number("WEIR_CLUSTER_SOAK").map_or(FAIL_OVERS, |count| count.min(100));
    let first = crate::number("WEIR_CLUSTER_SEED").unwrap_or(FIRST_SEED);
    let failed: Vec<_> = (first..first + count).filter_map(|seed| fail_over(seed, knows_both).err()).collect();
    assert!(failed.is_empty(), "{} of {count}: {}", failed.len(), failed.join("\n"));
}

#[test]
fn a_replica_that_lagged_takes_over_from_the_first_of_two_hosts_and_counts_every_vote() {
    fail_overs(true);
}

#[test]
fn a_replica_that_lagged_is_given_to_weir_and_counts_every_vote() {
    fail_overs(false);
}
