//! The settings of polls (those of runs are in `sync/settings.rs`): their flags, their defaults, and what their texts mean.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::config::{self, Config, Key};
use crate::poll::ballot::IdentityKey;
pub use crate::poll::site::Site as Settings;
use crate::poll::spool::Spool;
use crate::queue::{Address, Keys, Prefix};
use crate::store::DatabaseUrl;

const DEFAULT_MEMCACHED: &str = "127.0.0.1:11211";
const DEFAULT_PREFIX: &str = "poll-queue";
const DEFAULT_COPIES: &str = "1";
const DEFAULT_TIMEOUT: &str = "250ms";
const DEFAULT_KEEP: &str = "60s";

/// Flags that every poll command takes.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Settings (flag, environment or configuration file)")]
pub struct SettingsArgs {
    /// memcached servers, host:port or unix:/path, separated by commas [env: WEIR_MEMCACHED] [default: 127.0.0.1:11211]
    #[arg(long, global = true, value_name = "SERVERS")]
    memcached: Option<String>,
    /// What every key of the queue begins with [env: WEIR_PREFIX] [default: poll-queue]
    #[arg(long, global = true)]
    prefix: Option<String>,
    /// mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT...]/DATABASE[?tls=on] or sqlite:PATH [env: WEIR_DATABASE]
    /// [default: a file in the user's data directory]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// Folder for ballots that neither memcached nor the database takes [env: WEIR_SPOOL] [default: a folder in
    /// the user's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    spool: Option<String>,
    /// On how many memcached servers each ballot is stored before it is acknowledged [env: WEIR_COPIES]
    /// [default: 1]
    #[arg(long, global = true, value_name = "N")]
    copies: Option<String>,
    /// How long one memcached server may take, such as 250ms or 2s [env: WEIR_TIMEOUT] [default: 250ms]
    #[arg(long, global = true, value_name = "DURATION")]
    timeout: Option<String>,
    /// How long flush and serve leave entries in memcached after they were committed, so that a database that goes
    /// back to an earlier state finds them again; 0s for not at all [env: WEIR_KEEP] [default: 60s]
    #[arg(long, global = true, value_name = "DURATION")]
    keep: Option<String>,
    /// Configuration file [env: WEIR_CONFIG] [default: ~/.config/weir/weir.toml, then /etc/weir/weir.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SettingsArgs {
    /// Flags, environment and file together; `more` are flags that one command alone takes.
    pub fn config(&self, more: &[(Key, Option<String>)]) -> Result<Config> {
        let own = [
            (config::MEMCACHED, &self.memcached),
            (config::PREFIX, &self.prefix),
            (config::DATABASE, &self.database),
            (config::SPOOL, &self.spool),
            (config::COPIES, &self.copies),
            (config::TIMEOUT, &self.timeout),
            (config::KEEP, &self.keep),
        ]
        .map(|(key, value)| (key, value.clone()));
        let flags = [&own, more].concat();
        Ok(Config::load(&flags, self.config.as_deref(), &|name| std::env::var_os(name))?)
    }
}

/// The settings of polls, ready for use.
pub fn settings_of(config: &Config) -> Result<Settings> {
    let read_default = |key: Key| default_text(key).unwrap_or_default();
    let memcached = config.read(config::MEMCACHED, DEFAULT_MEMCACHED, read_addresses)?;
    let prefix = config.read(config::PREFIX, DEFAULT_PREFIX, Prefix::new)?;
    let servers = memcached.len();
    Ok(Settings {
        keys: Keys::new(prefix),
        database: config.read(config::DATABASE, &read_default(config::DATABASE), DatabaseUrl::new)?,
        spool: Spool::new(config.read(config::SPOOL, &read_default(config::SPOOL), read_folder)?),
        copies: config.read(config::COPIES, DEFAULT_COPIES, |text| read_copies(text, servers))?,
        timeout: config.read(config::TIMEOUT, DEFAULT_TIMEOUT, read_duration)?,
        keep: config.read(config::KEEP, DEFAULT_KEEP, read_pause)?.unwrap_or_default(),
        identity_key: IdentityKey::new(config.get(config::VOTER_SECRET).map(|setting| setting.value.as_str())),
        memcached,
    })
}

/// A setting's default as text, where it has one.
pub fn default_text(key: Key) -> Option<String> {
    match key.name {
        name if name == config::LISTEN.name => Some("127.0.0.1:8080".into()),
        name if name == config::FLUSH_EVERY.name => Some("2s".into()),
        name if name == config::RATE_LIMIT.name => Some("50".into()),
        name if name == config::TITLE.name => Some("Reader polls".into()),
        name if name == config::WAITING_MAX.name => Some("16384".into()),
        name if name == config::CONNECTIONS_MAX.name => Some("20000".into()),
        name if name == config::MEMCACHED.name => Some(DEFAULT_MEMCACHED.into()),
        name if name == config::PREFIX.name => Some(DEFAULT_PREFIX.into()),
        name if name == config::COPIES.name => Some(DEFAULT_COPIES.into()),
        name if name == config::TIMEOUT.name => Some(DEFAULT_TIMEOUT.into()),
        name if name == config::KEEP.name => Some(DEFAULT_KEEP.into()),
        name if name == config::DATABASE.name => {
            data_folder().map(|folder| format!("sqlite:{}", folder.join("polls.sqlite").display()))
        }
        name if name == config::SPOOL.name => data_folder().map(|folder| folder.join("spool").display().to_string()),
        _ => None,
    }
}

fn data_folder() -> Option<PathBuf> {
    let filled = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = filled("XDG_DATA_HOME").or_else(|| Some(filled("HOME")?.join(".local/share")));
    base.map(|base| base.join("weir"))
}

fn read_addresses(text: &str) -> Result<Vec<Address>, String> {
    let addresses = text.split(',').map(|one| Address::new(one.trim()).map_err(|error| error.to_string()));
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    match addresses.iter().enumerate().find(|(index, one)| addresses[..*index].contains(one)) {
        Some((_, twice)) => Err(format!("{twice} is named twice")),
        None => Ok(addresses),
    }
}

fn read_folder(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("no folder is named, and there is no HOME to put it in") } else { Ok(text.into()) }
}

fn read_copies(text: &str, servers: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(copies) if (1..=servers).contains(&copies) => Ok(copies),
        _ => Err(format!("{text:?}: expected a number from 1 to the number of memcached servers, {servers}")),
    }
}

/// Reads a duration that may be 0, which is nothing.
///
/// # Errors
/// A sentence that shows the text.
pub fn read_pause(text: &str) -> Result<Option<Duration>, String> {
    if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) == "0" {
        return Ok(None);
    }
    read_duration(text).map(Some)
}

/// Reads a positive duration with its unit, such as `250ms`, `5s` or `2min`.
///
/// # Errors
/// A sentence that shows the text.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    match parsed.filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(365 * 86_400)) {
        Some(duration) => Ok(duration),
        None => {
            Err(format!("{}: expected a duration with its unit, such as 250ms, 5s or 2min", crate::slug::shown(text)))
        }
    }
}
