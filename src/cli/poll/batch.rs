//! `weir poll vote --batch`: a vote a line, from a file or standard input, in bounded memory.
//!
//! Votes are cast in portions. A signal is heeded between two of them, so every line up to the one that the summary names was
//! accepted or refused, and no later one was cast.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::exit::{Interrupted, Partly};
use crate::cli::output::Output;
use crate::cli::signals::end_at_second_signal;
use crate::poll::ballot::{BatchId, IdentityKey, Refusal};
use crate::poll::secret::is_wrong_setting;
use crate::poll::vote::{Booth, Deposit, Outcome, Place, Vote};
use crate::queue::CLAIM_SECONDS;

use super::batch_line::{Kinds, read_line};

/// Votes cast together: enough to make an entry worth its round trips, few enough to hold.
const VOTES_AT_ONCE: usize = 5000;

/// How long a claim lasts whose vote was never finished.
const CLAIM_TIME: Duration = Duration::from_secs(CLAIM_SECONDS as u64);

/// How often a signal is looked for while there is nothing to cast.
const LOOK: Duration = Duration::from_millis(50);

/// How many different failures are told before it is only counted that there were more.
const FAILURES_TOLD: usize = 5;

#[derive(Serialize, Default)]
struct Summary {
    status: &'static str,
    lines: u64,
    accepted: u64,
    queued: u64,
    stored: u64,
    spooled: u64,
    duplicates: u64,
    refused: u64,
    short_of_copies: u64,
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    status: &'static str,
    line: u64,
    reason: &'a str,
}

/// What casts the lines.
pub(super) struct Caster {
    pub(super) booth: Booth,
    /// What gives nameless lines their identities, if the batch has an ID.
    pub(super) lines: Option<(IdentityKey, BatchId)>,
    /// On how many servers each ballot is wanted.
    pub(super) copies: usize,
}

impl Caster {
    fn cast(&mut self, lines: &[u64], votes: Vec<Vote>) -> Deposit {
        match &self.lines {
            None => self.booth.cast(votes),
            Some((key, id)) => self.booth.cast_as(votes, &|index| Some(key.of_line(id, *lines.get(index)?))),
        }
    }
}

struct Batch<'a> {
    caster: Caster,
    out: &'a mut Output,
    json: bool,
    summary: Summary,
    told: Vec<String>,
    /// A signal has asked it to end.
    stop: Arc<AtomicBool>,
    /// Votes whose voter is being taken just now, perhaps by a run that was killed: to be cast again later.
    under_way: Vec<(u64, Vote)>,
    last_under_way: Option<Instant>,
}

/// Lines as read: their numbers, and the votes or what is wrong with them.
struct Lines {
    read: Vec<(u64, Result<Vote, String>)>,
    /// How far into the input they reach.
    bytes: u64,
}

/// A copy of a vote whose voter has a name: only such a vote can find its voter being taken.
fn named(vote: &Vote) -> Option<Vote> {
    vote.voter.is_some().then(|| vote.clone())
}

pub(super) fn run(file: &Path, caster: Caster, json: bool, out: &mut Output) -> Result<()> {
    let standard_input = file.as_os_str() == "-";
    let name = if standard_input { "standard input".into() } else { file.display().to_string() };
    let (source, length): (Box<dyn Read + Send>, Option<u64>) = if standard_input {
        (Box::new(io::stdin()), None)
    } else {
        let opened = File::open(file).with_context(|| name.clone())?;
        let length = opened.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        (Box::new(opened), length)
    };
    let bar = out.progress(length, if length.is_some() { "bytes" } else { "votes" });
    let (summary, told, under_way) = (Summary::default(), Vec::new(), Vec::new());
    // Only from here on: to open a named pipe may wait for ever, and there the first signal is to end it.
    let stop = Arc::new(AtomicBool::new(false));
    end_at_second_signal(&[SIGINT, SIGTERM], &stop)?;
    let mut batch = Batch { caster, out, json, summary, told, stop, under_way, last_under_way: None };
    // Lines are read beside the casting. The thread is left to itself: when casting stops early it may be waiting
    // for a standard input that never ends.
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || read_lines(source, &sender));
    while !batch.is_stopping() {
        let lines = match receiver.recv_timeout(LOOK) {
            Ok(lines) => lines,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                bar.finish_and_clear();
                return if batch.cast_under_way()? { batch.finish() } else { batch.interrupt(&name) };
            }
        };
        if lines.is_err() {
            batch.refuse_under_way()?;
        }
        let lines: Lines = lines.with_context(|| name.clone())?;
        bar.set_position(if length.is_some() { lines.bytes } else { batch.summary.lines });
        batch.take(lines.read)?;
    }
    bar.finish_and_clear();
    batch.interrupt(&name)
}

