//! How many votes a second are acknowledged when many writers vote at once, each waiting for its own answer: weir's
//! three ways into the queue, and what people would use instead.
//!
//! - `lock`: every vote holds the lock of the old notes around its two steps.
//! - `ticket`: every writer has a booth and connections of its own, and takes no lock.
//! - `group`: all writers share one batcher, which casts together what has gathered.
//! - `redis`: `RPUSH` of the line that weir would queue.
//! - `beanstalkd`: `put` of the same line.
//! - `insert`: an insert into MariaDB, committed by itself, into a table of the shape of `ballots`.
//!
//! ```text
//! cargo run --release --example vote_writers -- group --writers 64 --seconds 10
//! ```
//!
//! With `--consume` what is queued in Redis or beanstalkd is read and thrown away beside the writers. With `--flush`
//! a `weir poll flush --every` runs beside weir's, and the clock stops when every vote is committed.
//!
//! It wants servers of its own: it creates the poll `vote-writers` under the prefix `vote-writers` there. It prints one
//! JSON object.

mod peers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
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
use weir::store::{DatabaseUrl, Error};

/// The poll, the prefix, and the queue of the others.
const NAME: &str = "vote-writers";

/// How often the flush beside the writers begins.
const FLUSH_EVERY: &str = "100ms";

/// How long the last votes may take to be committed.
const COMMIT_LIMIT: Duration = Duration::from_secs(120);

/// Casts one vote and returns when it is acknowledged.
type Cast<'a> = Box<dyn FnMut() -> Result<()> + Send + 'a>;

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
    /// The server that `redis` or `beanstalkd` writes to
    #[arg(long, default_value = "127.0.0.1:6379")]
    peer: String,
    /// Where ballots go: a MySQL URL for `insert`; without one a SQLite file in a temporary folder
    #[arg(long)]
    database: Option<String>,
    /// Read what is queued in `redis` or `beanstalkd` beside the writers
    #[arg(long)]
    consume: bool,
    /// Run this weir's `poll flush` beside the writers, and go on until every vote is committed
    #[arg(long, value_name = "WEIR", requires = "database")]
    flush: Option<PathBuf>,
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
    Redis,
    Beanstalkd,
    Insert,
}

impl Mode {
    fn is_weir(self) -> bool {
        matches!(self, Mode::Lock | Mode::Ticket | Mode::Group)
    }
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
    /// From the first vote to the commit of the last, over the time that took; nothing where votes are only queued.
    committed_per_second: Option<f64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = std::env::temp_dir().join(format!("{NAME}-{}", std::process::id()));
    let measured = measure(&args, &folder);
    let removed = if folder.exists() { std::fs::remove_dir_all(&folder) } else { Ok(()) };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured?)?)?;
    removed.with_context(|| folder.display().to_string())
}

fn site(args: &Args, folder: &Path) -> Result<Site> {
    let sqlite = || format!("sqlite:{}", folder.join("polls.sqlite").display());
    Ok(Site {
        memcached: args.memcached.split(',').map(Address::new).collect::<Result<_, _>>()?,
        keys: Keys::new(Prefix::new(NAME)?),
        database: DatabaseUrl::new(&args.database.clone().unwrap_or_else(sqlite))?,
        spool: Spool::new(folder.join("spool")),
        copies: 1,
        timeout: Duration::from_millis(args.timeout_ms),
        keep: Duration::ZERO,
        identity_key: IdentityKey::new(None),
    })
}

/// The poll, new or of an earlier run.
fn poll(site: &Site) -> Result<Poll> {
    let choice = |key: &str| Ok::<_, anyhow::Error>(Choice { key: Slug::new(key)?, label: key.into() });
    let poll = Poll::new(Slug::new(NAME)?, "Now?".into(), vec![choice("yes")?, choice("no")?], 1, None)?;
    let mut store = site.create_store()?;
    match store.create_poll(&poll) {
        Ok(()) => Ok(poll),
        Err(Error::PollExists(slug)) => store.poll(&slug)?.context("the poll has gone"),
        Err(error) => Err(error.into()),
    }
}

