//! Every named step of writers and flush, one by one. In a scene that leads through it a process dies at the step, or
//! stops there, lets others vote and flush, and goes on. Afterwards the promise must hold.
//!
//! That no step is forgotten is the compiler's to see (`scenes` matches every one), and that each is still reached is the
//! test's: a process that did not die where it should fails it.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use weir::failpoint::Step;

use crate::child;
use crate::ledger::{DURABLE, Ledger, NOBODY};
use crate::process::{Ended, Running};
use crate::support::{MariaDb, Memcached, Site};

/// For how long others are given the stage while a process is stopped: a chance, not a condition.
const MEANWHILE: Duration = Duration::from_millis(200);

/// What leads through a step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scene {
    Vote,
    LockedVote,
    /// The servers have just been started and know nothing, not even the poll.
    FirstVote,
    TwoCopies,
    /// No memcached answers.
    DirectVote,
    /// No database either.
    SpooledVote,
    /// A program with the library's batcher.
    Batcher,
    /// Votes wait, and a ticket whose slot is empty.
    Flush,
    /// Another flush died after its commit.
    FlushAfterDeath,
    /// A script of the notes began the queue.
    FlushOfScripts,
    /// The counter was lost, its entries were not.
    FlushOfLostEpoch,
    FlushOfSpool,
}

fn scenes(step: Step) -> &'static [Scene] {
    use Scene::*;
    match step {
        Step::DefinitionLeased | Step::DefinitionRead | Step::QueueBegun => &[FirstVote],
        Step::Gathered | Step::Cast | Step::Answered => &[Batcher],
        Step::Claimed | Step::TicketsTaken | Step::SlotsFilled => &[Vote, LockedVote, TwoCopies, Batcher],
        Step::Confirmed => &[Vote, LockedVote, TwoCopies],
        Step::Copied => &[TwoCopies],
        Step::LockTaken | Step::LockReleased => &[LockedVote],
        Step::FellBack => &[DirectVote, SpooledVote],
        Step::Stored => &[DirectVote],
        Step::SpoolWritten | Step::SpoolSynced | Step::SpoolRenamed | Step::SpoolKept => &[SpooledVote],
        Step::HeadRead | Step::Positioned | Step::SlotsRead => &[Flush, FlushOfLostEpoch, FlushAfterDeath],
        Step::Folding | Step::HeadMoved => &[Flush, FlushAfterDeath, FlushOfScripts, FlushOfLostEpoch],
        Step::Inserted | Step::Raised | Step::Committing | Step::Committed => &[Flush, DirectVote, FlushOfScripts],
        Step::Deleting | Step::Deleted | Step::DeletionRecorded => &[Flush, FlushOfScripts, FlushOfLostEpoch],
        Step::ShadowStored | Step::ShadowForgotten | Step::CounterMoved => &[FlushOfScripts],
        Step::LeftEpochsRead => &[FlushOfLostEpoch],
        Step::SpoolLocked | Step::SpoolRead | Step::SpoolFolded | Step::SpoolRemoved => &[FlushOfSpool],
        Step::DefinitionsPut | Step::TotalsPut => &[Flush],
    }
}

/// Two memcached servers, a database, and what has been cast so far.
struct Stage {
    servers: [Memcached; 2],
    site: Site,
    ledger: Ledger,
    cast: u32,
}

