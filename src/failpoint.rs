//! Named places between every two steps of the writers and of the flush, where tests let a process die, stop or dawdle.
//!
//! [`pass`] is called at each of them. Without the feature `failpoints` it is an empty function and leaves nothing behind in
//! the program; with it, the variable `WEIR_FAILPOINT` says where something is to happen:
//!
//! ```text
//! WEIR_FAILPOINT=STEP=ACTION[@N][,...]    ACTION: kill | stop | panic | sleep:MILLISECONDS
//! WEIR_FAILPOINT=store.inserted=kill@2    dies by SIGKILL the second time it has inserted ballots
//! ```
//!
//! The tests switch the feature on by a dev-dependency of the crate on itself, so `cargo build` knows nothing of it. A
//! process-wide switch, and not a probe handed from room to room: the steps lie three rooms deep and on threads that the
//! library starts itself, and what a probe does here is done to the whole process anyway. That way it is the real
//! program, `weir poll vote` or `weir poll flush`, that dies at its step.
//!
//! No result changes and no error is made up: what fails does so because a process was gone. Two variables switch off what
//! keeps a Galera cluster exact, so that a test can show that it is needed: `WEIR_FORCE_BULK=1` and
//! `WEIR_SKIP_TRANSACTION_CHECK=1`.

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A place between two steps. See the [module](self).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Step { $($(#[$doc])* $step,)* }

        impl Step {
            /// Every one, in the order of the code's course.
            pub const ALL: &[Step] = &[$(Step::$step,)*];

            /// What it is called in `WEIR_FAILPOINT`.
            pub const fn name(self) -> &'static str {
                match self { $(Step::$step => $name,)* }
            }
        }
    };
}

steps! {
    /// A voter was elected to refill a poll's definition, and has not asked the database yet.
    DefinitionLeased = "definition.leased",
    /// It knows the definition, and has not put it into memcached yet.
    DefinitionRead = "definition.read",
    /// What gathered in a lane of the batcher is taken over and not cast yet.
    Gathered = "batch.gathered",
    /// The voters' marks are claimed; no ticket is taken.
    Claimed = "vote.claimed",
    /// The notes' lock is held.
    LockTaken = "lock.taken",
    /// A missing counter was made, in a fresh epoch; no ticket is taken.
    QueueBegun = "queue.begun",
    /// Tickets are taken; their slots are empty.
    TicketsTaken = "vote.tickets-taken",
    /// The slots are filled; the voter has not been told.
    SlotsFilled = "vote.slots-filled",
    /// The notes' lock is given back.
    LockReleased = "lock.released",
    /// The marks are made to last.
    Confirmed = "vote.confirmed",
    /// One server has its copy, and more copies are wanted.
    Copied = "vote.copied",
    /// No server took the ballots; the database has not been tried.
    FellBack = "vote.fell-back",
    /// The voter's own transaction is committed; it has not been told.
    Stored = "vote.stored",
    /// Ballots are in a file of the spool under a temporary name, not synced.
    SpoolWritten = "spool.written",
    /// The file is synced.
    SpoolSynced = "spool.synced",
    /// It has its name, and the folder is not synced.
    SpoolRenamed = "spool.renamed",
    /// The folder is synced; the voter has not been told.
    SpoolKept = "spool.kept",
    /// What gathered in a lane is cast, and nobody has been answered.
    Cast = "batch.cast",
    /// One of those who wait in a lane has its answer.
    Answered = "batch.answered",
    /// A drain knows the queue's head in the database and nothing else.
    HeadRead = "flush.head-read",
    /// A shadow for epoch 0 is stored; nothing of the epoch is read.
    ShadowStored = "flush.shadow-stored",
    /// The counter is read.
    Positioned = "flush.positioned",
    /// Slots are read, and nothing has been handed on.
    SlotsRead = "flush.slots-read",
    /// A chunk is about to be written.
    Folding = "flush.folding",
    /// The head is moved, in a transaction that is open.
    HeadMoved = "store.head-moved",
    /// The ballots are inserted, in a transaction that is open.
    Inserted = "store.inserted",
    /// The tallies are raised, in a transaction that is open.
    Raised = "store.raised",
    /// All of a batch is written, in a transaction that is about to be committed.
    Committing = "store.committing",
    /// It is committed, and nobody knows yet.
    Committed = "store.committed",
    /// Some of the slots that are due are deleted.
    Deleting = "flush.deleting",
    /// All of them are; the server's record of it is the old one.
    Deleted = "flush.deleted",
    /// The deletion is recorded on the server; the queue's row still has the entries as kept.
    DeletionRecorded = "flush.deletion-recorded",
    /// Epochs that the counter has left are read to their ends; the shadow of epoch 0 is still stored.
    LeftEpochsRead = "flush.left-epochs-read",
    /// Epoch 0 is drained and its shadow forgotten; the counter is still in it.
    ShadowForgotten = "flush.shadow-forgotten",
    /// The counter has been moved out of epoch 0.
    CounterMoved = "flush.counter-moved",
    /// The right to drain the spool is held.
    SpoolLocked = "flush.spool-locked",
    /// A file of the spool is read.
    SpoolRead = "flush.spool-read",
    /// Its ballots are in the database; it is still there.
    SpoolFolded = "flush.spool-folded",
    /// It is deleted.
    SpoolRemoved = "flush.spool-removed",
    /// Fresh definitions are on the servers; the totals are those of before.
    DefinitionsPut = "flush.definitions-put",
    /// Fresh totals are on the servers; it is not noted that the queues were drained.
    TotalsPut = "flush.totals-put",
}

