//! Exit codes, all of them, and which error gives which.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::poll::ballot::{BatchIdError, PollError, Refusal, VoterError};
use crate::poll::owner::OwnerError;
use crate::poll::secret::{CheckError, is_wrong_setting};
use crate::queue;
use crate::slug::SlugError;
use crate::store;
use crate::sync;
use crate::web;

/// It is done.
pub const DONE: u8 = 0;
/// It failed, and nothing was acknowledged that is not so; or a check found something.
pub const FAILED: u8 = 1;
/// The command line or a setting is wrong; nothing was tried.
pub const USAGE: u8 = 2;
/// It was refused, and would be again: poll unknown or closed, choice unknown, already voted, a guard said no.
pub const REFUSED: u8 = 3;
/// Part of it is done: some lines were refused, or some servers failed.
pub const PARTLY: u8 = 4;

/// Ended by Ctrl-C, after printing what there was.
pub const INTERRUPTED: u8 = 130;

/// The table that `--help` and the manual page show.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed, or a check found something
  2  wrong command line or setting; nothing was tried
  3  refused: poll unknown or closed, choice unknown, already voted, a guard of sync said no
  4  partly done: some lines were refused or became dead letters, or some servers or hosts failed
  130  ended by Ctrl-C, after printing what there was
  other  rsync's own code, when it failed under sync (its 1 to 4 are passed on too)";

/// A wrong use of the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Some of it failed; what failed has been told already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Partly(pub String);

/// Something is wrong, and data on stdout says what.
#[derive(Debug, thiserror::Error)]
#[error("something needs a person")]
pub struct Told;

/// Ctrl-C ended it; there is nothing to tell.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The code for an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Partly>() {
        PARTLY
    } else if error.is::<Usage>()
        || error.is::<crate::cli::sample::Refused>()
        || error.is::<ConfigError>()
        || error.is::<SlugError>()
        || error.is::<PollError>()
        || error.is::<VoterError>()
        || error.is::<BatchIdError>()
        || matches!(error.downcast_ref(), Some(queue::Error::NotSupported { .. }))
        || is_other_secret(error)
    {
        USAGE
    } else if let Some(error) = error.downcast_ref::<sync::Error>() {
        of_sync(error)
    } else if error.is::<sync::Refusal>()
        || error.is::<sync::PlaceError>()
        || error.is::<sync::OptionError>()
        || error.is::<Refusal>()
        || error.is::<OwnerError>()
        || matches!(error.downcast_ref(), Some(store::Error::PollExists(_)))
    {
        REFUSED
    } else {
        FAILED
    }
}

/// Whether a setting, the voter secret or the database, is not the one of the polls.
fn is_other_secret(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_wrong_setting)
        || matches!(error.downcast_ref(), Some(CheckError::Refused(_)))
        || matches!(error.downcast_ref(), Some(web::Error::OtherSecret(_)))
}

/// `weir sync` passes on what rsync ended with.
fn of_sync(error: &sync::Error) -> u8 {
    match error {
        refused if refused.refusal_code().is_some() => REFUSED,
        sync::Error::Rsync { code } | sync::Error::Count { code } => u8::try_from(*code).unwrap_or(FAILED),
        sync::Error::Stopped => INTERRUPTED,
        _ => FAILED,
    }
}

/// Whether the reader of our output went away, as `| head -1` does: no error of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.is::<std::io::Error>() && error.chain().any(broken)
}

/// The process's exit code.
pub fn exit(code: u8) -> ExitCode {
    ExitCode::from(code)
}
