//! Threads that read what blocks, and what they have read: a request asks through a channel and waits only so long.
//!
//! A reader that hangs, on a memcached or a database that does not answer, costs a request that has something older to
//! show [`PATIENCE_WITH_OLD`] at most, and only the first few: until the reader moves again the others take what there
//! is at once.
//!
//! A read that panics costs those who wait for it their answer; the thread goes on, with what it reads from made anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::poll::life::Life;

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
    life: Arc<Life>,
    thread: JoinHandle<()>,
}

impl<S: Send + 'static> Reader<S> {
    /// Starts the thread; `make` makes what it reads from, again after a panic.
    pub(super) fn start(life: Life, make: impl Fn() -> S + Send + 'static) -> std::io::Result<Reader<S>> {
        let (asks, asked) = sync_channel::<Ask<S>>(ASKS_MAX);
        let (hangs, life) = (Arc::new(AtomicBool::new(false)), Arc::new(life));
        let (moves, own) = (hangs.clone(), life.clone());
        let run = move || {
            let mut state = None;
            for ask in asked {
                moves.store(false, Ordering::Relaxed);
                if let Err(panicked) = own.guard(|| ask(state.get_or_insert_with(&make))) {
                    tracing::error!("thread {:?} {panicked}; it goes on", own.name());
                    state = None;
                }
            }
        };
        let thread = std::thread::Builder::new().name(life.name().into()).spawn(run)?;
        Ok(Reader { asks, hangs, life, thread })
    }

    /// What keeps the thread from reading, if anything does: it hangs, or what it did last panicked.
    pub(super) fn trouble(&self) -> Option<String> {
        let ended = self.thread.is_finished().then(|| format!("thread {:?} has ended", self.life.name()));
        ended.or_else(|| self.life.trouble())
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
    old_max: Duration,
}

impl<S: Send + 'static, T: Clone + Send + 'static> Look<S, T> {
    pub(super) fn start(
        life: Life,
        fresh: Duration,
        make: impl Fn() -> S + Send + 'static,
    ) -> std::io::Result<Look<S, T>> {
        Ok(Look { reader: Reader::start(life, make)?, kept: Arc::default(), fresh, old_max: Duration::ZERO })
    }

    /// The same, which gives what it read at most `old_max` ago when reading fails or takes its time.
    pub(super) fn showing_old(self, old_max: Duration) -> Look<S, T> {
        Look { old_max, ..self }
    }

    /// What keeps its thread from reading, if anything does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.reader.trouble()
    }

    /// What `read` reads, or has read at most `fresh` ago.
    pub(super) async fn look(&self, read: impl FnOnce(&mut S) -> Option<T> + Send + 'static) -> Result<T, Busy> {
        self.look_or(|| None, read).await
    }

    /// The same, with something older to show if nothing has been read yet.
    pub(super) async fn look_or(
        &self,
        older: impl FnOnce() -> Option<T>,
        read: impl FnOnce(&mut S) -> Option<T> + Send + 'static,
    ) -> Result<T, Busy> {
        let before = kept(&self.kept);
        if let Some((_, value)) = before.as_ref().filter(|(at, _)| at.elapsed() < self.fresh) {
            return Ok(value.clone());
        }
        let before = before.filter(|(at, _)| at.elapsed() < self.old_max).map(|(_, value)| value).or_else(older);
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
            _ => before.ok_or(Busy),
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

    fn life(name: &str) -> Life {
        Life::new(name, Duration::from_secs(60))
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_reader_that_hung_kept_every_request_waiting_that_had_something_to_show() {
        run(async {
            let reader = Reader::start(life("hangs"), || ()).unwrap();
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
            let look = Look::start(life("counts"), Duration::from_secs(3600), || 0).unwrap();
            assert_eq!(look.look(|_| None).await, Err(Busy));
            for _ in 0..3 {
                let read = |count: &mut u32| {
                    *count += 1;
                    Some(*count)
                };
                assert_eq!(look.look(read).await, Ok(1));
            }
            for (old_max, want) in [(Duration::ZERO, Err(Busy)), (Duration::MAX, Ok(1))] {
                let look = Look::start(life("fails"), Duration::ZERO, || ()).unwrap().showing_old(old_max);
                assert_eq!(look.look(|()| Some(1)).await, Ok(1));
                assert_eq!(look.look(|()| None).await, want);
            }
        });
    }
}
