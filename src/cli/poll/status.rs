//! `weir poll status`: what an operator looks at, and with `--check` what a monitor runs.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::cli::exit::{Partly, Told};
use crate::cli::output::{Output, duration_text};
use crate::cli::settings::{Settings, read_duration};
use crate::poll::check::{
    Limits, Problem, missing_text, no_memory, problems, repeated_servers, several_servers, stranded_text,
};
use crate::poll::status::{LockState, ServerStatus, Status, status};
use crate::store;

/// How long the database may take for one answer: monitors give up after ten seconds or so.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `weir poll status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Exits 4 when a server, the database or the spool cannot be asked.

With --check it prints one line a problem on standard output and exits 1, or one line that
begins with \"ok\" and exits 0. So a Nagios-like monitor shows a WARNING with the worst
problem in its first line, and cron, where --quiet leaves out the \"ok\", mails only when
there is a problem. A problem is: a server, the database or the spool that cannot be asked,
wrong settings (another voter secret, a queue of another database, a database that may lose
commits), entries that are missing because the database went back to an earlier state, two
addresses of one server, several servers at one address, votes left in the queue of a server
or prefix that is no longer configured, a server without memory for a vote (found by storing
items that expire after 1 s), evictions, dead letters, and anything beyond the limits above.
Silence is a problem only while something waits or a poll is open. Missing entries are
reported until \"weir poll status --clear-missing\".

Examples:
  weir poll status
  weir poll status --json | jq '.servers[].depth'
  weir poll status --check --max-depth 500000
  */5 * * * *  weir --quiet poll status --check        (in a crontab)")]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Tell only what needs a person; exit 1 if anything does
    #[arg(long)]
    check: bool,
    /// Clear the record of entries that are missing because the database went back to an earlier state
    #[arg(long, conflicts_with_all = ["check", "json"])]
    clear_missing: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Limits of --check")]
struct LimitArgs {
    /// Entries that may wait on one server
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "check")]
    max_depth: u64,
    /// How long an entry or a spooled file may wait
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = read_duration, requires = "check")]
    max_age: Duration,
    /// How long no flush may come to the end of a server's queue
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = read_duration, requires = "check")]
    max_silence: Duration,
    /// Items that a server may have evicted since it started
    #[arg(long, value_name = "N", default_value_t = 0, requires = "check")]
    max_evictions: u64,
    /// Dead letters that may lie in the database
    #[arg(long, value_name = "N", default_value_t = 0, requires = "check")]
    max_dead_letters: u64,
}

#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    status: &'a Status,
    ok: bool,
    problems: &'a [Problem],
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let store = store::open(&settings.database, DATABASE_PATIENCE);
        if self.clear_missing {
            store?.forget_missing()?;
            return Ok(());
        }
        let status = status(&settings, store);
        if self.check {
            return self.check(&status, out);
        }
        if self.json {
            out.json(&status)?;
        } else {
            print(&status, &settings, out)?;
        }
        let servers_down = status.servers.iter().filter(|server| server.error.is_some()).count();
        let of_servers = format!("{servers_down} of {} servers", status.servers.len());
        let unknown = [
            (servers_down > 0).then_some(of_servers.as_str()),
            status.database_error.as_ref().map(|_| "the database"),
            status.spool_error.as_ref().map(|_| "the spool"),
        ];
        let unknown: Vec<_> = unknown.into_iter().flatten().collect();
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(Partly(format!("{} cannot be asked", unknown.join(", "))).into()),
        }
    }

    fn check(&self, status: &Status, out: &mut Output) -> Result<()> {
        let LimitArgs { max_depth, max_age, max_silence, max_evictions, max_dead_letters } = self.limits;
        let limits = Limits {
            depth: max_depth,
            age: max_age,
            silence: max_silence,
            evictions: max_evictions,
            dead_letters: max_dead_letters,
        };
        let problems = problems(status, &limits);
        if self.json {
            out.json(&Checked { status, ok: problems.is_empty(), problems: &problems })?;
        } else if problems.is_empty() && !out.is_quiet() {
            let waiting: u64 = status.servers.iter().filter_map(|server| server.depth).sum();
            out.line(format_args!("ok: {} servers answer, {waiting} entries wait", status.servers.len()))?;
        } else {
            problems.iter().try_for_each(|problem| out.line(&problem.message))?;
        }
        if problems.is_empty() { Ok(()) } else { Err(Told.into()) }
    }
}

