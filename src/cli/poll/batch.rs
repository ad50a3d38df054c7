//! `weir poll vote --batch`: a vote a line, from a file or standard input, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::exit::Partly;
use crate::cli::output::Output;
use crate::poll::ballot::{CHOICES, Voter};
use crate::poll::vote::{Booth, Outcome, Place, Vote};
use crate::slug::Slug;

use super::vote::status_of;

/// Votes cast together: enough to make an entry worth its round trips, few enough to hold.
const VOTES_AT_ONCE: usize = 2000;

/// The longest line, in bytes.
const LINE_MAX_LEN: usize = 64 * 1024;

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
    lines: Vec<u64>,
    votes: Vec<Vote>,
}

pub(super) fn run(file: &Path, booth: Booth, json: bool, out: &mut Output) -> Result<()> {
    let standard_input = file.as_os_str() == "-";
    let name = if standard_input { "standard input".into() } else { file.display().to_string() };
    let (source, length): (Box<dyn Read>, Option<u64>) = if standard_input {
        (Box::new(io::stdin().lock()), None)
    } else {
        let opened = File::open(file).with_context(|| name.clone())?;
        let length = opened.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        (Box::new(opened), length)
    };
    let bar = out.progress(length, if length.is_some() { "bytes" } else { "votes" });
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let mut batch =
        Batch { booth, out, json, summary: Summary::default(), told: Vec::new(), lines: Vec::new(), votes: Vec::new() };
    let mut line = Vec::new();
    loop {
        let read = read_line(&mut reader, &mut line).with_context(|| name.clone())?;
        if read > 0 {
            batch.take(&line)?;
            bar.inc(if length.is_some() { read } else { 1 });
        }
        if read == 0 || batch.votes.len() == VOTES_AT_ONCE {
            batch.cast()?;
        }
        if read == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    batch.finish()
}

/// Reads a line without its end into `line`, but never more of it than tells that it is too long. The number of
/// bytes read; 0 at the end of the input.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut read = reader.by_ref().take(LINE_MAX_LEN as u64 + 1).read_until(b'\n', line)? as u64;
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|byte| *byte == b'\r');
    } else if line.len() > LINE_MAX_LEN {
        read += reader.skip_until(b'\n')? as u64;
    }
    Ok(read)
}

fn read_vote(line: &[u8]) -> Result<Vote, String> {
    if line.len() > LINE_MAX_LEN {
        return Err(format!("the line is longer than {LINE_MAX_LEN} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_string())?;
    let mut fields = text.split('\t');
    let (Some(poll), Some(picks)) = (fields.next(), fields.next()) else {
        return Err("expected POLL<TAB>CHOICE[,CHOICE...][<TAB>VOTER]".into());
    };
    let (voter, more) = (fields.next(), fields.next());
    if more.is_some() {
        return Err("more than three fields".into());
    }
    let poll = Slug::new(poll).map_err(|error| format!("poll {error}"))?;
    // Said here and not by the poll: thousands of such lines wait for each other in memory.
    if picks.split(',').nth(*CHOICES.end()).is_some() {
        return Err(format!("more than {} choices", CHOICES.end()));
    }
    let picks = picks.split(',').map(Slug::new).collect::<Result<_, _>>().map_err(|error| format!("choice {error}"))?;
    let voter = voter.map(Voter::new).transpose().map_err(|error| error.to_string())?;
    Ok(Vote { poll, picks, voter })
}

impl Batch<'_> {
    fn take(&mut self, line: &[u8]) -> Result<()> {
        self.summary.lines += 1;
        match read_vote(line) {
            Ok(vote) => {
                self.lines.push(self.summary.lines);
                self.votes.push(vote);
                Ok(())
            }
            Err(reason) => self.refuse(self.summary.lines, &reason),
        }
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

    fn cast(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        let deposit = self.booth.cast(std::mem::take(&mut self.votes));
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
        let places: Vec<_> = places.map(|(place, count)| format!("{count} {}", status_of(*place))).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_any_end_and_a_huge_one_is_passed_over_in_little_memory() {
        let mut input = b"a\tb\r\nc\td".to_vec();
        input.splice(0..0, [vec![b'x'; 10 * LINE_MAX_LEN], b"\n".to_vec()].concat());
        let (mut reader, mut line) = (BufReader::new(&input[..]), Vec::new());
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), 10 * LINE_MAX_LEN as u64 + 1);
        assert!(read_vote(&line).unwrap_err().contains("longer than") && line.capacity() < 4 * LINE_MAX_LEN);
        read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, b"a\tb");
        read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, b"c\td");
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), 0);
    }

    #[test]
    fn every_wrong_line_is_told_what_is_wrong() {
        for (line, says) in [
            (&b""[..], "expected POLL"),
            (b"now", "expected POLL"),
            (b"no w\tyes", "poll"),
            (b"now\tyes,", "choice"),
            (b"now\tyes\t", "voter"),
            (b"now\tyes\tann\tx", "more than three"),
            (b"now\t\xff", "UTF-8"),
        ] {
            let reason = read_vote(line).unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
        assert!(read_vote(b"now\tyes,no\tann b").is_ok());
    }

    #[test]
    fn a_line_of_thousands_of_choices_filled_the_memory() {
        let line = |choices: usize| format!("now\t{}", vec!["a"; choices].join(","));
        assert!(read_vote(line(*CHOICES.end()).as_bytes()).is_ok());
        assert!(read_vote(line(*CHOICES.end() + 1).as_bytes()).unwrap_err().contains("more than 63"));
    }
}
