//! The built-in flusher: the same [`Flusher`] as `weir poll flush`, on a thread of its own, under the same row lock; so
//! any number of them may run beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::poll::flush::{Flusher, Report};
use crate::poll::now_ms;
use crate::poll::pulse::Pulse;
use crate::poll::secret;
use crate::poll::site::Site;

use super::DATABASE_PATIENCE;
use super::metrics::Flushed;

/// The longest pause between two tries while the database is away.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// The running flusher; dropped, it flushes a last time and ends.
pub(super) struct Flushing {
    seen: Arc<Flushed>,
    life: Life,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Tells whether a flusher lives: it rests, or it has moved since somebody last looked.
#[derive(Clone, Default)]
pub(super) struct Life {
    rests: Arc<AtomicBool>,
    pulse: Pulse,
    looked_at: Arc<AtomicU64>,
}

impl Life {
    pub(super) fn is_seen(&self) -> bool {
        let beats = self.pulse.beats();
        self.rests.load(Ordering::Relaxed) || self.looked_at.swap(beats, Ordering::Relaxed) != beats
    }
}

impl Flushing {
    pub(super) fn start(site: &Site, every: Duration) -> std::io::Result<Flushing> {
        let (end, ended) = channel();
        let seen = Arc::new(Flushed::default());
        seen.at_ms.store(now_ms().unsigned_abs(), Ordering::Relaxed);
        let (mut flusher, site) = (site.clone().flusher(), site.clone());
        let life = Life { pulse: flusher.pulse(), ..Life::default() };
        let (noted, rests) = (seen.clone(), life.rests.clone());
        let run = move || {
            let (mut told, mut pause, mut kept) = (Vec::new(), every, false);
            loop {
                rests.store(true, Ordering::Relaxed);
                // Nothing is ever sent: the other end goes away, and that is the sign.
                let last = ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
                rests.store(false, Ordering::Relaxed);
                // The database may have been away, or not yet there, when the service started.
                kept = kept || secret::keep(&site, DATABASE_PATIENCE).is_ok();
                let flushed = flush(&mut flusher, &noted, &mut told);
                // A database that failed while the end was asked for would take its time and fail again; what is queued is
                // safe there.
                let no_more = flushed.is_err() && ended.try_recv() == Err(TryRecvError::Disconnected);
                if last || no_more {
                    return;
                }
                pause = if flushed == Ok(true) { every } else { (pause * 2).clamp(every, BACK_OFF_MAX.max(every)) };
            }
        };
        let thread = std::thread::Builder::new().name("flush".into()).spawn(run)?;
        Ok(Flushing { seen, life, end: Some(end), thread: Some(thread) })
    }

    /// Whether it lives.
    pub(super) fn life(&self) -> Life {
        self.life.clone()
    }

    /// What it has done so far.
    pub(super) fn seen(&self) -> Arc<Flushed> {
        self.seen.clone()
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// The database failed.
#[derive(Debug, PartialEq, Eq)]
struct Away;

/// Flushes once and tells what is new of its troubles. Returns whether everything could be flushed.
fn flush(flusher: &mut Flusher, seen: &Flushed, told: &mut Vec<String>) -> Result<bool, Away> {
    let mut report = Report::default();
    let flushed = flusher.flush(&mut report, &mut |_| {});
    seen.ballots.fetch_add(report.count.ballots, Ordering::Relaxed);
    seen.counted.fetch_add(report.count.counted, Ordering::Relaxed);
    if report.count.dead_letters > 0 {
        tracing::warn!("{} dead letters: see \"weir poll dead-letters list\"", report.count.dead_letters);
    }
    let done = flushed.is_ok() && report.failures.is_empty();
    if done {
        seen.at_ms.store(now_ms().unsigned_abs(), Ordering::Relaxed);
    } else {
        seen.failures.fetch_add(1, Ordering::Relaxed);
    }
    let away = flushed.is_err();
    let mut news = [report.warnings, report.failures].concat();
    news.extend(flushed.err().map(|error| error.to_string()));
    news.iter().filter(|line| !told.contains(*line)).for_each(|line| tracing::warn!("{line}"));
    told.iter().filter(|line| !news.contains(line)).for_each(|line| tracing::warn!("no longer so: {line}"));
    *told = news;
    if away { Err(Away) } else { Ok(done) }
}
