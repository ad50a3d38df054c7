//! `weir poll results`: totals as a table with bars, JSON or CSV.

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::cli::output::{Output, terminal_width};
use crate::cli::settings::Settings;
use crate::poll::results::{Totals, cached, stored};
use crate::slug::Slug;

use super::open_close::find;

/// Arguments of `weir poll results`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Totals come from memcached, as of the last flush, and from the database where memcached has none.

Examples:
  weir poll results now
  weir poll results --format json | jq '.choices[] | {key, votes}'"
)]
pub struct Args {
    /// The polls; without any, all of them
    #[arg(value_name = "POLL", value_parser = Slug::new)]
    polls: Vec<Slug>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    /// For people, with bars on a terminal
    #[default]
    Table,
    /// One JSON object a poll
    Json,
    /// One line a choice, under a header
    Csv,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let format = if self.json { Format::Json } else { self.format };
        let mut servers = settings.servers();
        let mut store = None;
        let mut slugs = self.polls;
        if slugs.is_empty() {
            let opened = store.insert(settings.store()?);
            slugs = opened.polls()?.into_iter().map(|poll| poll.slug).collect();
        }
        if format == Format::Csv {
            out.line("poll,choice,label,votes,share,total,as_of")?;
        }
        let mut failures = Vec::new();
        for slug in slugs {
            let totals = match cached(&slug, &mut servers, &mut failures) {
                Some(totals) => totals,
                None => {
                    let store = match &mut store {
                        Some(store) => store,
                        none => none.insert(settings.store()?),
                    };
                    let poll = find(store.as_mut(), &slug)?;
                    stored(&poll, store.as_mut())?
                }
            };
            match format {
                Format::Json => out.json(&totals)?,
                Format::Csv => csv(&totals, out)?,
                Format::Table => table(&totals, out)?,
            }
        }
        failures.iter().for_each(|failure| out.warning(failure));
        Ok(())
    }
}

fn csv(totals: &Totals, out: &mut Output) -> Result<()> {
    for choice in &totals.choices {
        let label = choice.label.replace('"', "\"\"");
        let (poll, key, votes, share) = (&totals.poll, &choice.key, choice.votes, choice.share);
        out.line(format_args!("{poll},{key},\"{label}\",{votes},{share:.6},{},{}", totals.total, totals.as_of))?;
    }
    Ok(())
}

fn table(totals: &Totals, out: &mut Output) -> Result<()> {
    let state = match (&totals.ends_at, totals.open) {
        (None, _) => "open".to_string(),
        (Some(end), true) => format!("open until {end}"),
        (Some(end), false) => format!("closed {end}"),
    };
    out.line(format_args!("{}  {}  ({state})", totals.poll, totals.question))?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let widest = totals.choices.iter().map(|choice| choice.label.chars().count()).max().unwrap_or_default();
    let bar_width = terminal_width().map(|width| width.saturating_sub(widest.min(40) + 30).clamp(10, 60));
    for choice in &totals.choices {
        let mut row = vec![
            Cell::new(&choice.label),
            Cell::new(choice.votes).set_alignment(CellAlignment::Right),
            Cell::new(format!("{:.1} %", choice.share * 100.0)).set_alignment(CellAlignment::Right),
        ];
        row.extend(bar_width.map(|width| Cell::new(bar(choice.share, width))));
        table.add_row(row);
    }
    out.line(table.trim_fmt())?;
    Ok(out.line(format_args!("{} ballots, as of {}\n", totals.total, totals.as_of))?)
}

/// A bar of eighths, so that small differences show.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((bar(0.0, 10), bar(1.0, 3), bar(0.5, 3)), (String::new(), "███".into(), "█▌".into()));
        assert_eq!(bar(7.0, 2), "██");
    }
}
