//! One rsync process: fed with the list, read to its end, and stopped with all that it started.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::output::{Change, Line, Progress, Tally, read_line};
use crate::rules::lint::shown;

/// How often a wish to stop is looked for while rsync says nothing.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long rsync may take to clean up after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long output is waited for after rsync has ended: a remote shell may leave a process that keeps stderr open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) tally: Tally,
    /// Whether it was stopped because somebody wished so.
    pub(super) stopped: bool,
}

/// What a process tells while it runs.
pub(super) enum Told<'t> {
    Change(Change),
    Progress(Progress),
    /// A line of its standard error, fit to be shown.
    Message(&'t str),
}

enum Event {
    Out(Vec<u8>),
    OutEnd,
    Err(String),
    ErrEnd,
}

/// Runs `command` with `input` on its standard input.
///
/// # Errors
/// When it cannot be started or waited for.
pub(super) fn run(
    mut command: Command,
    own_group: bool,
    input: &[u8],
    tell: &mut dyn FnMut(Told<'_>),
    stop: &AtomicBool,
) -> std::io::Result<Ended> {
    let mut child = command.spawn()?;
    // The command holds nothing that is open, but its arguments may be long.
    drop(command);
    let (sender, events) = sync_channel(64);
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_out(stdout, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || read_err(stderr, &sender));
    }
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended before it read its list tells why on its standard error.
        let _ = stdin.write_all(input);
    }
    let mut reading = Reading { tally: Tally::default(), rest: Vec::new(), tell };
    let stopped = follow(&mut child, own_group, &events, &mut reading, stop);
    let status = child.wait()?;
    reading.finish();
    Ok(Ended { status, tally: reading.tally, stopped })
}

/// Follows the process to its end; gives whether it was told to stop.
fn follow(
    child: &mut Child,
    own_group: bool,
    events: &Receiver<Event>,
    reading: &mut Reading<'_>,
    stop: &AtomicBool,
) -> bool {
    let (mut out_ended, mut err_ended) = (false, false);
    let mut exited: Option<Instant> = None;
    let mut stopped: Option<Instant> = None;
    while !(out_ended && err_ended) {
        if stopped.is_none() && stop.load(Ordering::Relaxed) {
            stopped = Some(Instant::now());
            signal(child, own_group, Signal::TERM);
        }
        if stopped.is_some_and(|since| since.elapsed() > STOP_PATIENCE) {
            break;
        }
        match events.recv_timeout(LOOK_EVERY) {
            Ok(Event::Out(bytes)) => reading.take(&bytes),
            Ok(Event::Err(line)) => (reading.tell)(Told::Message(&line)),
            Ok(Event::OutEnd) => out_ended = true,
            Ok(Event::ErrEnd) => err_ended = true,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if stopped.is_none() => {
                // Asked only here: a process that has been waited for can no longer be signalled.
                if exited.is_none() && child.try_wait().is_ok_and(|status| status.is_some()) {
                    exited = Some(Instant::now());
                }
                if exited.is_some_and(|since| since.elapsed() > LAST_WORDS) {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    if stopped.is_some() && exited.is_none() {
        // What a stand-in for a remote shell has started may have outlived it.
        signal(child, own_group, Signal::KILL);
    }
    stopped.is_some()
}

/// A process that has ended by itself needs no signal, so failing to send one is nothing to tell.
fn signal(child: &Child, own_group: bool, signal: Signal) {
    let pid = Pid::from_child(child);
    let _ = if own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
}

fn read_out(mut out: impl Read, sender: &SyncSender<Event>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match out.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                if sender.send(Event::Out(bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = sender.send(Event::OutEnd);
}

fn read_err(err: impl Read, sender: &SyncSender<Event>) {
    for line in BufReader::new(err).split(b'\n').map_while(Result::ok) {
        let line = shown(line.trim_ascii_end());
        if !line.is_empty() && sender.send(Event::Err(line)).is_err() {
            return;
        }
    }
    let _ = sender.send(Event::ErrEnd);
}

/// Cuts standard output into lines; progress ends in a carriage return, everything else in a newline.
struct Reading<'t> {
    tally: Tally,
    rest: Vec<u8>,
    tell: &'t mut dyn FnMut(Told<'_>),
}

impl Reading<'_> {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, after) = bytes.split_at(end);
            if self.rest.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole);
            }
            bytes = after.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
    }

    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest);
    }

    fn line(&mut self, line: &[u8]) {
        match read_line(line, &mut self.tally) {
            Line::Change(change) => (self.tell)(Told::Change(change)),
            Line::Progress(progress) => (self.tell)(Told::Progress(progress)),
            Line::Other => {}
        }
    }
}
