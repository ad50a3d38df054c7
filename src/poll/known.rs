//! Queues that the database knows, from earlier flushes: which of them no flush of this configuration reads, and whether
//! something waits there.
//!
//! A server that was taken off the list, or another prefix, leaves a queue behind. Nobody would hear of what is in it, but
//! the database has a row of every queue that was ever flushed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::queue::{self, Address, Connection, Keys, Prefix, ServerId, Ticket, known_server_id};
use crate::store::QueueRow;

use super::waiting::Waiting;

/// How many addresses are asked: those flushed last. Each costs a time-out if nobody answers there, all at the same time.
const ADDRESSES_MAX: usize = 32;

/// A queue that was flushed into the database before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownQueue {
    /// What its keys begin with.
    pub prefix: Prefix,
    /// The id of its server, if it is known.
    pub server_id: Option<ServerId>,
    /// Where the server was reached.
    pub address: Option<Address>,
    /// The last ticket whose entry is in the database.
    pub head: Ticket,
    /// When that was written, in milliseconds of Unix time.
    pub flushed_at_ms: i64,
}

impl KnownQueue {
    /// Reads a row of the database, which is named `PREFIX@ID` or `PREFIX@ADDRESS`.
    pub fn of_row(row: &QueueRow) -> Option<KnownQueue> {
        let (prefix, server) = row.name.split_once('@')?;
        let server_id = ServerId::parse(server);
        Some(KnownQueue {
            prefix: Prefix::new(prefix).ok()?,
            server_id,
            address: Address::new(&row.server).ok(),
            head: Ticket::from_counter(row.head.unsigned_abs()),
            flushed_at_ms: row.flushed_at_ms,
        })
    }

    /// Whether it is the queue with these keys of the server with this id, or, if its row names none, at this address.
    pub fn is_of(&self, keys: &Keys, address: &Address, id: Option<ServerId>) -> bool {
        self.prefix == *keys.prefix()
            && match self.server_id {
                Some(own) => id == Some(own),
                None => self.address.as_ref() == Some(address),
            }
    }
}

/// A queue in which something waits and that no flush of this configuration reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stranded {
    /// What its keys begin with.
    pub prefix: String,
    /// Where its server is.
    pub server: String,
    /// The server's id, if it has one.
    pub server_id: Option<String>,
    /// Tickets handed out and not flushed: at most so many entries wait.
    pub depth: u64,
    /// How long the first entry has waited, in milliseconds; if it names no time, how long ago the queue was flushed.
    pub oldest_ms: i64,
}

/// Looks for entries in the known queues that are not those of `keys` on the servers at `addresses`, of which `ids` have
/// answered. A server that does not answer is passed over: it may have been taken off for good.
pub(super) fn stranded(
    known: &[KnownQueue],
    addresses: &[Address],
    ids: &[ServerId],
    keys: &Keys,
    timeout: Duration,
) -> Vec<Stranded> {
    let mut by_address: BTreeMap<&Address, Vec<&KnownQueue>> = BTreeMap::new();
    for queue in known {
        let configured = queue.prefix == *keys.prefix()
            && (queue.server_id.is_some_and(|id| ids.contains(&id))
                || queue.address.as_ref().is_some_and(|address| addresses.contains(address)));
        if let Some(address) = queue.address.as_ref().filter(|_| !configured) {
            by_address.entry(address).or_default().push(queue);
        }
    }
    let mut groups: Vec<_> = by_address.into_iter().collect();
    let latest = |queues: &[&KnownQueue]| queues.iter().map(|queue| queue.flushed_at_ms).max();
    groups.sort_by_key(|(_, queues)| std::cmp::Reverse(latest(queues)));
    groups.truncate(ADDRESSES_MAX);
    let found = std::thread::scope(|scope| {
        let looks: Vec<_> = groups
            .into_iter()
            .map(|(address, queues)| scope.spawn(move || of_address(address, &queues, ids, keys, timeout)))
            .collect();
        let joined = looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Vec<_>>()
    });
    found
        .into_iter()
        .flat_map(|found| {
            found.unwrap_or_else(|error| {
                tracing::debug!("{error}; whether something waits there is not known");
                Vec::new()
            })
        })
        .collect()
}

fn of_address(
    address: &Address,
    queues: &[&KnownQueue],
    ids: &[ServerId],
    own: &Keys,
    timeout: Duration,
) -> Result<Vec<Stranded>, queue::Error> {
    let mut connection = Connection::open(address, timeout)?;
    let mut found = Vec::new();
    for queue in queues {
        let keys = Keys::new(queue.prefix.clone());
        let id = known_server_id(&mut connection, &keys)?;
        // Another server by now, or one of those configured under another name.
        let is_other = queue.server_id.is_some() && queue.server_id != id;
        let is_own = queue.prefix == *own.prefix() && id.is_some_and(|id| ids.contains(&id));
        if is_other || is_own {
            continue;
        }
        let waiting = Waiting::look(&mut connection, &keys, Some(queue.head))?;
        if let Some(at) = waiting.first {
            found.push(Stranded {
                prefix: queue.prefix.as_str().into(),
                server: address.to_string(),
                server_id: id.map(|id| id.to_string()),
                depth: waiting.depth,
                oldest_ms: (super::now_ms() - at.unwrap_or(queue.flushed_at_ms)).max(0),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, server: &str) -> Option<KnownQueue> {
        let (name, server, slots) = (name.into(), server.into(), String::new());
        KnownQueue::of_row(&QueueRow { name, server, head: 7, slots, missing: 0, flushed_at_ms: 9 })
    }

    #[test]
    fn a_row_is_read_by_address_and_by_id() {
        let by_address = row("poll-queue@10.0.0.1:11211", "10.0.0.1:11211").unwrap();
        assert_eq!((by_address.server_id, by_address.address), (None, Some(Address::new("10.0.0.1:11211").unwrap())));
        let by_id = row("poll-queue@00000000000000ff", "unix:/a@b").unwrap();
        assert_eq!(by_id.server_id, Some(ServerId::new(255)));
        assert_eq!(by_id.address, Some(Address::new("unix:/a@b").unwrap()));
        assert_eq!(row("no server", ""), None);
    }
}
