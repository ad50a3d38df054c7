//! What an error of a MySQL server or of its driver means: try again, go elsewhere, or give up.
//!
//! Decided by codes and kinds, never by texts.

use std::error::Error as StdError;
use std::io;

use mysql::{DriverError, Error};

use super::Cause;

/// The savepoint of a transaction does not exist: the server has ended the transaction (see `mysql_transaction`).
const NO_SUCH_SAVEPOINT: u16 = 1305;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const LOCK_NOWAIT: u16 = 3572;
const DUPLICATE_KEY: u16 = 1062;
const NO_SUCH_TABLE: u16 = 1146;
const UNKNOWN_VARIABLE: u16 = 1193;

/// The server has rolled the transaction back, or waits for that, in favour of others. 1020: a row has changed since
/// the snapshot (MariaDB, `innodb_snapshot_isolation`). 1180: the commit failed, on Galera at certification.
const TRY_AGAIN: [u16; 5] = [1020, 1180, LOCK_WAIT_TIMEOUT, DEADLOCK, NO_SUCH_SAVEPOINT];

/// The server is up and does not serve: 1040, 1203: too many connections; 1047: Galera, not ready; 1053, 3032, 3168, 4031:
/// it shuts down, is off-line or has closed the connection; 1158 to 1161: the network; 1290, 1792, 1836: read-only; 1317, 1927: the statement or
/// the connection was killed.
const UNAVAILABLE: [u16; 16] =
    [1040, 1047, 1053, 1158, 1159, 1160, 1161, 1203, 1290, 1317, 1792, 1836, 1927, 3032, 3168, 4031];

/// Why a host that answers is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    /// It takes no writes.
    #[error("the server is read-only")]
    ReadOnly,
    /// Galera: it is not part of the cluster's primary component, or is still joining.
    #[error("the Galera node is not ready (wsrep_ready is {0})")]
    NotReady(String),
    /// What the server sent made the driver panic.
    #[error("the answer of the server cannot be read: {0}")]
    Unreadable(String),
}

/// None of several hosts could be used.
#[derive(Debug, thiserror::Error)]
#[error("no usable host ({})", .0.iter().map(TriedHost::to_string).collect::<Vec<_>>().join("; "))]
pub(super) struct NoHost(pub(super) Vec<TriedHost>);

/// A host that could not be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {cause}")]
pub(super) struct TriedHost {
    host: String,
    cause: Cause,
    unavailable: bool,
}

impl TriedHost {
    /// `host` is `host:port`.
    pub(super) fn new(host: String, cause: Cause) -> TriedHost {
        let unavailable = is_unavailable(cause.as_ref());
        TriedHost { host, cause: plain(cause), unavailable }
    }
}

fn code(error: &(dyn StdError + 'static)) -> Option<u16> {
    match error.downcast_ref() {
        Some(Error::MySqlError(error)) => Some(error.code),
        _ => None,
    }
}

/// Whether the server answered with an error, and so listens for the next statement.
pub(super) fn is_answer(error: &(dyn StdError + 'static)) -> bool {
    code(error).is_some()
}

/// Whether the whole transaction can be tried again at once on the same connection.
pub(super) fn is_retryable(error: &(dyn StdError + 'static)) -> bool {
    code(error).is_some_and(|code| TRY_AGAIN.contains(&code))
}

/// Whether the database is away or not ready for now, rather than refusing for good.
pub(super) fn is_unavailable(error: &(dyn StdError + 'static)) -> bool {
    if let Some(NoHost(tried)) = error.downcast_ref() {
        return tried.iter().any(|host| host.unavailable);
    }
    match error.downcast_ref() {
        Some(Error::IoError(_) | Error::CodecError(_)) => true,
        Some(Error::DriverError(error)) => {
            matches!(error, DriverError::ConnectTimeout | DriverError::CouldNotConnect(_) | DriverError::Timeout)
        }
        Some(Error::MySqlError(error)) => TRY_AGAIN.contains(&error.code) || UNAVAILABLE.contains(&error.code),
        Some(_) => false,
        None => error.is::<HostError>(),
    }
}

/// Whether another reader holds the queue's row: locked now, or inserted just before us.
pub(super) fn is_taken(error: &Error) -> bool {
    code(error).is_some_and(|code| [LOCK_WAIT_TIMEOUT, LOCK_NOWAIT, DUPLICATE_KEY].contains(&code))
}

/// Whether a table is not there.
pub(super) fn is_no_such_table(error: &Error) -> bool {
    code(error) == Some(NO_SUCH_TABLE)
}

/// Whether the server does not know a variable.
pub(super) fn is_unknown_variable(error: &Error) -> bool {
    code(error) == Some(UNKNOWN_VARIABLE)
}

/// The driver's error without its wrapping, which shows a struct to people, and a time-out by its name.
pub(super) fn plain(error: Cause) -> Cause {
    let error = match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => return other,
    };
    match error {
        Error::CodecError(error) if error.source().is_some_and(is_time_out) => "no answer in time".into(),
        Error::IoError(error) if is_time_out(&error) => "no answer in time".into(),
        Error::DriverError(error) => Box::new(error),
        Error::IoError(error) => Box::new(error),
        Error::MySqlError(error) => Box::new(error),
        other => Box::new(other),
    }
}

fn is_time_out(error: &(dyn StdError + 'static)) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}
