//! One connection to one server, and how long anything on it may take.
//!
//! Every exchange is one batch: all commands are written, then all answers are read, in one round trip. Any
//! failure makes the connection useless, because what was asked and what will be answered no longer agree;
//! it is the caller's to drop. There is no pool and no reconnect here: a ticket is only good on the
//! connection it was taken on, and a hidden reconnect would break that rule without a trace.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use memcache::exp::{MetaCommand, MetaConnection, MetaOp, MetaResponse, ReturnCode, build_noop};

use super::error::Error;
use super::kind;
use super::names::{Address, Keys, Prefix};
use super::ticket::Ticket;
use super::transport;

/// How long an item stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted (or evicted, on a server that evicts).
    Forever,
    /// This many seconds, at most 30 days: more would be read as a date.
    Seconds(u32),
}

impl Lifetime {
    fn flag(self) -> String {
        match self {
            Lifetime::Forever => "T0".into(),
            Lifetime::Seconds(seconds) => format!("T{}", seconds.clamp(1, 30 * 24 * 3600)),
        }
    }
}

/// What a look at a leased key gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// Its value, and the token to replace it with.
    Value(Vec<u8>, String),
    /// It is missing, and it is the caller's to fill, with this token.
    Fill(String),
    /// It is missing, and somebody else is filling it.
    Wait,
}

/// A connection to a memcached server.
pub struct Connection {
    address: Address,
    inner: MetaConnection,
    exchange_limit: Duration,
    until: Option<Instant>,
    /// Whether the server has answered on this connection as memcached with the meta protocol does.
    proven: bool,
    /// For the next entry: a ticket is good on this connection only, so it is kept here.
    pub(super) ahead: Ahead,
}

/// What a writer that writes one entry after the other has for the next.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Whose tickets these are: the same number means another slot in another queue.
    prefix: Option<Prefix>,
    /// A ticket, and when it was asked for.
    pub(super) ticket: Option<(Ticket, Instant)>,
    /// When the last entry was acknowledged.
    pub(super) wrote: Option<Instant>,
}

impl Ahead {
    /// Forgets what there is if it is another queue's.
    pub(super) fn keep_to(&mut self, keys: &Keys) {
        if self.prefix.as_ref() != Some(keys.prefix()) {
            *self = Ahead { prefix: Some(keys.prefix().clone()), ..Ahead::default() };
        }
    }
}

impl Connection {
    /// Connects within `timeout`, which from then on also bounds each exchange.
    ///
    /// # Errors
    /// [`Error::Connect`]. Looking up a host name is the resolver's time, not counted here: use addresses
    /// where that matters.
    pub fn open(address: &Address, timeout: Duration) -> Result<Connection, Error> {
        let stream = transport::connect(address, timeout)
            .map_err(|source| Error::Connect { server: address.clone(), source })?;
        Ok(Connection {
            address: address.clone(),
            inner: MetaConnection::from_stream(stream),
            exchange_limit: timeout,
            until: None,
            proven: false,
            ahead: Ahead::default(),
        })
    }

