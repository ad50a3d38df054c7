//! A connection that is set up as weir needs it, to the first host that can be used.
//!
//! Every setting that a statement of weir relies on is set here, whatever the server's defaults, its `init_connect` or an
//! operator's choice. All of it is one round trip, the one that the driver would need to ask for the packet size.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, Row};

use crate::failpoint;

use super::Cause;
use super::mysql_batch::PACKET_MIN;
use super::mysql_error::{HostError, NoHost, TriedHost, is_unknown_variable};
use super::mysql_url::MysqlUrl;

/// How long a statement may wait for a lock, in seconds, at most. Less where the caller waits less.
const LOCK_WAIT_MAX: u64 = 5;

/// A connection ready for work, and what is known of its server.
pub(super) struct Session {
    connection: Conn,
    /// The host in the URL's list.
    pub(super) host: usize,
    /// It is a node of a Galera cluster.
    pub(super) cluster: bool,
    /// It takes arrays of rows. Never on Galera: see `mysql_transaction`.
    pub(super) bulk: bool,
}

impl Deref for Session {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.connection
    }
}

/// Connects to the first host that takes writes, beginning with the last one that did. `timeout` bounds each answer, and
/// the hosts share it.
pub(super) fn connect(url: &MysqlUrl, timeout: Duration) -> Result<Session, Cause> {
    let mut tried = Vec::new();
    for host in url.order() {
        match guarded(|| connect_to(url, host, timeout)) {
            Ok(session) => {
                url.prefer(host);
                return Ok(session);
            }
            Err(cause) if url.len() == 1 => return Err(cause),
            Err(cause) => tried.push(TriedHost::new(url.host(host), cause)),
        }
    }
    Err(NoHost(tried).into())
}

/// Calls the driver. A malformed packet of the server can make it panic (it indexes packets unchecked); that becomes an error
/// like any other. The connection is unusable after it.
pub(super) fn guarded<T, E: Into<Cause>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, Cause> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(E::into),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(HostError::Unreadable(text).into())
        }
    }
}

fn connect_to(url: &MysqlUrl, host: usize, timeout: Duration) -> Result<Session, Cause> {
    let mut connection = Conn::new(url.options(host, timeout)?)?;
    let (server, cluster) = set_up(&mut connection, timeout)?;
    let field = |index: usize| server.get_opt::<String, _>(index).and_then(Result::ok).unwrap_or_default();
    let (version, packet, read_only) = (field(0), field(1).parse().unwrap_or(0_u64), field(2));
    if !["0", "OFF", ""].contains(&read_only.as_str()) {
        // Also for a user who may write all the same: on a replica, that write is lost or breaks the replication.
        return Err(HostError::ReadOnly.into());
    }
    if cluster {
        let ready: Option<(String, String)> = connection.query_first("SHOW STATUS LIKE 'wsrep_ready'")?;
        if let Some((_, value)) = ready.filter(|(_, value)| value != "ON") {
            return Err(HostError::NotReady(value).into());
        }
    }
    let bulk = version.contains("MariaDB") && packet >= PACKET_MIN && (!cluster || failpoint::bulk_is_forced());
    Ok(Session { connection, host, cluster, bulk })
}

/// Sets what weir relies on. Returns the server's version, packet limit and `read_only`, and whether it is a Galera node.
///
/// - `REPEATABLE READ`, `READ WRITE`, `autocommit`, `completion_type` (with `CHAIN` a commit would begin another transaction):
///   how transactions run.
/// - `sql_mode`: strict, so that no value is truncated. `NAMES`: `init_connect` may have changed it. `sql_select_limit`: a
///   truncated list would look complete. `sql_safe_updates` would refuse updates. One time zone for all hosts.
/// - Lock waits end before the caller gives up, so that the server reports them.
/// - `wsrep_sync_wait`: reads and writes see what other nodes committed before. It comes last: a server without Galera does not
///   know `wsrep_on`, answers with an error, and runs nothing after it.
fn set_up(connection: &mut Conn, timeout: Duration) -> Result<(Row, bool), Cause> {
    let lock_wait = (timeout.as_secs() / 3).clamp(1, LOCK_WAIT_MAX);
    let mut rows = Vec::new();
    let mut results = connection.query_iter(format!(
        "SET NAMES utf8mb4;\
         SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE;\
         SET SESSION autocommit=1, completion_type=0, sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         sql_select_limit=9223372036854775807, sql_safe_updates=0, time_zone='+00:00', \
         innodb_lock_wait_timeout={lock_wait}, lock_wait_timeout={lock_wait};\
         SELECT VERSION(), @@max_allowed_packet, @@read_only;\
         SELECT @@wsrep_on;\
         SET SESSION wsrep_sync_wait=7, wsrep_dirty_reads=0"
    ))?;
    while let Some(result) = results.iter() {
        for row in result {
            match row {
                Ok(row) => rows.push(row),
                Err(error) if is_unknown_variable(&error) && rows.len() == 1 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let mut rows = rows.into_iter();
    let server = rows.next().ok_or("the server does not return its version")?;
    let wsrep_on = rows.next().and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok);
    Ok((server, wsrep_on.is_some_and(|value| value != "0")))
}