impl Stage {
    fn new(database: Option<&MariaDb>) -> Stage {
        let servers = [Memcached::start(), Memcached::start()];
        // Entries are deleted at once, so that every flush goes through the steps of deleting.
        let mut site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "1").with("WEIR_KEEP", "0s");
        if let Some(mariadb) = database {
            site.set("WEIR_DATABASE", mariadb.create("polls"));
        }
        site.create_now();
        Stage { servers, site, ledger: Ledger::default(), cast: 0 }
    }

    fn voter(&mut self) -> String {
        self.cast += 1;
        let voter = format!("voter {}", self.cast);
        self.ledger.tried(&voter);
        voter
    }

    /// Votes as `voter`; a refusal must be because of a vote that is there or under way.
    fn vote(&mut self, voter: &str) {
        let ended = Running::start(&mut self.site.command(&["poll", "vote", "now", "yes", "--voter", voter])).end();
        self.note(voter, &ended);
    }

    fn note(&mut self, voter: &str, ended: &Ended) {
        match ended.status.code() {
            Some(0) => self.ledger.acknowledged(voter, DURABLE),
            // Nobody is told so who has not voted.
            Some(3) if ended.stderr.contains("has voted") => self.ledger.acknowledged(voter, DURABLE),
            Some(3) if ended.stderr.contains("being taken just now") => {}
            other => panic!("{voter}: {other:?}: {}", ended.stderr),
        }
    }

    fn vote_some(&mut self) {
        for _ in 0..2 {
            let voter = self.voter();
            self.vote(&voter);
        }
        let (first, last) = (self.cast + 1, self.cast + 40);
        let voters: Vec<_> = (first..=last).map(|_| self.voter()).collect();
        let lines: String = voters.iter().map(|voter| format!("now\tno\t{voter}\n")).collect();
        assert!(self.site.batch(lines).status.success());
        voters.iter().for_each(|voter| self.ledger.acknowledged(voter, DURABLE));
    }

    /// Votes as a script of the notes that finds nothing, neither lock nor pointer.
    fn vote_as_script(&mut self) {
        for server in 0..self.servers.len() {
            let voters: Vec<_> = (0..3).map(|_| self.voter()).collect();
            let mut script = self.servers[server].talk();
            script.set("poll-queue-lock", "1");
            script.set("poll-queue-curr", "0");
            for voter in &voters {
                let ticket = script.incr("poll-queue-curr").unwrap();
                let message = json!({"poll": "now", "picks": ["yes"], "voter": voter});
                script.set(&format!("poll-queue-key-{ticket}"), &message.to_string());
                self.ledger.acknowledged(voter, DURABLE);
            }
            script.set("poll-queue-lock", "0");
        }
    }

    fn flush(&self) {
        self.site.ok(&["poll", "flush"]);
    }

    /// Brings about what leads through the step, and gives the process that will go there, with the voter it votes for.
    fn set(&mut self, scene: Scene, step: Step) -> (Command, Option<String>) {
        match scene {
            Scene::Vote | Scene::LockedVote | Scene::TwoCopies | Scene::Batcher => {}
            Scene::FirstVote => self.servers.iter_mut().for_each(Memcached::restart),
            Scene::DirectVote | Scene::SpooledVote => self.servers.iter_mut().for_each(Memcached::kill),
            Scene::Flush => {
                self.vote_some();
                self.servers.iter().for_each(|server| assert!(server.talk().incr("poll-queue-curr").is_some()));
            }
            Scene::FlushAfterDeath => {
                self.vote_some();
                let mut flush = self.site.command(&["poll", "flush"]);
                let died = Running::start(flush.env("WEIR_FAILPOINT", "store.committed=kill")).end().died_by();
                assert_eq!(died, Some(Signal::KILL.as_raw()));
                // What is in the queues of both servers now, one of which is behind its head.
                self.vote_some();
            }
            Scene::FlushOfScripts => {
                self.servers.iter_mut().for_each(Memcached::restart);
                self.vote_as_script();
            }
            Scene::FlushOfLostEpoch => {
                self.vote_some();
                self.flush();
                self.vote_some();
                self.servers.iter().for_each(|server| server.talk().delete("poll-queue-curr"));
                self.vote_some();
            }
            Scene::FlushOfSpool => {
                let voter = self.voter();
                let mut vote = self.site.command(&["poll", "vote", "now", "yes", "--voter", &voter]);
                vote.env("WEIR_MEMCACHED", NOBODY).env("WEIR_DATABASE", "mysql://nobody@127.0.0.1:1/polls");
                let ended = Running::start(&mut vote).end();
                assert!(ended.stdout.starts_with("spooled "), "{}{}", ended.stdout, ended.stderr);
                self.ledger.acknowledged(&voter, DURABLE);
            }
        }
        if matches!(scene, Scene::Batcher) {
            let log = self.site.path("batcher.log");
            let command = child::batcher(&self.site, 200, &format!("batch-{}-{}", self.cast, step.name()), &log);
            return (command, None);
        }
        let is_vote = matches!(
            scene,
            Scene::Vote
                | Scene::LockedVote
                | Scene::FirstVote
                | Scene::TwoCopies
                | Scene::DirectVote
                | Scene::SpooledVote
        );
        if !is_vote {
            return (self.site.command(&["poll", "flush"]), None);
        }
        let voter = self.voter();
        let mut command = self.site.command(&["poll", "vote", "now", "yes", "--voter", &voter]);
        match scene {
            Scene::LockedVote => drop(command.arg("--locked")),
            Scene::TwoCopies => drop(command.env("WEIR_COPIES", "2")),
            Scene::SpooledVote => drop(command.env("WEIR_DATABASE", "mysql://nobody@127.0.0.1:1/polls")),
            _ => {}
        }
        (command, Some(voter))
    }

    /// Servers that are down come up, all is flushed, and the promise is looked at.
    fn settle(&mut self, what: &str) {
        for server in &mut self.servers {
            if !server.is_running() {
                server.restart();
            }
        }
        child::read_log(&self.site.path("batcher.log"), 0, &mut self.ledger);
        let _ = std::fs::remove_file(self.site.path("batcher.log"));
        self.vote_some();
        self.flush();
        self.ledger.check(&self.site).unwrap_or_else(|error| panic!("{what}: {error}"));
        let status = self.site.status();
        let depths = status["servers"].as_array().unwrap().iter().map(|server| &server["depth"]);
        assert!(depths.clone().all(|depth| *depth == json!(0)), "{what}: {status}");
    }
}

