//! One schedule on the cluster, from an empty database to the count on every node.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rustix::process::Signal;

use crate::galera::{Cluster, NODES};
use crate::host::{Host, Problems, Service};
use crate::ledger::{Ledger, Sums};
use crate::process::Running;
use crate::schedule::{Event, Fault, Schedule};
use crate::support::Memcached;
use crate::voters::Hall;

/// The fewest votes that a schedule must have acknowledged.
const ACKNOWLEDGED_MIN: u64 = 300;

/// How often what happened.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// What a schedule came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sums: Sums,
    pub(crate) faults: Counts,
    /// What is wrong with the count, if anything is.
    pub(crate) miscount: Option<String>,
    /// What else went wrong.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.miscount.is_none() && self.problems.is_empty()
    }
}

/// Ends the voters when dropped, also by a panic: the scope waits for them.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How schedules are run.
pub(crate) struct Manner<'a> {
    /// More environment of the flush services.
    pub(crate) flushers: &'a [(&'a str, &'a str)],
    /// How long the count may take to come right after everything is healed.
    pub(crate) patience: Duration,
}

impl Manner<'_> {
    pub(crate) const NORMAL: Manner<'static> = Manner { flushers: &[], patience: Duration::from_secs(20) };
}

struct Stage<'a> {
    cluster: &'a mut Cluster,
    hosts: &'a [Host],
    services: Vec<Service>,
    schedule: &'a Schedule,
    manner: &'a Manner<'a>,
    problems: &'a Problems,
}

impl Stage<'_> {
    fn start_service(&mut self, host: usize) {
        let service = Service::start(&self.hosts[host], self.schedule.every[host], self.manner.flushers);
        match self.services.get_mut(host) {
            Some(before) => *before = service,
            None => self.services.push(service),
        }
    }

    /// A service that ended by itself is a problem, and the schedule goes on with a new one.
    fn watch_services(&mut self) {
        for host in 0..NODES {
            if self.services[host].has_ended() {
                let log = self.services[host].log();
                self.problems.note(format!("poll flush --every of host {host} has ended by itself: {}", last(&log)));
                self.start_service(host);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.watch_services();
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// Lets a fault begin; whether it came about.
    fn begin(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::NodeKilled(node) => self.cluster.kill(node),
            Fault::NodeStopped(node) => self.cluster.stop(node),
            Fault::NodeIsolated(node) => return self.cluster.isolate(node, true),
            Fault::OthersStopped(node) => others(node).for_each(|other| self.cluster.stop(other)),
            Fault::OthersIsolated(node) => return others(node).all(|other| self.cluster.isolate(other, true)),
            Fault::NodeHeldBack(node) => return self.cluster.hold_back(node),
            Fault::AllKilled => self.cluster.kill_all(),
            Fault::FlusherKilled(host) => self.services[host].kill(),
            Fault::FlusherStopped(host) => self.services[host].signal(Signal::STOP),
            Fault::FlushKilledAt(host, step) => {
                let mut command = self.hosts[host].site.command(&["poll", "flush"]);
                command.env("WEIR_FAILPOINT", format!("{}=kill", step.name()));
                let mut flush = Running::start(&mut command);
                flush.wait_for(Duration::from_secs(5));
                let killed = Some(Signal::KILL.as_raw());
                return flush.has_ended() && flush.end().died_by() == killed;
            }
        }
        true
    }

    fn lift(&mut self, fault: Fault) {
        match fault {
            Fault::NodeKilled(node) => self.cluster.start_again(node),
            Fault::NodeStopped(node) => self.cluster.go_on(node),
            Fault::NodeIsolated(node) => {
                self.cluster.isolate(node, false);
            }
            Fault::OthersStopped(node) => others(node).for_each(|other| self.cluster.go_on(other)),
            Fault::OthersIsolated(node) => others(node).for_each(|other| {
                self.cluster.isolate(other, false);
            }),
            Fault::NodeHeldBack(node) => self.cluster.let_go(node),
            Fault::AllKilled => self.cluster.start_all_again(),
            Fault::FlusherKilled(host) => self.start_service(host),
            Fault::FlusherStopped(host) => self.services[host].signal(Signal::CONT),
            Fault::FlushKilledAt(..) => {}
        }
    }

    fn run(&mut self, event: &Event, faults: &mut Counts) {
        if self.begin(event.fault) {
            *faults.entry(event.fault.kind()).or_default() += 1;
        }
        self.wait(event.lasts);
        self.lift(event.fault);
        self.wait(event.pause);
    }
}

fn others(node: usize) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |other| *other != node)
}

