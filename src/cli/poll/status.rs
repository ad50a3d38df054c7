//! `weir poll status`: what an operator looks at.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};

use crate::cli::exit::Partly;
use crate::cli::output::{Output, duration_text};
use crate::cli::settings::Settings;
use crate::poll::status::{ServerStatus, Status, status};

/// Arguments of `weir poll status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Exits 4 when a server or the database cannot be asked.\n
Examples:\n  weir poll status\n  weir poll status --json | jq '.servers[].depth'")]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let store = settings.store();
        let status = status(&settings.memcached, &settings.keys, settings.timeout, store, &settings.spool)?;
        if self.json {
            out.json(&status)?;
        } else {
            print(&status, &settings, out)?;
        }
        let servers_down = status.servers.iter().filter(|server| server.error.is_some()).count();
        match (servers_down, &status.database_error) {
            (0, None) => Ok(()),
            (0, Some(_)) => Err(Partly("the database cannot be asked".into()).into()),
            (down, _) => Err(Partly(format!("{down} of {} servers cannot be asked", status.servers.len())).into()),
        }
    }
}

fn print(status: &Status, settings: &Settings, out: &mut Output) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SERVER", "DEPTH", "OLDEST", "LOCK", "MEMORY", "EVICTED", "WHEN FULL", "LAST FLUSH"]);
    for server in &status.servers {
        table.add_row(row(server));
    }
    out.line(table.trim_fmt())?;
    for server in &status.servers {
        if let Some(error) = &server.error {
            out.warning(error);
        }
        if server.evictions.is_some_and(|evictions| evictions > 0) {
            out.warning(format_args!(
                "{} has evicted items: votes may be lost; give it more memory and -M",
                server.server
            ));
        } else if server.may_evict == Some(true) {
            out.warning(format_args!("{} evicts entries when full: start it with -M", server.server));
        }
    }
    let unknown = || "unknown".to_string();
    let number = |number: Option<u64>| number.map_or_else(unknown, |number| number.to_string());
    let folder = settings.spool.folder().display();
    out.line(format_args!("spool         {} files in {folder}", status.spool_files))?;
    out.line(format_args!("dead letters  {}", number(status.dead_letters)))?;
    out.line(format_args!("refused       {} ballots after closing", number(status.refused)))?;
    match &status.database_error {
        Some(error) => out.warning(error),
        None => out.line(format_args!("database      {} answers", settings.database))?,
    }
    Ok(())
}

fn row(server: &ServerStatus) -> [String; 8] {
    let dash = || "-".to_string();
    let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
    let oldest = server.oldest_ms.map(|ms| duration_text(Duration::from_millis(ms.unsigned_abs())));
    let lock = server.locked.map(|locked| if locked { "held" } else { "free" }.to_string());
    let memory = server.used_bytes.zip(server.limit_bytes);
    let memory = memory.map(|(used, limit)| format!("{} of {} MiB", used >> 20, limit >> 20));
    let when_full = server.may_evict.map(|evicts| if evicts { "evicts" } else { "refuses" }.to_string());
    [
        server.server.clone(),
        number(server.depth),
        oldest.unwrap_or_else(dash),
        lock.unwrap_or_else(dash),
        memory.unwrap_or_else(dash),
        number(server.evictions),
        when_full.unwrap_or_else(dash),
        server.flushed_at.clone().unwrap_or_else(|| "never".into()),
    ]
}