fn die(stage: &mut Stage, scene: Scene, step: Step) {
    let (mut command, voter) = stage.set(scene, step);
    let ended = Running::start(command.env("WEIR_FAILPOINT", format!("{}=kill", step.name()))).end();
    let died = ended.died_by() == Some(Signal::KILL.as_raw());
    assert!(died, "{scene:?} did not lead through {}: {}{}", step.name(), ended.stdout, ended.stderr);
    // Whoever got no answer tries again.
    if let Some(voter) = voter {
        stage.vote(&voter);
    }
    stage.settle(&format!("killed at {} in {scene:?}", step.name()));
}

fn stop(stage: &mut Stage, scene: Scene, step: Step) {
    let (mut command, voter) = stage.set(scene, step);
    let mut stopped = Running::start(command.env("WEIR_FAILPOINT", format!("{}=stop", step.name())));
    assert!(stopped.wait_until_stopped(), "{scene:?} did not lead through {}", step.name());
    let mut others = [
        Running::start(&mut stage.site.command(&["poll", "flush"])),
        Running::start(&mut stage.site.command(&["poll", "vote", "now", "no"])),
    ];
    others.iter_mut().for_each(|other| other.wait_for(MEANWHILE));
    stopped.signal(Signal::CONT);
    let ended = stopped.end();
    match voter {
        Some(voter) => stage.note(&voter, &ended),
        None => assert!(matches!(ended.status.code(), Some(0 | 4)), "{step:?} in {scene:?}: {}", ended.stderr),
    }
    let [flush, vote] = others;
    // A flush that is still going has the queue, and the one that settles would leave it to it.
    let flushed = flush.end();
    assert!(matches!(flushed.status.code(), Some(0 | 4)), "{step:?} in {scene:?}: {}", flushed.stderr);
    let receipt = vote.end();
    assert!(receipt.status.success(), "{}", receipt.stderr);
    stage.ledger.acknowledged_as(receipt.stdout.trim_end().rsplit(' ').next().unwrap(), DURABLE);
    stage.settle(&format!("stopped at {} in {scene:?}", step.name()));
}

fn at_every_step(database: Option<&MariaDb>, scenes_each: usize, act: fn(&mut Stage, Scene, Step)) {
    let mut stage = Stage::new(database);
    for step in Step::ALL {
        for scene in scenes(*step).iter().take(scenes_each) {
            act(&mut stage, *scene, *step);
        }
    }
}

#[test]
fn a_process_killed_at_any_step_loses_and_doubles_nothing_in_sqlite() {
    at_every_step(None, usize::MAX, die);
}

#[test]
fn a_process_stopped_at_any_step_loses_and_doubles_nothing_in_sqlite() {
    // Stopping takes time, and where the steps lie does not depend on the database.
    at_every_step(None, 1, stop);
}

#[test]
fn a_process_killed_at_any_step_loses_and_doubles_nothing_in_mariadb() {
    at_every_step(Some(&MariaDb::start()), usize::MAX, die);
}

#[test]
fn a_process_stopped_at_any_step_loses_and_doubles_nothing_in_mariadb() {
    at_every_step(Some(&MariaDb::start()), usize::MAX, stop);
}
