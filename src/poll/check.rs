//! Which of a status needs a person: the limits, and what is beyond them.
//!
//! It reports no problem for a lock that a legacy writer left held, which holds up nobody for more than a second, and none
//! for what is a choice (a memcached without `-M`): an alarm that is passed over is worse than none.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::known::Stranded;
use super::servers::one_server;
use super::status::{Missing, ServerStatus, Status};

/// Up to where all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries waiting on one server.
    pub depth: u64,
    /// How long an entry or a spooled file may wait.
    pub age: Duration,
    /// How long no flush may come to the end of a server's queue while something waits or a poll is open.
    pub silence: Duration,
    /// Items that a server may have evicted since it started.
    pub evictions: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    ServerDown,
    DatabaseDown,
    Spool,
    WrongSettings,
    Missing,
    SeveralServers,
    OneServer,
    Stranded,
    Memory,
    Evictions,
    Silence,
    Age,
    Depth,
    DeadLetters,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is about.
    pub kind: Kind,
    /// The server, if it is about one.
    pub server: Option<String>,
    /// One line that names it.
    pub message: String,
}

/// Everything beyond its limit: what is down first, then what may be lost, then what is late.
pub fn problems(status: &Status, limits: &Limits) -> Vec<Problem> {
    let mut found = Vec::new();
    let general = |kind, message: String| Problem { kind, server: None, message };
    if let Some(error) = &status.database_error {
        found.push(general(Kind::DatabaseDown, error.clone()));
    }
    if let Some(error) = &status.spool_error {
        found.push(general(Kind::Spool, error.clone()));
    }
    // When the database cannot tell, a flush is taken to be wanted.
    let wanted = status.open_polls != Some(0) || status.spool_files.is_some_and(|files| files > 0);
    for server in &status.servers {
        of_server(server, limits, wanted, &mut found);
    }
    for (server, message) in repeated_servers(status) {
        found.push(Problem { kind: Kind::OneServer, server: Some(server), message });
    }
    for setting in &status.wrong_settings {
        found.push(general(Kind::WrongSettings, setting.clone()));
    }
    for missing in &status.missing {
        let server = Some(missing.server.clone());
        found.push(Problem { kind: Kind::Missing, server, message: missing_text(missing) });
    }
    for queue in status.stranded.iter().filter(|queue| of_ms(queue.oldest_ms) > limits.age) {
        let server = Some(queue.server.clone());
        found.push(Problem { kind: Kind::Stranded, server, message: stranded_text(queue) });
    }
    let waiting = status.spool_oldest_ms.map(of_ms).filter(|age| *age > limits.age);
    if let (Some(age), Some(files)) = (waiting, status.spool_files) {
        let limit = text(limits.age);
        let message =
            format!("spool: {files} files wait, the oldest for {} (limit {limit}): does flush run?", text(age));
        found.push(general(Kind::Spool, message));
    }
    if let Some(letters) = status.dead_letters.filter(|letters| *letters > limits.dead_letters) {
        let message = format!(
            "{letters} dead letters (limit {}): see \"weir poll dead-letters list\", then retry or drop them",
            limits.dead_letters
        );
        found.push(general(Kind::DeadLetters, message));
    }
    found.sort_by_key(|problem| problem.kind as u8);
    found
}

/// What there is to report of entries that are missing.
pub fn missing_text(missing: &Missing) -> String {
    let Missing { queue, server, entries } = missing;
    format!(
        "queue {queue} (memcached {server}): the database went back to an earlier state, and {entries} entries are \
         missing from it; restore a later backup, or accept the loss with \"weir poll status --clear-missing\""
    )
}