    /// Drops the connection and makes a new one to the same server. For readers only: a ticket taken before must
    /// not be used after.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub(super) fn reopen(&mut self) -> Result<(), Error> {
        let fresh = Connection::open(&self.address, self.exchange_limit)?;
        self.inner = fresh.inner;
        self.ahead = Ahead::default();
        Ok(())
    }

    /// The server this goes to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Bounds each exchange by `limit` instead of the connect time-out: for a reader's large batches.
    pub fn set_exchange_limit(&mut self, limit: Duration) {
        self.exchange_limit = limit;
    }

    /// Bounds everything up to a moment, so that several steps together cost at most one time-out. `None`
    /// lifts it.
    pub fn set_deadline(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// Whether the server still answers on this connection: one round trip that changes nothing.
    pub fn is_alive(&mut self) -> bool {
        self.exchange(&[build_noop()], "no key").is_ok()
    }

    /// How long the next exchange may take.
    pub(super) fn time_left(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(self.exchange_limit, |left| left.min(self.exchange_limit))
    }

    /// Sends `commands` and returns one answer for each, in order.
    ///
    /// # Errors
    /// [`Error::Exchange`]; the connection must not be used again.
    pub fn exchange(&mut self, commands: &[MetaCommand], key: &str) -> Result<Vec<MetaResponse>, Error> {
        let limit = self.time_left();
        self.inner.set_io_timeout(Some(limit));
        match self.inner.execute_batch(commands) {
            Ok(answers) => {
                self.proven = true;
                Ok(answers)
            }
            Err(source) => Err(self.failed(source, key)),
        }
    }

    /// What an exchange failed with. A server that has not answered properly once, or does not know a command, may be of
    /// another kind than weir needs. That is found out only now, so that a server of the right kind costs no
    /// further round trip. One that is silent is not asked again: it is more likely down, and a voter waits.
    fn failed(&self, source: memcache::exp::Error, key: &str) -> Error {
        let server = self.address.clone();
        let suspect = match &source {
            memcache::exp::Error::Io(error) => !self.proven && error.kind() != ErrorKind::TimedOut,
            memcache::exp::Error::Rejected(answer) => !self.proven || answer == "ERROR",
            memcache::exp::Error::Server(_) => false,
            _ => !self.proven,
        };
        if suspect && let Some(why) = kind::why_unsupported(&server, self.exchange_limit) {
            return Error::NotSupported { server, why };
        }
        Error::Exchange { server, key: key.to_string(), source }
    }

    pub(super) fn unexpected(&self, key: &str, response: &MetaResponse) -> Error {
        Error::Unexpected { server: self.address.clone(), key: key.to_string(), answer: format!("{:?}", response.rc()) }
    }

    fn single(&mut self, command: MetaCommand, key: &str) -> Result<MetaResponse, Error> {
        let mut responses = self.exchange(&[command], key)?;
        responses.pop().ok_or_else(|| Error::Unexpected {
            server: self.address.clone(),
            key: key.to_string(),
            answer: "none".into(),
        })
    }

    /// The value of `key`, or nothing.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let response = self.single(get(key), key)?;
        Ok(response.value().map(<[u8]>::to_vec))
    }

    /// The values of `keys`, in one round trip.
    ///
    /// # Errors
    /// [`Error`], naming the first key.
    pub fn get_all(&mut self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        let commands: Vec<_> = keys.iter().map(|key| get(key)).collect();
        let answers = self.exchange(&commands, first)?;
        Ok(answers.iter().map(|answer| answer.value().map(<[u8]>::to_vec)).collect())
    }

    /// The value of `key`, with a lease for whoever finds it missing: for `lease_seconds` only the first caller
    /// is told to fill it.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn get_or_lease(&mut self, key: &str, lease_seconds: u32) -> Result<Leased, Error> {
        let response = self.single(get(key).flag("c").flag(format!("N{lease_seconds}")), key)?;
        let has = |marker: &[u8]| response.flags().any(|flag| flag == marker);
        match (response.value(), cas_of(&response)) {
            (Some(value), Some(cas)) if !value.is_empty() => Ok(Leased::Value(value.to_vec(), cas)),
            (_, Some(cas)) if has(b"W") => Ok(Leased::Fill(cas)),
            _ => Ok(Leased::Wait),
        }
    }

    /// Stores `value` whatever was there.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn set(&mut self, key: &str, value: &[u8], lifetime: Lifetime) -> Result<(), Error> {
        let response = self.single(set(key, value, lifetime), key)?;
        if response.rc() == ReturnCode::Hd { Ok(()) } else { Err(self.unexpected(key, &response)) }
    }

    /// Stores `value` if the key holds nothing; tells whether it did.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn add(&mut self, key: &str, value: &[u8], lifetime: Lifetime) -> Result<bool, Error> {
        let response = self.single(add(key, value, lifetime), key)?;
        self.added(key, &response)
    }

    pub(super) fn added(&self, key: &str, response: &MetaResponse) -> Result<bool, Error> {
        match response.rc() {
            ReturnCode::Hd => Ok(true),
            ReturnCode::Ns => Ok(false),
            _ => Err(self.unexpected(key, response)),
        }
    }

    /// A counter's value and its compare-and-swap token, or nothing.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when the key holds no number, else [`Error`].
    pub fn counter(&mut self, key: &str) -> Result<Option<(u64, String)>, Error> {
        let response = self.single(get(key).flag("c"), key)?;
        let Some(value) = response.value() else { return Ok(None) };
        match (decimal(value), cas_of(&response)) {
            (Some(number), Some(cas)) => Ok(Some((number, cas))),
            _ => Err(self.not_a_number(key, value)),
        }
    }

    /// Replaces a value if nobody has changed it since `cas` was read; tells whether it did.
    ///
    /// # Errors
    /// [`Error`], naming the key.
    pub fn compare_and_set(&mut self, key: &str, value: &[u8], cas: &str, lifetime: Lifetime) -> Result<bool, Error> {
        let command = set(key, value, lifetime).flag(format!("C{cas}"));
        Ok(self.single(command, key)?.rc() == ReturnCode::Hd)
    }

    pub(super) fn incremented(&self, key: &str, response: &MetaResponse) -> Result<Option<u64>, Error> {
        match (response.rc(), response.value()) {
            (ReturnCode::Nf, _) => Ok(None),
            (ReturnCode::Va, Some(value)) => decimal(value).map(Some).ok_or_else(|| self.not_a_number(key, value)),
            _ => Err(self.unexpected(key, response)),
        }
    }

    /// The ticket that a value stands for.
    pub(super) fn ticket(&self, key: &str, value: &[u8]) -> Result<Ticket, Error> {
        let number = decimal(value).filter(|number| i64::try_from(*number).is_ok());
        number.map(Ticket::from_counter).ok_or_else(|| self.not_a_number(key, value))
    }

    fn not_a_number(&self, key: &str, value: &[u8]) -> Error {
        let head = String::from_utf8_lossy(&value[..value.len().min(32)]).into_owned();
        Error::Unexpected {
            server: self.address.clone(),
            key: key.to_string(),
            answer: format!("{head:?} for a counter"),
        }
    }
}

fn cas_of(response: &MetaResponse) -> Option<String> {
    let cas = response.flags().find_map(|flag| flag.strip_prefix(b"c"))?;
    std::str::from_utf8(cas).ok().map(str::to_string)
}

/// memcached pads a counter that got shorter with blanks, so they are trimmed.
fn decimal(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim_end().parse().ok()
}

/// `mg` with the value.
pub(super) fn get(key: &str) -> MetaCommand {
    MetaCommand::new(MetaOp::Get, key).flag("v")
}

/// `ma`: add `delta` and return the new value; a missing counter stays missing.
pub(super) fn increment(key: &str, delta: u64) -> MetaCommand {
    MetaCommand::new(MetaOp::Arithmetic, key).flag("v").flag(format!("D{delta}"))
}

/// `ms`.
pub(super) fn set(key: &str, value: &[u8], lifetime: Lifetime) -> MetaCommand {
    MetaCommand::new(MetaOp::Set, key).flag(lifetime.flag()).value(value)
}

/// `ms` in add mode: `HD` stored, `NS` there was something.
pub(super) fn add(key: &str, value: &[u8], lifetime: Lifetime) -> MetaCommand {
    set(key, value, lifetime).flag("ME")
}
