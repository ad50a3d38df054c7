//! `weir poll`: one file per command.

use anyhow::Result;
use clap::Subcommand;

use super::output::Output;
use super::settings::{SettingsArgs, settings_of};
use crate::config::{self, Config};
use crate::poll::secret::{self, CheckError};
use crate::store;

mod batch;
mod batch_line;
mod create;
mod dead_letters;
mod export;
mod flush;
mod flush_service;
mod list;
mod manager;
mod open_close;
mod results;
mod serve;
mod status;
mod verify;
mod vote;

pub use serve::check as check_serve;

/// Arguments of `weir poll`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create a poll
    Create(create::Args),
    /// Cast one vote, or a batch of them
    Vote(vote::Args),
    /// Move everything queued and spooled into the database, once or as a service
    Flush(flush::Args),
    /// Show totals
    Results(results::Args),
    /// List polls
    List(list::Args),
    /// Open a closed poll again
    Open(open_close::OpenArgs),
    /// Close a poll: votes cast from now on are refused
    Close(open_close::CloseArgs),
    /// Write out every counted ballot of a poll
    Export(export::Args),
    /// Show queues, servers, spool and dead letters
    Status(status::Args),
    /// Serve polls on the web: pages, live results, a JSON interface
    Serve(serve::Args),
    /// Show, retry or drop ballots that could not be counted
    DeadLetters(dead_letters::Args),
    /// Recount the ballots, compare with the tallies, and correct these if asked
    Verify(verify::Args),
}

impl Command {
    /// Whether servers of a kind that cannot be used are refused before it begins. Not for a single vote, which finds out by
    /// itself and so costs no further round trip, and not for what only reads: that says what it could not read.
    fn checks_servers(&self) -> bool {
        match self {
            Command::Vote(args) => args.is_batch(),
            Command::Create(_) | Command::Flush(_) | Command::Open(_) | Command::Close(_) | Command::Serve(_) => true,
            _ => false,
        }
    }
}

impl Args {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let more = if let Command::Serve(args) = &self.command { args.flags() } else { Vec::new() };
        let config = self.settings.config(&more)?;
        let settings = settings_of(&config)?;
        if self.command.checks_servers() {
            settings.check_servers()?;
        }
        let settings = match &self.command {
            Command::Create(_)
            | Command::Vote(_)
            | Command::Flush(_)
            | Command::Status(_)
            | Command::DeadLetters(_) => secret::find(settings)?,
            // The service makes a secret where there is none; the others read nothing that needs it.
            _ => settings,
        };
        let done = match self.command {
            Command::Create(args) => args.run(settings, out),
            Command::Vote(args) => args.run(settings, out),
            Command::Flush(args) => args.run(settings, out),
            Command::Results(args) => args.run(settings, out),
            Command::List(args) => args.run(settings, out),
            Command::Open(args) => args.run(settings, out),
            Command::Close(args) => args.run(settings, out),
            Command::Export(args) => args.run(settings, out),
            Command::Status(args) => args.run(settings, out),
            Command::Serve(_) => serve::run(&config, settings, out),
            Command::DeadLetters(args) => args.run(settings, out),
            Command::Verify(args) => args.run(settings, out),
        };
        done.map_err(|error| with_origin_of_path(error, &config))
    }
}

/// For a SQLite file that is not there: where its path comes from, if nobody set it.
fn with_origin_of_path(error: anyhow::Error, config: &Config) -> anyhow::Error {
    let of_check = |error: &CheckError| matches!(error, CheckError::Store(store::Error::NoFile { .. }));
    let missing = matches!(error.downcast_ref(), Some(store::Error::NoFile { .. }))
        || error.downcast_ref::<CheckError>().is_some_and(of_check);
    if !missing || config.get(config::DATABASE).is_some() {
        return error;
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let (name, value) = match set("XDG_DATA_HOME") {
        Some(value) => ("XDG_DATA_HOME", value),
        None => ("HOME", set("HOME").unwrap_or_default()),
    };
    anyhow::anyhow!(
        "{error}. This is the default path, which depends on {name} ({}): a cron job or a service may have another one \
         than a login shell. Set WEIR_DATABASE or --database",
        value.display()
    )
}
