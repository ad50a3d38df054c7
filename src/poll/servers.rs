//! The memcached servers of a site: in which order a ballot tries them, and what is known of each.
//!
//! Each server holds a complete queue of its own, so no key is ever re-hashed. A ballot's identity ranks the
//! servers by rendezvous hashing (Thaler and Ravishankar, 1998): every process ranks alike, the load spreads
//! evenly, and when a server fails only its own ballots move, each to its own next choice.
//!
//! Two addresses may lead to one server, which only its id tells (see [`crate::queue::ServerId`]). It is asked for where
//! that matters: for a ballot with several copies, which must be on as many servers.
//!
//! A server that failed rests for a while before it is tried again, so that a dead one costs a long-lived
//! process its time-out now and then and not with every vote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::queue::{Address, Connection, Error, Keys, Lifetime, ServerId, server_id};

use super::ballot::Identity;

/// How long a server that failed is left alone: longer than a voter waits for a database that does not answer
/// either, so that no vote pays twice for one server.
const REST: Duration = Duration::from_secs(5);

/// How long a check of all servers waits for one that is silent.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long after its last answer a connection is taken to be alive.
const ALIVE: Duration = Duration::from_millis(100);

/// In which order ballots try the servers.
#[derive(Debug, Clone)]
pub struct Ranking {
    addresses: Arc<[Address]>,
}

impl Ranking {
    /// The servers' indexes in the order in which a ballot of this identity tries them.
    pub fn ranked(&self, identity: Identity) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.addresses.len()).collect();
        if order.len() > 1 {
            order.sort_by_cached_key(|index| {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&identity.0).update(self.addresses[*index].as_str().as_bytes());
                std::cmp::Reverse(*hasher.finalize().as_bytes())
            });
        }
        order
    }

    /// The `rank`th server that a ballot of this identity tries, from 0.
    pub fn choice(&self, identity: Identity, rank: usize) -> usize {
        // A single server is the common case, and a batch asks for every ballot.
        if self.addresses.len() == 1 { 0 } else { self.ranked(identity)[rank] }
    }

    /// The `rank`th server that is tried, from 0, when the first of all is to be `home`.
    pub fn from_home(&self, home: usize, rank: usize) -> usize {
        (home + rank) % self.addresses.len()
    }
}

/// The servers, in the order of the configuration.
pub struct Servers {
    keys: Keys,
    timeout: Duration,
    ranking: Ranking,
    all: Vec<Server>,
}

struct Server {
    address: Address,
    connection: Option<Connection>,
    /// The id of the server that the connection leads to, once somebody has asked.
    id: Option<ServerId>,
    /// Why it cannot be used at all, once that is known.
    unsupported: Option<String>,
    answered: Option<Instant>,
    resting: Option<(Instant, String)>,
}

impl Servers {
    /// The servers at `addresses`, each allowed `timeout` for all that one attempt asks of it. Nothing is
    /// opened yet.
    pub fn new(addresses: &[Address], keys: Keys, timeout: Duration) -> Servers {
        let server = |address: &Address| Server {
            address: address.clone(),
            connection: None,
            id: None,
            unsupported: None,
            answered: None,
            resting: None,
        };
        let ranking = Ranking { addresses: addresses.into() };
        Servers { keys, timeout, ranking, all: addresses.iter().map(server).collect() }
    }

    /// The keys of their queues.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In which order ballots try them.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Does `work` on a connection to a server, which is kept for the next time. All of it together may take
    /// one time-out.
    ///
    /// # Errors
    /// What `work` or the connection failed with; the server then rests. [`Error::Resting`] while it does.
    pub fn attempt<T>(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Connection, &Keys) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.attempt_on(index, |connection, keys, _| work(connection, keys))
    }

    /// The same, where `work` is also given the id of the server. That costs a round trip once per connection.
    ///
    /// # Errors
    /// As [`Servers::attempt`].
    pub fn attempt_with_id<T>(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Connection, &Keys, ServerId) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.attempt_on(index, |connection, keys, known| {
            let id = match *known {
                Some(id) => id,
                None => *known.insert(server_id(connection, keys)?),
            };
            work(connection, keys, id)
        })
    }

    fn attempt_on<T>(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Connection, &Keys, &mut Option<ServerId>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Servers { keys, timeout, all, .. } = self;
        let server = &mut all[index];
        if let Some((until, why)) = &server.resting {
            if Instant::now() < *until {
                return Err(Error::Resting { why: why.clone() });
            }
            server.resting = None;
        }
        let deadline = Instant::now() + *timeout;
        let done = server.connect(*timeout, deadline).and_then(|mut connection| {
            let done = work(&mut connection, keys, &mut server.id)?;
            server.connection = Some(connection);
            server.answered = Some(Instant::now());
            Ok(done)
        });
        if let Err(error) = &done {
            tracing::debug!("{error}; not tried again for {} s", REST.as_secs());
            if matches!(error, Error::NotSupported { .. }) {
                server.unsupported = Some(error.to_string());
            }
            server.resting = Some((Instant::now() + REST, error.to_string()));
        }
        done
    }

    /// What to report when a server turns out to have a ballot already under another address: both addresses.
    pub fn same_server(&self, index: usize) -> String {
        let Server { address, id, .. } = &self.all[index];
        let others = self.all.iter().enumerate().filter(|(other, server)| *other != index && server.id == *id);
        let other = others.map(|(_, server)| server.address.to_string()).next();
        one_server(&address.to_string(), &other.unwrap_or_else(|| "another of the addresses".into()))
    }

    /// The servers found to be of a kind that cannot be used, as errors' texts.
    pub fn unsupported(&self) -> Vec<String> {
        self.all.iter().filter_map(|server| server.unsupported.clone()).collect()
    }

    /// Stores values under their keys on every server, for good. A value that is there already is left alone: a server
    /// without memory to replace an item removes it. Returns what failed, one error per server.
    pub fn store_everywhere(&mut self, values: &[(String, Vec<u8>)]) -> Vec<Error> {
        let names: Vec<&str> = values.iter().map(|(key, _)| key.as_str()).collect();
        let store_all = |connection: &mut Connection, _: &Keys| {
            let stored = connection.get_all(&names)?;
            let other = values.iter().zip(stored).filter(|((_, value), stored)| stored.as_ref() != Some(value));
            other.map(|(value, _)| value).try_for_each(|(key, value)| connection.set(key, value, Lifetime::Forever))
        };
        (0..self.len()).filter_map(|index| self.attempt(index, store_all).err()).collect()
    }
}