fn read_lines(source: Box<dyn Read>, sender: &SyncSender<io::Result<Lines>>) {
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let mut kinds = Kinds::default();
    let (mut line, mut number, mut bytes, mut ended) = (Vec::new(), 0, 0, false);
    while !ended {
        let mut read = Vec::with_capacity(VOTES_AT_ONCE);
        while read.len() < VOTES_AT_ONCE && !ended {
            match read_line(&mut reader, &mut line) {
                Ok(0) => ended = true,
                Ok(length) => {
                    (number, bytes) = (number + 1, bytes + length);
                    read.push((number, kinds.read_vote(&line)));
                }
                Err(error) => {
                    // What was read before it is cast all the same.
                    let _ = sender.send(Ok(Lines { read, bytes })).and_then(|()| sender.send(Err(error)));
                    return;
                }
            }
        }
        if sender.send(Ok(Lines { read, bytes })).is_err() {
            return;
        }
    }
}

impl Batch<'_> {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn refuse(&mut self, line: u64, reason: &str) -> Result<()> {
        self.summary.refused += 1;
        if self.json {
            self.out.json(&RefusedLine { status: "refused", line, reason })?;
        } else {
            self.out.warning(format_args!("line {line}: {reason}"));
        }
        Ok(())
    }

    fn take(&mut self, read: Vec<(u64, Result<Vote, String>)>) -> Result<()> {
        let (mut lines, mut votes) = (Vec::with_capacity(read.len()), Vec::with_capacity(read.len()));
        for (line, vote) in read {
            self.summary.lines = line;
            match vote {
                Ok(vote) => {
                    lines.push(line);
                    votes.push(vote);
                }
                Err(reason) => self.refuse(line, &reason)?,
            }
        }
        self.cast(lines, votes, true)?;
        if self.under_way.len() >= VOTES_AT_ONCE {
            self.cast_under_way()?;
        }
        Ok(())
    }

    /// Casts again, once their claims have lapsed, the votes that found their voter being taken. Whether it did: a signal
    /// ends the wait.
    fn cast_under_way(&mut self) -> Result<bool> {
        let (Some(last), false) = (self.last_under_way, self.under_way.is_empty()) else { return Ok(true) };
        let wait = (CLAIM_TIME + Duration::from_secs(1)).saturating_sub(last.elapsed());
        let waiting = self.under_way.len();
        self.out.note(format_args!(
            "{waiting} voters are being taken just now, perhaps by a run that broke off: trying them again in {} s",
            wait.as_secs()
        ));
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.is_stopping() {
                return Ok(false);
            }
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        let mut again = std::mem::take(&mut self.under_way);
        while !again.is_empty() {
            let rest = again.split_off(again.len().min(VOTES_AT_ONCE));
            let (lines, votes) = again.into_iter().unzip();
            self.cast(lines, votes, false)?;
            again = rest;
        }
        Ok(true)
    }

    /// Tells of the votes that were kept for later when there is no later.
    fn refuse_under_way(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.under_way);
        kept.into_iter().try_for_each(|(line, vote)| self.refuse(line, &Refusal::UnderWay(vote.poll).to_string()))
    }

    /// Casts votes. `wait`: those whose voter is being taken just now are kept for later, else refused.
    fn cast(&mut self, lines: Vec<u64>, votes: Vec<Vote>, wait: bool) -> Result<()> {
        let named: Vec<_> = if wait { votes.iter().map(named).collect() } else { Vec::new() };
        let deposit = self.caster.cast(&lines, votes);
        if let Some(Outcome::Refused(refusal)) = deposit.outcomes.first()
            && is_wrong_setting(refusal)
        {
            // It is every vote's, and every further one's.
            let refusal = (**refusal).clone();
            self.refuse_under_way()?;
            self.tell_summary("stopped")?;
            return Err(refusal.into());
        }
        let mut not_taken = Vec::new();
        let why = deposit.failures.join("; ");
        if deposit.short_of_copies > 0 && self.summary.short_of_copies == 0 {
            let copies = self.caster.copies;
            self.out.warning(format_args!("votes go to fewer than {copies} servers until more of them answer"));
        }
        for failure in deposit.failures {
            if self.told.len() < FAILURES_TOLD && !self.told.contains(&failure) {
                self.out.warning(&failure);
                self.told.push(failure);
            }
        }
        self.summary.duplicates += deposit.duplicates;
        self.summary.short_of_copies += deposit.short_of_copies;
        let mut named = named.into_iter();
        for (line, outcome) in lines.into_iter().zip(deposit.outcomes) {
            let named = named.next().flatten();
            match outcome {
                Outcome::Refused(refusal) => match (*refusal, named) {
                    (Refusal::UnderWay(_), Some(vote)) => {
                        self.under_way.push((line, vote));
                        self.last_under_way = Some(Instant::now());
                    }
                    (refusal, _) => self.refuse(line, &refusal.to_string())?,
                },
                Outcome::NotTaken => not_taken.push(line),
                Outcome::Taken(place, _) => {
                    self.summary.accepted += 1;
                    *match place {
                        Place::Queued => &mut self.summary.queued,
                        Place::Stored => &mut self.summary.stored,
                        Place::Spooled => &mut self.summary.spooled,
                    } += 1;
                }
            }
        }
        let (Some(first), Some(last)) = (not_taken.first(), not_taken.last()) else { return Ok(()) };
        self.refuse_under_way()?;
        self.tell_summary("stopped")?;
        anyhow::bail!(
            "stopped: {} of lines {first} to {last} were NOT taken, and none after them was read: {why}",
            not_taken.len()
        )
    }

    fn tell_summary(&mut self, status: &'static str) -> Result<()> {
        self.summary.status = status;
        if self.json {
            return Ok(self.out.json(&self.summary)?);
        }
        let Summary { accepted, queued, stored, spooled, duplicates, refused, .. } = self.summary;
        let places = [(Place::Queued, queued), (Place::Stored, stored), (Place::Spooled, spooled)];
        let places = places.iter().filter(|(_, count)| *count > 0);
        let places: Vec<_> = places.map(|(place, count)| format!("{count} {}", place.name())).collect();
        let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
        let known = if duplicates > 0 { format!(", {duplicates} of them counted before") } else { String::new() };
        let short = match self.summary.short_of_copies {
            0 => String::new(),
            short => format!(", {short} on fewer servers than wanted"),
        };
        Ok(self.out.line(format_args!("accepted {accepted}{places}{known}{short}, refused {refused}"))?)
    }

    /// Ends at a signal: what was cast, and how to go on.
    fn interrupt(mut self, name: &str) -> Result<()> {
        self.refuse_under_way()?;
        self.tell_summary("interrupted")?;
        let last = self.summary.lines;
        let how = match self.caster.lines {
            Some(_) => "run it again with the same input and --batch-id: no line counts twice".to_string(),
            None => format!("cast what \"tail -n +{}\" prints of {name}", last + 1),
        };
        self.out.warning(match last {
            0 => "interrupted before any line was cast".to_string(),
            _ => format!("interrupted: all lines up to {last} were accepted or refused, and none after it was cast; to go on, {how}"),
        });
        Err(Interrupted.into())
    }

    fn finish(mut self) -> Result<()> {
        self.tell_summary("done")?;
        match self.summary.refused {
            0 => Ok(()),
            refused => Err(Partly(format!("{refused} of {} lines were refused", self.summary.lines)).into()),
        }
    }
}
