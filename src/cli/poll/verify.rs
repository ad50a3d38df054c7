//! `weir poll verify`: recount the ballots, compare with the tallies, and set those to the recount if asked.

use anyhow::Result;
use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::Poll;
use crate::poll::results;
use crate::slug::Slug;
use crate::store::Tally;

use super::open_close::find;

/// Arguments of `weir poll verify`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Counts every ballot of the database: it takes a while for millions. Exits 1 when a tally is wrong.

With --repair a wrong tally is set to the recount, and the exit code is 0 when all tallies are
right in the end. It is safe while votes come in: they wait while the ballots of a poll with a
wrong tally are counted again. A tally is wrong only when something other than weir has written
to the database, so find out what it was.

Examples:
  weir poll verify now
  weir poll verify --repair"
)]
pub struct Args {
    /// The polls; without any, all of them
    #[arg(value_name = "POLL", value_parser = Slug::new)]
    polls: Vec<Slug>,
    /// Set wrong tallies to the recount
    #[arg(long)]
    repair: bool,
    /// One JSON object per poll: "votes" and "ballots" are the recount, "tallied" is what was stored
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    poll: &'a Slug,
    ok: bool,
    repaired: bool,
    ballots: u64,
    tallied: u64,
    choices: Vec<ChoiceVerdict<'a>>,
}

#[derive(Serialize)]
struct ChoiceVerdict<'a> {
    key: &'a Slug,
    votes: u64,
    tallied: u64,
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let mut store = settings.store()?;
        let polls = match self.polls.is_empty() {
            true => store.polls()?,
            false => self.polls.iter().map(|slug| find(store.as_mut(), slug)).collect::<Result<_>>()?,
        };
        let (mut wrong, mut repaired) = (0, Vec::new());
        for poll in &polls {
            let (mut stored, mut counted) = store.recount(poll)?;
            let is_wrong = stored != counted;
            if is_wrong && self.repair {
                // Counted again while writers wait: what is printed is what was changed. Another repair may have been first.
                (stored, counted) = store.repair(poll)?;
                repaired.push(results::stored(poll, store.as_mut())?);
            }
            wrong += usize::from(is_wrong && !self.repair);
            let verdict = verdict(poll, &stored, &counted, self.repair);
            match self.json {
                true => out.json(&verdict)?,
                false => print(&verdict, out)?,
            }
        }
        if !repaired.is_empty() {
            for error in results::publish(&repaired, &mut settings.servers()) {
                out.warning(format_args!("{error}; results there are corrected by the next flush"));
            }
        }
        if wrong > 0 {
            anyhow::bail!(
                "{wrong} of {} polls have wrong tallies: \"weir poll verify --repair\" sets them to the recount",
                polls.len()
            );
        }
        Ok(())
    }
}

fn print(verdict: &Verdict<'_>, out: &mut Output) -> Result<()> {
    let Verdict { poll, ok, repaired, ballots, tallied, choices } = verdict;
    match (ok, repaired) {
        (true, _) => out.line(format_args!("{poll}: ok, {ballots} ballots"))?,
        (false, true) => out.line(format_args!("{poll}: repaired, {tallied} ballots are now {ballots}"))?,
        (false, false) => out.line(format_args!("{poll}: WRONG, {ballots} ballots, tallied {tallied}"))?,
    }
    for ChoiceVerdict { key, votes, tallied } in choices.iter().filter(|choice| choice.votes != choice.tallied) {
        match repaired {
            true => out.line(format_args!("  {key}: {tallied} votes are now {votes}"))?,
            false => out.line(format_args!("  {key}: {votes} votes, tallied {tallied}"))?,
        }
    }
    Ok(())
}

fn verdict<'a>(poll: &'a Poll, stored: &Tally, counted: &Tally, repair: bool) -> Verdict<'a> {
    let choices = poll.choices.iter().zip(counted.votes.iter().zip(&stored.votes));
    let choices = choices.map(|(choice, (&votes, &tallied))| ChoiceVerdict { key: &choice.key, votes, tallied });
    let ok = stored == counted;
    Verdict {
        poll: &poll.slug,
        ok,
        repaired: repair && !ok,
        ballots: counted.ballots,
        tallied: stored.ballots,
        choices: choices.collect(),
    }
}