fn measure(args: &Args, folder: &Path) -> Result<Measured> {
    let site = site(args, folder)?;
    let poll = poll(&site)?;
    let picks: Arc<[Slug]> = [poll.choices[0].key.clone()].into();
    let batcher = Batcher::start(&site, Limits::default())?;
    if args.mode.is_weir() {
        let properties = site.store()?.properties()?;
        let failed = definition::publish(std::slice::from_ref(&poll), &properties, &mut site.servers());
        failed.into_iter().next().map_or(Ok(()), Err)?;
    }
    if args.mode == Mode::Insert {
        peers::insert_table(args.database.as_deref().context("insert wants --database")?)?;
    }
    let caster = |number: usize| -> Result<Cast<'_>> {
        match args.mode {
            Mode::Redis => peers::redis(&args.peer, poll.slug.clone(), picks.clone()),
            Mode::Beanstalkd => peers::beanstalkd(&args.peer, poll.slug.clone(), picks.clone()),
            Mode::Insert => peers::insert(args.database.as_deref().unwrap_or_default(), poll.id),
            Mode::Lock | Mode::Ticket | Mode::Group => {
                let vote = Vote { poll: poll.slug.clone(), picks: picks.clone(), voter: None };
                Ok(weir(number, args, &site, &batcher, vote))
            }
        }
    };
    let casters = (0..args.writers).map(caster).collect::<Result<Vec<_>>>()?;
    let consumer = match args.mode {
        Mode::Redis if args.consume => Some(peers::redis_consumer(&args.peer)?),
        Mode::Beanstalkd if args.consume => Some(peers::beanstalkd_consumer(&args.peer)?),
        _ => None,
    };
    let before = site.store()?.tally(&poll)?.ballots;
    let flush = args.flush.as_deref().map(|weir| Flush::start(weir, args, folder)).transpose()?;
    let began = Instant::now();
    let mut waits = race(casters, began + Duration::from_secs_f64(args.seconds))?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(!waits.is_empty(), "no vote was acknowledged in {seconds} seconds");
    let committed_seconds = match flush {
        None => (args.mode == Mode::Insert).then_some(seconds),
        Some(_flush) => {
            let wanted = before + waits.len() as u64;
            let mut store = site.store()?;
            while store.tally(&poll)?.ballots < wanted {
                ensure!(began.elapsed().as_secs_f64() < seconds + COMMIT_LIMIT.as_secs_f64(), "votes are missing");
                std::thread::sleep(Duration::from_millis(1));
            }
            let ballots = store.tally(&poll)?.ballots;
            ensure!(ballots == wanted, "{ballots} ballots are counted, {wanted} were acknowledged");
            Some(began.elapsed().as_secs_f64())
        }
    };
    consumer.map_or(Ok(()), peers::Consumer::end)?;
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
        committed_per_second: committed_seconds.map(|seconds| waits.len() as f64 / seconds),
    })
}

/// Lets all vote until the end, and returns how long each acknowledgement took.
fn race(casters: Vec<Cast<'_>>, until: Instant) -> Result<Vec<Duration>> {
    let write = |mut cast: Cast<'_>| -> Result<Vec<Duration>> {
        let mut waits = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            cast()?;
            waits.push(began.elapsed());
        }
        Ok(waits)
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = casters.into_iter().map(|cast| scope.spawn(move || write(cast))).collect();
        let joined = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| anyhow::bail!("a writer died")));
        joined.collect::<Result<Vec<_>>>().map(|waits| waits.concat())
    })
}

/// One writer that votes through weir.
fn weir<'a>(number: usize, args: &'a Args, site: &Site, batcher: &'a Batcher, vote: Vote) -> Cast<'a> {
    let mut booth = site.clone().booth(args.mode == Mode::Lock);
    let mut cast = 0;
    Box::new(move || {
        cast += 1;
        let name = args.named.then(|| Voter::new(&format!("{}-{number}-{cast}", std::process::id())));
        let vote = Vote { voter: name.transpose()?, ..vote.clone() };
        let (outcome, failures) = if args.mode == Mode::Group {
            let answer = batcher.cast(vote)?;
            (Some(answer.outcome), answer.failures.to_vec())
        } else {
            let deposit = booth.cast(vec![vote]);
            (deposit.outcomes.into_iter().next(), deposit.failures)
        };
        let queued = matches!(outcome, Some(Outcome::Taken(Place::Queued, _)));
        ensure!(queued, "a vote was not queued: {outcome:?} {}", failures.join("; "));
        Ok(())
    })
}

/// A flush that runs beside the writers until it is dropped.
struct Flush(Child);

impl Flush {
    fn start(weir: &Path, args: &Args, folder: &Path) -> Result<Flush> {
        let mut command = Command::new(weir);
        command.args(["poll", "flush", "--every", FLUSH_EVERY]).env("WEIR_PREFIX", NAME);
        command.env("WEIR_MEMCACHED", &args.memcached).env("WEIR_SPOOL", folder.join("spool"));
        command.env("WEIR_DATABASE", args.database.as_deref().unwrap_or_default());
        command.env("WEIR_TIMEOUT", format!("{}ms", args.timeout_ms)).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Flush(command.spawn().with_context(|| weir.display().to_string())?))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        // Every step of a flush may be its last.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
