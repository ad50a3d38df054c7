//! `weir poll create`.

use anyhow::Result;

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::{Choice, Once, Poll};
use crate::poll::{definition, owner, secret};
use crate::slug::Slug;
use crate::store;

use super::open_close::read_closing;

/// Arguments of `weir poll create`.
#[derive(clap::Args, Debug)]
#[command(after_help = "If the database is a SQLite file that does not exist, create makes it; no other command does.

Examples:
  weir poll create now --question 'Now or later?' --choice now=Now --choice later=Later
  weir poll create site --question 'One vote a household?' --choice yes=Yes --choice no=No --once ip
  weir poll create toppings --question 'Which three?' --pick 3 \\
      --choice ham=Ham --choice egg=Egg --choice leek=Leek --choice kale=Kale --closes '2026-12-24 18:00'")]
pub struct Args {
    /// The poll's name: 1 to 64 characters out of a-z, 0-9 and -
    #[arg(value_parser = Slug::new)]
    poll: Slug,
    /// What is asked
    #[arg(long, value_name = "TEXT")]
    question: String,
    /// A choice, named as the poll is, and what voters read; 2 to 63 of them
    #[arg(long = "choice", value_name = "KEY=LABEL", required = true, value_parser = read_choice)]
    choices: Vec<Choice>,
    /// How many choices one ballot may pick
    #[arg(long, value_name = "N", default_value_t = 1)]
    pick: u8,
    /// When it closes: a time (2026-12-24 18:00, RFC 3339) or a while from now (2h, 3d)
    #[arg(long, value_name = "WHEN", value_parser = read_closing)]
    closes: Option<i64>,
    /// How voters on the web ("weir poll serve") are told apart, so that each votes once: by a signed cookie, by
    /// address, by both, or not at all. Votes of the command line are not concerned
    #[arg(long, value_name = "cookie|ip|cookie+ip|none", default_value_t, value_parser = str::parse::<Once>)]
    once: Once,
    /// Move the queues to this database if they belong to another one
    #[arg(long)]
    adopt_queue: bool,
    /// Print the new poll as JSON
    #[arg(long)]
    json: bool,
}

fn read_choice(text: &str) -> Result<Choice, String> {
    let Some((key, label)) = text.split_once('=') else { return Err("expected KEY=LABEL".into()) };
    let key = Slug::new(key).map_err(|error| error.to_string())?;
    Ok(Choice { key, label: label.to_string() })
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let mut poll = Poll::new(self.poll, self.question, self.choices, self.pick, self.closes)?;
        poll.once = self.once;
        let mut servers = settings.servers();
        if !self.adopt_queue && !store::exists(&settings.database)? {
            // Before the file is made: a path that is wrong by mistake must leave nothing behind.
            owner::check_all(&mut servers, None, &format!("{}, which does not exist yet", settings.database))?;
        }
        let mut store = settings.create_store()?;
        secret::check(store.as_mut(), &settings.identity_key)?;
        let database = owner::of(store.as_mut())?;
        if self.adopt_queue {
            owner::adopt_all(&mut servers, &database).iter().for_each(|error| out.warning(error));
        } else {
            owner::claim_all(&mut servers, &database)?;
        }
        secret::check_or_keep(store.as_mut(), &settings.identity_key)?;
        store.create_poll(&poll)?;
        for error in definition::publish(std::slice::from_ref(&poll), &store.properties()?, &mut servers) {
            out.warning(format_args!("{error}; voters there will read the poll from the database once"));
        }
        if self.json {
            out.json(&crate::poll::shown::Shown::new(&poll))?;
        } else {
            out.line(format_args!("created {}", poll.slug))?;
        }
        Ok(())
    }
}
