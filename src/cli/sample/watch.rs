//! What happens beside the sampling: signals, the timer of `--every`, the progress bar. It prints no sample itself.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGUSR1};

use super::Ending;
use crate::cli::signals::end_at_second_signal;

/// Signals, timer and progress bar, looked at between two reads.
pub(super) struct Watch {
    interrupted: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
    every: Option<Duration>,
    next_print: Option<Instant>,
    started: Instant,
    /// For the progress bar; none for streams.
    pub(super) bytes_total: Option<u64>,
    bar: Option<indicatif::ProgressBar>,
}

/// A run that is over sooner has no progress bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn new(every: Option<Duration>) -> anyhow::Result<Watch> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&asked))?;
        let started = Instant::now();
        let next_print = every.and_then(|every| started.checked_add(every));
        Ok(Watch { interrupted, asked, every, next_print, started, bytes_total: None, bar: None })
    }

    /// From now on Ctrl-C ends the sampling and not the process.
    pub(super) fn catch_interrupts(&self) -> io::Result<()> {
        end_at_second_signal(&[SIGINT], &self.interrupted)
    }

    pub(super) fn look(&mut self, bytes: u64) -> ControlFlow<()> {
        let now = Instant::now();
        if self.next_print.is_some_and(|next| next <= now) {
            self.next_print = self.every.and_then(|every| now.checked_add(every));
            self.asked.store(true, Ordering::Relaxed);
        }
        match &self.bar {
            Some(bar) => bar.set_position(bytes),
            None if now.duration_since(self.started) >= BAR_AFTER => self.bar = Some(progress_bar(self.bytes_total)),
            None => {}
        }
        if self.interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the sample so far is to be printed now.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    pub(super) fn ending(&self) -> Ending {
        if self.interrupted.load(Ordering::Relaxed) { Ending::Interrupted } else { Ending::Whole }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finish();
    }
}

/// On standard error, and hidden when that is no terminal.
fn progress_bar(bytes_total: Option<u64>) -> indicatif::ProgressBar {
    let (bar, template) = match bytes_total {
        Some(total) => (indicatif::ProgressBar::new(total), "{bar:40} {bytes} of {total_bytes} {bytes_per_sec} {eta}"),
        None => (indicatif::ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match indicatif::ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