impl Server {
    fn connect(&mut self, timeout: Duration, deadline: Instant) -> Result<Connection, Error> {
        if let Some(mut kept) = self.connection.take() {
            kept.set_deadline(Some(deadline));
            // A kept connection may have died since. Finding out before anything is asked is what allows a
            // second try; afterwards the outcome would be unknown. One that answered just now is not asked: a
            // voter pays for every round trip.
            if self.answered.is_some_and(|at| at.elapsed() < ALIVE) || kept.is_alive() {
                return Ok(kept);
            }
        }
        tracing::debug!("memcached {}: connecting", self.address);
        self.id = None;
        let mut connection = Connection::open(&self.address, timeout)?;
        connection.set_deadline(Some(deadline));
        Ok(connection)
    }
}

/// The sentence about two addresses of one server.
pub(super) fn one_server(address: &str, other: &str) -> String {
    format!(
        "memcached {address} and {other} are one server: it holds each ballot once, however many copies are asked for; name \
         each server once"
    )
}

/// Asks every server for its id, all at the same time, so that silent ones cost their time-outs once.
pub fn identify(addresses: &[Address], keys: &Keys, timeout: Duration) -> Vec<Result<ServerId, Error>> {
    let ask = |address: &Address| {
        let asked = Connection::open(address, timeout).and_then(|mut connection| server_id(&mut connection, keys));
        asked.map_err(|error| error.or_unsupported(timeout))
    };
    std::thread::scope(|scope| {
        let asks: Vec<_> = addresses.iter().map(|address| scope.spawn(move || ask(address))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Which addresses lead to a server that an earlier one leads to as well: pairs of indexes, the later one first. `None` stands
/// for a server that did not answer.
pub fn repeated(ids: &[Option<ServerId>]) -> Vec<(usize, usize)> {
    let first = |index: usize| ids[..index].iter().position(|id| id.is_some() && *id == ids[index]);
    (1..ids.len()).filter_map(|index| Some((index, first(index)?))).collect()
}

/// Refuses servers of a kind that cannot be used. One that is down is none of these.
///
/// # Errors
/// [`Error::NotSupported`] of the first such server.
pub fn check_kinds(addresses: &[Address], keys: &Keys, timeout: Duration) -> Result<(), Error> {
    let unsupported = |error: &Error| matches!(error, Error::NotSupported { .. });
    identify(addresses, keys, timeout.min(CHECK_TIMEOUT))
        .into_iter()
        .filter_map(Result::err)
        .find(unsupported)
        .map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Prefix;

    fn servers(names: &[&str]) -> Servers {
        let addresses: Vec<_> = names.iter().map(|name| Address::new(name).unwrap()).collect();
        Servers::new(&addresses, Keys::new(Prefix::new("p").unwrap()), Duration::from_millis(1))
    }

    #[test]
    fn every_server_is_ranked_once_and_the_load_spreads() {
        let servers = servers(&["a:1", "b:1", "c:1"]);
        let mut firsts = [0; 3];
        for number in 0..3000u128 {
            let mut order = servers.ranking().ranked(Identity(number.to_be_bytes()));
            firsts[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
        assert!(firsts.iter().all(|count| (900..1100).contains(count)), "{firsts:?}");
    }

    #[test]
    fn addresses_with_one_id_are_one_server() {
        let id = |value| Some(ServerId::new(value));
        assert_eq!(repeated(&[id(1), id(2), None, id(3), None]), []);
        assert_eq!(repeated(&[id(1), id(2), id(1), id(2), id(1)]), [(2, 0), (3, 1), (4, 0)]);
    }

    #[test]
    fn losing_a_server_moves_only_its_own_ballots() {
        let (all, fewer) = (servers(&["a:1", "b:1", "c:1"]), servers(&["a:1", "b:1"]));
        for number in 0..1000u128 {
            let identity = Identity(number.to_be_bytes());
            let without_c: Vec<_> = all.ranking().ranked(identity).into_iter().filter(|index| *index != 2).collect();
            assert_eq!(without_c, fewer.ranking().ranked(identity));
        }
    }
}
