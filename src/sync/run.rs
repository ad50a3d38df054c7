//! [`Job::run`]: check, lock, count, judge, run, and try again what is worth it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::code::{PARTIAL, VANISHED, meaning, meaning_of_count, worth_retrying};
use super::command::{Mode, command, owns_its_group};
use super::guard::{Limit, Refusal, check_places, judge, read_list};
use super::host::{HostName, list_of};
use super::lock::{Lock, LockError};
use super::options::RsyncOptions;
use super::output::{Change, Progress, Tally};
use super::place::Place;
use super::process::{self, Ended, Told};
use crate::rules::Expansion;

/// The longest pause between two tries.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a wish to stop is looked for during a pause.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How runs are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The remote shell and its arguments, if it is not ssh; rsync splits it at spaces.
    pub rsh: Option<OsString>,
    /// Further options for rsync.
    pub options: RsyncOptions,
    /// How much may be deleted.
    pub limit: Limit,
    /// Run whatever would be deleted.
    pub force: bool,
    /// Count deletions before the run.
    pub guard: bool,
    /// Touch nothing.
    pub dry_run: bool,
    /// Refuse a list that plain rsync reads otherwise than it looks.
    pub strict: bool,
    /// How often a lost connection is tried again.
    pub retries: u32,
    /// The pause before the first further try; it doubles each time, up to a minute.
    pub retry_wait: Duration,
}

/// One source, one destination, one list.
#[derive(Clone, Debug)]
pub struct Job {
    /// The host whose list it is, if it is one's.
    pub host: Option<HostName>,
    /// The list.
    pub list: PathBuf,
    /// Where the tree is.
    pub source: Place,
    /// Where it goes.
    pub destination: Place,
}

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It finds out what would be done.
    Counting,
    /// It does it.
    Running,
}

/// Watches a run. Each method has a default that does nothing.
pub trait Watch {
    /// Whether [`Watch::progress`] should be called, which makes rsync print more.
    fn wants_progress(&self) -> bool {
        false
    }
    /// The list as rsync will be given it.
    fn expanded(&mut self, _expansion: &Expansion) {}
    /// A new phase has begun.
    fn phase(&mut self, _phase: Phase) {}
    /// The phase has got so far.
    fn progress(&mut self, _progress: Progress) {}
    /// A change was made; in a dry run, it would be.
    fn change(&mut self, _change: Change) {}
    /// rsync said something on its standard error.
    fn message(&mut self, _line: &str) {}
    /// A guard would have refused, and was told to let it pass.
    fn forced(&mut self, _refusal: &Refusal) {}
    /// The connection was lost with this code; try number `next` of `of` comes after `wait`.
    fn retrying(&mut self, _code: i32, _wait: Duration, _next: u32, _of: u32) {}
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// The numbers.
    pub tally: Tally,
    /// Why the real run would be refused, after a dry run.
    pub refusal: Option<Refusal>,
    /// Whether files vanished from the source meanwhile.
    pub vanished: bool,
    /// Whether a dry run could not read part of the source; the real run would end with rsync's code 23.
    pub partial: bool,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("rsync cannot be started: {0}; is the package `rsync` installed?")]
    Start(std::io::Error),
    #[error("rsync ended with code {code}: {}", meaning(*code))]
    Rsync { code: i32 },
    #[error("rsync ended with code {code} before anything was touched: {}", meaning_of_count(*code))]
    Count { code: i32 },
    #[error("rsync was killed by signal {0}")]
    Killed(i32),
    #[error("stopped")]
    Stopped,
}

impl Report {
    /// What the process should end with all the same: what was done is told, and something is wrong.
    pub fn trouble(&self) -> Option<Error> {
        self.partial.then_some(Error::Count { code: PARTIAL })
    }
}

impl Error {
    /// If a guard said no: a word for why, for scripts.
    pub fn refusal_code(&self) -> Option<&'static str> {
        match self {
            Error::Refused(refusal) => Some(refusal.code()),
            Error::Lock(LockError::Held { .. }) => Some("held"),
            _ => None,
        }
    }
}