/// The end of a long text.
pub(crate) fn last(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// The hosts of a schedule, one a node.
fn hosts(cluster: &Cluster, memcached: &Memcached, database: &str, knows_all: &[bool; NODES]) -> Vec<Host> {
    let url = |node: usize| {
        if knows_all[node] { cluster.url_of_all(node, database) } else { cluster.url(node, database) }
    };
    (0..NODES).map(|node| Host::new(memcached, &url(node))).collect()
}

/// Runs a schedule.
pub(crate) fn run(cluster: &mut Cluster, schedule: &Schedule, manner: &Manner<'_>) -> Outcome {
    cluster.heal();
    let (memcached, database) = (Memcached::start(), format!("seed_{}", schedule.seed));
    cluster.root(0).query_drop(format!("CREATE DATABASE {database}")).unwrap();
    let hosts = hosts(cluster, &memcached, &database, &schedule.knows_all);
    hosts[0].site.create_now();
    let (ledger, problems, ends) = (Mutex::new(Ledger::default()), Problems::default(), AtomicBool::new(false));
    let mut outcome = Outcome::default();
    let closes = schedule.openings.is_some();
    let hall = Hall { hosts: &hosts, ledger: &ledger, problems: &problems, ends: &ends, closes, direct: true };
    let mut stage =
        Stage { cluster: &mut *cluster, hosts: &hosts, services: Vec::new(), schedule, manner, problems: &problems };
    std::thread::scope(|scope| {
        let ends = Ends(&ends);
        let hall = &hall;
        (0..NODES).for_each(|host| stage.start_service(host));
        for (kind, host, seed) in &schedule.voters {
            scope.spawn(move || hall.vote(*kind, *host, *seed));
        }
        if let Some(seed) = schedule.openings {
            scope.spawn(move || hall.close_and_open(seed));
        }
        for event in &schedule.events {
            stage.run(event, &mut outcome.faults);
        }
        stage.wait(schedule.quiet);
        drop(ends);
    });
    stage.watch_services();
    stage.cluster.heal();
    std::mem::take(&mut stage.services).into_iter().for_each(|service| service.end(&problems));
    match settle(&hosts, &ledger.into_inner().unwrap(), &problems, manner.patience) {
        Ok(sums) => {
            outcome.sums = sums;
            if sums.acknowledged < ACKNOWLEDGED_MIN {
                problems.note(format!("only {} votes were acknowledged", sums.acknowledged));
            }
            cluster.root(0).query_drop(format!("DROP DATABASE {database}")).unwrap();
        }
        Err(why) => outcome.miscount = Some(why),
    }
    outcome.problems = problems.into_inner();
    outcome
}

/// Opens the poll, flushes every host until the count is right on all nodes, and says what is wrong if it does not become so.
pub(crate) fn settle(hosts: &[Host], ledger: &Ledger, problems: &Problems, patience: Duration) -> Result<Sums, String> {
    let begun = Instant::now();
    hosts[0].weir(&["poll", "open", "now"], problems);
    loop {
        let flushed: Vec<_> = hosts.iter().map(|host| host.weir(&["poll", "flush"], problems)).collect();
        let sums: Result<Vec<_>, _> = hosts.iter().map(|host| ledger.check(&host.site)).collect();
        match sums {
            Ok(sums) => {
                let same = sums.iter().all(|one| one.counted == sums[0].counted);
                return if same { Ok(sums[0]) } else { Err(format!("the nodes have different counts: {sums:?}")) };
            }
            Err(why) if begun.elapsed() > patience => {
                let results = hosts[0].weir(&["poll", "results", "now", "--format", "json"], problems);
                return Err(format!("{why}; the results: {results:?}; the last flushes: {flushed:?}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