fn of_server(server: &ServerStatus, limits: &Limits, wanted: bool, found: &mut Vec<Problem>) {
    let name = &server.server;
    let mut problem = |kind, message: String| found.push(Problem { kind, server: Some(name.clone()), message });
    if let Some(error) = &server.error {
        problem(Kind::ServerDown, error.clone());
        return;
    }
    if let Some(message) = several_servers(server) {
        problem(Kind::SeveralServers, message);
    }
    if let Some(message) = no_memory(server) {
        problem(Kind::Memory, message);
    }
    if let Some(evictions) = server.evictions.filter(|evictions| *evictions > limits.evictions) {
        let limit = limits.evictions;
        let message = format!(
            "memcached {name}: {evictions} items evicted since it started (limit {limit}): votes may be lost; give it \
             more memory and -M"
        );
        problem(Kind::Evictions, message);
    }
    let waits = server.depth.is_some_and(|depth| depth > 0);
    let up = Duration::from_secs(server.uptime_seconds.unwrap_or_default());
    let limit = text(limits.silence);
    match server.since_flush_ms.map(of_ms) {
        _ if !wanted && !waits => {}
        Some(since) if since > limits.silence => {
            let since = text(since);
            problem(Kind::Silence, format!("memcached {name}: no flush for {since} (limit {limit}): does it run?"));
        }
        None if up > limits.silence => {
            let up = text(up);
            problem(
                Kind::Silence,
                format!("memcached {name}: up for {up} and never flushed (limit {limit}): does flush run?"),
            );
        }
        _ => {}
    }
    if let Some(age) = server.oldest_ms.map(of_ms).filter(|age| *age > limits.age) {
        let (age, limit) = (text(age), text(limits.age));
        problem(Kind::Age, format!("memcached {name}: the oldest entry has waited for {age} (limit {limit})"));
    }
    if let Some(depth) = server.depth.filter(|depth| *depth > limits.depth) {
        problem(Kind::Depth, format!("memcached {name}: {depth} entries wait (limit {})", limits.depth));
    }
}

/// Addresses of servers that are named by an earlier address already, each with its message.
pub fn repeated_servers(status: &Status) -> Vec<(String, String)> {
    let named = |server: &&ServerStatus| server.server_id.is_some();
    let mut repeated = Vec::new();
    for (index, server) in status.servers.iter().enumerate().filter(|(_, server)| named(server)) {
        if let Some(first) = status.servers[..index].iter().find(|first| first.server_id == server.server_id) {
            repeated.push((server.server.clone(), one_server(&server.server, &first.server)));
        }
    }
    repeated
}

/// What to report of an address that leads to several servers.
pub fn several_servers(server: &ServerStatus) -> Option<String> {
    let id = server.server_id.as_ref().filter(|_| !server.further_ids.is_empty())?;
    Some(format!(
        "memcached {}: several servers answer at this address (ids {id}, {}): a flush may miss votes that went to \
         another; name each server by an address of its own",
        server.server,
        server.further_ids.join(", ")
    ))
}

/// What to report of a server that had no memory for a vote just now. Its counter of refusals decides nothing: it stays when
/// there is memory again.
pub fn no_memory(server: &ServerStatus) -> Option<String> {
    (server.takes_votes == Some(false)).then(|| {
        format!(
            "memcached {} refuses votes for want of memory ({} refused since it started): flush more often, or give it \
             more memory (-m); until then votes go to another server or to the database",
            server.server,
            server.no_memory.unwrap_or_default()
        )
    })
}

/// What to report of a queue that no flush of this configuration reads.
pub fn stranded_text(queue: &Stranded) -> String {
    let Stranded { prefix, server, depth, oldest_ms, .. } = queue;
    let id = queue.server_id.as_ref().map(|id| format!(" (server {id})")).unwrap_or_default();
    format!(
        "memcached {server}{id}: {depth} entries wait under the prefix {prefix}, the first for {}, and no flush with \
         these settings reads them: run once \"weir poll flush --memcached {server} --prefix {prefix} --copies 1\"",
        text(of_ms(*oldest_ms))
    )
}

