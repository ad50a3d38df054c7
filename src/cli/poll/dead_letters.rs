//! `weir poll dead-letters`: what a flush could not read, looked at, counted after all, or thrown away.

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::cli::exit::{Partly, Usage};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::{Identity, time_text};
use crate::poll::dead_letters::{Outcome, Selection, drop_letters, for_each, retry};
use crate::poll::secret;
use crate::slug::shown;
use crate::store::{DeadLetter, Settled};

/// Arguments of `weir poll dead-letters`.
#[derive(clap::Args, Debug)]
#[command(after_help = "A dead letter is a line of a queue entry or spool file that was no ballot when it was flushed:
not JSON, an unknown poll, an unknown choice; or a ballot cast more than 5 s after its poll
closed. It is kept with its bytes and the reason.

Examples:
  weir poll dead-letters list
  weir poll dead-letters retry --all")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show dead letters, the newest first
    List(ListArgs),
    /// Judge dead letters again: what is a ballot by now is counted, once, and the others stay
    Retry(RetryArgs),
    /// Throw dead letters away, for good
    Drop(DropArgs),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "With --json one object a letter: \"text\" has its bytes where they are UTF-8, else \"hex\" has
them.

Examples:
  weir poll dead-letters list
  weir poll dead-letters list --all --json > dead-letters.jsonl")]
struct ListArgs {
    /// Only these
    #[arg(value_name = "ID", value_parser = read_id, conflicts_with = "all")]
    ids: Vec<Identity>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Show every one, in the order of ids
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Print one JSON object a letter
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "For use after the reason has gone: the poll has been created, or another version of weir reads
more. A ballot counts as it would have counted when it was found; one whose voter has a ballot
by now is a duplicate. Interrupt it whenever you like, and run it again: none counts twice.
Exits 4 when some stay.

Examples:
  weir poll dead-letters retry --all
  weir poll dead-letters retry 6f1d5b1e0a5c4d7f8e9aa3b2c1d0e4f5")]
struct RetryArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Nothing brings them back: keep them with \"list --all --json\" first.

Examples:
  weir poll dead-letters drop 6f1d5b1e0a5c4d7f8e9aa3b2c1d0e4f5
  weir poll dead-letters drop --all --json")]
struct DropArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// The letters, by the ids that "list" shows
    #[arg(value_name = "ID", value_parser = read_id)]
    ids: Vec<Identity>,
    /// Every one
    #[arg(long)]
    all: bool,
}

impl Which {
    fn selection(&self) -> Selection {
        if self.all { Selection::All } else { Selection::These(unique(&self.ids)) }
    }
}

/// A letter as scripts read it.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    found_at: String,
    origin: &'a str,
    reason: &'a str,
    bytes: usize,
    text: Option<&'a str>,
    hex: Option<String>,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        match self.command {
            Command::List(args) => args.run(&settings, out),
            Command::Retry(args) => {
                let mut store = settings.store()?;
                secret::check(store.as_mut(), &settings.identity_key)?;
                let bar = out.progress(Some(store.dead_letter_count()?), "letters");
                let outcome = retry(store.as_mut(), &settings.identity_key, &args.which.selection(), &mut |more| {
                    bar.inc(more);
                })?;
                bar.finish_and_clear();
                let Settled { counted, duplicates, kept, .. } = outcome.settled;
                if args.json {
                    out.json(&outcome.settled)?;
                } else {
                    out.line(format_args!(
                        "{} dead letters: {counted} counted, {duplicates} duplicates, {kept} kept",
                        counted + duplicates + kept
                    ))?;
                }
                finish(&outcome, &args.which, out)
            }
            Command::Drop(args) => {
                let mut store = settings.store()?;
                let bar = out.progress(Some(store.dead_letter_count()?), "letters");
                let outcome = drop_letters(store.as_mut(), &args.which.selection(), &mut |more| bar.inc(more))?;
                bar.finish_and_clear();
                if args.json {
                    out.json(&outcome.settled)?;
                } else {
                    out.line(format_args!("{} dead letters dropped", outcome.settled.dropped))?;
                }
                finish(&outcome, &args.which, out)
            }
        }
    }
}

