//! `weir poll vote --batch`: a vote a line, from a file or standard input, in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::exit::Partly;
use crate::cli::output::Output;
use crate::poll::vote::{Booth, Outcome, Place, Vote};

use super::batch_line::{Kinds, read_line};

/// Votes cast together: enough to make an entry worth its round trips, few enough to hold.
const VOTES_AT_ONCE: usize = 5000;

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
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    status: &'static str,
    line: u64,
    reason: &'a str,
}

struct Batch<'a> {
    booth: Booth,
    out: &'a mut Output,
    json: bool,
    summary: Summary,
    told: Vec<String>,
}

/// Lines as read: their numbers, and the votes or what is wrong with them.
struct Lines {
    read: Vec<(u64, Result<Vote, String>)>,
    /// How far into the input they reach.
    bytes: u64,
}

pub(super) fn run(file: &Path, booth: Booth, json: bool, out: &mut Output) -> Result<()> {
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
    let mut batch = Batch { booth, out, json, summary: Summary::default(), told: Vec::new() };
    // Lines are read beside the casting. The thread is left to itself: when casting stops early it may be waiting
    // for a standard input that never ends.
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || read_lines(source, &sender));
    for lines in receiver {
        let lines: Lines = lines.with_context(|| name.clone())?;
        bar.set_position(if length.is_some() { lines.bytes } else { batch.summary.lines });
        batch.cast(lines.read)?;
    }
    bar.finish_and_clear();
    batch.finish()
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
    fn refuse(&mut self, line: u64, reason: &str) -> Result<()> {
        self.summary.refused += 1;
        if self.json {
            self.out.json(&RefusedLine { status: "refused", line, reason })?;
        } else {
            self.out.warning(format_args!("line {line}: {reason}"));
        }
        Ok(())
    }

    fn cast(&mut self, read: Vec<(u64, Result<Vote, String>)>) -> Result<()> {
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
        let deposit = self.booth.cast(votes);
        let mut not_taken = Vec::new();
        let why = deposit.failures.join("; ");
        for failure in deposit.failures {
            if self.told.len() < FAILURES_TOLD && !self.told.contains(&failure) {
                self.out.warning(&failure);
                self.told.push(failure);
            }
        }
        self.summary.duplicates += deposit.duplicates;
        for (line, outcome) in lines.into_iter().zip(deposit.outcomes) {
            match outcome {
                Outcome::Refused(refusal) => self.refuse(line, &refusal.to_string())?,
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
        Ok(self.out.line(format_args!("accepted {accepted}{places}{known}, refused {refused}"))?)
    }

    fn finish(mut self) -> Result<()> {
        self.tell_summary("done")?;
        match self.summary.refused {
            0 => Ok(()),
            refused => Err(Partly(format!("{refused} of {} lines were refused", self.summary.lines)).into()),
        }
    }
}
