//! Names: a server's address, a queue's prefix, and every key that weir uses in memcached.
//!
//! Keys are made here and nowhere else, out of parts that cannot hold a blank or a control byte.

use std::fmt;
use std::path::Path;

use crate::slug::{Slug, shown};

use super::server_id::ServerId;
use super::ticket::Ticket;

/// memcached's own port, used when an address names none.
const DEFAULT_PORT: u16 = 11211;

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";

/// The longest path that the system takes for a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// A memcached server as it was written: `host:port`, or `unix:/path` for a Unix socket. It names the server in
/// messages and ranks it, so every host must spell it alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(Box<str>);

/// Why a text is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not `host:port`.
    #[error("{0}: expected host:port or unix:/path, such as 127.0.0.1:11211, [::1]:11211 or unix:/run/memcached.sock")]
    HostPort(String),
    /// It begins with `unix:` or a slash, and is no socket's address.
    #[error(
        "{0}: expected unix: and an absolute path of at most {SOCKET_PATH_MAX} bytes without commas and control \
         characters, such as unix:/run/memcached.sock"
    )]
    SocketPath(String),
}

impl Address {
    /// Parses `host:port`, `[v6]:port`, a bare `host` (port 11211), or `unix:/path`.
    ///
    /// # Errors
    /// [`AddressError`] when the host is empty or odd, the port is no number from 1 to 65535, or the path is relative,
    /// too long, or has a comma (which separates addresses) or a control character.
    pub fn new(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return Address::of_socket(path).ok_or_else(|| AddressError::SocketPath(shown(text)));
        }
        // A path without "unix:", or what a comma has cut off from one.
        if text.starts_with('/') {
            return Err(AddressError::SocketPath(shown(text)));
        }
        let fail = || AddressError::HostPort(shown(text));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bare {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                (1..=253).contains(&host.len())
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            }
        };
        let port = match port {
            Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(fail)?,
            None => DEFAULT_PORT,
        };
        if valid { Ok(Address(format!("{host}:{port}").into())) } else { Err(fail()) }
    }

    /// Several leading slashes are one, so that `unix:///run/x` is the same address as `unix:/run/x`.
    fn of_socket(path: &str) -> Option<Address> {
        let rest = path.strip_prefix('/')?.trim_start_matches('/');
        let clean = !rest.chars().any(|char| char.is_control() || char == ',');
        let fits = !rest.is_empty() && rest.len() < SOCKET_PATH_MAX;
        (clean && fits).then(|| Address(format!("{UNIX}/{rest}").into()))
    }

    /// `host:port` or `unix:/path`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path, if this is a Unix socket.
    pub fn socket_path(&self) -> Option<&Path> {
        self.0.strip_prefix(UNIX).map(Path::new)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What all keys of one queue begin with: 1 to 64 bytes out of letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(Box<str>);

/// Why a text is no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: a prefix has 1 to 64 characters out of letters, digits, \".\", \"_\" and \"-\"")]
pub struct PrefixError(String);

impl Prefix {
    /// Checks `text` and takes it as it is.
    ///
    /// # Errors
    /// [`PrefixError`] when it is empty, too long, or has another byte.
    pub fn new(text: &str) -> Result<Prefix, PrefixError> {
        let clean = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let fits = (1..=64).contains(&text.len());
        if clean && fits { Ok(Prefix(text.into())) } else { Err(PrefixError(shown(text))) }
    }

    /// The prefix itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Every key of one prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Prefix,
}

impl Keys {
    /// The keys of `prefix`.
    pub fn new(prefix: Prefix) -> Keys {
        Keys { prefix }
    }

    /// The prefix they share.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    fn under(&self, rest: fmt::Arguments<'_>) -> String {
        format!("{}-{rest}", self.prefix.0)
    }

    /// The notes' lock.
    pub fn lock(&self) -> String {
        self.under(format_args!("lock"))
    }

    /// The counter of tickets.
    pub fn curr(&self) -> String {
        self.under(format_args!("curr"))
    }

    /// How many entries of a server have been deleted after they had been committed.
    pub fn head(&self, server: ServerId) -> String {
        self.under(format_args!("head-{server}"))
    }

    /// The epoch under which tickets of epoch 0 are drained.
    pub fn legacy(&self) -> String {
        self.under(format_args!("legacy"))
    }

    /// Where the `number`th epoch that weir began since the server started is recorded, from 1.
    pub fn epoch(&self, number: usize) -> String {
        self.under(format_args!("epoch-{number}"))
    }

    /// When the queue was last drained to its end, in milliseconds of Unix time.
    pub fn flushed(&self) -> String {
        self.under(format_args!("flushed"))
    }

    /// The server's own id, which tells it from others at the same address.
    pub fn server(&self) -> String {
        self.under(format_args!("server"))
    }

    /// An item of no meaning, stored to find out whether the server has memory for a vote: as long as a slot's key.
    pub fn probe(&self, random: u64) -> String {
        self.under(format_args!("probe-{random:017x}"))
    }

    /// The id of the database that the queue belongs to.
    pub fn database(&self) -> String {
        self.under(format_args!("database"))
    }

    /// That database's URL without its password.
    pub fn database_name(&self) -> String {
        self.under(format_args!("database-name"))
    }

    /// The slot of a ticket.
    pub fn slot(&self, ticket: Ticket) -> String {
        self.under(format_args!("key-{ticket}"))
    }

    /// A poll's definition.
    pub fn poll(&self, slug: &Slug) -> String {
        self.under(format_args!("poll-{slug}"))
    }

    /// A poll's totals.
    pub fn totals(&self, slug: &Slug) -> String {
        self.under(format_args!("totals-{slug}"))
    }

    /// A poll's turnout.
    pub fn turnout(&self, slug: &Slug) -> String {
        self.under(format_args!("turnout-{slug}"))
    }

    /// The mark that `identity` has voted in a poll.
    pub fn voted(&self, slug: &Slug, identity: &[u8; 16]) -> String {
        self.under(format_args!("voted-{slug}-{:032x}", u128::from_be_bytes(*identity)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, want) in [
            ("127.0.0.1:11211", "127.0.0.1:11211"),
            ("cache-1.example", "cache-1.example:11211"),
            ("[::1]:11300", "[::1]:11300"),
            ("unix:/run/memcached.sock", "unix:/run/memcached.sock"),
            ("unix:///run/a b/ü.sock", "unix:/run/a b/ü.sock"),
        ] {
            assert_eq!(Address::new(text).unwrap().as_str(), want);
        }
        let socket = Address::new("unix:/run/memcached.sock").unwrap();
        assert_eq!(socket.socket_path(), Some(Path::new("/run/memcached.sock")));
        assert_eq!(Address::new("unix:1").unwrap_err(), AddressError::SocketPath("\"unix:1\"".into()));
        assert_eq!(Address::new("h:1").unwrap().socket_path(), None);
        for bad in ["", ":11211", "host:", "host:0", "host:70000", "a b:1", "::1", "[::g]:1", "h\r\n:1", "http://h:1"] {
            assert!(Address::new(bad).is_err(), "{bad:?}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(Address::new(&long[..long.len() - 1]).is_ok());
        for bad in ["unix:", "unix:/", "unix:run/memcached.sock", "unix:/a,b", "unix:/a\nb", "unix:@x", long.as_str()] {
            assert!(Address::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_key_is_longer_than_memcached_allows() {
        let keys = Keys::new(Prefix::new(&"p".repeat(64)).unwrap());
        let slug = Slug::new(&"s".repeat(64)).unwrap();
        assert!(keys.voted(&slug, &[0xff; 16]).len() <= 250);
        assert!(keys.slot(Ticket::from_counter(u64::MAX >> 1)).len() <= 250);
        assert_eq!(Keys::new(Prefix::new("poll-queue").unwrap()).voted(&Slug::new("now").unwrap(), &[1; 16]).len(), 53);
    }
}
