//! The servers of one lane, each behind a proxy, and what befalls them. They are started once and serve one schedule after
//! the other: memcached is emptied, and each schedule has a database of its own.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rustix::process::Signal;

use crate::ledger::identity;
use crate::process::{Ended, Running};
use crate::proxy::{Mode, Proxy};
use crate::schedule::{Fault, SERVERS_MAX, Schedule};
use crate::support::{MariaDb, Memcached, Site, wait_until};

/// How much all tables of a lane may take: filled in a second.
const SPACE_MIB: u32 = 20;

/// The memory of a memcached that is not to be full, in MiB.
const ENOUGH_MIB: u32 = 256;

/// How many items of each size a full memcached has room for: votes are refused and taken in turn.
const LEFT_FREE: usize = 40;

/// The servers of a lane.
pub(crate) struct Lane {
    memcached: Vec<Memcached>,
    before_memcached: Vec<Proxy>,
    mariadb: MariaDb,
    before_mariadb: Proxy,
}

impl Lane {
    pub(crate) fn start() -> Lane {
        let memcached: Vec<_> = (0..SERVERS_MAX).map(|_| Memcached::start()).collect();
        let mariadb = MariaDb::start_with_space(SPACE_MIB);
        let mut root = mariadb.connect(None);
        // One that read_only holds back.
        root.query_drop("CREATE USER voter@'127.0.0.1' IDENTIFIED BY 'voter'").unwrap();
        Lane {
            before_memcached: memcached.iter().map(|server| Proxy::start(&server.address())).collect(),
            before_mariadb: Proxy::start(&mariadb.address()),
            memcached,
            mariadb,
        }
    }
}

/// A lane set up for one schedule.
pub(crate) struct Stage<'a> {
    lane: &'a mut Lane,
    pub(crate) site: Site,
    /// The name of its database.
    database: Option<String>,
    copies: usize,
    servers: usize,
    service: Option<Running>,
    writer: Option<rusqlite::Connection>,
    pending: Vec<(Instant, Fault)>,
    /// Whether a memcached has been lost since all queues were drained.
    lost_one: bool,
    /// What each memcached that was killed held, unflushed or not, when nothing could come in any more.
    pub(crate) losses: Vec<BTreeSet<String>>,
}

/// What a fault befalls: no two at a time.
#[derive(PartialEq)]
enum Target {
    Memcached(usize),
    Database,
    Service,
    Nobody,
}

