//! The memcached servers of a site: in which order a ballot tries them, and what is known of each.
//!
//! Each server holds a complete queue of its own, so no key is ever re-hashed. A ballot's identity ranks the
//! servers by rendezvous hashing (Thaler and Ravishankar, 1998): every process ranks alike, the load spreads
//! evenly, and when a server fails only its own ballots move, each to its own next choice.
//!
//! A server that failed rests for a while before it is tried again, so that a dead one costs a long-lived
//! process its time-out now and then and not with every vote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::queue::{Address, Connection, Error, Keys, Lifetime};

use super::ballot::Identity;

/// How long a server that failed is left alone: longer than a voter waits for a database that does not answer
/// either, so that no vote pays twice for one server.
const REST: Duration = Duration::from_secs(5);

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
    answered: Option<Instant>,
    resting: Option<(Instant, String)>,
}

impl Servers {
    /// The servers at `addresses`, each allowed `timeout` for all that one attempt asks of it. Nothing is
    /// opened yet.
    pub fn new(addresses: &[Address], keys: Keys, timeout: Duration) -> Servers {
        let server =
            |address: &Address| Server { address: address.clone(), connection: None, answered: None, resting: None };
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
            let done = work(&mut connection, keys)?;
            server.connection = Some(connection);
            server.answered = Some(Instant::now());
            Ok(done)
        });
        if let Err(error) = &done {
            tracing::debug!("{error}; not tried again for {} s", REST.as_secs());
            server.resting = Some((Instant::now() + REST, error.to_string()));
        }
        done
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
        let mut connection = Connection::open(&self.address, timeout)?;
        connection.set_deadline(Some(deadline));
        Ok(connection)
    }
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
    fn losing_a_server_moves_only_its_own_ballots() {
        let (all, fewer) = (servers(&["a:1", "b:1", "c:1"]), servers(&["a:1", "b:1"]));
        for number in 0..1000u128 {
            let identity = Identity(number.to_be_bytes());
            let without_c: Vec<_> = all.ranking().ranked(identity).into_iter().filter(|index| *index != 2).collect();
            assert_eq!(without_c, fewer.ranking().ranked(identity));
        }
    }
}