fn of_ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// `1h 5m 3s`.
fn text(duration: Duration) -> String {
    let whole = SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    format!("{whole:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let minute = Duration::from_secs(60);
        Limits { depth: 100, age: minute, silence: 10 * minute, evictions: 0, dead_letters: 0 }
    }

    fn server() -> ServerStatus {
        ServerStatus {
            server: "a:1".into(),
            server_id: Some("1".into()),
            further_ids: Vec::new(),
            takes_votes: Some(true),
            no_memory: Some(0),
            too_large: Some(0),
            error: None,
            depth: Some(0),
            oldest_ms: None,
            locked: Some(false),
            lock: None,
            used_bytes: Some(1),
            limit_bytes: Some(2),
            evictions: Some(0),
            may_evict: Some(true),
            uptime_seconds: Some(1_000_000),
            flushed_at: None,
            since_flush_ms: Some(1000),
        }
    }

    fn status() -> Status {
        Status {
            servers: vec![server()],
            stranded: Vec::new(),
            copies: 1,
            copies_possible: 1,
            database_error: None,
            open_polls: Some(1),
            spool_error: None,
            spool_files: Some(0),
            spool_oldest_ms: None,
            dead_letters: Some(0),
            wrong_settings: Vec::new(),
            missing: Vec::new(),
        }
    }

    fn kinds(status: &Status) -> Vec<Kind> {
        problems(status, &limits()).iter().map(|problem| problem.kind).collect()
    }

    fn with(change: impl FnOnce(&mut Status)) -> Vec<Kind> {
        let mut status = status();
        change(&mut status);
        kinds(&status)
    }

    #[test]
    fn a_limit_is_well_and_one_more_is_not() {
        assert_eq!(kinds(&status()), []);
        assert_eq!(with(|status| status.servers[0].depth = Some(100)), []);
        assert_eq!(with(|status| status.servers[0].depth = Some(101)), [Kind::Depth]);
        assert_eq!(with(|status| status.servers[0].oldest_ms = Some(60_000)), []);
        assert_eq!(with(|status| status.servers[0].oldest_ms = Some(60_001)), [Kind::Age]);
        assert_eq!(with(|status| status.servers[0].evictions = Some(1)), [Kind::Evictions]);
        assert_eq!(with(|status| status.dead_letters = Some(1)), [Kind::DeadLetters]);
        assert_eq!(with(|status| status.servers[0].since_flush_ms = Some(600_001)), [Kind::Silence]);
        let spooled =
            |age| move |status: &mut Status| (status.spool_files, status.spool_oldest_ms) = (Some(1), Some(age));
        assert_eq!(with(spooled(60_000)), []);
        assert_eq!(with(spooled(60_001)), [Kind::Spool]);
    }

    #[test]
    fn a_refusal_of_now_is_a_problem_and_one_of_before_is_not() {
        assert_eq!(with(|status| status.servers[0].no_memory = Some(1000)), []);
        let refuses = |status: &mut Status| {
            (status.servers[0].takes_votes, status.servers[0].no_memory) = (Some(false), Some(1000));
        };
        assert_eq!(with(refuses), [Kind::Memory]);
        let mut full = status();
        refuses(&mut full);
        assert!(problems(&full, &limits())[0].message.contains("memcached a:1 refuses votes for want of memory (1000"));
    }

    #[test]
    fn servers_and_addresses_go_one_to_one() {
        assert_eq!(with(|status| status.servers[0].further_ids = vec!["2".into()]), [Kind::SeveralServers]);
        let second = |id: Option<&str>| {
            let id = id.map(Into::into);
            move |status: &mut Status| {
                status.servers.push(ServerStatus { server: "b:1".into(), server_id: id, ..server() });
            }
        };
        assert_eq!(with(second(Some("1"))), [Kind::OneServer]);
        assert_eq!(with(second(Some("2"))), []);
        assert_eq!(with(second(None)), []);
    }

    #[test]
    fn a_stranded_queue_is_a_problem_once_it_is_old() {
        let left = |oldest_ms| {
            move |status: &mut Status| {
                let (prefix, server) = ("other".into(), "c:1".into());
                status.stranded.push(Stranded { prefix, server, server_id: None, depth: 3, oldest_ms });
            }
        };
        assert_eq!(with(left(60_000)), []);
        assert_eq!(with(left(60_001)), [Kind::Stranded]);
    }

    #[test]
    fn what_is_down_is_told_first() {
        let down = with(|status| {
            status.dead_letters = Some(1);
            (status.servers[0].error, status.database_error) = (Some("gone".into()), Some("gone".into()));
            status.spool_error = Some("gone".into());
        });
        assert_eq!(down, [Kind::ServerDown, Kind::DatabaseDown, Kind::Spool, Kind::DeadLetters]);
    }

    #[test]
    fn silence_is_well_where_no_flush_is_wanted_and_on_a_server_that_has_just_started() {
        let silent = |polls, depth, since, up| {
            with(|status| {
                status.open_polls = polls;
                let server = &mut status.servers[0];
                (server.depth, server.since_flush_ms, server.uptime_seconds) = (Some(depth), since, Some(up));
            })
        };
        let long = Some(601_000);
        assert_eq!(silent(Some(0), 0, long, 9999), []);
        assert_eq!(silent(Some(0), 1, long, 9999), [Kind::Silence]);
        assert_eq!(silent(None, 0, long, 9999), [Kind::Silence]);
        assert_eq!(silent(Some(1), 0, None, 9999), [Kind::Silence]);
        assert_eq!(silent(Some(1), 1, None, 600), []);
    }
}
