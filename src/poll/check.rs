//! Which of a status needs a person: the limits, and what is beyond them.
//!
//! It refuses to alarm for what mends itself with the next flush (a lock that a dead script holds) and for what is a
//! choice (a memcached without `-M`): an alarm that is passed over is worse than none.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::status::{ServerStatus, Status};

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

fn of_server(server: &ServerStatus, limits: &Limits, wanted: bool, found: &mut Vec<Problem>) {
    let name = &server.server;
    let mut problem = |kind, message: String| found.push(Problem { kind, server: Some(name.clone()), message });
    if let Some(error) = &server.error {
        problem(Kind::ServerDown, error.clone());
        return;
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
            copies: 1,
            copies_possible: 1,
            database_error: None,
            open_polls: Some(1),
            spool_error: None,
            spool_files: Some(0),
            spool_oldest_ms: None,
            dead_letters: Some(0),
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
