//! How many votes a second are acknowledged when many writers vote at once, each waiting for its own answer: the
//! three ways into the queue side by side.
//!
//! - `lock`: every vote holds the lock of the old notes around its two steps.
//! - `ticket`: every writer has a booth and connections of its own, and takes no lock.
//! - `group`: all writers share one batcher, which casts together what has gathered.
//!
//! ```text
//! cargo run --release --example vote_writers -- group --writers 64 --seconds 10
//! ```
//!
//! It wants a memcached of its own: it creates the poll `vote-writers` under the prefix `vote-writers` there, and a
//! database in a temporary folder. It prints one JSON object.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use weir::poll::ballot::{Choice, IdentityKey, Poll, Voter};
use weir::poll::batcher::{Batcher, Limits};
use weir::poll::definition;
use weir::poll::site::Site;
use weir::poll::spool::Spool;
use weir::poll::vote::{Outcome, Place, Vote};
use weir::queue::{Address, Keys, Prefix};
use weir::slug::Slug;
use weir::store::DatabaseUrl;

const NAME: &str = "vote-writers";

/// Votes a second, acknowledged one by one to writers that each wait for their answer.
#[derive(Parser)]
struct Args {
    /// How votes are written
    mode: Mode,
    /// How many write at once
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// memcached servers, host:port separated by commas
    #[arg(long, default_value = "127.0.0.1:11211")]
    memcached: String,
    /// Name every voter, so that each vote is checked against a mark
    #[arg(long)]
    named: bool,
    /// How long one memcached server may take, in milliseconds
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

#[derive(ValueEnum, Clone, Copy, Serialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Lock,
    Ticket,
    Group,
}

#[derive(Serialize)]
struct Measured {
    mode: Mode,
    writers: usize,
    named: bool,
    seconds: f64,
    acknowledged: usize,
    votes_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = std::env::temp_dir().join(format!("{NAME}-{}", std::process::id()));
    let measured = measure(&args, &folder);
    let removed = if folder.exists() { std::fs::remove_dir_all(&folder) } else { Ok(()) };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured?)?)?;
    removed.with_context(|| folder.display().to_string())
}

fn measure(args: &Args, folder: &std::path::Path) -> Result<Measured> {
    let site = Site {
        memcached: args.memcached.split(',').map(Address::new).collect::<Result<_, _>>()?,
        keys: Keys::new(Prefix::new(NAME)?),
        database: DatabaseUrl::new(&format!("sqlite:{}", folder.join("polls.sqlite").display()))?,
        spool: Spool::new(folder.join("spool")),
        copies: 1,
        timeout: Duration::from_millis(args.timeout_ms),
        identity_key: IdentityKey::new(None),
    };
    let choice = |key: &str| Ok::<_, anyhow::Error>(Choice { key: Slug::new(key)?, label: key.into() });
    let poll = Poll::new(Slug::new(NAME)?, "Now?".into(), vec![choice("yes")?, choice("no")?], 1, None)?;
    site.store()?.create_poll(&poll)?;
    let failed = definition::publish(std::slice::from_ref(&poll), &mut site.servers());
    failed.into_iter().next().map_or(Ok(()), Err)?;
    let picks = [poll.choices[0].key.clone()].into();
    let vote = Vote { poll: poll.slug, picks, voter: None };
    let batcher = Batcher::start(&site, Limits::default())?;
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(args.seconds);
    let waits = std::thread::scope(|scope| {
        let writer = |number| {
            let (site, batcher, vote) = (&site, &batcher, &vote);
            scope.spawn(move || write(number, args, site, batcher, vote, until))
        };
        let writers: Vec<_> = (0..args.writers).map(writer).collect();
        let joined = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| anyhow::bail!("a writer died")));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut waits = waits.concat();
    ensure!(!waits.is_empty(), "no vote was acknowledged in {seconds} seconds");
    waits.sort_unstable();
    let ms_at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Ok(Measured {
        mode: args.mode,
        writers: args.writers,
        named: args.named,
        seconds,
        acknowledged: waits.len(),
        votes_per_second: waits.len() as f64 / seconds,
        p50_ms: ms_at(0.5),
        p99_ms: ms_at(0.99),
        max_ms: ms_at(1.0),
    })
}

/// Votes until the end and returns how long each acknowledgement took.
fn write(
    number: usize,
    args: &Args,
    site: &Site,
    batcher: &Batcher,
    vote: &Vote,
    until: Instant,
) -> Result<Vec<Duration>> {
    let mut booth = site.clone().booth(args.mode == Mode::Lock);
    let mut waits = Vec::new();
    while Instant::now() < until {
        let name = args.named.then(|| Voter::new(&format!("{}-{number}-{}", std::process::id(), waits.len())));
        let vote = Vote { voter: name.transpose()?, ..vote.clone() };
        let began = Instant::now();
        let (outcome, failures) = match args.mode {
            Mode::Group => {
                let answer = batcher.cast(vote)?;
                (Some(answer.outcome), answer.failures.to_vec())
            }
            Mode::Lock | Mode::Ticket => {
                let deposit = booth.cast(vec![vote]);
                (deposit.outcomes.into_iter().next(), deposit.failures)
            }
        };
        waits.push(began.elapsed());
        let queued = matches!(outcome, Some(Outcome::Taken(Place::Queued, _)));
        ensure!(queued, "a vote was not queued: {outcome:?} {}", failures.join("; "));
    }
    Ok(waits)
}
