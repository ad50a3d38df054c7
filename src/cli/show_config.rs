//! `weir config`: every setting, its value and where it came from.

use anyhow::Result;
use serde::Serialize;

use crate::config::{DATABASE, KEYS, Origin};
use crate::store::DatabaseUrl;

use super::output::Output;
use super::settings::{SettingsArgs, default_text, settings_of};
use super::sync::settings::{check as check_sync, default_text as sync_default};

/// Arguments of `weir config`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  weir config\n  WEIR_PREFIX=test weir config --json")]
pub struct Args {
    /// One JSON object a setting
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Shown {
    table: &'static str,
    name: &'static str,
    value: Option<String>,
    origin: String,
}

impl Args {
    /// Prints the settings, passwords and secrets hidden; then checks that they can be used.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let config = self.settings.config(&[])?;
        let mut table = "";
        for key in KEYS {
            let setting = config.get(key);
            let default = || default_text(key).or_else(|| sync_default(key).map(str::to_owned));
            let value = setting.map(|setting| setting.value.clone()).or_else(default);
            let value = value.map(|value| match key.name {
                _ if key.secret => "***".into(),
                // What cannot be read as a URL may still hold a password.
                name if name == DATABASE.name => {
                    DatabaseUrl::new(&value).map_or_else(|_| "***".into(), |url| url.to_string())
                }
                _ => value,
            });
            let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone()).to_string();
            let shown = Shown { table: key.table, name: key.name, value, origin };
            if self.json {
                out.json(&shown)?;
            } else {
                if key.table != table {
                    table = key.table;
                    out.line(format_args!("[{table}]"))?;
                }
                let value = shown.value.as_deref().unwrap_or("(none)");
                out.line(format_args!("{:<15} {value}    ({})", shown.name, shown.origin))?;
            }
        }
        settings_of(&config)?;
        super::poll::check_serve(&config)?;
        check_sync(&config)
    }
}
