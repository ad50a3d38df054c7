//! Those who vote while things go wrong, and whom things befall themselves: their processes die at a step or at any
//! moment, stop, or dawdle. What they are told goes into the ledger.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::child;
use crate::ledger::{DURABLE, Ledger};
use crate::process::{Ended, Running};
use crate::schedule::{Voters, draws, step_of_vote};
use crate::support::Site;

/// A script of the notes may hold the lock so long; one that is slower loses it to others, and perhaps its message.
const LOCK_HELD_MAX: Duration = Duration::from_millis(400);

/// How often something befell whom.
pub(crate) type Counts = Mutex<BTreeMap<String, u64>>;

/// What voters of one schedule share.
pub(crate) struct Hall<'a> {
    pub(crate) site: &'a Command,
    pub(crate) servers: Vec<String>,
    pub(crate) copies: usize,
    /// Whether scripts of the notes vote too, who need a lock that nobody dies with.
    pub(crate) scripts: bool,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) counts: &'a Counts,
    pub(crate) ends: &'a AtomicBool,
}

/// The settings of a site, to make commands of without the site.
pub(crate) fn template(site: &Site) -> Command {
    site.command(&[])
}

/// One more.
pub(crate) fn count(counts: &Counts, what: impl Into<String>) {
    *counts.lock().unwrap().entry(what.into()).or_default() += 1;
}

