//! `weir poll flush --every`: flushes until a signal, and tells a service manager how it is.
//!
//! It refuses to feed the watchdog by the clock alone: the feeder looks whether the flush has moved since it last
//! looked, so a service that hangs is found and started again, which is safe at any moment.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::exit;
use crate::cli::output::{Output, duration_text};
use crate::poll::drain::Count;
use crate::poll::flush::{Flusher, Report};
use crate::poll::pulse::Pulse;

/// The longest pause between two tries while the database is away.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// The shortest: a service that flushes every few milliseconds need not try as often.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);

/// How often the feeder looks in the time that the watchdog allows: a beat just after a look is fed by the next.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// How long the manager has to hear that the service stops.
const STOPPING_PATIENCE: Duration = Duration::from_secs(1);

/// How long to sleep where no watchdog waits to be fed.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);

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
    for signal in [SIGTERM, SIGINT] {
        // The first signal finds the flag down; a second finds it up and ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(exit::INTERRUPTED), stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    notify(&[NotifyState::Ready]);
    let mut teller = Teller::start(pulse.clone());
    let mut told: Vec<String> = Vec::new();
    let mut away: Option<Away> = None;
    while !pulse.is_stopping() {
        pulse.beat();
        let mut report = Report::default();
        let flushed = flusher.flush(&mut report, &mut |_| {});
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

/// Without a service manager this does nothing; a service manager that cannot be told must not end the work.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("telling the service manager: {error}");
    }
}

/// What a service manager is told beside life.
enum News {
    Status(String),
    Stopping,
}

/// Tells the service manager from a thread of its own: one that does not listen blocks whoever tells it, and must not
/// hold up the flush.
struct Teller {
    sender: SyncSender<News>,
    ended: Receiver<()>,
    status: String,
}

impl Teller {
    fn start(pulse: Pulse) -> Teller {
        let (sender, news) = sync_channel(1);
        let (ending, ended) = sync_channel(1);
        std::thread::spawn(move || {
            tell_all(&news, &pulse);
            // Nobody may be waiting any more.
            let _ = ending.try_send(());
        });
        Teller { sender, ended, status: String::new() }
    }

    /// Tells a status that is new. One that finds the manager busy is told with the next flush.
    fn status(&mut self, status: String) {
        if status != self.status && self.sender.try_send(News::Status(status.clone())).is_ok() {
            self.status = status;
        }
    }

    fn stopping(self) {
        if self.sender.try_send(News::Stopping).is_ok() {
            // Told or not, the work is done.
            let _ = self.ended.recv_timeout(STOPPING_PATIENCE);
        }
    }
}

/// Tells news as they come and, while something moves, that the service is alive.
fn tell_all(news: &Receiver<News>, pulse: &Pulse) {
    let look = sd_notify::watchdog_enabled().map(|limit| limit / LOOKS_PER_WATCHDOG);
    let (mut next, mut before) = (Instant::now(), None);
    loop {
        match news.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(News::Status(status)) => notify(&[NotifyState::Status(&status)]),
            Ok(News::Stopping) => return notify(&[NotifyState::Stopping]),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next {
            let beats = pulse.beats();
            if look.is_some() && before != Some(beats) {
                notify(&[NotifyState::Watchdog]);
            }
            before = Some(beats);
            next = Instant::now() + look.unwrap_or(NO_WATCHDOG);
        }
    }
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
