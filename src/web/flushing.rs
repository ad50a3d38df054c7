//! The built-in flusher: the same [`Flusher`] as `weir poll flush`, on a thread of its own, under the same row lock; so
//! any number of them may run beside each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::poll::flush::{Flusher, Report};
use crate::poll::now_ms;
use crate::poll::site::Site;

use super::metrics::Flushed;

/// The longest pause between two tries while the database is away.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// The running flusher; dropped, it flushes a last time and ends.
pub(super) struct Flushing {
    seen: Arc<Flushed>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flushing {
    pub(super) fn start(site: &Site, every: Duration) -> std::io::Result<Flushing> {
        let (end, ended) = channel();
        let seen = Arc::new(Flushed::default());
        seen.at_ms.store(now_ms().unsigned_abs(), Ordering::Relaxed);
        let mut flusher = site.clone().flusher().counting_turnout();
        let noted = seen.clone();
        let run = move || {
            let (mut told, mut pause) = (Vec::new(), every);
            loop {
                // Nothing is ever sent: the other end goes away, and that is the sign.
                let last = ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
                let done = flush(&mut flusher, &noted, &mut told);
                if last {
                    return;
                }
                pause = if done { every } else { (pause * 2).clamp(every, BACK_OFF_MAX.max(every)) };
            }
        };
        let thread = std::thread::Builder::new().name("flush".into()).spawn(run)?;
        Ok(Flushing { seen, end: Some(end), thread: Some(thread) })
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

/// Flushes once and tells what is new of its troubles.
fn flush(flusher: &mut Flusher, seen: &Flushed, told: &mut Vec<String>) -> bool {
    let mut report = Report::default();
    let flushed = flusher.flush(&mut report, &mut |_| {});
    seen.ballots.fetch_add(report.count.ballots, Ordering::Relaxed);
    seen.counted.fetch_add(report.count.counted, Ordering::Relaxed);
    let done = flushed.is_ok() && report.failures.is_empty();
    if done {
        seen.at_ms.store(now_ms().unsigned_abs(), Ordering::Relaxed);
    } else {
        seen.failures.fetch_add(1, Ordering::Relaxed);
    }
    let mut news = [report.warnings, report.failures].concat();
    news.extend(flushed.err().map(|error| error.to_string()));
    news.iter().filter(|line| !told.contains(*line)).for_each(|line| tracing::warn!("{line}"));
    told.iter().filter(|line| !news.contains(line)).for_each(|line| tracing::warn!("no longer so: {line}"));
    *told = news;
    done
}