fn print(status: &Status, settings: &Settings, out: &mut Output) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SERVER",
        "ID",
        "DEPTH",
        "OLDEST",
        "LOCK",
        "MEMORY",
        "EVICTED",
        "REFUSED",
        "WHEN FULL",
        "LAST FLUSH",
    ]);
    for server in &status.servers {
        table.add_row(row(server));
    }
    out.line(table.trim_fmt())?;
    for server in &status.servers {
        warn_of(server, out);
    }
    repeated_servers(status).iter().for_each(|(_, message)| out.warning(message));
    status.wrong_settings.iter().for_each(|setting| out.warning(setting));
    status.missing.iter().for_each(|missing| out.warning(missing_text(missing)));
    status.stranded.iter().for_each(|queue| out.warning(stranded_text(queue)));
    let unknown = || "unknown".to_string();
    let number = |number: Option<u64>| number.map_or_else(unknown, |number| number.to_string());
    let folder = settings.spool.folder().display();
    let oldest = status.spool_oldest_ms.map(|ms| format!(", the oldest {}", age(ms))).unwrap_or_default();
    out.line(format_args!("copies        {} of each ballot", status.copies))?;
    out.line(format_args!("spool         {} files in {folder}{oldest}", number(status.spool_files)))?;
    out.line(format_args!("dead letters  {}", number(status.dead_letters)))?;
    if status.copies_possible < status.copies {
        let (copies, possible) = (status.copies, status.copies_possible);
        out.warning(format_args!(
            "only {possible} of {copies} copies of each ballot can be stored; votes go on with {}",
            if possible == 0 { "the database".into() } else { possible.to_string() }
        ));
    }
    if let Some(error) = &status.spool_error {
        out.warning(error);
    }
    match &status.database_error {
        Some(error) => out.warning(error),
        None => out.line(format_args!("database      {} answers", settings.database))?,
    }
    Ok(())
}

fn warn_of(server: &ServerStatus, out: &mut Output) {
    let name = &server.server;
    if let Some(error) = &server.error {
        out.warning(error);
    }
    if let Some(message) = several_servers(server) {
        out.warning(message);
    }
    if let Some(message) = no_memory(server) {
        out.warning(message);
    }
    if server.evictions.is_some_and(|evictions| evictions > 0) {
        out.warning(format_args!("{name} has evicted items: votes may be lost; give it more memory and -M"));
    } else if server.may_evict == Some(true) {
        out.warning(format_args!("{name} evicts entries when full: start it with -M"));
    }
    if server.lock == Some(LockState::Stuck) {
        out.warning(format_args!("{name}: the lock of legacy writers has been held for over a second; the next one that wants it takes it over"));
    }
}

fn row(server: &ServerStatus) -> [String; 10] {
    let dash = || "-".to_string();
    let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
    let lock = server.lock.map(|lock| match lock {
        LockState::Free => "free",
        LockState::Held => "held",
        LockState::Stuck => "held > 1 s",
    });
    let memory = server.used_bytes.zip(server.limit_bytes);
    // What is in use says nothing on a server whose memory is all set aside for items of other sizes.
    let memory = memory.map(|(used, limit)| match server.takes_votes {
        Some(false) => format!("full ({} MiB)", limit >> 20),
        _ => format!("{} of {} MiB", used >> 20, limit >> 20),
    });
    let when_full = server.may_evict.map(|evicts| if evicts { "evicts" } else { "refuses" }.to_string());
    let flushed = server.flushed_at.as_ref().zip(server.since_flush_ms);
    let never = || if server.error.is_some() { dash() } else { "never".into() };
    [
        server.server.clone(),
        server.server_id.clone().unwrap_or_else(dash),
        number(server.depth),
        server.oldest_ms.map_or_else(dash, age),
        lock.map_or_else(dash, Into::into),
        memory.unwrap_or_else(dash),
        number(server.evictions),
        number(server.no_memory),
        when_full.unwrap_or_else(dash),
        flushed.map_or_else(never, |(at, since)| format!("{at} ({} ago)", age(since))),
    ]
}

fn age(ms: i64) -> String {
    duration_text(Duration::from_millis(ms.unsigned_abs()))
}
