//! What a server says about itself: memory, evictions, and whether it may evict at all.
//!
//! The meta protocol has no statistics, so this speaks the two classic `stats` commands on a connection of its
//! own. It is for people and monitors; nothing on the voting path comes here.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use super::connection::{Connection, Lifetime};
use super::error::Error;
use super::names::{Address, Keys};
use super::transport;

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
    /// How often it refused to store something for want of memory, since it started.
    pub no_memory: u64,
    /// How often it refused to store something that is larger than it allows, since it started.
    pub too_large: u64,
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
        no_memory: number("store_no_memory"),
        too_large: number("store_too_large"),
        may_evict: fields.get("settings evictions").is_none_or(|value| value != "off"),
        uptime_seconds: number("uptime"),
    })
}

/// How large the items are whose memory is looked for, their keys not counted: a voter's mark, and an entry with one
/// ballot. A full server has memory for some sizes and not for others.
const PROBE_BYTES: [usize; 2] = [25, 60];

/// For how many seconds the probe's items stay.
const PROBE_SECONDS: u32 = 1;

/// Stores items of a vote's sizes, and of the size `also`, under keys that nobody uses: nothing that is there is replaced or
/// removed, and they expire after a second.
///
/// # Errors
/// [`Error`]; [`Error::is_out_of_memory`] when the server has no memory for a vote just now.
pub fn probe(connection: &mut Connection, keys: &Keys, also: Option<usize>) -> Result<(), Error> {
    PROBE_BYTES.into_iter().chain(also).try_for_each(|length| {
        let key = keys.probe(rand::random());
        connection.set(&key, &vec![b'x'; length], Lifetime::Seconds(PROBE_SECONDS))
    })
}

/// Whether the server has memory for a vote just now, as [`probe`] finds out. The connection must not be used afterwards
/// if the answer is `false`.
///
/// # Errors
/// [`Error`] when the server failed in another way.
pub fn takes_votes(connection: &mut Connection, keys: &Keys, also: Option<usize>) -> Result<bool, Error> {
    match probe(connection, keys, also) {
        Ok(()) => Ok(true),
        Err(error) if error.is_out_of_memory() => Ok(false),
        Err(error) => Err(error),
    }
}

fn stats(address: &Address, timeout: Duration) -> std::io::Result<HashMap<String, String>> {
    let mut stream = transport::connect(address, timeout)?;
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
