//! Numbers for a monitor, in the text format of Prometheus: counted while serving, the queues' own looked up when asked.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::poll::ballot::Refusal;
use crate::poll::status::Status;
use crate::poll::vote::Place;

/// Why a vote was not taken, as the label of its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    UnknownPoll,
    Closed,
    BadPick,
    AlreadyVoted,
    UnderWay,
    Busy,
    NotTaken,
    Unknown,
    BadRequest,
    OtherOrigin,
    TooMany,
}

impl Reason {
    const ALL: [(Reason, &str); 11] = [
        (Reason::UnknownPoll, "unknown_poll"),
        (Reason::Closed, "closed"),
        (Reason::BadPick, "bad_pick"),
        (Reason::AlreadyVoted, "already_voted"),
        (Reason::UnderWay, "under_way"),
        (Reason::Busy, "busy"),
        (Reason::NotTaken, "not_taken"),
        (Reason::Unknown, "unknown_outcome"),
        (Reason::BadRequest, "bad_request"),
        (Reason::OtherOrigin, "other_origin"),
        (Reason::TooMany, "too_many"),
    ];

    pub(super) fn of(refusal: &Refusal) -> Reason {
        match refusal {
            Refusal::UnknownPoll(_) => Reason::UnknownPoll,
            Refusal::Closed { .. } => Reason::Closed,
            Refusal::AlreadyVoted(_) => Reason::AlreadyVoted,
            Refusal::UnderWay(_) => Reason::UnderWay,
            Refusal::OtherSecret { .. } | Refusal::OtherDatabase(_) => Reason::NotTaken,
            Refusal::UnknownChoice { .. }
            | Refusal::TooManyPicks { .. }
            | Refusal::NoPick(_)
            | Refusal::RepeatedPick { .. } => Reason::BadPick,
        }
    }

    /// Its name, which the JSON interface uses as well.
    pub(super) fn name(self) -> &'static str {
        Reason::ALL.iter().find(|(reason, _)| *reason == self).map_or("other", |(_, name)| name)
    }
}

/// The upper ends of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

#[derive(Default)]
pub(super) struct Metrics {
    votes: [AtomicU64; 3],
    refused: [AtomicU64; Reason::ALL.len()],
    answers: [AtomicU64; 4],
    latency: [AtomicU64; BUCKETS_MS.len()],
    latency_count: AtomicU64,
    latency_micros: AtomicU64,
    pub connections: AtomicU64,
    pub listeners: AtomicU64,
}

/// What the built-in flusher has done so far.
#[derive(Default)]
pub(super) struct Flushed {
    pub ballots: AtomicU64,
    pub counted: AtomicU64,
    pub failures: AtomicU64,
    /// When a flush last ended well, in milliseconds of Unix time.
    pub at_ms: AtomicU64,
}

impl Metrics {
    pub(super) fn taken(&self, place: Place, after: Duration) {
        let place = match place {
            Place::Queued => 0,
            Place::Stored => 1,
            Place::Spooled => 2,
        };
        count(self.votes.get(place));
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        count(BUCKETS_MS.iter().position(|end| micros <= end * 1000).and_then(|bucket| self.latency.get(bucket)));
        self.latency_count.fetch_add(1, Ordering::Relaxed);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reason: Reason) {
        count(Reason::ALL.iter().position(|(one, _)| *one == reason).and_then(|index| self.refused.get(index)));
    }

    pub(super) fn answered(&self, status: u16) {
        count(self.answers.get(usize::from(status / 100).saturating_sub(2)));
    }

