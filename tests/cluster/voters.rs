//! Those who vote on a host while nodes fail, and what they are told.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde_json::Value;
use weir::poll::ballot::{BatchId, IdentityKey};

use crate::host::{Ended, Host, Problems};
use crate::ledger::{DURABLE, Ledger, NOBODY, identity};
use crate::schedule::{Voters, draws};

/// What all voters of a schedule share.
pub(crate) struct Hall<'a> {
    pub(crate) hosts: &'a [Host],
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) problems: &'a Problems,
    pub(crate) ends: &'a AtomicBool,
    /// Whether the poll is closed and opened meanwhile, so that votes may be refused.
    pub(crate) closes: bool,
    /// Whether votes may go to the database themselves.
    pub(crate) direct: bool,
}

impl Hall<'_> {
    fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Votes on a host until the schedule ends.
    pub(crate) fn vote(&self, kind: Voters, host: usize, seed: u64) {
        let mut rng = draws(seed);
        let mut number = 0;
        while !self.has_ended() {
            number += 1;
            if !matches!(kind, Voters::Singles) {
                // A flush should meet several batches, and the count at the end should not take longer than the faults.
                std::thread::sleep(Duration::from_millis(rng.random_range(50..300)));
            }
            match kind {
                Voters::Named => self.named(&mut rng, host, &format!("batch-{seed}-{number}")),
                Voters::Nameless => self.nameless(&mut rng, host, &format!("batch-{seed}-{number}")),
                Voters::Singles => self.single(&mut rng, host, &format!("single-{seed}-{number}")),
            }
        }
    }

    /// Closes the poll and opens it, each on any host, until the schedule ends.
    pub(crate) fn close_and_open(&self, seed: u64) {
        let mut rng = draws(seed);
        let mut any = |from: u64, to: u64| {
            std::thread::sleep(Duration::from_millis(rng.random_range(from..to)));
            &self.hosts[rng.random_range(0..self.hosts.len())]
        };
        while !self.has_ended() {
            any(300, 1500).weir(&["poll", "close", "now"], self.problems);
            while !self.has_ended()
                && any(50, 600)
                    .weir(&["poll", "open", "now"], self.problems)
                    .is_none_or(|ended| ended.code() != Some(0))
            {}
        }
    }

    fn single(&self, rng: &mut ChaCha8Rng, host: usize, voter: &str) {
        let host = &self.hosts[host];
        let mut command = host.site.command(&["poll", "vote", "now", "yes", "--json", "--voter", voter]);
        let direct = rng.random_bool(0.5) && self.direct;
        self.ledger.lock().unwrap().tried(voter);
        self.single_vote(host, &mut command, voter, direct);
        // The same voter by another way, on another host: counted once.
        if rng.random_bool(0.2) && self.direct {
            let other = &self.hosts[rng.random_range(0..self.hosts.len())];
            let mut command = other.site.command(&["poll", "vote", "now", "no", "--json", "--voter", voter]);
            self.single_vote(other, &mut command, voter, true);
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..30)));
    }

    fn single_vote(&self, host: &Host, command: &mut Command, voter: &str, direct: bool) {
        if direct {
            command.env("WEIR_MEMCACHED", NOBODY);
        }
        let Some(ended) = host.end(command, self.problems) else { return };
        match ended.code() {
            Some(0) => self.ledger.lock().unwrap().acknowledged(voter, DURABLE),
            Some(3) if self.closes || ended.stderr.contains("voted") => {}
            // Reported where it ended.
            Some(101) => {}
            _ => self.problems.note(format!("a vote ended with {}: {}", ended.status, ended.stderr)),
        }
    }

    fn named(&self, rng: &mut ChaCha8Rng, host: usize, name: &str) {
        let voters: Vec<_> = (0..rng.random_range(100..2500)).map(|line| format!("{name}-{line}")).collect();
        let lines: String =
            voters.iter().map(|voter| format!("now\t{}\t{voter}\n", ["yes", "no"][rng.random_range(0..2)])).collect();
        let identities: Vec<_> = voters.iter().map(|voter| identity(voter)).collect();
        let direct = self.direct && rng.random_bool(0.15);
        self.batch(&self.hosts[host], name, &lines, &identities, None, direct);
    }

    fn nameless(&self, rng: &mut ChaCha8Rng, host: usize, name: &str) {
        let (key, id) = (IdentityKey::new(None), BatchId::new(name).unwrap());
        let count: u64 = rng.random_range(100..2500);
        let lines: String = (0..count).map(|line| ["now\tyes\n", "now\tno\n"][(line % 2) as usize]).collect();
        let identities: Vec<_> = (1..=count).map(|line| key.of_line(&id, line).to_string()).collect();
        self.batch(&self.hosts[host], name, &lines, &identities, Some(name), false);
        // A batch that is cast again, on another host: counted once.
        if rng.random_bool(0.2) {
            let other = &self.hosts[rng.random_range(0..self.hosts.len())];
            self.batch(other, name, &lines, &identities, Some(name), false);
        }
    }

    fn batch(&self, host: &Host, name: &str, lines: &str, identities: &[String], id: Option<&str>, direct: bool) {
        let path = host.site.path(&format!("{name}.tsv"));
        std::fs::write(&path, lines).unwrap();
        for identity in identities {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.votes.entry(identity.clone()).or_default().voter = name.into();
        }
        let mut command = host.site.command(&["poll", "vote", "--json", "--batch", &path.display().to_string()]);
        command.args(id.map(|id| format!("--batch-id={id}")));
        command.envs(direct.then_some(("WEIR_MEMCACHED", NOBODY)));
        let Some(ended) = host.end(&mut command, self.problems) else { return };
        let refused = match ended.code() {
            Some(0) => Vec::new(),
            Some(4) if self.closes => refused_lines(&ended),
            Some(101) => return,
            _ => return self.problems.note(format!("{name} ended with {}: {}", ended.status, ended.stderr)),
        };
        let mut ledger = self.ledger.lock().unwrap();
        for (line, identity) in (1..).zip(identities) {
            if !refused.contains(&line) {
                ledger.acknowledged_as(identity, DURABLE);
            }
        }
        let _ = std::fs::remove_file(path);
    }
}

/// The numbers of the lines that were refused.
fn refused_lines(ended: &Ended) -> Vec<u64> {
    let objects = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter_map(|object| object["line"].as_u64()).collect()
}
