//! Threads that read what blocks, and what they have read: a request asks through a channel and waits only so long.
//!
//! A reader that hangs, on a memcached or a database that does not answer, costs a request that has something older to
//! show [`PATIENCE_WITH_OLD`] at most, and only the first few: until the reader moves again the others take what there
//! is at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long a request waits for a reader when it has nothing to show.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long it waits when it has something older.
const PATIENCE_WITH_OLD: Duration = Duration::from_millis(300);

/// How many requests may wait for one reader.
const ASKS_MAX: usize = 1024;

/// The reader is too busy, or too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

type Ask<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread with something that blocks.
pub(super) struct Reader<S> {
    asks: SyncSender<Ask<S>>,
    /// Whether somebody has waited in vain since it last took something up.
    hangs: Arc<AtomicBool>,
}

impl<S: Send + 'static> Reader<S> {
    pub(super) fn start(name: &str, mut state: S) -> std::io::Result<Reader<S>> {
        let (asks, asked) = sync_channel::<Ask<S>>(ASKS_MAX);
        let hangs = Arc::new(AtomicBool::new(false));
        let moves = hangs.clone();
        let run = move || {
            for ask in asked {
                moves.store(false, Ordering::Relaxed);
                ask(&mut state);
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Reader { asks, hangs })
    }

    /// Has `work` done by the thread, unless too many wait for it or it takes too long. Who `has_old` is not kept waiting
    /// by a thread that hangs.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        has_old: bool,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (sender, receiver) = oneshot::channel();
        let ask = move |state: &mut S| {
            // Whoever has gone away meanwhile need not be worked for.
            if !sender.is_closed() {
                let _ = sender.send(work(state));
            }
        };
        self.asks.try_send(Box::new(ask)).map_err(|_| Busy)?;
        if has_old && self.hangs.load(Ordering::Relaxed) {
            return Err(Busy);
        }
        let patience = if has_old { PATIENCE_WITH_OLD } else { PATIENCE };
        match tokio::time::timeout(patience, receiver).await {
            Ok(done) => done.map_err(|_| Busy),
            Err(_) => {
                self.hangs.store(true, Ordering::Relaxed);
                Err(Busy)
            }
        }
    }
}

/// One thing that a thread reads, and keeps for a while.
pub(super) struct Look<S, T> {
    reader: Reader<S>,
    kept: Arc<Mutex<Option<(Instant, T)>>>,
    fresh: Duration,
    shows_old: bool,
}

impl<S: Send + 'static, T: Clone + Send + 'static> Look<S, T> {
    pub(super) fn start(name: &str, fresh: Duration, state: S) -> std::io::Result<Look<S, T>> {
        Ok(Look { reader: Reader::start(name, state)?, kept: Arc::default(), fresh, shows_old: false })
    }

    /// The same, which gives what it read before when reading fails or does not come.
    pub(super) fn showing_old(self) -> Look<S, T> {
        Look { shows_old: true, ..self }
    }

    /// What `read` reads, or has read at most `fresh` ago.
    pub(super) async fn look(&self, read: impl FnOnce(&mut S) -> Option<T> + Send + 'static) -> Result<T, Busy> {
        let before = kept(&self.kept);
        if let Some((_, value)) = before.as_ref().filter(|(at, _)| at.elapsed() < self.fresh) {
            return Ok(value.clone());
        }
        let before = before.filter(|_| self.shows_old);
        let (slot, fresh) = (self.kept.clone(), self.fresh);
        let looked = self.reader.ask(before.is_some(), move |state| {
            // Somebody who asked a moment earlier has it read already.
            if let Some((_, value)) = kept(&slot).filter(|(at, _)| at.elapsed() < fresh) {
                return Some(value);
            }
            let value = read(state)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), value.clone()));
            Some(value)
        });
        match looked.await {
            Ok(Some(value)) => Ok(value),
            _ => before.map(|(_, value)| value).ok_or(Busy),
        }
    }
}

fn kept<T: Clone>(slot: &Mutex<Option<(Instant, T)>>) -> Option<(Instant, T)> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_reader_that_hung_kept_every_request_waiting_that_had_something_to_show() {
        run(async {
            let reader = Reader::start("hangs", ()).unwrap();
            let (release, released) = channel::<()>();
            // The first takes the thread, waits in vain, and marks it as hanging.
            let first = reader.ask(true, move |()| released.recv().unwrap_or_default());
            assert_eq!(first.await, Err(Busy));
            tokio::select! {
                biased;
                second = reader.ask(true, |()| ()) => assert_eq!(second, Err(Busy)),
                () = std::future::ready(()) => panic!("it waited"),
            }
            release.send(()).unwrap();
            // Who has nothing to show waits; and once the thread moves, so do all.
            assert_eq!(reader.ask(false, |()| 1).await, Ok(1));
            assert_eq!(reader.ask(true, |()| 2).await, Ok(2));
        });
    }

    #[test]
    fn what_was_read_is_kept_for_a_while_and_longer_when_reading_fails() {
        run(async {
            let look = Look::start("counts", Duration::from_secs(3600), 0).unwrap();
            assert_eq!(look.look(|_| None).await, Err(Busy));
            for _ in 0..3 {
                let read = |count: &mut u32| {
                    *count += 1;
                    Some(*count)
                };
                assert_eq!(look.look(read).await, Ok(1));
            }
            for (shows_old, want) in [(false, Err(Busy)), (true, Ok(1))] {
                let look = Look::start("fails", Duration::ZERO, ()).unwrap();
                let look = if shows_old { look.showing_old() } else { look };
                assert_eq!(look.look(|()| Some(1)).await, Ok(1));
                assert_eq!(look.look(|()| None).await, want);
            }
        });
    }
}
