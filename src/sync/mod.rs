//! Runs rsync with a host's list, and refuses what would surprise somebody.
//!
//! The run is that of the notes, `rsync -av --delete-excluded` with the list's rules, and what can go wrong with it
//! is asked before anything is touched:
//!
//! | file | what it does |
//! |---|---|
//! | `host.rs` | host names, and the one list that belongs to each |
//! | `place.rs` | sources and destinations: local, remote, daemon; made safe to hand over |
//! | `guard.rs` | what is refused: places that make no sense, lists that say nothing, too many deletions |
//! | `lock.rs` | one run at a time into one destination |
//! | `options.rs` | which options of the caller's reach rsync |
//! | `command.rs` | rsync's arguments and environment |
//! | `output.rs` | what rsync prints, read to the byte |
//! | `process.rs` | one rsync process: fed, read, stopped |
//! | `code.rs` | what rsync's exit codes mean, and which are worth another try |
//! | `run.rs` | all of it in order: check, lock, count, judge, run, try again |
//! | `fleet.rs` | several hosts at once |
//!
//! # How deletions are counted
//! A dry run with the same arguments says what would be deleted, to the entry, whichever end is remote. Nothing
//! else knows it exactly: a walk of our own would have to repeat what rsync thinks of links, file systems and
//! errors. If the dry run finds nothing to do at all, that was the run; so the usual run costs what one plain rsync
//! costs. What changes between the count and the run is bounded: rsync gets the limit as its own `--max-delete`.
//!
//! # What it refuses to do
//! No shell is started and none interprets a name, here or there (`--protect-args`). No rule comes from anywhere but
//! the list. rsync's environment variables are not passed on. It never falls back from one host's list to
//! another. It prints nothing: whoever calls it watches with a [`Watch`].

mod code;
mod command;
mod fleet;
mod guard;
mod host;
mod lock;
mod options;
mod output;
mod place;
mod process;
mod run;

pub use code::{meaning, worth_retrying};
pub use command::overridden_environment;
pub use fleet::run_each;
pub use guard::{Deletions, Limit, LimitError, Refusal};
pub use host::{HostName, LIST_SUFFIX, list_of};
pub use lock::LockError;
pub use options::{OptionError, RsyncOptions};
pub use output::{Change, ChangeKind, Progress, Tally};
pub use place::{Place, PlaceError};
pub use run::{Error, Job, Phase, Report, Settings, Watch};