/// Tells of ids without a letter, and how much was left undone.
fn finish(outcome: &Outcome, which: &Which, out: &mut Output) -> Result<()> {
    tell_unknown(&outcome.unknown, out);
    let (unknown, kept) = (outcome.unknown.len(), outcome.settled.kept);
    match (unknown, kept) {
        (0, 0) => Ok(()),
        (0, kept) => Err(Partly(format!("{kept} dead letters stay: \"weir poll dead-letters list\" tells why")).into()),
        _ if unknown == unique(&which.ids).len() => bail!("none of these dead letters is there"),
        _ => Err(Partly(format!("{unknown} of these dead letters are not there, {kept} stay")).into()),
    }
}

impl ListArgs {
    fn run(self, settings: &Settings, out: &mut Output) -> Result<()> {
        let mut store = settings.store()?;
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["ID", "FOUND", "ORIGIN", "REASON", "BYTES"]);
        if !self.ids.is_empty() || self.all {
            let which = if self.all { Selection::All } else { Selection::These(unique(&self.ids)) };
            let mut told = Ok(());
            let unknown = for_each(store.as_mut(), &which, &mut |letter| {
                told = self.tell(&letter, &mut table, out);
                told.is_ok()
            })?;
            told?;
            self.finish(&table, out)?;
            tell_unknown(&unknown, out);
            return match unknown.len() {
                0 => Ok(()),
                none if none == unique(&self.ids).len() => bail!("none of these dead letters is there"),
                some => Err(Partly(format!("{some} of these dead letters are not there")).into()),
            };
        }
        let letters = store.dead_letters(self.limit)?;
        letters.iter().try_for_each(|letter| self.tell(letter, &mut table, out))?;
        self.finish(&table, out)?;
        let more = store.dead_letter_count()?.saturating_sub(letters.len() as u64);
        if more > 0 {
            out.note(format_args!("{more} more are not shown: --limit N or --all shows them"));
        } else if letters.is_empty() {
            out.note("there are no dead letters");
        }
        Ok(())
    }

    fn tell(&self, letter: &DeadLetter, table: &mut Table, out: &mut Output) -> Result<()> {
        let (id, found_at) = (Identity(letter.id).to_string(), time_text(letter.found_at_ms));
        let text = std::str::from_utf8(&letter.bytes).ok();
        if self.json {
            let hex = text.is_none().then(|| letter.bytes.iter().map(|byte| format!("{byte:02x}")).collect());
            let (origin, reason, bytes) = (letter.origin.as_str(), letter.reason.as_str(), letter.bytes.len());
            return Ok(out.json(&Shown { id, found_at, origin, reason, bytes, text, hex })?);
        }
        // What scripts wrote must not move the cursor; quoted, it cannot.
        let safe = |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let bytes = shown(&String::from_utf8_lossy(&letter.bytes));
        table.add_row([id, found_at, safe(&letter.origin), safe(&letter.reason), bytes]);
        Ok(())
    }

    fn finish(&self, table: &Table, out: &mut Output) -> Result<()> {
        if !self.json && table.row_count() > 0 {
            out.line(table.trim_fmt())?;
        }
        Ok(())
    }
}

fn tell_unknown(unknown: &[Identity], out: &mut Output) {
    unknown.iter().for_each(|id| out.warning(format_args!("there is no dead letter {id}")));
}

fn unique(ids: &[Identity]) -> Vec<Identity> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn read_id(text: &str) -> Result<Identity, Usage> {
    Identity::from_hex(text)
        .ok_or_else(|| Usage(format!("{}: expected the 32 hexadecimal digits that \"list\" shows", shown(text))))
}
