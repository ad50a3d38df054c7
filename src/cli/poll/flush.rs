//! `weir poll flush`: once, for cron, or as a service.

use std::time::Duration;

use anyhow::Result;

use crate::cli::exit::Partly;
use crate::cli::output::Output;
use crate::cli::settings::{Settings, read_duration};
use crate::poll::drain::{Count, Holes, Step};
use crate::poll::flush::{Flusher, Report};
use crate::poll::{owner, secret};

use super::flush_service;

/// Arguments of `weir poll flush`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Safe to run at any time, as often as you like, on as many hosts as you like, and to kill: each
ballot is counted once. Servers are drained in parallel. With copies on several servers,
\"duplicates\" counts the further copies too. --quiet leaves out the summary.

Exits 4 when lines became dead letters, when a server failed (its votes stay queued), when a
queue belongs to another database (nothing is taken out of it), or when entries are missing
because the database went back to an earlier state.

With --every it goes on until SIGTERM or SIGINT, then finishes the chunks under way and exits
0 (a second signal ends it at once, and is as safe). It prints one line a flush that had work.
When the database goes away it says so, tries again after pauses that grow to 30 s, and says
when it is back. Under systemd (Type=notify) it tells readiness and status and feeds the
watchdog for as long as it moves; WatchdogSec= must be over 2min, for the database may take a
minute for one answer.

Examples:
  weir poll flush
  weir poll flush --every 2s
  * * * * *  weir --quiet poll flush        (in a crontab)")]
pub struct Args {
    /// Flush again and again, with this pause, until SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    every: Option<Duration>,
    /// Move the queues to this database if they belong to another one
    #[arg(long)]
    adopt_queue: bool,
    /// Print JSON: one object a flush
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        if self.adopt_queue {
            let mut store = settings.store()?;
            secret::check(store.as_mut(), &settings.identity_key)?;
            let database = owner::of(store.as_mut())?;
            owner::adopt_all(&mut settings.servers(), &database).iter().for_each(|error| out.warning(error));
        }
        let mut flusher = settings.flusher();
        match self.every {
            None => self.once(&mut flusher, out),
            Some(every) => flush_service::run(&mut flusher, every, out, &mut |count, out| {
                dead_letters(count).iter().for_each(|letters| out.warning(letters));
                self.tell(count, out)
            }),
        }
    }

    fn once(&self, flusher: &mut Flusher, out: &mut Output) -> Result<()> {
        let bar = out.progress(None, "slots");
        let mut report = Report::default();
        let flushed = flusher.flush(Holes::All, &mut report, &mut |step| match step {
            Step::Positioned { total } => bar.set_length(bar.length().unwrap_or_default() + total),
            Step::Committed { done } => bar.inc(done),
            _ => {}
        });
        bar.finish_and_clear();
        tell_warnings(&report, out);
        self.tell(report.count, out)?;
        let letters = dead_letters(report.count);
        if let Err(error) = flushed {
            letters.iter().for_each(|letters| out.warning(letters));
            return Err(error.into());
        }
        let failed = match report.failures.len() {
            0 => None,
            failed => Some(format!("{failed} failed; what they hold stays there for the next flush")),
        };
        let partly: Vec<_> = failed.into_iter().chain(letters).collect();
        if partly.is_empty() { Ok(()) } else { Err(Partly(partly.join("; ")).into()) }
    }

    fn tell(&self, count: Count, out: &mut Output) -> Result<()> {
        if self.json {
            return Ok(out.json(&count)?);
        }
        if out.is_quiet() {
            return Ok(());
        }
        let Count { ballots, counted, duplicates, dead_letters } = count;
        Ok(out.line(format_args!(
            "{ballots} ballots: {counted} counted, {duplicates} duplicates, {dead_letters} dead letters"
        ))?)
    }
}

/// How many dead letters a flush made and where to look, if it made any.
fn dead_letters(count: Count) -> Option<String> {
    let letters = match count.dead_letters {
        0 => return None,
        1 => "1 line became a dead letter".into(),
        letters => format!("{letters} lines became dead letters"),
    };
    Some(format!("{letters}: see \"weir poll dead-letters list\""))
}

fn tell_warnings(report: &Report, out: &mut Output) {
    report.warnings.iter().chain(&report.failures).for_each(|line| out.warning(line));
    for queue in &report.taken {
        out.note(format_args!("{queue}: another flush is at work on it"));
    }
}
