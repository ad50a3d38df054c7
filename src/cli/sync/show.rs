//! What is printed of the runs: lines of progress, changes, endings, the table.

use anyhow::Result;
use comfy_table::{Table, presets};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::Ending;
use super::json::Object;
use super::watch::Told;
use crate::cli::output::{Output, duration_text};
use crate::rules::lint::shown;
use crate::sync::{Change, ChangeKind, Job, Report};

use std::time::Duration;

/// How often a line of progress moves.
const TICK: Duration = Duration::from_millis(120);

/// What is on the screen while the runs go on.
pub(super) struct Screen {
    pub(super) bars: Vec<ProgressBar>,
    all: MultiProgress,
    labels: Vec<String>,
    verbose: bool,
    quiet: bool,
    json: bool,
    dry_run: bool,
    /// The changes of each run that are shown at its end.
    kept: Vec<Vec<Change>>,
}

impl Screen {
    pub(super) fn new(
        labels: &[String],
        verbose: bool,
        quiet: bool,
        json: bool,
        dry_run: bool,
        all: MultiProgress,
    ) -> Screen {
        let width = labels.iter().map(String::len).max().unwrap_or_default();
        let bar = |label: &String| {
            let bar = all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_prefix(format!("{label:width$}"));
            bar.set_message("waiting");
            if !bar.is_hidden() {
                bar.enable_steady_tick(TICK);
            }
            bar
        };
        let (bars, kept) = (labels.iter().map(bar).collect(), labels.iter().map(|_| Vec::new()).collect());
        Screen { bars, all: all.clone(), labels: labels.to_vec(), verbose, quiet, json, dry_run, kept }
    }

    /// Whether any change will be shown.
    pub(super) fn wants_changes(&self) -> bool {
        (self.verbose || self.dry_run) && (!self.quiet || self.json)
    }

    /// Shows what a run tells, now or at its end.
    pub(super) fn show(&mut self, place: usize, told: Told, out: &mut Output) -> Result<()> {
        let fleet = self.labels.len() > 1;
        let label = match self.labels.get(place) {
            Some(label) if fleet => format!("{label}: "),
            _ => String::new(),
        };
        match told {
            Told::Change(change) if self.json || self.dry_run => {
                if let Some(kept) = self.kept.get_mut(place) {
                    kept.push(change);
                }
            }
            Told::Change(change) => {
                self.all.suspend(|| out.line(format_args!("{label}{}", change_line(&change))))?;
            }
            Told::Note(text) => self.all.suspend(|| out.note(format_args!("{label}{text}"))),
            Told::Warning(text) => self.all.suspend(|| out.warning(format_args!("{label}{text}"))),
            Told::Rsync(text) => self.all.suspend(|| out.message(format_args!("{label}{text}"))),
        }
        Ok(())
    }

    /// Takes the lines of progress away.
    pub(super) fn end(&self) {
        self.bars.iter().for_each(ProgressBar::finish_and_clear);
    }

    /// Shows how one run ended.
    pub(super) fn show_ending(
        &self,
        place: usize,
        jobs: &[Job],
        ending: Option<&Ending>,
        out: &mut Output,
    ) -> Result<()> {
        let (Some(job), Some(label)) = (jobs.get(place), self.labels.get(place)) else { return Ok(()) };
        let kept = self.kept.get(place).map(Vec::as_slice).unwrap_or_default();
        if self.json {
            out.json(&Object::new(job, self.dry_run, ending, self.wants_changes().then_some(kept)))?;
        }
        match ending {
            Some(Ending { result: Ok(report), elapsed, .. }) => {
                if self.dry_run && !self.quiet && !self.json {
                    self.show_groups(kept, out)?;
                }
                if report.vanished {
                    out.warning(format_args!(
                        "{label}: files vanished from the source while it was read; the rest is done"
                    ));
                }
                // The table has the numbers of a fleet.
                let lone = jobs.len() == 1 || self.verbose || self.dry_run;
                if !self.json && !self.quiet && lone {
                    let would = if self.dry_run { "dry run: " } else { "" };
                    out.line(format_args!("{label}: {would}{}, {}", summary(report), duration_text(*elapsed)))?;
                }
                if let Some(refusal) = report.refusal.as_ref().filter(|_| jobs.len() > 1) {
                    out.warning(format_args!("{label}: the run itself would be refused: {refusal}"));
                }
            }
            Some(Ending { result: Err(error), .. }) if jobs.len() > 1 => {
                out.message(format_args!("weir: {label}: {error}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a dry run found, the deletions first.
    fn show_groups(&self, changes: &[Change], out: &mut Output) -> Result<()> {
        for (kind, title) in [
            (ChangeKind::Deleted, "would be deleted"),
            (ChangeKind::Created, "would be created"),
            (ChangeKind::Updated, "would be updated"),
            (ChangeKind::Attributes, "would get other times, permissions or owners"),
        ] {
            let of_kind: Vec<&Change> = changes.iter().filter(|change| change.kind == kind).collect();
            if of_kind.is_empty() {
                continue;
            }
            // Directories whose times follow from the other changes are of interest to few.
            let named = kind != ChangeKind::Attributes || self.verbose;
            out.line(format_args!("{} {title}{}", of_kind.len(), if named { ":" } else { " (-v names them)" }))?;
            for change in of_kind.iter().filter(|_| named) {
                out.line(format_args!("  {}", name(&change.path)))?;
            }
        }
        Ok(())
    }
}

/// `created  apps/bin/x`, with rsync's own letters for it in front.
pub(super) fn change_line(change: &Change) -> String {
    format!("{:11} {}", String::from_utf8_lossy(&change.item), name(&change.path))
}

/// A path to the byte: what cannot be shown is escaped, and so is the backslash.
fn name(path: &[u8]) -> String {
    path.split(|byte| *byte == b'\\').map(shown).collect::<Vec<_>>().join("\\\\")
}

/// The numbers of a run in one line.
pub(super) fn summary(report: &Report) -> String {
    let tally = &report.tally;
    if tally.is_nothing() {
        return format!("nothing to do, {} entries are as they should be", tally.files);
    }
    let counts = [
        (tally.deleted, "deleted"),
        (tally.created, "created"),
        (tally.updated, "updated"),
        (tally.attributes, "with other attributes"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let changed = HumanBytes(tally.changed_bytes);
    format!("{}, {changed} in changed files", counts.collect::<Vec<_>>().join(", "))
}

/// One row a host.
pub(super) fn table(labels: &[String], endings: &[Option<Ending>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["host", "ended", "deleted", "created", "updated", "bytes", "time"]);
    for (label, ending) in labels.iter().zip(endings) {
        let mut row = vec![label.clone()];
        match ending {
            None => row.push("not begun".to_owned()),
            Some(Ending { result: Err(error), .. }) => row.push(kind(error).to_owned()),
            Some(Ending { result: Ok(report), elapsed, .. }) => {
                let tally = &report.tally;
                let ended = match report {
                    Report { refusal: Some(_), .. } => "refused",
                    Report { partial: true, .. } => "failed",
                    _ => "done",
                };
                row.push(ended.to_owned());
                row.extend([tally.deleted, tally.created, tally.updated].map(|count| count.to_string()));
                row.push(HumanBytes(tally.changed_bytes).to_string());
                row.push(duration_text(*elapsed));
            }
        }
        table.add_row(row);
    }
    table
}

fn kind(error: &crate::sync::Error) -> &'static str {
    match error {
        refused if refused.refusal_code().is_some() => "refused",
        crate::sync::Error::Stopped => "stopped",
        _ => "failed",
    }
}
