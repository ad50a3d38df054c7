//! What can go wrong with a memcached server, always with the server's name and, where there is one, the key.

use std::io;

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
    /// Every slot a writer was given had been closed before it could write: something other than weir keeps
    /// closing slots, or this process is stopped again and again.
    #[error("memcached {server}: {attempts} tickets in a row were closed before they could be used")]
    Starved {
        /// The server.
        server: Address,
        /// How many tickets were tried.
        attempts: u32,
    },
    /// The server failed a moment ago and is left alone for now.
    #[error("{why}")]
    Resting {
        /// How it failed.
        why: String,
    },
}

impl Error {
    /// Whether the server refused to store something because it has no memory left and may not evict.
    pub(super) fn is_out_of_memory(&self) -> bool {
        let refused = |source: &memcache::exp::Error| match source {
            memcache::exp::Error::Server(message) => message.to_ascii_lowercase().contains("out of memory"),
            _ => false,
        };
        matches!(self, Error::Exchange { source, .. } if refused(source))
    }
}
