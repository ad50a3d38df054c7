//! Group commit for writers that live long: many callers at once, each with a vote of its own.
//!
//! There is one *lane* a memcached server: a thread with its own [`Booth`] and connections. What has gathered in a
//! lane while its last votes were under way goes out together as the next entry, and each caller is answered when its
//! own entry is acknowledged. So nobody waits for a timer, and under load the round trips are shared: a lane's batches
//! grow with what arrives in one round trip and no further. A caller that would wait, and finds its lane at rest, casts
//! on its own thread: a lone writer pays for no change of threads.
//!
//! A vote goes to the lane of the server that its identity ranks first, where its mark is; a vote without a name leaves
//! no mark and takes the lanes in turn. Everything else is the booth's: refusals, marks, copies, the next server in
//! rank when one fails, the database when all do, then the spool. An answer says what [`Booth::cast`] would have said.
//!
//! It refuses to grow: a lane that has [`Limits::gathered_max`] votes waiting says so at once ([`NotGathered::Full`]), and the
//! caller may try again later; such a vote was never begun. It does not know the notes' lock: holding that around
//! every entry is what a group commit is there to avoid.
//!
//! A panic under a lane's votes does not end the lane: their outcome is unknown, and they are answered so; the lane goes on
//! with a new booth. [`Batcher::trouble`] tells of a lane that panics or hangs.
//!
//! Dropping the batcher casts everything that has gathered, answers it, and then ends the lanes' threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::failpoint::{self, Step};

use super::ballot::IdentityKey;
use super::life::Life;
use super::servers::Ranking;
use super::site::Site;
use super::vote::{Booth, Deposit, Outcome, Vote};

/// How much a batcher takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many votes may wait in one lane.
    pub gathered_max: usize,
    /// How many votes one lane casts together: all of them have one server's time-out between them, and entries are
    /// cut at [`super::wire::ENTRY_MAX_LEN`] anyway.
    pub batch_max: usize,
    /// How long one batch may take before [`Batcher::trouble`] reports its lane: longer than all time-outs together.
    pub batch_limit: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { gathered_max: 16_384, batch_max: 4096, batch_limit: Duration::from_secs(60) }
    }
}

/// What became of one vote.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What became of it.
    pub outcome: Outcome,
    /// What failed on the way, for it or for a vote that was cast with it.
    pub failures: Arc<[String]>,
}

/// Why a vote has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotGathered {
    /// As many votes wait as may. It was not begun: casting it again is safe for every voter.
    #[error("too many votes are waiting to be taken: try again in a moment")]
    Full,
    /// Its lane panicked under it. It may or may not be taken: casting it again is safe for a named voter, and may count an
    /// anonymous vote twice.
    #[error("the writer failed by a fault of the program: it is not known whether the vote was taken")]
    Unknown,
}

type Reply = Box<dyn FnOnce(Answer) + Send>;

struct Gathered {
    vote: Vote,
    reply: Reply,
}

/// Takes votes of many callers and casts together what has gathered.
pub struct Batcher {
    lanes: Vec<Lane>,
    ranking: Ranking,
    key: IdentityKey,
    turn: AtomicUsize,
}