    /// Everything as text; `status` and `flushed` where there is one.
    pub(super) fn text(
        &self,
        waiting: usize,
        status: Option<&Status>,
        flushed: Option<&Flushed>,
        now_ms: i64,
    ) -> String {
        let mut text = Text(String::with_capacity(4096));
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        text.head("weir_votes_total", "counter", "Votes acknowledged, by the place they are in.");
        for (place, counter) in ["queued", "stored", "spooled"].iter().zip(&self.votes) {
            text.line("weir_votes_total", &format!("way=\"{place}\""), of(counter));
        }
        text.head("weir_votes_refused_total", "counter", "Votes not taken, by reason.");
        for ((_, name), counter) in Reason::ALL.iter().zip(&self.refused) {
            text.line("weir_votes_refused_total", &format!("reason=\"{name}\""), of(counter));
        }
        text.head("weir_vote_seconds", "histogram", "Time from a request to the acknowledgement of its vote.");
        let mut sum = 0;
        for (end, counter) in BUCKETS_MS.iter().zip(&self.latency) {
            sum += of(counter);
            text.line("weir_vote_seconds_bucket", &format!("le=\"{}\"", *end as f64 / 1e3), sum);
        }
        text.line("weir_vote_seconds_bucket", "le=\"+Inf\"", of(&self.latency_count));
        text.line("weir_vote_seconds_sum", "", of(&self.latency_micros) as f64 / 1e6);
        text.line("weir_vote_seconds_count", "", of(&self.latency_count));
        text.head("weir_http_answers_total", "counter", "Answers, by class of status code.");
        for (class, counter) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(&self.answers) {
            text.line("weir_http_answers_total", &format!("class=\"{class}\""), of(counter));
        }
        text.gauge("weir_connections", "Open connections.", of(&self.connections));
        text.gauge("weir_listeners", "Connections that follow results live.", of(&self.listeners));
        text.gauge("weir_votes_waiting", "Votes that wait to be written with the next entry.", waiting);
        if let Some(status) = status {
            text.of_status(status);
        }
        if let Some(flushed) = flushed {
            text.head("weir_flushed_ballots_total", "counter", "Ballots that the built-in flusher read.");
            text.line("weir_flushed_ballots_total", "", of(&flushed.ballots));
            text.head("weir_flush_counted_total", "counter", "Ballots that were new among them.");
            text.line("weir_flush_counted_total", "", of(&flushed.counted));
            text.head("weir_flush_failures_total", "counter", "Flushes of the built-in flusher that failed.");
            text.line("weir_flush_failures_total", "", of(&flushed.failures));
            let lag_ms = now_ms.unsigned_abs().saturating_sub(of(&flushed.at_ms));
            text.gauge("weir_flush_lag_seconds", "Time since a flush last ended well.", lag_ms as f64 / 1e3);
        }
        text.0
    }
}

fn count(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn of_status(&mut self, status: &Status) {
        let servers = &status.servers;
        self.head("weir_server_up", "gauge", "Whether a memcached server answers.");
        for server in servers {
            self.line("weir_server_up", &server_label(&server.server), u8::from(server.error.is_none()));
        }
        self.head("weir_queue_depth", "gauge", "Entries that wait in a server's queue, at most.");
        for (server, depth) in servers.iter().filter_map(|one| Some((&one.server, one.depth?))) {
            self.line("weir_queue_depth", &server_label(server), depth);
        }
        self.head("weir_queue_oldest_seconds", "gauge", "How long the oldest ballot in a server's queue has waited.");
        for (server, oldest_ms) in servers.iter().filter_map(|one| Some((&one.server, one.oldest_ms?))) {
            self.line("weir_queue_oldest_seconds", &server_label(server), oldest_ms as f64 / 1e3);
        }
        self.head("weir_server_evictions_total", "counter", "Items that a memcached server has evicted.");
        for (server, evictions) in servers.iter().filter_map(|one| Some((&one.server, one.evictions?))) {
            self.line("weir_server_evictions_total", &server_label(server), evictions);
        }
        self.head("weir_server_refused_total", "counter", "Items that a memcached server refused for want of memory.");
        for (server, refused) in servers.iter().filter_map(|one| Some((&one.server, one.no_memory?))) {
            self.line("weir_server_refused_total", &server_label(server), refused);
        }
        self.head("weir_server_takes_votes", "gauge", "Whether a memcached server has memory for a vote.");
        for (server, takes) in servers.iter().filter_map(|one| Some((&one.server, one.takes_votes?))) {
            self.line("weir_server_takes_votes", &server_label(server), u8::from(takes));
        }
        if let Some(files) = status.spool_files {
            self.gauge("weir_spool_files", "Files that wait in the spool.", files);
        }
        self.gauge("weir_database_up", "Whether the database answers.", u8::from(status.database_error.is_none()));
        if let Some(letters) = status.dead_letters {
            self.gauge("weir_dead_letters", "Entries that could not be read as ballots.", letters);
        }
    }
}

fn server_label(server: &str) -> String {
    // The path of a Unix socket may have them.
    format!("server=\"{}\"", server.replace('\\', "\\\\").replace('"', "\\\""))
}
