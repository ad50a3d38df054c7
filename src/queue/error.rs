//! What can go wrong with a memcached server, always with the server's name and, where there is one, the key.

use std::io;
use std::time::Duration;

use super::kind;
use super::names::Address;

/// An error's text, but for a time-out, which the system calls "resource temporarily unavailable".
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let silent = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    };
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    if causes.any(silent) { "no answer in time".into() } else { error.to_string() }
}

/// A failure of one server. Whatever it is, the connection it came from must be dropped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection within the time allowed, or it was refused.
    #[error("memcached {server}: cannot connect: {}", in_words(source))]
    Connect {
        /// The server.
        server: Address,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection failed, timed out, or the server answered with an error. A write may or may not have
    /// happened.
    #[error("memcached {server}: {key}: {}", in_words(source))]
    Exchange {
        /// The server.
        server: Address,
        /// The first key of the exchange.
        key: String,
        /// What the client library said.
        source: memcache::exp::Error,
    },
    /// The server answered with something that the protocol does not allow here.
    #[error("memcached {server}: {key}: unexpected answer {answer}")]
    Unexpected {
        /// The server.
        server: Address,
        /// The key.
        key: String,
        /// What came.
        answer: String,
    },
    /// The server has no memory to store a key, and may not evict. Nothing was stored or removed.
    #[error("memcached {server}: {key}: out of memory")]
    OutOfMemory {
        /// The server.
        server: Address,
        /// The key.
        key: String,
    },
    /// Every slot a writer was given held something already: something other than weir writes into the queue's slots.
    #[error("memcached {server}: {attempts} slots in a row were filled already; does another program use this prefix?")]
    NoFreeSlot {
        /// The server.
        server: Address,
        /// The number of slots tried.
        attempts: u32,
    },
    /// The server answers, but not as a memcached that weir can use: it speaks TLS, wants a login, lacks the meta
    /// protocol, or is something else. It is a matter of settings, and will not pass.
    #[error("memcached {server}: {why}")]
    NotSupported {
        /// The server.
        server: Address,
        /// What it is, and what to do.
        why: String,
    },
    /// The server failed a moment ago and is left alone for now.
    #[error("{why}")]
    Resting {
        /// How it failed.
        why: String,
    },
}

impl Error {
    /// The same, unless the server is silent because it is of a kind that cannot be used: one that waits for a TLS
    /// handshake or a command of the binary protocol. It takes up to twice `timeout`, so it is for a start, not for
    /// a voter who waits.
    pub fn or_unsupported(self, timeout: Duration) -> Error {
        match &self {
            Error::Exchange { server, source: memcache::exp::Error::Io(error), .. }
                if error.kind() == io::ErrorKind::TimedOut =>
            {
                let server = server.clone();
                match kind::why_silent(&server, timeout) {
                    Some(why) => Error::NotSupported { server, why },
                    None => self,
                }
            }
            _ => self,
        }
    }

    /// Whether the server refused to store something because it has no memory left and may not evict.
    pub fn is_out_of_memory(&self) -> bool {
        let refused = |source: &memcache::exp::Error| match source {
            memcache::exp::Error::Server(message) => message.to_ascii_lowercase().contains("out of memory"),
            _ => false,
        };
        match self {
            Error::OutOfMemory { .. } => true,
            Error::Exchange { source, .. } => refused(source),
            _ => false,
        }
    }
}
