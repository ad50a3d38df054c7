//! A schedule of faults, drawn from a seed: what the site is like, who votes and flushes, and what befalls whom in which
//! order. One seed gives one schedule; when exactly a fault meets which process is the machine's doing.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use weir::failpoint::Step;

use crate::proxy::Mode;

/// Something that goes wrong, for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// A memcached is killed with all it held, and comes up empty.
    MemcachedKilled(usize),
    /// A memcached is stopped and goes on.
    MemcachedStopped(usize),
    /// What lies before a memcached misbehaves.
    MemcachedCut(usize, Mode),
    /// The database server is killed and comes up again.
    DatabaseKilled,
    /// It is stopped and goes on.
    DatabaseStopped,
    /// What lies before it misbehaves.
    DatabaseCut(Mode),
    /// It refuses to write. (SQLite: another process holds the right to write.)
    DatabaseReadOnly,
    /// It has no space left. (SQLite: its file may not grow, for this flush.)
    DatabaseFull,
    /// The flush that runs as a service is killed, and started again.
    FlusherKilled,
    /// It is stopped and goes on.
    FlusherStopped,
    /// It is asked to end, and started again.
    FlusherEnded,
    /// A further flush dies at a step.
    FlusherDies(Step),
    /// A further flush stops at a step and goes on.
    FlusherDawdles(Step),
}

impl Fault {
    /// What it is counted as.
    pub(crate) fn kind(self) -> String {
        match self {
            Fault::MemcachedCut(_, mode) => format!("memcached: {}", name_of(mode)),
            Fault::DatabaseCut(mode) => format!("database: {}", name_of(mode)),
            Fault::MemcachedKilled(_) => "memcached: killed".into(),
            Fault::MemcachedStopped(_) => "memcached: stopped".into(),
            Fault::DatabaseKilled => "database: killed".into(),
            Fault::DatabaseStopped => "database: stopped".into(),
            Fault::DatabaseReadOnly => "database: refuses writes".into(),
            Fault::DatabaseFull => "database: full".into(),
            Fault::FlusherKilled => "flush service: killed".into(),
            Fault::FlusherStopped => "flush service: stopped".into(),
            Fault::FlusherEnded => "flush service: SIGTERM".into(),
            Fault::FlusherDies(_) => "flush: killed at a step".into(),
            Fault::FlusherDawdles(_) => "flush: stopped at a step".into(),
        }
    }
}

fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Pass => "passes",
        Mode::Delay(_) => "delayed",
        Mode::Hold => "black hole",
        Mode::CutAnswers(_) => "answers cut",
        Mode::Refuse => "connections cut",
    }
}

/// A fault, how long after the one before it begins, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) pause: Duration,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
}

/// Who votes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Voters {
    /// `weir poll vote`, one process a vote.
    Singles,
    /// `weir poll vote --batch`.
    Batches,
    /// A program with the library's batcher.
    Batcher,
    /// A script of the notes, with their lock.
    Script,
}

/// One schedule.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    pub(crate) copies: usize,
    pub(crate) sqlite: bool,
    /// The memory of each memcached, if they are full from the start.
    pub(crate) full_mib: Option<u32>,
    /// Each with the seed of its own draws.
    pub(crate) voters: Vec<(Voters, u64)>,
    pub(crate) events: Vec<Event>,
}

/// The most servers that a schedule has.
pub(crate) const SERVERS_MAX: usize = 3;

/// Keeps the draw of the memory apart from all others.
const FULL: u64 = 1 << 63;

/// The source of a part's own draws.
pub(crate) fn draws(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn milliseconds(rng: &mut ChaCha8Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..to))
}

