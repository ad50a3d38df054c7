//! `weir poll export`: every counted ballot of a poll.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::Poll;
use crate::slug::Slug;
use crate::store::Row;

use super::open_close::find;

/// Arguments of `weir poll export`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  weir poll export now > now.csv\n  weir poll export now --format jsonl | gzip > now.jsonl.gz"
)]
pub struct Args {
    /// The poll
    #[arg(value_parser = Slug::new)]
    poll: Slug,
    /// How to write the ballots
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    /// poll,picks,id,at under a header; several picks are quoted and separated by commas
    #[default]
    Csv,
    /// One JSON object a ballot
    Jsonl,
}

#[derive(Serialize)]
struct Exported<'a> {
    poll: &'a Slug,
    picks: Vec<&'a Slug>,
    id: String,
    at: String,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let mut store = settings.store()?;
        let poll = find(store.as_mut(), &self.poll)?;
        if self.format == Format::Csv {
            out.line("poll,picks,id,at")?;
        }
        let mut printed = Ok(());
        store.for_each_ballot(&poll, &mut |row| {
            printed = self.print(&poll, row, out);
            printed.is_ok()
        })?;
        printed
    }

    fn print(&self, poll: &Poll, row: Row, out: &mut Output) -> Result<()> {
        let at = jiff::Timestamp::from_millisecond(row.at_ms).map(|at| format!("{at:.3}"));
        let at = at.unwrap_or_else(|_| row.at_ms.to_string());
        let (id, picks) = (row.identity.to_string(), poll.picked(row.picks).collect::<Vec<_>>());
        match self.format {
            Format::Jsonl => out.json(&Exported { poll: &poll.slug, picks, id, at })?,
            Format::Csv => {
                let quote = if picks.len() > 1 { "\"" } else { "" };
                let picks: Vec<_> = picks.iter().map(|pick| pick.as_str()).collect();
                out.line(format_args!("{},{quote}{}{quote},{id},{at}", poll.slug, picks.join(",")))?;
            }
        }
        Ok(())
    }
}
