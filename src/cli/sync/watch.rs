//! [`Watcher`]: what one run tells, as a line of progress, as words for the thread that prints, and as a log.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar};

use super::log::Log;
use super::show::change_line;
use crate::cli::output::duration_text;
use crate::cli::rules::note_additions;
use crate::rules::Expansion;
use crate::sync::{Change, Error, Phase, Progress, Refusal, Report, Watch, meaning};

/// What a run has to tell.
pub(super) enum Told {
    Change(Change),
    /// Worth knowing, unless quiet.
    Note(String),
    /// Somebody should look.
    Warning(String),
    /// rsync said it on its standard error.
    Rsync(String),
}

pub(super) struct Watcher {
    place: usize,
    told: SyncSender<(usize, Told)>,
    bar: Option<ProgressBar>,
    wants_changes: bool,
    log: Option<Log>,
    phase: Phase,
    /// How many times rsync was started again.
    pub(super) retried: u32,
}

impl Watcher {
    pub(super) fn new(
        place: usize,
        told: SyncSender<(usize, Told)>,
        bar: Option<ProgressBar>,
        wants_changes: bool,
        log: Option<Result<Log, String>>,
    ) -> Watcher {
        let (log, trouble) = match log {
            Some(Err(trouble)) => (None, Some(trouble)),
            Some(Ok(log)) => (Some(log), None),
            None => (None, None),
        };
        let mut watcher = Watcher { place, told, bar, wants_changes, log, phase: Phase::Counting, retried: 0 };
        if let Some(trouble) = trouble {
            watcher.tell(Told::Warning(trouble));
        }
        watcher
    }

    /// The run is over.
    pub(super) fn end(&mut self, result: &Result<Report, Error>) {
        if let Some(bar) = &self.bar {
            bar.finish_with_message(if result.is_ok() { "done" } else { "failed" });
        }
        let trouble = self.log.take().and_then(|log| log.end(result).err());
        if let Some(trouble) = trouble {
            self.tell(Told::Warning(trouble));
        }
    }

    fn tell(&mut self, told: Told) {
        if let Some(log) = &mut self.log {
            match &told {
                Told::Change(change) => log.line(&change_line(change)),
                Told::Note(text) => log.line(text),
                Told::Warning(text) => log.line(&format!("warning: {text}")),
                Told::Rsync(text) => log.line(&format!("rsync: {text}")),
            }
        }
        if self.wants_changes || !matches!(told, Told::Change(_)) {
            // The receiver is there until all runs have ended.
            let _ = self.told.send((self.place, told));
        }
    }

    fn show(&self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        }
    }
}

impl Watch for Watcher {
    fn wants_progress(&self) -> bool {
        self.bar.as_ref().is_some_and(|bar| !bar.is_hidden())
    }

    fn expanded(&mut self, expansion: &Expansion) {
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = note_additions(expansion, &mut text);
        for line in String::from_utf8_lossy(&text).lines() {
            self.tell(Told::Note(line.strip_prefix("weir: ").unwrap_or(line).to_owned()));
        }
    }

    fn phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.show(match phase {
            Phase::Counting => "looking for what is to do".to_owned(),
            Phase::Running => "running".to_owned(),
        });
    }

    fn progress(&mut self, progress: Progress) {
        self.show(match (self.phase, progress) {
            (_, Progress::Listing { files }) => format!("listing: {} entries so far", HumanCount(files)),
            // Its bytes are those that a run would transfer.
            (Phase::Counting, Progress::Transferring { checked, known, .. }) => {
                format!("looking for what is to do: {} of {} entries", HumanCount(checked), HumanCount(known))
            }
            (Phase::Running, Progress::Transferring { bytes, checked, known, growing }) => {
                let more = if growing { " so far, still listing" } else { "" };
                format!("{} of {} entries{more}, {}", HumanCount(checked), HumanCount(known), HumanBytes(bytes))
            }
        });
    }

    fn change(&mut self, change: Change) {
        if self.wants_changes || self.log.is_some() {
            self.tell(Told::Change(change));
        }
    }

    fn message(&mut self, line: &str) {
        self.tell(Told::Rsync(line.to_owned()));
    }

    fn forced(&mut self, refusal: &Refusal) {
        let what = match refusal {
            Refusal::TooMany { deleted, entries, limit } => {
                format!("{deleted} of {entries} entries in the destination are deleted, over the limit of {limit}")
            }
            Refusal::NothingSent { deleted } => format!("nothing is sent and {deleted} entries are deleted"),
            other => other.to_string(),
        };
        self.tell(Told::Warning(format!("--force: {what}")));
    }

    fn retrying(&mut self, code: i32, wait: Duration, next: u32, of: u32) {
        self.retried = next;
        let wait = duration_text(wait);
        self.tell(Told::Warning(format!(
            "rsync ended with code {code}: {}; try {next} of {of} again in {wait}",
            meaning(code)
        )));
    }
}
