//! `weir poll flush --every`: flushes until a signal, and tells a service manager how it is.

use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::output::{Output, duration_text};
use crate::cli::signals::end_at_second_signal;
use crate::poll::drain::{Count, Holes};
use crate::poll::flush::{Flusher, Report};
use crate::poll::pulse::Pulse;
use crate::poll::secret::CheckError;

use super::manager::Teller;

/// The longest pause between two tries while the database is away.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// The shortest: a service that flushes every few milliseconds need not try as often.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);

/// How long one nap is.
const NAP: Duration = Duration::from_millis(50);

/// Since when the database is away, and how long to wait before the next try.
struct Away {
    since: Instant,
    pause: Duration,
}

pub(super) fn run(
    flusher: &mut Flusher,
    every: Duration,
    out: &mut Output,
    tell: &mut dyn FnMut(Count, &mut Output) -> Result<()>,
) -> Result<()> {
    let pulse = flusher.pulse();
    let stop = pulse.stop_flag();
    end_at_second_signal(&[SIGTERM, SIGINT], &stop)?;
    let mut teller = Teller::start(pulse.clone());
    let mut told: Vec<String> = Vec::new();
    let mut away: Option<Away> = None;
    let mut holes = Holes::All;
    while !pulse.is_stopping() {
        pulse.beat();
        let mut report = Report::default();
        let flushed = flusher.flush(std::mem::replace(&mut holes, Holes::Due), &mut report, &mut |_| {});
        if report.count != Count::default() {
            tell(report.count, out)?;
            out.flush()?;
        }
        tell_news(&report, flushed.is_ok(), &mut told, out);
        let pause = match flushed {
            Ok(()) => {
                if let Some(away) = away.take() {
                    out.note(format_args!("flushing again, after {}", duration_text(away.since.elapsed())));
                }
                let status = match report.count.ballots {
                    0 => "nothing waits".to_string(),
                    ballots => format!("{ballots} ballots in the last flush"),
                };
                teller.status(status);
                every
            }
            // To try again would not make it another secret.
            Err(error @ CheckError::Refused(_)) => return Err(error.into()),
            Err(error) => {
                if away.is_none() {
                    out.warning(format_args!("{error}; nothing is lost, and it is tried again until it works"));
                }
                teller.status(format!("waiting: {error}"));
                let away = away.get_or_insert_with(|| Away { since: Instant::now(), pause: every.max(BACK_OFF_MIN) });
                let pause = away.pause;
                away.pause = (pause * 2).min(BACK_OFF_MAX.max(every));
                tracing::info!("{error}; next try in {}", duration_text(pause));
                pause
            }
        };
        nap(pause, &pulse);
    }
    teller.stopping();
    Ok(())
}

/// A trouble that lasts is told once, and once more when it has gone. Only a flush that came to its `end` can tell that it
/// has gone.
fn tell_news(report: &Report, end: bool, told: &mut Vec<String>, out: &mut Output) {
    let news: Vec<String> = [&report.warnings[..], &report.failures[..]].concat();
    news.iter().filter(|line| !told.contains(*line)).for_each(|line| out.warning(line));
    if end {
        told.iter()
            .filter(|line| !news.contains(*line))
            .for_each(|line| out.note(format_args!("no longer so: {line}")));
        told.clear();
    }
    told.extend(news);
}

/// Sleeps in short naps, so that a signal is heard and the watchdog is fed.
fn nap(pause: Duration, pulse: &Pulse) {
    let until = Instant::now() + pause;
    while !pulse.is_stopping() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        pulse.beat();
        std::thread::sleep(left.min(NAP));
    }
}
