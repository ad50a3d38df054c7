//! Whether a thread that takes up one piece of work after the other still does.
//!
//! Each piece runs inside [`Life::guard`]. A panic ends the piece and not the thread, so a fault that one piece brings about
//! costs that piece its answer and nothing else. Whoever asks [`Life::trouble`] learns of a piece that failed, until the next
//! one succeeds or for [`FAILED_SHOWN`], and of one that takes longer than a limit.
//!
//! It refuses to end a thread that hangs: nothing can, so a supervisor must end the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long a failure is reported if no further work comes that could succeed: a monitor must see it, and a service from
/// which a monitor then keeps all work must come back.
const FAILED_SHOWN: Duration = Duration::from_secs(10);

/// A piece of work panicked; its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

/// The state of one thread's work.
#[derive(Debug)]
pub struct Life {
    name: String,
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    failed: Option<(Instant, Panicked)>,
}

impl Life {
    /// A thread of that name, whose pieces of work may take up to `limit` each.
    pub fn new(name: impl Into<String>, limit: Duration) -> Life {
        Life { name: name.into(), limit, state: Mutex::default() }
    }

    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one piece of work. Only one may be under way at a time.
    ///
    /// # Errors
    /// [`Panicked`]; nothing is known of the state in which `work` left what it worked on, so the caller replaces that.
    pub fn guard<T>(&self, work: impl FnOnce() -> T) -> Result<T, Panicked> {
        self.state().began = Some(Instant::now());
        let done = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked(message(panic.as_ref())));
        let failed = done.as_ref().err().map(|panicked| (Instant::now(), panicked.clone()));
        *self.state() = State { began: None, failed };
        done
    }

    /// What is wrong with the thread, as a sentence that names it.
    pub fn trouble(&self) -> Option<String> {
        let Life { name, limit, .. } = self;
        let state = self.state();
        let failed = state.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_SHOWN);
        match (state.began, failed) {
            (Some(began), _) if began.elapsed() > *limit => {
                Some(format!("thread {name:?} has been at one piece of work for over {} s", limit.as_secs()))
            }
            (_, Some((at, panicked))) => {
                Some(format!("thread {name:?} {panicked} ({} s ago; it goes on)", at.elapsed().as_secs()))
            }
            _ => None,
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_until_work_succeeds_and_work_that_hangs_while_it_does() {
        let life = Life::new("votes", Duration::ZERO);
        assert_eq!((life.guard(|| 1), life.trouble()), (Ok(1), None));
        let panicked = life.guard(|| panic!("at {}", "sea")).unwrap_err();
        assert_eq!(panicked.to_string(), "panicked: at sea");
        assert!(life.trouble().unwrap().starts_with("thread \"votes\" panicked: at sea (0 s ago"));
        let hangs = life.guard(|| {
            std::thread::sleep(Duration::from_millis(1));
            life.trouble()
        });
        assert!(hangs.unwrap().unwrap().contains("one piece of work for over 0 s"));
        assert_eq!(life.trouble(), None);
    }
}