fn target(fault: Fault) -> Target {
    match fault {
        Fault::MemcachedKilled(server) | Fault::MemcachedStopped(server) | Fault::MemcachedCut(server, _) => {
            Target::Memcached(server)
        }
        Fault::DatabaseKilled
        | Fault::DatabaseStopped
        | Fault::DatabaseCut(_)
        | Fault::DatabaseReadOnly
        | Fault::DatabaseFull => Target::Database,
        Fault::FlusherKilled | Fault::FlusherStopped | Fault::FlusherEnded => Target::Service,
        Fault::FlusherDies(_) | Fault::FlusherDawdles(_) => Target::Nobody,
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn set(lane: &'a mut Lane, schedule: &Schedule) -> Stage<'a> {
        lane.memcached
            .iter_mut()
            .for_each(|server| server.restart_with_memory(schedule.full_mib.unwrap_or(ENOUGH_MIB)));
        lane.before_memcached.iter().for_each(|proxy| proxy.set(Mode::Pass));
        lane.before_mariadb.set(Mode::Pass);
        let addresses: Vec<_> = lane.before_memcached[..schedule.servers].iter().map(Proxy::address).collect();
        let mut site = Site::new(&[])
            .with("WEIR_MEMCACHED", addresses.join(","))
            .with("WEIR_COPIES", schedule.copies.to_string())
            .with("WEIR_TIMEOUT", "250ms");
        let mut database = None;
        if !schedule.sqlite {
            let name = format!("seed_{}", schedule.seed);
            let mut root = lane.mariadb.connect(None);
            root.query_drop(format!("CREATE DATABASE {name}")).unwrap();
            root.query_drop(format!("GRANT ALL ON {name}.* TO voter@'127.0.0.1'")).unwrap();
            site.set("WEIR_DATABASE", format!("mysql://voter:voter@{}/{name}", lane.before_mariadb.address()));
            database = Some(name);
        }
        site.create_now();
        if schedule.full_mib.is_some() {
            lane.memcached[..schedule.servers].iter().for_each(|server| server.fill_up(LEFT_FREE));
        }
        let (pending, losses, copies, servers) = (Vec::new(), Vec::new(), schedule.copies, schedule.servers);
        let mut stage = Stage {
            lane,
            site,
            database,
            copies,
            servers,
            service: None,
            writer: None,
            pending,
            lost_one: false,
            losses,
        };
        stage.start_service();
        stage
    }

    /// Where clients find the memcached servers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.lane.before_memcached.iter().map(Proxy::address).take(self.servers).collect()
    }

    fn start_service(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.site.path("service.log")).unwrap();
        let mut command = self.site.command(&["--quiet", "poll", "flush", "--every", "20ms"]);
        self.service = Some(Running::start_with(command.stdout(Stdio::null()).stderr(log)));
    }

    /// Ends the faults whose time has come.
    pub(crate) fn lift_due(&mut self) {
        let now = Instant::now();
        let (due, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(until, _)| *until <= now);
        self.pending = pending;
        Vec::into_iter(due).for_each(|(_, fault)| self.lift(fault));
    }

    /// Ends every fault.
    pub(crate) fn lift_all(&mut self) {
        std::mem::take(&mut self.pending).into_iter().for_each(|(_, fault)| self.lift(fault));
    }

    /// Lets a fault begin; whether it came about.
    pub(crate) fn begin(&mut self, fault: Fault, lasts: Duration) -> bool {
        let same = |pending: &(Instant, Fault)| target(pending.1) == target(fault);
        let (before, pending) = std::mem::take(&mut self.pending).into_iter().partition(same);
        self.pending = pending;
        Vec::into_iter(before).for_each(|(_, fault)| self.lift(fault));
        if matches!(fault, Fault::MemcachedKilled(_)) && self.copies > 1 && self.lost_one {
            // Two copies outlive one server. Before the next is lost, what the first had must have been drained.
            self.lift_all();
            self.drain();
        }
        let came_about = self.apply(fault, lasts);
        self.pending.push((Instant::now() + lasts, fault));
        came_about
    }

    fn apply(&mut self, fault: Fault, lasts: Duration) -> bool {
        match fault {
            Fault::MemcachedKilled(server) => self.lose(server),
            Fault::MemcachedStopped(server) => self.lane.memcached[server].black_hole(),
            Fault::MemcachedCut(server, mode) => self.lane.before_memcached[server].set(mode),
            Fault::DatabaseKilled => self.lane.mariadb.kill(),
            Fault::DatabaseStopped => self.lane.mariadb.black_hole(),
            Fault::DatabaseCut(mode) => self.lane.before_mariadb.set(mode),
            Fault::DatabaseReadOnly => return self.hold_writes(),
            Fault::DatabaseFull => return self.fill(),
            Fault::FlusherKilled => self.service = None,
            Fault::FlusherStopped => {
                self.service.iter_mut().for_each(|service| service.signal(Signal::STOP));
            }
            Fault::FlusherEnded => self.end_service(),
            Fault::FlusherDies(step) => {
                let mut flush = self.site.command(&["poll", "flush"]);
                let flush = Running::start(flush.env("WEIR_FAILPOINT", format!("{}=kill", step.name())));
                return self.end(flush).died_by() == Some(Signal::KILL.as_raw());
            }
            Fault::FlusherDawdles(step) => {
                let mut flush = self.site.command(&["poll", "flush"]);
                let mut flush = Running::start(flush.env("WEIR_FAILPOINT", format!("{}=stop", step.name())));
                let mut stopped = false;
                wait_until("a flush stops or ends", || {
                    self.lift_due();
                    stopped = flush.has_stopped();
                    stopped || flush.has_ended()
                });
                let until = Instant::now() + lasts;
                while stopped && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                    self.lift_due();
                }
                flush.signal(Signal::CONT);
                self.end(flush);
                return stopped;
            }
        }
        true
    }

    fn lift(&mut self, fault: Fault) {
        match fault {
            Fault::MemcachedKilled(server) => {
                self.lane.memcached[server].restart();
                self.lane.before_memcached[server].set(Mode::Pass);
            }
            Fault::MemcachedStopped(server) => self.lane.memcached[server].revive(),
            Fault::MemcachedCut(server, _) => self.lane.before_memcached[server].set(Mode::Pass),
            Fault::DatabaseKilled => self.lane.mariadb.restart(),
            Fault::DatabaseStopped => self.lane.mariadb.revive(),
            Fault::DatabaseCut(_) => self.lane.before_mariadb.set(Mode::Pass),
            Fault::DatabaseReadOnly => {
                self.writer = None;
                if self.database.is_some() {
                    self.lane.mariadb.connect(None).query_drop("SET GLOBAL read_only = 0").unwrap();
                }
            }
            Fault::DatabaseFull => {
                if self.database.is_some() {
                    self.lane.mariadb.connect(None).query_drop("DROP DATABASE IF EXISTS filler").unwrap();
                }
            }
            Fault::FlusherStopped => {
                self.service.iter_mut().for_each(|service| service.signal(Signal::CONT));
            }
            Fault::FlusherKilled | Fault::FlusherEnded => self.start_service(),
            Fault::FlusherDies(_) | Fault::FlusherDawdles(_) => {}
        }
    }

    /// Kills a memcached, and notes what it held: first nothing can come in any more, so everything that was
    /// acknowledged because of this server is in it, flushed, or lost with it.
    fn lose(&mut self, server: usize) {
        self.lane.before_memcached[server].set(Mode::Refuse);
        let mut talk = self.lane.memcached[server].talk();
        let keys = talk.keys();
        let entries = keys.iter().filter(|key| key.starts_with("poll-queue-key-")).filter_map(|key| talk.get(key));
        let ballots = entries.flat_map(|entry| entry.lines().map(ballot_of).collect::<Vec<_>>());
        self.losses.push(ballots.flatten().collect());
        self.lost_one = true;
        self.lane.memcached[server].kill();
    }

    /// Flushes until everything that was there when this began is in the database.
    fn drain(&mut self) {
        wait_until("all queues are drained", || {
            let flush = Running::start(&mut self.site.command(&["poll", "flush"])).end_within_limit();
            flush.status.success() && !flush.stderr.contains("another flush is at work")
        });
        self.lost_one = false;
    }

    /// Waits for the end of a process. Faults whose time has come are ended meanwhile, for it may be waiting for that.
    fn end(&mut self, mut running: Running) -> Ended {
        wait_until("a process ends", || {
            self.lift_due();
            running.has_ended()
        });
        running.end()
    }

    fn hold_writes(&mut self) -> bool {
        if self.database.is_some() {
            // It waits for transactions that are open, perhaps of a process that is stopped.
            let mut root = self.lane.mariadb.connect(None);
            root.query_drop("SET SESSION lock_wait_timeout = 1").unwrap();
            return root.query_drop("SET GLOBAL read_only = 1").is_ok();
        }
        let writer = rusqlite::Connection::open(self.site.path("polls.sqlite")).unwrap();
        writer.busy_timeout(Duration::from_secs(1)).unwrap();
        let held = writer.execute_batch("BEGIN IMMEDIATE").is_ok();
        self.writer = Some(writer);
        held
    }

    fn fill(&mut self) -> bool {
        if self.database.is_none() {
            // The signal of a file that grows too large is ignored, so that the write itself fails.
            let mut command = Command::new("sh");
            command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]);
            let flush = self.site.command(&["poll", "flush"]);
            command.arg(flush.get_program()).args(flush.get_args()).env_clear();
            command.envs(flush.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let flush = Running::start(&mut command);
            return !self.end(flush).status.success();
        }
        let mut root = self.lane.mariadb.connect(None);
        root.query_drop("CREATE DATABASE filler").unwrap();
        root.query_drop("USE filler").unwrap();
        // Small rows: a server that cannot undo a large one for lack of space ends itself.
        let mut full = 0;
        for table in 0..50 {
            let created = root.query_drop(format!("CREATE TABLE t{table} (text CHAR(200))"));
            let insert = format!("INSERT INTO t{table} SELECT 'x' FROM seq_1_to_300");
            while created.is_ok() && root.query_drop(&insert).is_ok() {}
            full += usize::from(created.is_err());
            // Pages are given out one by one to small tables, and in runs to large ones: until neither is left.
            if full > 1 {
                return true;
            }
        }
        false
    }

    fn end_service(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.signal(Signal::CONT);
            service.signal(Signal::TERM);
            let ended = self.end(service);
            // One that has just been started may not listen to the signal yet, and dies of it.
            let well = ended.status.code() == Some(0) || ended.died_by() == Some(Signal::TERM.as_raw());
            assert!(well, "the flush service ended with {:?}: {}", ended.status, self.service_log());
        }
    }

    pub(crate) fn service_log(&self) -> String {
        std::fs::read_to_string(self.site.path("service.log")).unwrap_or_default()
    }

    /// Ends all faults and the service, and flushes until nothing is left.
    pub(crate) fn settle(&mut self) {
        self.lift_all();
        self.end_service();
        assert!(!self.service_log().contains("panicked"), "{}", self.service_log());
        self.drain();
        wait_until("nothing is left", || {
            self.drain();
            let status = self.site.status();
            let empty = |server: &serde_json::Value| server["depth"] == serde_json::json!(0);
            status["servers"].as_array().unwrap().iter().all(empty)
        });
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.database.take().filter(|_| !std::thread::panicking()) {
            self.lane.mariadb.connect(None).query_drop(format!("DROP DATABASE {name}")).unwrap();
        }
    }
}

/// The identity of a ballot in an entry, if the line is one.
fn ballot_of(line: &str) -> Option<String> {
    let ballot: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| ballot[key].as_str().map(str::to_string);
    text("id").or_else(|| text("voter").map(|voter| identity(&voter)))
}