impl Schedule {
    /// The schedule of a seed.
    pub(crate) fn draw(seed: u64) -> Schedule {
        let mut rng = draws(seed);
        let servers = [1, 2, 2, 3][rng.random_range(0..4)];
        let copies = if servers > 1 && rng.random_bool(0.7) { 2 } else { 1 };
        let sqlite = rng.random_bool(0.3);
        let mut voters = vec![(Voters::Singles, rng.random())];
        for (kind, share) in [(Voters::Batches, 0.7), (Voters::Batcher, 0.7), (Voters::Script, 0.3)] {
            let seed = rng.random();
            // A script knows of one server, and of no second copy.
            if rng.random_bool(share) && (kind != Voters::Script || copies == 1) {
                voters.push((kind, seed));
            }
        }
        let count = rng.random_range(4..10);
        let scripts = voters.iter().any(|(kind, _)| *kind == Voters::Script);
        let mut event = |_| {
            let pause = milliseconds(&mut rng, 5, 150);
            let mut fault = draw_fault(&mut rng, servers, sqlite);
            while scripts && !script_can_bear(fault) {
                fault = draw_fault(&mut rng, servers, sqlite);
            }
            // It takes some votes until no room is left in what the tables have already.
            let from = if fault == Fault::DatabaseFull { 400 } else { 30 };
            Event { pause, fault, lasts: milliseconds(&mut rng, from, 500) }
        };
        let full_mib = [None, None, Some(4), Some(8)][draws(seed ^ FULL).random_range(0..4)];
        Schedule { seed, servers, copies, sqlite, full_mib, voters, events: (0..count).map(&mut event).collect() }
    }
}

impl Schedule {
    /// Whether scripts of the notes vote.
    pub(crate) fn has_scripts(&self) -> bool {
        self.voters.iter().any(|(kind, _)| *kind == Voters::Script)
    }
}

fn mode(rng: &mut ChaCha8Rng) -> Mode {
    match rng.random_range(0..4) {
        0 => Mode::Delay(milliseconds(rng, 5, 120)),
        1 => Mode::Hold,
        2 => Mode::CutAnswers(rng.random_range(0..24)),
        _ => Mode::Refuse,
    }
}

/// A script of the notes writes by `set` under a lock that has no owner. If a request comes late, or its lock is taken over
/// or freed by somebody who had been stopped or had died with it, it may write where it has been read already. The notes take
/// for granted that this does not happen, and ARCHITECTURE.md says so; so it does not happen where a script votes.
fn script_can_bear(fault: Fault) -> bool {
    match fault {
        Fault::MemcachedStopped(_) | Fault::FlusherStopped | Fault::FlusherKilled => false,
        Fault::MemcachedCut(_, mode) => mode == Mode::Refuse,
        Fault::FlusherDies(step) | Fault::FlusherDawdles(step) => {
            let name = step.name();
            name.starts_with("store.") || name.starts_with("flush.delet") || name.starts_with("flush.slots-")
        }
        _ => true,
    }
}

fn draw_fault(rng: &mut ChaCha8Rng, servers: usize, sqlite: bool) -> Fault {
    let server = rng.random_range(0..servers);
    match rng.random_range(0..16) {
        0 | 1 => Fault::MemcachedKilled(server),
        2 => Fault::MemcachedStopped(server),
        3..=5 => Fault::MemcachedCut(server, mode(rng)),
        6 if !sqlite => Fault::DatabaseKilled,
        7 if !sqlite => Fault::DatabaseStopped,
        8 if !sqlite => Fault::DatabaseCut(mode(rng)),
        6..=8 => Fault::DatabaseReadOnly,
        9 => Fault::DatabaseReadOnly,
        10 => Fault::DatabaseFull,
        11 => Fault::FlusherKilled,
        12 => Fault::FlusherStopped,
        13 => Fault::FlusherEnded,
        14 => Fault::FlusherDies(step_of_flush(rng)),
        _ => Fault::FlusherDawdles(step_of_flush(rng)),
    }
}

/// A step of the flush, drawn.
pub(crate) fn step_of_flush(rng: &mut ChaCha8Rng) -> Step {
    let steps = steps(|name| name.starts_with("flush.") || name.starts_with("store.") || name.starts_with("lock."));
    steps[rng.random_range(0..steps.len())]
}

/// A step of a writer, drawn.
pub(crate) fn step_of_vote(rng: &mut ChaCha8Rng) -> Step {
    let steps = steps(|name| !name.starts_with("flush."));
    steps[rng.random_range(0..steps.len())]
}

fn steps(wanted: impl Fn(&str) -> bool) -> Vec<Step> {
    Step::ALL.iter().copied().filter(|step| wanted(step.name())).collect()
}