/// Says that the process is at `step`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_step: Step) {}

/// Says that the process is at `step`, and does what was planned for it.
#[cfg(feature = "failpoints")]
pub fn pass(step: Step) {
    armed::pass(step);
}

/// Whether arrays of rows are to be sent to Galera too, which loses ballots there: for the test that proves it.
#[cfg(not(feature = "failpoints"))]
pub const fn bulk_is_forced() -> bool {
    false
}

/// Whether arrays of rows are to be sent to Galera too, which loses ballots there: for the test that proves it.
#[cfg(feature = "failpoints")]
pub fn bulk_is_forced() -> bool {
    armed::is_set("WEIR_FORCE_BULK")
}

/// Whether transactions are committed without the check that they are the ones that were begun: for the test that proves
/// that the check is needed.
#[cfg(not(feature = "failpoints"))]
pub const fn transaction_check_is_skipped() -> bool {
    false
}

/// Whether transactions are committed without the check that they are the ones that were begun: for the test that proves
/// that the check is needed.
#[cfg(feature = "failpoints")]
pub fn transaction_check_is_skipped() -> bool {
    armed::is_set("WEIR_SKIP_TRANSACTION_CHECK")
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Step;

    /// The signal goes to the process, and another thread may be the one that takes it: until then this one waits.
    const UNTIL_STOPPED: Duration = Duration::from_millis(50);

    enum Action {
        Signal(Signal),
        Sleep(Duration),
        Panic,
    }

    struct Plan {
        step: Step,
        action: Action,
        /// How many passes are left, with the one that counts.
        left: AtomicU32,
    }

    static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
        let text = std::env::var("WEIR_FAILPOINT").unwrap_or_default();
        let plans = text.split(',').filter(|one| !one.is_empty());
        plans.map(|one| parse(one).unwrap_or_else(|| panic!("WEIR_FAILPOINT: {one}: no such plan"))).collect()
    });

    fn parse(text: &str) -> Option<Plan> {
        let (name, action) = text.split_once('=')?;
        let step = *Step::ALL.iter().find(|step| step.name() == name)?;
        let (action, pass) = action.split_once('@').unwrap_or((action, "1"));
        let action = match action.split_once(':') {
            None if action == "kill" => Action::Signal(Signal::KILL),
            None if action == "stop" => Action::Signal(Signal::STOP),
            None if action == "panic" => Action::Panic,
            Some(("sleep", time)) => Action::Sleep(Duration::from_millis(time.parse().ok()?)),
            _ => return None,
        };
        Some(Plan { step, action, left: AtomicU32::new(pass.parse().ok()?) })
    }

    pub(super) fn is_set(name: &str) -> bool {
        std::env::var_os(name).is_some_and(|value| value == "1")
    }

    pub(super) fn pass(step: Step) {
        for plan in PLANS.iter().filter(|plan| plan.step == step) {
            let left = plan.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if left != Ok(1) {
                continue;
            }
            match plan.action {
                Action::Signal(signal) => {
                    // A process may always signal itself.
                    let _ = kill_process(getpid(), signal);
                    std::thread::sleep(UNTIL_STOPPED);
                }
                Action::Sleep(time) => std::thread::sleep(time),
                Action::Panic => panic!("WEIR_FAILPOINT: {}", plan.step.name()),
            }
        }
    }
}
