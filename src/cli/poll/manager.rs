//! What a service tells the manager that runs it, such as systemd.
//!
//! It refuses to feed the watchdog by the clock alone: the feeder looks whether the service has moved since it last
//! looked, so a service that hangs is found and started again, which is safe at any moment.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::poll::pulse::Pulse;

/// How often the feeder looks in the time that the watchdog allows: a beat just after a look is fed by the next.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// How long the manager has to hear that the service stops.
const STOPPING_PATIENCE: Duration = Duration::from_secs(1);

/// How long to sleep where no watchdog waits to be fed.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);

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
pub(super) struct Teller {
    sender: SyncSender<News>,
    ended: Receiver<()>,
    status: String,
}

impl Teller {
    /// Tells that the service is ready, and from then on while `pulse` beats that it is alive.
    pub(super) fn start(pulse: Pulse) -> Teller {
        notify(&[NotifyState::Ready]);
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
    pub(super) fn status(&mut self, status: String) {
        if status != self.status && self.sender.try_send(News::Status(status.clone())).is_ok() {
            self.status = status;
        }
    }

    /// Tells that the service stops; the watchdog is fed no more.
    pub(super) fn stopping(self) {
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
