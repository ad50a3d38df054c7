//! Polls: ballots come in through memcached, go out into SQL, and each is counted exactly once.
//!
//! | file | job |
//! |---|---|
//! | [`ballot`] | what a valid poll, voter and ballot is; identities; why a vote is refused |
//! | [`wire`] | the bytes of a queue entry: one JSON object a line |
//! | [`servers`] | the memcached servers: ranking, connections, resting the dead |
//! | [`database`] | the database as voters use it: opened late, rested after a failure |
//! | [`definition`] | poll definitions kept in memcached, refilled by one process at a time |
//! | [`owner`] | a queue belongs to one database |
//! | [`secret`] | the voter secret of a process, and whether it is that of the polls |
//! | [`site`] | where a site's polls live, as one value to make the others from |
//! | [`vote`] | the way in: queue, else database, else spool |
//! | `pending` | votes on their way into the queue of one server |
//! | `moment` | what votes that are cast together share |
//! | [`batcher`] | many callers at once: what has gathered is cast together |
//! | [`life`] | whether a thread that takes up work still does, and keeps a panic from ending it |
//! | [`spool`] | ballots on disk, for when everything else is down |
//! | [`judge`] | a ballot found in a queue: row or dead letter |
//! | `read_ahead` | a queue's entries, read and judged while the database writes |
//! | [`slot_map`] | which slots up to a queue's head are kept, and which are holes |
//! | [`drain`] | one queue into the database, a chunk at a time |
//! | [`pulse`] | "stop after this chunk" and "something has moved", between a flush and who started it |
//! | [`flush`] | all queues at once, the spool, then fresh definitions and totals |
//! | [`results`] | totals, from memcached or the database |
//! | [`shown`] | a poll's definition as readers of JSON see it |
//! | [`turnout`] | how many voted when, kept in memcached beside the totals |
//! | [`status`] | depth, age, health: what an operator looks at |
//! | [`known`] | queues that the database knows and no flush of this configuration reads |
//! | `waiting` | what waits in a queue, looked at |
//! | [`check`] | which of it needs a person |
//! | [`dead_letters`] | what could not be read, judged again or thrown away |
//!
//! # The promise
//! (poll, identity) is the key of a ballot everywhere, so a ballot that arrives twice, by whatever road, counts
//! once, and a voter's first flushed ballot stands. A ballot that was acknowledged is in a queue, in the
//! database or in a synced file, and stays there until the database has it.
//!
//! It refuses to guess: a ballot that names no known poll or choice becomes a dead letter with its bytes, never
//! silently nothing.

pub mod ballot;
pub mod batcher;
pub mod check;
pub mod database;
pub mod dead_letters;
pub mod definition;
pub mod drain;
pub mod flush;
pub mod judge;
pub mod known;
pub mod life;
mod moment;
pub mod owner;
mod pending;
pub mod pulse;
mod read_ahead;
pub mod results;
pub mod secret;
pub mod servers;
pub mod shown;
pub mod site;
pub mod slot_map;
pub mod spool;
pub mod status;
pub mod turnout;
pub mod vote;
mod waiting;
pub mod wire;

/// Now, in milliseconds of Unix time.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
