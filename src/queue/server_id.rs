//! A server's id: a random number kept beside the counter, which tells servers apart whatever address leads to them.
//!
//! Whoever asks first creates it. It lives as long as the server's memory: after a restart the server has another id, as
//! it has another epoch, and what it held before is gone. Two addresses with one id are one server; one address with
//! several ids leads to several servers.

use std::fmt;

use memcache::exp::{MetaCommand, MetaOp};
use rand::RngExt;

use super::connection::Connection;
use super::error::Error;
use super::names::Keys;

/// The id of a server, for one prefix. It is shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u64);

impl ServerId {
    /// The id that a number stands for.
    pub const fn new(value: u64) -> ServerId {
        ServerId(value)
    }

    /// Reads what [`fmt::Display`] writes: 16 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<ServerId> {
        let hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| u64::from_str_radix(text, 16).ok().map(ServerId)).flatten()
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id of the server that `connection` leads to; creates it if there is none. It destroys nothing: on a server
/// without memory for it the command fails and leaves everything as it was.
///
/// # Errors
/// [`Error`], naming the key.
pub fn server_id(connection: &mut Connection, keys: &Keys) -> Result<ServerId, Error> {
    let key = keys.server();
    let random: u64 = rand::rng().random();
    let command = MetaCommand::new(MetaOp::Arithmetic, key.as_str()).flag("N0").flag(format!("J{random}"));
    let answers = connection.exchange(&[command.flag("D0").flag("v")], &key)?;
    let id = answers.first().map(|answer| connection.incremented(&key, answer)).transpose()?.flatten();
    id.map(ServerId).ok_or_else(|| Error::Unexpected {
        server: connection.address().clone(),
        key,
        answer: "nothing for a server's id".into(),
    })
}

/// The id of the server that `connection` leads to, if it has one under these keys. Creates nothing.
///
/// # Errors
/// [`Error`], naming the key.
pub fn known_server_id(connection: &mut Connection, keys: &Keys) -> Result<Option<ServerId>, Error> {
    Ok(connection.counter(&keys.server())?.map(|(value, _)| ServerId(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for value in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(ServerId::parse(&ServerId::new(value).to_string()), Some(ServerId::new(value)));
        }
        for bad in ["", "1", "0123456789abcdeF", "0123456789abcdef0", "host:11211", "+123456789abcdef"] {
            assert_eq!(ServerId::parse(bad), None, "{bad}");
        }
    }
}
