//! `weir poll vote`: one vote. A batch is in `batch.rs`.

use anyhow::Result;
use serde::Serialize;

use crate::cli::exit::Usage;
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::{BatchId, Voter};
use crate::poll::vote::{Outcome, Place, Vote};
use crate::slug::Slug;

use super::batch::{self, Caster};

/// Arguments of `weir poll vote`.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "weir poll vote POLL CHOICE... [--voter ID] [--locked] [--json]\n       weir poll vote --batch [FILE] [--batch-id ID] [--locked] [--json]",
    after_help = "Prints one line, \"queued ID\", \"stored ID\" or \"spooled ID\": where the ballot is, and its
identity as the receipt. In all three the vote is safe and will be counted once.

A batch has one vote a line, POLL<TAB>CHOICE[,CHOICE...][<TAB>VOTER], and takes at most 64 KiB
a line. Refused lines are told on stderr with their numbers; the others are taken. Its memory
does not grow with the file.

A batch that broke off can be cast again, whole. Lines that name their voter: each voter
counts once, and those who have voted already are told as refused. Lines that do not: only
with the same --batch-id both times, which gives each line an identity made from the batch's
ID and the line's number, so that it counts once; flush tells the repeated ones as duplicates.
Choose a new ID for every new file: a line under an ID and a number that have been counted
counts no more.

Ctrl-C or SIGTERM ends a batch after the votes under way. It prints the summary, with --json
\"status\":\"interrupted\" and the last line that was accepted or refused in \"lines\", says how to
go on, and exits 130. A second signal ends it at once.

Examples:
  weir poll vote now yes
  weir poll vote toppings ham leek --voter ann@example.org
  weir poll vote --batch votes.tsv
  weir poll vote --batch votes.tsv --batch-id monday-morning
  zcat votes.tsv.gz | weir poll vote --batch --json"
)]
pub struct Args {
    /// The poll
    #[arg(required_unless_present = "batch", conflicts_with = "batch", value_parser = Slug::new)]
    poll: Option<Slug>,
    /// The choice, or the choices where several may be picked
    #[arg(required_unless_present = "batch", value_name = "CHOICE", value_parser = Slug::new)]
    choices: Vec<Slug>,
    /// Who votes: a second vote under the same name is refused. Only a keyed hash of the name is kept
    #[arg(long, value_name = "ID", conflicts_with = "batch")]
    voter: Option<String>,
    /// Cast every line of a file, or of standard input
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    batch: Option<std::path::PathBuf>,
    /// Name the batch, so that casting it again counts no line twice
    #[arg(long, value_name = "ID")]
    batch_id: Option<String>,
    /// Hold the lock of the old notes while enqueueing, as scripts of theirs do
    #[arg(long)]
    locked: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Receipt<'a> {
    status: &'static str,
    poll: &'a Slug,
    id: String,
}

impl Args {
    /// Whether it casts a batch.
    pub(super) fn is_batch(&self) -> bool {
        self.batch.is_some()
    }

    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        if let Some(file) = &self.batch {
            let id = self.batch_id.as_deref().map(BatchId::new).transpose()?;
            let lines = id.map(|id| (settings.identity_key.clone(), id));
            let copies = settings.copies;
            return batch::run(file, Caster { booth: settings.booth(self.locked), lines, copies }, self.json, out);
        }
        if self.batch_id.is_some() {
            return Err(Usage("--batch-id names a batch: it needs --batch".into()).into());
        }
        let poll = self.poll.ok_or_else(|| Usage("no poll is named".into()))?;
        let voter = self.voter.as_deref().map(Voter::new).transpose()?;
        let copies = settings.copies;
        let vote = Vote { poll: poll.clone(), picks: self.choices.into(), voter };
        let deposit = settings.booth(self.locked).strict().cast(vec![vote]);
        let taken = |outcome: &Outcome| matches!(outcome, Outcome::Taken(..));
        if !deposit.unsupported.is_empty() && !deposit.outcomes.iter().any(taken) {
            return Err(Usage(format!("{}; the vote was NOT taken", deposit.unsupported.join("; "))).into());
        }
        for outcome in deposit.outcomes {
            match outcome {
                Outcome::Refused(refusal) => return Err((*refusal).into()),
                Outcome::NotTaken => anyhow::bail!("the vote was NOT taken: {}", deposit.failures.join("; ")),
                Outcome::Taken(place, identity) => {
                    tell_of_failures(place, &deposit.failures, deposit.short_of_copies, copies, out);
                    let status = place.name();
                    if self.json {
                        out.json(&Receipt { status, poll: &poll, id: identity.to_string() })?;
                    } else {
                        out.line(format_args!("{status} {identity}"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// One line for everything that failed although the vote was taken.
pub(super) fn tell_of_failures(
    place: Place,
    failures: &[String],
    short_of_copies: u64,
    copies: usize,
    out: &mut Output,
) {
    let to = match place {
        Place::Queued if short_of_copies > 0 => format!("went to fewer than {copies} servers"),
        Place::Queued => "went to another server or needed the database".into(),
        Place::Stored => "went to the database".into(),
        Place::Spooled => "went to the spool".into(),
    };
    if !failures.is_empty() {
        out.warning(format_args!("{}; votes {to}", failures.join("; ")));
    }
}