impl Job {
    /// Makes the run; `stop` ends it early, with all that it started.
    ///
    /// # Errors
    /// [`Error`]; when it is [`Error::Refused`] or [`Error::Lock`], nothing was touched.
    pub fn run(&self, settings: &Settings, watch: &mut dyn Watch, stop: &AtomicBool) -> Result<Report, Error> {
        if let (Some(host), Some(lists)) = (&self.host, self.list.parent()) {
            list_of(host, lists)?;
        }
        let expansion = read_list(&self.list, settings.strict)?;
        check_places(&self.source, &self.destination)?;
        watch.expanded(&expansion);
        let rules = expansion.list.to_bytes();
        let mut tries = Tries { job: self, settings, rules: &rules, stop, retried: 0 };
        if settings.dry_run {
            let tally = tries.dry_run(watch, true)?;
            let refusal = if settings.force { None } else { judge(&tally.0, settings.limit).err() };
            let (tally, code) = tally;
            return Ok(Report { tally, refusal, vanished: code == VANISHED, partial: code == PARTIAL });
        }
        let touched = self.destination.touched(&self.source);
        let failed = |error| Refusal::Destination { path: self.destination.shown(), source: error };
        let _lock = Lock::take(&touched.map_err(failed)?)?;
        let mut max_delete = None;
        if settings.guard {
            let (tally, code) = tries.dry_run(watch, false)?;
            match judge(&tally, settings.limit) {
                Ok(limit) => max_delete = Some(limit),
                Err(refusal) if settings.force => watch.forced(&refusal),
                Err(refusal) => return Err(refusal.into()),
            }
            if settings.force {
                max_delete = None;
            }
            // A dry run that went well and found nothing to do has done all that there is to do.
            if code == 0 && tally.is_nothing() && settings.options.are_plain() {
                return Ok(Report { tally, ..Report::default() });
            }
        }
        watch.phase(Phase::Running);
        let (tally, code) = tries.until_it_works(watch, Mode::Run { max_delete }, false)?;
        match code {
            0 | VANISHED => Ok(Report { tally, vanished: code == VANISHED, ..Report::default() }),
            code => Err(Error::Rsync { code }),
        }
    }
}

/// The rsync processes of one run.
struct Tries<'r> {
    job: &'r Job,
    settings: &'r Settings,
    rules: &'r [u8],
    stop: &'r AtomicBool,
    retried: u32,
}

impl Tries<'_> {
    /// Finds out what would be done. With `told`, its changes and messages are those of the run itself.
    fn dry_run(&mut self, watch: &mut dyn Watch, told: bool) -> Result<(Tally, i32), Error> {
        watch.phase(Phase::Counting);
        let mut held = Vec::new();
        let (tally, code) = if told {
            self.until_it_works(watch, Mode::DryRun, false)?
        } else {
            // What it complains about, the run will complain about again.
            let mut quiet = Counting { watch: &mut *watch, held: &mut held };
            self.until_it_works(&mut quiet, Mode::DryRun, true)?
        };
        // Part of the source may be unreadable, and then rsync deletes nothing; but if nothing was found at all,
        // there is no source.
        if matches!(code, 0 | VANISHED) || (code == PARTIAL && tally.files > 0) {
            return Ok((tally, code));
        }
        held.iter().for_each(|line| watch.message(line));
        Err(Error::Count { code })
    }

    /// Starts rsync until it ends in another way than by a lost connection.
    fn until_it_works(&mut self, watch: &mut dyn Watch, mode: Mode, counting: bool) -> Result<(Tally, i32), Error> {
        let mut wait = self.settings.retry_wait;
        loop {
            let ended = self.once(watch, mode, counting)?;
            if ended.stopped || self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let Some(code) = ended.status.code() else {
                return Err(Error::Killed(ended.status.signal().unwrap_or_default()));
            };
            if !worth_retrying(code) || self.retried >= self.settings.retries {
                return Ok((ended.tally, code));
            }
            self.retried += 1;
            watch.retrying(code, wait, self.retried, self.settings.retries);
            self.pause(wait)?;
            wait = wait.saturating_mul(2).min(RETRY_WAIT_MAX);
        }
    }

    fn once(&self, watch: &mut dyn Watch, mode: Mode, counting: bool) -> Result<Ended, Error> {
        let (source, destination) = (&self.job.source, &self.job.destination);
        let command = command(source, destination, self.settings, mode, watch.wants_progress());
        let mut tell = |told: Told<'_>| match told {
            Told::Change(change) if !counting => watch.change(change),
            Told::Change(_) => {}
            Told::Progress(progress) => watch.progress(progress),
            Told::Message(line) => watch.message(line),
        };
        let own_group = owns_its_group(source, destination);
        process::run(command, own_group, self.rules, &mut tell, self.stop).map_err(Error::Start)
    }

    fn pause(&self, wait: Duration) -> Result<(), Error> {
        let until = Instant::now() + wait;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => std::thread::sleep(left.min(LOOK_EVERY)),
            }
        }
    }
}

/// Watches a count: its messages are kept until it is known whether anybody has to hear them.
struct Counting<'w> {
    watch: &'w mut dyn Watch,
    held: &'w mut Vec<String>,
}

impl Watch for Counting<'_> {
    fn wants_progress(&self) -> bool {
        self.watch.wants_progress()
    }
    fn progress(&mut self, progress: Progress) {
        self.watch.progress(progress);
    }
    fn message(&mut self, line: &str) {
        self.held.push(line.to_owned());
    }
    fn retrying(&mut self, code: i32, wait: Duration, next: u32, of: u32) {
        self.held.drain(..).for_each(|line| self.watch.message(&line));
        self.watch.retrying(code, wait, next, of);
    }
}
