//! What a server says about itself: memory, evictions, and whether it may evict at all.
//!
//! The meta protocol has no statistics, so this speaks the two classic `stats` commands on a connection of its
//! own. It is for people and monitors; nothing on the voting path comes here.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::error::Error;
use super::names::Address;

/// A server's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its version as it tells it.
    pub version: String,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes it may use.
    pub limit_bytes: u64,
    /// Items evicted while still wanted, since it started: each may have been a vote.
    pub evictions: u64,
    /// Items that it refused to store for want of memory, since it started.
    pub refused_stores: u64,
    /// Whether it evicts when full (`true`), or answers with an error as with `-M` (`false`).
    pub may_evict: bool,
    /// Seconds since it started.
    pub uptime_seconds: u64,
}

/// Asks a server for its state.
///
/// # Errors
/// [`Error::Connect`] when it cannot be reached or does not answer within `timeout`.
pub fn health(address: &Address, timeout: Duration) -> Result<Health, Error> {
    let fail = |source| Error::Connect { server: address.clone(), source };
    let fields = stats(address, timeout).map_err(fail)?;
    let number = |name: &str| fields.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    Ok(Health {
        version: fields.get("version").cloned().unwrap_or_default(),
        used_bytes: number("bytes"),
        limit_bytes: number("limit_maxbytes"),
        evictions: number("evictions"),
        refused_stores: number("store_no_memory"),
        may_evict: fields.get("settings evictions").is_none_or(|value| value != "off"),
        uptime_seconds: number("uptime"),
    })
}

fn stats(address: &Address, timeout: Duration) -> std::io::Result<HashMap<String, String>> {
    let target = address.as_str().to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"stats\r\nstats settings\r\n")?;
    let mut fields = HashMap::new();
    let mut lines = BufReader::new(stream).lines();
    for heading in ["", "settings "] {
        loop {
            let line = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
            match line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' ')) {
                Some((name, value)) => {
                    fields.insert(format!("{heading}{name}"), value.to_string());
                }
                None if line == "END" => break,
                None => return Err(std::io::Error::other(format!("unexpected answer {line:?} to stats"))),
            }
        }
    }
    Ok(fields)
}