impl Hall<'_> {
    /// Votes until told to end.
    pub(crate) fn run(&self, kind: Voters, seed: u64) {
        let mut rng = draws(seed);
        let mut number = 0;
        let mut unanswered = Vec::new();
        while !self.ends.load(Ordering::Relaxed) {
            number += 1;
            match kind {
                Voters::Singles => self.single(&mut rng, number, &mut unanswered),
                Voters::Batches => self.batch(&mut rng, number),
                Voters::Batcher => self.batcher(&mut rng, number),
                Voters::Script => {
                    let server = &self.servers[rng.random_range(0..self.servers.len())];
                    let voter = format!("script-{number}");
                    self.ledger.lock().unwrap().tried(&voter);
                    if put(server, &voter).unwrap_or(false) {
                        self.ledger.lock().unwrap().acknowledged(&voter, 1);
                    }
                    std::thread::sleep(Duration::from_millis(rng.random_range(1..20)));
                }
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.site.get_program());
        command.args(arguments).env_clear().stdin(std::process::Stdio::null()).current_dir(&self.folder);
        command.envs(self.site.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Lets a process run, and sees to it that something befalls it now and then.
    fn befall(&self, rng: &mut ChaCha8Rng, mut command: Command) -> Ended {
        let (step, pause) = (step_of_vote(rng).name(), Duration::from_millis(rng.random_range(1..250)));
        let soon = Duration::from_millis(rng.random_range(0..40));
        match rng.random_range(0..12) {
            0 | 1 => {
                let ended = Running::start(command.env("WEIR_FAILPOINT", format!("{step}=kill"))).end_within_limit();
                if ended.died_by().is_some() {
                    count(self.counts, "voter: killed at a step");
                }
                ended
            }
            2 => {
                let mut running = Running::start(command.env("WEIR_FAILPOINT", format!("{step}=stop")));
                if running.wait_until_stopped() {
                    count(self.counts, "voter: stopped at a step");
                    std::thread::sleep(pause);
                    running.signal(Signal::CONT);
                }
                running.end_within_limit()
            }
            3 => {
                let plan = format!("{step}=sleep:{}", pause.as_millis());
                count(self.counts, "voter: told to dawdle at a step");
                Running::start(command.env("WEIR_FAILPOINT", plan)).end_within_limit()
            }
            4 => {
                let mut running = Running::start(&mut command);
                std::thread::sleep(soon);
                running.signal(Signal::KILL);
                let ended = running.end_within_limit();
                if ended.died_by().is_some() {
                    count(self.counts, "voter: killed");
                }
                ended
            }
            5 => {
                let mut running = Running::start(&mut command);
                std::thread::sleep(soon);
                running.signal(Signal::STOP);
                std::thread::sleep(pause);
                running.signal(Signal::CONT);
                count(self.counts, "voter: stopped");
                running.end_within_limit()
            }
            _ => Running::start(&mut command).end_within_limit(),
        }
    }

    /// One vote: of a new voter, of one who had no answer, or of nobody's name.
    fn single(&self, rng: &mut ChaCha8Rng, number: u32, unanswered: &mut Vec<String>) {
        let pick = ["yes", "no"][rng.random_range(0..2)];
        let again = !unanswered.is_empty() && rng.random_bool(0.3);
        let voter = match rng.random_bool(0.85) {
            _ if again => Some(unanswered.swap_remove(rng.random_range(0..unanswered.len()))),
            true => Some(format!("single-{number}")),
            false => None,
        };
        let mut command = self.command(&["poll", "vote", "now", pick, "--json"]);
        match &voter {
            Some(voter) => {
                self.ledger.lock().unwrap().tried(voter);
                command.args(["--voter", voter]);
            }
            // Counted before it is known whether an answer comes.
            None => self.ledger.lock().unwrap().nameless_unanswered += 1,
        }
        if rng.random_bool(0.1) && !self.scripts {
            command.arg("--locked");
        }
        let ended = self.befall(rng, command);
        let mut ledger = self.ledger.lock().unwrap();
        match (ended.status.code(), voter) {
            (Some(0), voter) => {
                let receipt: Value = serde_json::from_str(&ended.stdout).unwrap();
                let copies = match receipt["status"].as_str() {
                    Some("queued") if ended.stderr.contains("fewer than") => 1,
                    Some("queued") => self.copies,
                    _ => DURABLE,
                };
                match voter {
                    Some(voter) => ledger.acknowledged(&voter, copies),
                    None => {
                        ledger.nameless_unanswered -= 1;
                        ledger.acknowledged_as(receipt["id"].as_str().unwrap(), copies);
                    }
                }
            }
            // Nobody is told so who has not voted: the vote is in the database, or where the mark is.
            (Some(3), Some(voter)) if ended.stderr.contains("has voted") => ledger.acknowledged(&voter, 1),
            (Some(3), Some(voter)) if ended.stderr.contains("being taken just now") => unanswered.push(voter),
            (None, Some(voter)) => unanswered.push(voter),
            (None, None) => {}
            (code, voter) => panic!("{voter:?}: {code:?}: {}", ended.stderr),
        }
    }

    fn batch(&self, rng: &mut ChaCha8Rng, number: u32) {
        let voters: Vec<_> = (0..rng.random_range(1..400)).map(|line| format!("batch-{number}-{line}")).collect();
        let lines: String = voters.iter().map(|voter| format!("now\tno\t{voter}\n")).collect();
        let path = self.folder.join(format!("batch-{number}.tsv"));
        std::fs::write(&path, lines).unwrap();
        voters.iter().for_each(|voter| self.ledger.lock().unwrap().tried(voter));
        let command = self.command(&["poll", "vote", "--json", "--batch", &path.display().to_string()]);
        let ended = self.befall(rng, command);
        match ended.status.code() {
            Some(0) => {}
            None => return,
            other => panic!("batch {number}: {other:?}: {}{}", ended.stdout, ended.stderr),
        }
        let summary: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(summary["accepted"], json!(voters.len()), "{summary}");
        let copies = match (&summary["queued"], &summary["short_of_copies"]) {
            (queued, _) if *queued == json!(0) => DURABLE,
            (_, short) if *short == json!(0) => self.copies,
            _ => 1,
        };
        voters.iter().for_each(|voter| self.ledger.lock().unwrap().acknowledged(voter, copies));
    }

    fn batcher(&self, rng: &mut ChaCha8Rng, number: u32) {
        let log = self.folder.join(format!("batcher-{number}.log"));
        let votes = rng.random_range(50..800);
        let command = child::batcher_with(self.site, votes, &format!("batcher-{number}"), &log, 250);
        let losses_before = self.ledger.lock().unwrap().losses.len();
        let ended = self.befall(rng, command);
        child::read_log(&log, losses_before, &mut self.ledger.lock().unwrap());
        assert!(matches!(ended.status.code(), Some(0) | None), "{}{}", ended.stdout, ended.stderr);
    }
}

/// One message the way the notes store it, by a script that gives up where they say "figure something out", and does not
/// begin a queue: two that do that at one moment may lose a message, as the notes have it. Tells whether it is stored, by a
/// script that was not too slow.
fn put(server: &str, voter: &str) -> io::Result<bool> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut say = |text: String| -> io::Result<String> {
        (&stream).write_all(text.as_bytes())?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.ends_with('\n') { Ok(line.trim_end().to_string()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    let set = |key: &str, value: &str| format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    let begun = Instant::now();
    let held = loop {
        let asked = Instant::now();
        match say("incr poll-queue-lock 1\r\n".into())?.parse() {
            Ok(1) => break asked,
            Ok(_) if begun.elapsed() < Duration::from_secs(1) => std::thread::sleep(Duration::from_millis(1)),
            Ok::<u64, _>(_) | Err(_) => return Ok(false),
        }
    };
    let stored = match say("incr poll-queue-curr 1\r\n".into())?.parse::<u64>() {
        Ok(ticket) => {
            let message = json!({"poll": "now", "picks": ["yes"], "voter": voter}).to_string();
            say(set(&format!("poll-queue-key-{ticket}"), &message))? == "STORED"
        }
        Err(_) => false,
    };
    let in_time = held.elapsed() < LOCK_HELD_MAX;
    if in_time {
        say(set("poll-queue-lock", "0"))?;
    }
    Ok(stored && in_time)
}
