//! Numbers that several processes may create at once and all of them then agree on.
//!
//! `ma KEY N0 J<initial> D0` creates a missing key with the initial value and returns the value that is there. It is
//! one atomic step, and it never removes anything: a conditional `ms` that finds no memory removes the item that is
//! already there, so keys that the protocol relies on are created here and nowhere else.

use memcache::exp::{MetaCommand, MetaOp};

use super::connection::Connection;
use super::error::Error;

/// `ma` that creates a missing number and changes nothing otherwise.
pub(super) fn create_number(key: &str, initial: u64) -> MetaCommand {
    MetaCommand::new(MetaOp::Arithmetic, key).flag("v").flag("N0").flag(format!("J{initial}")).flag("D0")
}

/// The number under `key`, which is `initial` if nothing was there.
///
/// # Errors
/// [`Error`], naming the key; [`Error::is_out_of_memory`] if it was missing and the server is full.
pub(super) fn number_or(connection: &mut Connection, key: &str, initial: u64) -> Result<u64, Error> {
    let answers = connection.exchange(&[create_number(key, initial)], key)?;
    let value = answers.first().map(|answer| connection.incremented(key, answer)).transpose()?.flatten();
    value.ok_or_else(|| Error::Unexpected {
        server: connection.address().clone(),
        key: key.to_string(),
        answer: "no value for a number just created".into(),
    })
}