struct Lane {
    sender: Option<SyncSender<Gathered>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What a lane's thread shares with the callers.
struct Shared {
    waiting: AtomicUsize,
    desk: Mutex<Desk>,
    life: Life,
}

/// Where a lane's votes are cast, by its thread or by a caller that finds it free.
struct Desk {
    booth: Booth,
    /// Makes the booth anew.
    make: Box<dyn Fn() -> Booth + Send>,
    /// The failures told last.
    told: Vec<String>,
}

impl Batcher {
    /// Starts one lane a memcached server of the site. Nothing is opened before the first vote.
    ///
    /// # Errors
    /// What the system said when it had no thread to give.
    pub fn start(site: &Site, limits: Limits) -> std::io::Result<Batcher> {
        let lane = |server: usize| {
            let site = site.clone();
            let name = format!("votes {}", site.memcached[server]);
            Lane::start(name, Box::new(move || site.clone().booth(false).at_home(server)), limits)
        };
        Ok(Batcher {
            lanes: (0..site.memcached.len()).map(lane).collect::<Result<_, _>>()?,
            ranking: site.servers().ranking().clone(),
            key: site.identity_key.clone(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Hands a vote over and returns at once; `reply` is called on the lane's thread as soon as the vote's fate is known,
    /// and should do no more than pass it on. It is dropped uncalled only if the lane panics under the vote, whose
    /// fate is then unknown.
    ///
    /// # Errors
    /// [`NotGathered::Full`].
    pub fn submit(&self, vote: Vote, reply: impl FnOnce(Answer) + Send + 'static) -> Result<(), NotGathered> {
        self.lane_of(&vote).gather(vote, Box::new(reply))
    }

    /// Hands a vote over and waits until its fate is known.
    ///
    /// # Errors
    /// [`NotGathered`].
    pub fn cast(&self, vote: Vote) -> Result<Answer, NotGathered> {
        let lane = self.lane_of(&vote);
        let vote = match lane.shared.cast_at_once(vote) {
            Ok(done) => return done,
            Err(vote) => vote,
        };
        let (sender, receiver) = sync_channel(1);
        let reply = move |answer| {
            // The receiver is there until it has its answer.
            let _ = sender.send(answer);
        };
        lane.gather(vote, Box::new(reply))?;
        receiver.recv().map_err(|_| NotGathered::Unknown)
    }

    /// What keeps a lane from taking votes, if anything does: it hangs, or what it did last panicked.
    pub fn trouble(&self) -> Option<String> {
        self.lanes.iter().find_map(Lane::trouble)
    }

    /// How many votes wait to be cast just now, over all lanes.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.shared.waiting.load(Ordering::Relaxed)).sum()
    }

    fn lane_of(&self, vote: &Vote) -> &Lane {
        let index = match &vote.voter {
            _ if self.lanes.len() == 1 => 0,
            Some(voter) => self.ranking.choice(self.key.named(&vote.poll, voter), 0),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len(),
        };
        &self.lanes[index]
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        // All lanes are told first, so that they empty side by side.
        self.lanes.iter_mut().for_each(|lane| lane.sender = None);
        for thread in self.lanes.iter_mut().filter_map(|lane| lane.thread.take()) {
            // What panicked in it has been told.
            let _ = thread.join();
        }
    }
}

impl Lane {
    fn start(name: String, make: Box<dyn Fn() -> Booth + Send>, limits: Limits) -> std::io::Result<Lane> {
        let (sender, receiver) = sync_channel(limits.gathered_max.max(1));
        let desk = Mutex::new(Desk { booth: make(), make, told: Vec::new() });
        let (waiting, life) = (AtomicUsize::new(0), Life::new(name.clone(), limits.batch_limit));
        let shared = Arc::new(Shared { waiting, desk, life });
        let (own, batch_max) = (shared.clone(), limits.batch_max.max(1));
        let thread = std::thread::Builder::new().name(name).spawn(move || own.run(&receiver, batch_max))?;
        Ok(Lane { sender: Some(sender), thread: Some(thread), shared })
    }

    fn gather(&self, vote: Vote, reply: Reply) -> Result<(), NotGathered> {
        let sender = self.sender.as_ref().ok_or(NotGathered::Unknown)?;
        // Counted before it is sent, so that the lane never counts down what was not counted up.
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        sender.try_send(Gathered { vote, reply }).map_err(|error| {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => NotGathered::Full,
                TrySendError::Disconnected(_) => NotGathered::Unknown,
            }
        })
    }

    fn trouble(&self) -> Option<String> {
        let ended = self.thread.as_ref().filter(|thread| thread.is_finished());
        let ended = ended.map(|thread| format!("thread {:?} has ended", thread.thread().name().unwrap_or_default()));
        ended.or_else(|| self.shared.life.trouble())
    }
}

impl Shared {
    /// Does work at the desk. After a panic nothing is known of what it left there, so the booth is made anew.
    fn guard<T>(&self, desk: &mut MutexGuard<'_, Desk>, work: impl FnOnce(&mut Desk) -> T) -> Result<T, NotGathered> {
        self.life.guard(|| work(desk)).map_err(|panicked| {
            tracing::error!("a lane of votes {panicked}; it is not known which of its votes were taken; it goes on");
            desk.booth = (desk.make)();
            NotGathered::Unknown
        })
    }

    /// Casts a vote on the caller's thread if the lane has nothing to do; else gives it back.
    fn cast_at_once(&self, vote: Vote) -> Result<Result<Answer, NotGathered>, Vote> {
        // What has gathered comes first: or a caller that votes on and on would keep the lane from its desk.
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(vote);
        }
        let Ok(mut desk) = self.desk.try_lock() else { return Err(vote) };
        Ok(self.guard(&mut desk, |desk| {
            let (mut outcomes, failures) = desk.cast(vec![vote]);
            Answer { outcome: outcomes.pop().unwrap_or(Outcome::NotTaken), failures }
        }))
    }

    /// Casts what gathers until nobody can hand over more.
    fn run(&self, receiver: &Receiver<Gathered>, batch_max: usize) {
        while let Ok(first) = receiver.recv() {
            // Work at the desk is guarded, so it is never poisoned.
            let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Some(first);
            // Kept while there are votes, so that those who come back meanwhile gather again.
            while let Some(first) = next {
                let gathered = std::iter::once(first).chain(receiver.try_iter()).take(batch_max);
                // A panic drops the replies that have not been called, which tells those who wait.
                let _ = self.guard(&mut desk, |desk| self.cast_all(desk, gathered));
                next = receiver.try_recv().ok();
            }
        }
    }

    fn cast_all(&self, desk: &mut Desk, gathered: impl Iterator<Item = Gathered>) {
        let (votes, replies): (Vec<_>, Vec<_>) = gathered.map(|one| (one.vote, one.reply)).unzip();
        self.waiting.fetch_sub(votes.len(), Ordering::Relaxed);
        failpoint::pass(Step::Gathered);
        let (outcomes, failures) = desk.cast(votes);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            reply(Answer { outcome, failures: failures.clone() });
            failpoint::pass(Step::Answered);
        }
    }
}

impl Desk {
    /// Casts votes together; an outcome for each, and what failed on the way.
    fn cast(&mut self, votes: Vec<Vote>) -> (Vec<Outcome>, Arc<[String]>) {
        let Deposit { outcomes, failures, .. } = self.booth.cast(votes);
        failpoint::pass(Step::Cast);
        tell(&failures, &mut self.told);
        (outcomes, failures.into())
    }
}

/// A trouble that lasts is told once, and again when it comes back.
fn tell(failures: &[String], told: &mut Vec<String>) {
    failures.iter().filter(|failure| !told.contains(failure)).for_each(|failure| tracing::warn!("{failure}"));
    if *failures != told[..] {
        *told = failures.to_vec();
    }
}
