//! What of a run may also stand in the environment or the configuration file: what is the same for every run of a
//! site. What makes one run this run and no other (places, hosts, `--force`) is a flag only.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;

use crate::cli::settings::read_duration;
use crate::config::{self, Config, ConfigError, Key};
use crate::sync::Limit;

const DEFAULT_RETRIES: &str = "3";
const DEFAULT_RETRY_WAIT: &str = "1s";
const DEFAULT_PARALLEL: &str = "4";
const PARALLEL_MAX: u16 = 256;

/// Where the lists are: for `weir sync` and for `weir rules check`.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Settings (flag, environment or configuration file)")]
pub struct ListsArgs {
    /// Where the lists are [env: WEIR_LISTS] [default: .]
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,
    /// Configuration file [env: WEIR_CONFIG] [default: ~/.config/weir/weir.toml, then /etc/weir/weir.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The other settings of runs.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Settings (flag, environment or configuration file)")]
pub struct SettingsArgs {
    #[command(flatten)]
    lists: ListsArgs,
    /// Refuse to delete more than N entries, or P% of those in the destination [env: WEIR_MAX_DELETE] [default: 100
    /// or 50%, whichever is more]
    #[arg(long, value_name = "N|P%", allow_negative_numbers = true)]
    max_delete: Option<Limit>,
    /// The remote shell with its arguments, split at spaces [env: WEIR_RSH] [default: ssh]
    #[arg(long, short = 'e', value_name = "COMMAND")]
    rsh: Option<OsString>,
    /// How often a lost connection (rsync codes 5, 10, 12, 30, 35, 255) is tried again [env: WEIR_RETRIES]
    /// [default: 3]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// The pause before the first of these tries; it doubles each time [env: WEIR_RETRY_WAIT] [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    retry_wait: Option<Duration>,
    /// How many hosts at once [env: WEIR_PARALLEL] [default: 4]
    #[arg(long, value_name = "N", value_parser = read_parallel)]
    parallel: Option<u16>,
    /// Write what was done for each host to HOST.log in this directory [env: WEIR_LOG_DIR]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
}

/// The settings as they hold for this run.
#[derive(Debug)]
pub struct Resolved {
    pub lists: PathBuf,
    pub limit: Limit,
    pub rsh: Option<OsString>,
    pub retries: u32,
    pub retry_wait: Duration,
    pub parallel: usize,
    pub log_dir: Option<PathBuf>,
}

impl ListsArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&[], self.config.as_deref(), &|name| std::env::var_os(name))
    }

    /// The directory of the lists.
    ///
    /// # Errors
    /// When a setting cannot be read.
    pub fn directory(&self) -> Result<PathBuf> {
        Ok(self.directory_in(&self.load()?)?)
    }

    fn directory_in(&self, config: &Config) -> Result<PathBuf, ConfigError> {
        let given = self.lists.clone().map_or_else(|| set(config, config::LISTS, read_text), |lists| Ok(Some(lists)));
        Ok(given?.unwrap_or_else(|| ".".into()))
    }
}

impl SettingsArgs {
    /// Flags, environment and file together.
    ///
    /// # Errors
    /// When a setting cannot be read, with its place.
    pub fn resolve(&self) -> Result<Resolved> {
        Ok(self.resolve_in(&self.lists.load()?)?)
    }

    fn resolve_in(&self, config: &Config) -> Result<Resolved, ConfigError> {
        let or = |flag: &Option<PathBuf>, key| match flag {
            Some(path) => Ok(Some(path.clone())),
            None => set(config, key, read_text),
        };
        let count = |text: &str| text.parse::<u32>().map_err(|_| format!("{text:?}: expected a number"));
        Ok(Resolved {
            lists: self.lists.directory_in(config)?,
            limit: match self.max_delete {
                Some(limit) => limit,
                None => set(config, config::MAX_DELETE, Limit::from_str)?.unwrap_or_default(),
            },
            rsh: match &self.rsh {
                Some(rsh) => Some(rsh.clone()),
                None => set(config, config::RSH, read_text)?,
            },
            retries: match self.retries {
                Some(retries) => retries,
                None => config.read(config::RETRIES, DEFAULT_RETRIES, count)?,
            },
            retry_wait: match self.retry_wait {
                Some(wait) => wait,
                None => config.read(config::RETRY_WAIT, DEFAULT_RETRY_WAIT, read_duration)?,
            },
            parallel: usize::from(match self.parallel {
                Some(parallel) => parallel,
                None => config.read(config::PARALLEL, DEFAULT_PARALLEL, read_parallel)?,
            }),
            log_dir: or(&self.log_dir, config::LOG_DIR)?,
        })
    }
}

/// Whether all that is set for runs can be read.
///
/// # Errors
/// The first that cannot, with its place.
pub fn check(config: &Config) -> Result<()> {
    SettingsArgs::default().resolve_in(config)?;
    Ok(())
}

/// A setting's default as text, where it has one.
pub fn default_text(key: Key) -> Option<&'static str> {
    match key.name {
        name if name == config::LISTS.name => Some("."),
        name if name == config::MAX_DELETE.name => Some("100 or 50%"),
        name if name == config::RSH.name => Some("ssh"),
        name if name == config::RETRIES.name => Some(DEFAULT_RETRIES),
        name if name == config::RETRY_WAIT.name => Some(DEFAULT_RETRY_WAIT),
        name if name == config::PARALLEL.name => Some(DEFAULT_PARALLEL),
        _ => None,
    }
}

/// A setting that has no default of its own, if somebody made it.
fn set<T, E: std::fmt::Display>(
    config: &Config,
    key: Key,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ConfigError> {
    config.get(key).map(|_| config.read(key, "", read)).transpose()
}

fn read_text<T: for<'t> From<&'t str>>(text: &str) -> Result<T, &'static str> {
    if text.is_empty() { Err("it is empty; leave it out for the default") } else { Ok(text.into()) }
}

fn read_parallel(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (1..=PARALLEL_MAX).contains(number));
    number.ok_or_else(|| format!("{}: expected a number from 1 to {PARALLEL_MAX}", crate::slug::shown(text)))
}
