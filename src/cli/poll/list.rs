//! `weir poll list`.

use anyhow::Result;
use comfy_table::{Table, presets};

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::time_text;
use crate::poll::now_ms;
use crate::poll::shown::Shown;

/// Arguments of `weir poll list`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  weir poll list\n  weir poll list --json | jq -r 'select(.open) | .poll'")]
pub struct Args {
    /// One JSON object a poll
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let polls = settings.store()?.polls()?;
        if self.json {
            return Ok(polls.iter().try_for_each(|poll| out.json(&Shown::new(poll)))?);
        }
        if polls.is_empty() {
            out.note("there are no polls yet: \"weir poll create\" makes one");
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["POLL", "STATE", "CHOICES", "PICK", "QUESTION"]);
        for poll in &polls {
            let state = match (poll.is_open_at(now_ms()), poll.ends_at_ms()) {
                (true, None) => "open".to_string(),
                (true, Some(end)) => format!("open until {}", time_text(end)),
                (false, end) => format!("closed {}", end.map(time_text).unwrap_or_default()),
            };
            let (choices, pick) = (poll.choices.len().to_string(), poll.pick_max.to_string());
            table.add_row([poll.slug.as_str(), &state, &choices, &pick, &poll.question]);
        }
        out.line(table.trim_fmt())?;
        Ok(())
    }
}
