//! `weir poll flush`: once, for cron, or as a service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::exit::Partly;
use crate::cli::output::Output;
use crate::cli::settings::{Settings, read_duration};
use crate::poll::drain::{Count, Step};
use crate::poll::flush::{Flusher, Report};

/// The longest pause between two tries of a service whose database is away.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Arguments of `weir poll flush`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Safe to run at any time, as often as you like, on as many hosts as you like, and to kill: each ballot
is counted once. With copies on several servers, \"duplicates\" counts the further copies too.

Examples:
  weir poll flush
  weir poll flush --every 2s
  * * * * *  weir --quiet poll flush        (in a crontab)"
)]
pub struct Args {
    /// Flush again and again, with this pause, until SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    every: Option<Duration>,
    /// Print JSON: one object a flush
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let mut flusher = settings.flusher();
        match self.every {
            None => self.once(&mut flusher, out),
            Some(every) => self.serve(&mut flusher.counting_turnout(), every, out),
        }
    }

    fn once(&self, flusher: &mut Flusher, out: &mut Output) -> Result<()> {
        let bar = out.progress(None, "slots");
        let mut before = 0;
        let mut report = Report::default();
        let flushed = flusher.flush(&mut report, &mut |step| match step {
            Step::Positioned { total } => {
                before = bar.position();
                bar.set_length(bar.length().unwrap_or_default() + total);
            }
            Step::Deleted { done } => bar.set_position(before + done),
            _ => {}
        });
        bar.finish_and_clear();
        tell_warnings(&report, out);
        self.tell(report.count, out)?;
        flushed?;
        match report.failures.len() {
            0 => Ok(()),
            failed => Err(Partly(format!("{failed} failed; what they hold stays there for the next flush")).into()),
        }
    }

    fn serve(&self, flusher: &mut Flusher, every: Duration, out: &mut Output) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, stop.clone())?;
        }
        let mut pause = every;
        let mut told = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mut report = Report::default();
            let flushed = flusher.flush(&mut report, &mut |_| {});
            if report.count != Count::default() {
                self.tell(report.count, out)?;
                out.flush()?;
            }
            let mut news: Vec<String> = [&report.warnings[..], &report.failures[..]].concat();
            pause = match flushed {
                Ok(()) => every,
                Err(error) => {
                    news.push(error.to_string());
                    (pause * 2).clamp(every, BACK_OFF_MAX.max(every))
                }
            };
            // A trouble that lasts is told once, and once more when it has gone.
            for line in news.iter().filter(|line| !told.contains(*line)) {
                out.warning(line);
            }
            for line in told.iter().filter(|line| !news.contains(*line)) {
                out.note(format_args!("no longer so: {line}"));
            }
            told = news;
            nap(pause, &stop);
        }
        Ok(())
    }

    fn tell(&self, count: Count, out: &mut Output) -> Result<()> {
        if self.json {
            return Ok(out.json(&count)?);
        }
        let Count { ballots, counted, duplicates, refused, dead_letters } = count;
        Ok(out.line(format_args!(
            "{ballots} ballots: {counted} counted, {duplicates} duplicates, {refused} refused, {dead_letters} dead letters"
        ))?)
    }
}

fn tell_warnings(report: &Report, out: &mut Output) {
    report.warnings.iter().chain(&report.failures).for_each(|line| out.warning(line));
    for queue in &report.taken {
        out.note(format_args!("{queue}: another flush is at work on it"));
    }
}

/// Sleeps in short naps, so that a signal is heard.
fn nap(pause: Duration, stop: &AtomicBool) {
    let until = Instant::now() + pause;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
