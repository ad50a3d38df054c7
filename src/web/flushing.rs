//! The built-in flusher: the same [`Flusher`] as `weir poll flush`, on a thread of its own, under the same row lock; so
//! any number of them may run beside each other. It goes on after every failure, a panic included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::poll::drain::Holes;
use crate::poll::flush::{Flusher, Report};
use crate::poll::life;
use crate::poll::now_ms;
use crate::poll::pulse::Pulse;
use crate::poll::secret;
use crate::poll::site::Site;

use super::DATABASE_PATIENCE;
use super::metrics::Flushed;

/// The longest pause between two tries while the database is away: how long results may stand still after it is back.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

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
                let holes = if last { Holes::All } else { Holes::Due };
                let flushed = flush(&mut flusher, holes, &noted, &mut told);
                // What failed while the end was asked for would take its time and fail again; what is queued is safe there.
                let no_more = flushed.is_err() && ended.try_recv() == Err(TryRecvError::Disconnected);
                if last || no_more {
                    return;
                }
                // A server that failed holds up no other queue.
                pause = if flushed.is_ok() { every } else { (pause * 2).clamp(every, BACK_OFF_MAX.max(every)) };
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

/// The database failed, or the flush panicked.
#[derive(Debug, PartialEq, Eq)]
struct Failed;

/// Flushes once and tells what is new of its troubles.
fn flush(flusher: &mut Flusher, holes: Holes, seen: &Flushed, told: &mut Vec<String>) -> Result<(), Failed> {
    let mut report = Report::default();
    // The flusher keeps nothing of a flush that does not end well, so it can be used again after a panic.
    let flushed = life::Life::new("flush", Duration::MAX).guard(|| flusher.flush(holes, &mut report, &mut |_| {}));
    let flushed = match flushed {
        Ok(flushed) => flushed.map_err(|error| error.to_string()),
        Err(panicked) => Err(format!("the flush {panicked}")),
    };
    seen.ballots.fetch_add(report.count.ballots, Ordering::Relaxed);
    seen.counted.fetch_add(report.count.counted, Ordering::Relaxed);
    if report.count.dead_letters > 0 {
        tracing::warn!("{} dead letters: see \"weir poll dead-letters list\"", report.count.dead_letters);
    }
    if flushed.is_ok() && report.failures.is_empty() {
        seen.at_ms.store(now_ms().unsigned_abs(), Ordering::Relaxed);
    } else {
        seen.failures.fetch_add(1, Ordering::Relaxed);
    }
    let failed = flushed.is_err();
    let mut news = [report.warnings, report.failures].concat();
    news.extend(flushed.err());
    news.iter().filter(|line| !told.contains(*line)).for_each(|line| tracing::warn!("{line}"));
    told.iter().filter(|line| !news.contains(line)).for_each(|line| tracing::warn!("no longer so: {line}"));
    *told = news;
    if failed { Err(Failed) } else { Ok(()) }
}
