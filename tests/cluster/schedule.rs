//! A schedule, drawn from a seed: what each host is like, who votes, and what befalls which node in which order. One seed gives
//! one schedule; when exactly a fault meets which process depends on the machine.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use weir::failpoint::Step;

use crate::galera::NODES;

/// Something that goes wrong, for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// A node is killed with -9 and starts again from where it was.
    NodeKilled(usize),
    /// A node is stopped and goes on.
    NodeStopped(usize),
    /// A node is cut off from the others and joins them again.
    NodeIsolated(usize),
    /// All nodes but this one are stopped: it runs and is not ready.
    OthersStopped(usize),
    /// All nodes but this one are cut off: none is ready.
    OthersIsolated(usize),
    /// A node falls behind the others and catches up.
    NodeHeldBack(usize),
    /// All nodes are killed at once, and the one that got furthest starts the cluster again.
    AllKilled,
    /// The flush service of a host is killed, and started again.
    FlusherKilled(usize),
    /// It is stopped and goes on.
    FlusherStopped(usize),
    /// A further flush of a host is killed at a step.
    FlushKilledAt(usize, Step),
}

impl Fault {
    /// What it is counted as.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Fault::NodeKilled(_) => "node killed",
            Fault::NodeStopped(_) => "node stopped",
            Fault::NodeIsolated(_) => "node isolated",
            Fault::OthersStopped(_) => "two nodes stopped",
            Fault::OthersIsolated(_) => "two nodes isolated",
            Fault::NodeHeldBack(_) => "node held back",
            Fault::AllKilled => "all nodes killed",
            Fault::FlusherKilled(_) => "flush service killed",
            Fault::FlusherStopped(_) => "flush service stopped",
            Fault::FlushKilledAt(..) => "flush killed at a step",
        }
    }
}

/// A fault, how long it lasts, and how long nothing happens after it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
    pub(crate) pause: Duration,
}

/// How votes are cast.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Voters {
    /// `poll vote --batch`, lines that name their voter.
    Named,
    /// `poll vote --batch` with `--batch-id`, lines that name nobody, now and then twice.
    Nameless,
    /// One `poll vote` after the other; with a memcached that is away the vote goes to the database.
    Singles,
}

/// What is drawn from a seed.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    /// Whether a host knows the addresses of all nodes or of one.
    pub(crate) knows_all: [bool; NODES],
    /// How often each host flushes.
    pub(crate) every: [Duration; NODES],
    /// Who votes, on which host, with which seed.
    pub(crate) voters: Vec<(Voters, usize, u64)>,
    /// The seed of the one who closes and opens the poll, if anybody does.
    pub(crate) openings: Option<u64>,
    pub(crate) events: Vec<Event>,
    /// How long nothing happens after the last of them.
    pub(crate) quiet: Duration,
}

/// A generator of random numbers for a seed.
pub(crate) fn draws(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn between(rng: &mut ChaCha8Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(from_ms..to_ms))
}

impl Schedule {
    pub(crate) fn draw(seed: u64) -> Schedule {
        let mut rng = draws(seed);
        let events = (0..rng.random_range(4..7)).map(|_| draw_event(&mut rng)).collect();
        Schedule {
            seed,
            knows_all: std::array::from_fn(|_| rng.random_bool(0.3)),
            every: std::array::from_fn(|_| Duration::from_millis([20, 20, 100][rng.random_range(0..3)])),
            voters: voters(&mut rng),
            openings: rng.random_bool(0.35).then(|| rng.random()),
            events,
            quiet: Duration::ZERO,
        }
    }

    /// Nothing goes wrong but that three hosts flush one queue at once, for so long.
    pub(crate) fn undisturbed(seed: u64, lasts: Duration) -> Schedule {
        let mut rng = draws(seed);
        let voters = (0..NODES).map(|host| (Voters::Named, host, rng.random())).collect();
        let every = [Duration::from_millis(20); NODES];
        Schedule { seed, knows_all: [false; NODES], every, voters, openings: None, events: Vec::new(), quiet: lasts }
    }
}

fn voters(rng: &mut ChaCha8Rng) -> Vec<(Voters, usize, u64)> {
    let kinds = [Voters::Named, Voters::Named, Voters::Nameless, Voters::Singles, Voters::Singles];
    kinds.map(|kind| (kind, rng.random_range(0..NODES), rng.random())).into()
}

fn draw_event(rng: &mut ChaCha8Rng) -> Event {
    let node = rng.random_range(0..NODES);
    let (fault, from_ms, to_ms) = match rng.random_range(0..100) {
        0..18 => (Fault::NodeKilled(node), 100, 1500),
        18..36 => (Fault::NodeStopped(node), 200, 5000),
        36..52 => (Fault::NodeIsolated(node), 200, 3500),
        52..60 => (Fault::OthersStopped(node), 2000, 6000),
        60..66 => (Fault::OthersIsolated(node), 1000, 4000),
        66..78 => (Fault::NodeHeldBack(node), 200, 2000),
        78..82 => (Fault::AllKilled, 0, 500),
        82..88 => (Fault::FlusherKilled(node), 0, 300),
        88..94 => (Fault::FlusherStopped(node), 100, 1500),
        _ => {
            let steps =
                [Step::HeadMoved, Step::Inserted, Step::Raised, Step::Committing, Step::Committed, Step::Deleting];
            (Fault::FlushKilledAt(node, steps[rng.random_range(0..steps.len())]), 0, 100)
        }
    };
    Event { fault, lasts: between(rng, from_ms, to_ms), pause: between(rng, 0, 800) }
}
