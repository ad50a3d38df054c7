//! The id of a memcached server, kept in the server itself beside its queue.
//!
//! An address is not a server: a balancer may send two connections to two servers, and one server may be reached by
//! two names. The id tells. It lasts as long as what the server holds: after a restart there is a new one.

use std::fmt;

use super::connection::Connection;
use super::error::Error;
use super::names::Keys;
use super::number::number_or;

/// memcached refuses to read some numbers near the end of its range.
const MAX: u64 = u64::MAX >> 2;

/// The id of a server. See the [module](self).
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

/// The id of the server that `connection` reaches. The first caller creates it.
///
/// # Errors
/// [`Error`], naming the key; [`Error::is_out_of_memory`] if the server has no id yet and is full.
pub fn server_id(connection: &mut Connection, keys: &Keys) -> Result<ServerId, Error> {
    number_or(connection, &keys.server(), rand::random_range(1..=MAX)).map(ServerId)
}

/// The id of the server that `connection` reaches, if it has one.
///
/// # Errors
/// [`Error`], naming the key.
pub fn known_server_id(connection: &mut Connection, keys: &Keys) -> Result<Option<ServerId>, Error> {
    Ok(connection.counter(&keys.server())?.map(|(id, _)| ServerId(id)))
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
