//! This test binary run again, as a program that lives long and writes through the library's batcher.
//!
//! It logs each vote before it hands it over and each answer as it comes, a line at a time, straight to a file: what a
//! process has written stays written when it is killed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weir::poll::ballot::{IdentityKey, Voter};
use weir::poll::batcher::{Batcher, Limits};
use weir::poll::site::Site as PollSite;
use weir::poll::spool::Spool;
use weir::poll::vote::{Outcome, Place, Vote};
use weir::queue::{Address, Keys, Prefix};
use weir::slug::Slug;
use weir::store::DatabaseUrl;

use crate::ledger::{DURABLE, Ledger};
use crate::support::Site;

/// How many callers the program has at once.
const CALLERS: usize = 8;

/// Not a test by itself: the program. Without its settings it does nothing.
#[test]
fn program_that_writes_through_the_batcher() {
    let Ok(log) = std::env::var("FAULTS_LOG") else { return };
    let setting = |name: &str| std::env::var(name).unwrap();
    let slug = |text: &str| Slug::new(text).unwrap();
    let site = PollSite {
        memcached: setting("WEIR_MEMCACHED").split(',').map(|one| Address::new(one).unwrap()).collect(),
        keys: Keys::new(Prefix::new("poll-queue").unwrap()),
        database: DatabaseUrl::new(&setting("WEIR_DATABASE")).unwrap(),
        spool: Spool::new(setting("WEIR_SPOOL")),
        copies: setting("WEIR_COPIES").parse().unwrap(),
        timeout: Duration::from_millis(setting("FAULTS_TIMEOUT_MS").parse().unwrap()),
        keep: Duration::from_secs(60),
        identity_key: IdentityKey::new(None),
    };
    let copies = site.copies;
    let (votes, names): (usize, _) = (setting("FAULTS_VOTES").parse().unwrap(), setting("FAULTS_NAMES"));
    let log = File::options().append(true).create(true).open(log).unwrap();
    let note = |line: String| (&log).write_all(format!("{line}\n").as_bytes()).unwrap();
    let batcher = Batcher::start(&site, Limits::default()).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (batcher, note, names) = (&batcher, &note, &names);
            scope.spawn(move || {
                for number in (caller..votes).step_by(CALLERS) {
                    let voter = format!("{names}-{number}");
                    note(format!("tried {voter}"));
                    let pick = slug(if number % 3 == 0 { "yes" } else { "no" });
                    let vote =
                        Vote { poll: slug("now"), picks: [pick].into(), voter: Some(Voter::new(&voter).unwrap()) };
                    let answer = batcher.cast(vote).unwrap();
                    match answer.outcome {
                        // A server that failed on the way may have cost a copy.
                        Outcome::Taken(Place::Queued, _) => {
                            let copies = if answer.failures.is_empty() { copies } else { 1 };
                            note(format!("took {voter} {copies}"));
                        }
                        Outcome::Taken(_, _) => note(format!("took {voter} {DURABLE}")),
                        Outcome::Refused(_) | Outcome::NotTaken => {}
                    }
                }
            });
        }
    });
}

/// The program, to write so many votes of voters named `NAMES-NUMBER`, logging to `log`.
pub(crate) fn batcher(site: &Site, votes: usize, names: &str, log: &Path) -> Command {
    batcher_with(&site.command(&[]), votes, names, log, 10_000)
}

/// The same with the settings of a command and a time-out of its own, in milliseconds.
pub(crate) fn batcher_with(site: &Command, votes: usize, names: &str, log: &Path, timeout_ms: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::program_that_writes_through_the_batcher", "--nocapture"]).env_clear();
    for (name, value) in site.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    command.stdin(std::process::Stdio::null());
    command
        .env("FAULTS_TIMEOUT_MS", timeout_ms.to_string())
        .env("FAULTS_LOG", log)
        .env("FAULTS_VOTES", votes.to_string())
        .env("FAULTS_NAMES", names);
    command
}

/// Takes over what the program has logged, which began when so many servers had been lost. A last line that was cut short is one that nobody wrote whole.
pub(crate) fn read_log(log: &Path, losses_before: usize, ledger: &mut Ledger) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["tried", voter] => ledger.tried_after(voter, losses_before),
            ["took", voter, copies] => ledger.acknowledged(voter, copies.parse().unwrap()),
            _ => panic!("{}: {line}", log.display()),
        }
    }
}
