//! `weir poll verify`: recount the ballots and compare with the tallies.

use anyhow::Result;
use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::Poll;
use crate::slug::Slug;
use crate::store::Tally;

use super::open_close::find;

/// Arguments of `weir poll verify`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Counts every ballot of the database: it takes a while for millions. Exits 1 when a tally is wrong.\n
Example:\n  weir poll verify now"
)]
pub struct Args {
    /// The polls; without any, all of them
    #[arg(value_name = "POLL", value_parser = Slug::new)]
    polls: Vec<Slug>,
    /// One JSON object a poll
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    poll: &'a Slug,
    ok: bool,
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
        let mut wrong = 0;
        for poll in &polls {
            let (stored, counted) = store.recount(poll)?;
            wrong += usize::from(stored != counted);
            if self.json {
                out.json(&verdict(poll, &stored, &counted))?;
            } else if stored == counted {
                out.line(format_args!("{}: ok, {} ballots", poll.slug, counted.ballots))?;
            } else {
                out.line(format_args!(
                    "{}: WRONG, {} ballots, tallied {}",
                    poll.slug, counted.ballots, stored.ballots
                ))?;
                for choice in verdict(poll, &stored, &counted).choices.iter().filter(|one| one.votes != one.tallied) {
                    out.line(format_args!("  {}: {} votes, tallied {}", choice.key, choice.votes, choice.tallied))?;
                }
            }
        }
        if wrong > 0 {
            anyhow::bail!("{wrong} of {} polls have wrong tallies", polls.len());
        }
        Ok(())
    }
}

fn verdict<'a>(poll: &'a Poll, stored: &Tally, counted: &Tally) -> Verdict<'a> {
    let choices = poll.choices.iter().zip(counted.votes.iter().zip(&stored.votes));
    let choices = choices.map(|(choice, (&votes, &tallied))| ChoiceVerdict { key: &choice.key, votes, tallied });
    Verdict {
        poll: &poll.slug,
        ok: stored == counted,
        ballots: counted.ballots,
        tallied: stored.ballots,
        choices: choices.collect(),
    }
}
