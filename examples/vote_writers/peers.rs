//! What people would use instead of weir's queue, each with a connection of its own a writer, `TCP_NODELAY`, and one
//! write a request: Redis lists, beanstalkd jobs, and inserts straight into MariaDB.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mysql::prelude::Queryable;
use weir::poll::ballot::{Ballot, Identity};
use weir::poll::now_ms;
use weir::poll::wire::write_line;
use weir::slug::Slug;

use crate::{Cast, NAME};

/// Longer than any answer takes unless something is broken.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a consumer that found nothing waits: it reads in bulk, as a flush does, and wakes nobody.
const CONSUMER_PAUSE: Duration = Duration::from_millis(10);

/// How many jobs a consumer of beanstalkd asks for in one round trip.
const JOBS: usize = 100;

/// The line that weir would put into its queue.
fn line(poll: &Slug, picks: &Arc<[Slug]>) -> String {
    let at_ms = now_ms();
    let ballot = Ballot { poll: poll.clone(), picks: picks.clone(), identity: Identity::anonymous(at_ms), at_ms };
    let mut line = String::new();
    write_line(&mut line, &ballot);
    line
}

/// A connection to a server that speaks in lines.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn open(address: &str) -> Result<Talk> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Talk(BufReader::new(stream)))
    }

    fn say(&mut self, request: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(request.as_bytes())?)
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "the server closed the connection");
        Ok(line)
    }

    /// Reads over a block of so many bytes and its line end.
    fn skip(&mut self, length: u64) -> Result<()> {
        std::io::copy(&mut self.0.by_ref().take(length + 2), &mut std::io::sink())?;
        Ok(())
    }
}

/// Reads a queue empty again and again until it is dropped.
pub(crate) struct Consumer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Consumer {
    /// `take` takes some of what is queued and tells how much that was.
    fn start(mut take: impl FnMut() -> Result<usize> + Send + 'static) -> Consumer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if take()? == 0 {
                    std::thread::sleep(CONSUMER_PAUSE);
                }
            }
            Ok(())
        });
        Consumer { stop, thread: Some(thread) }
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the consumer has ended before")?;
        thread.join().unwrap_or_else(|_| bail!("the consumer died"))
    }
}

/// `RPUSH` of one vote.
pub(crate) fn redis(address: &str, poll: Slug, picks: Arc<[Slug]>) -> Result<Cast<'static>> {
    let mut talk = Talk::open(address)?;
    Ok(Box::new(move || {
        let vote = line(&poll, &picks);
        talk.say(&format!("*3\r\n$5\r\nRPUSH\r\n${}\r\n{NAME}\r\n${}\r\n{vote}\r\n", NAME.len(), vote.len()))?;
        let answer = talk.hear()?;
        ensure!(answer.starts_with(':'), "redis answered {answer:?}");
        Ok(())
    }))
}

/// `LPOP` of up to 10 000 votes at a time.
pub(crate) fn redis_consumer(address: &str) -> Result<Consumer> {
    let mut talk = Talk::open(address)?;
    Ok(Consumer::start(move || {
        talk.say(&format!("*3\r\n$4\r\nLPOP\r\n${}\r\n{NAME}\r\n$5\r\n10000\r\n", NAME.len()))?;
        let answer = talk.hear()?;
        let count = answer.trim_end().strip_prefix('*').with_context(|| format!("redis answered {answer:?}"))?;
        let count = count.parse::<i64>()?.max(0);
        for _ in 0..count {
            let length = talk.hear()?;
            talk.skip(length.trim_end().trim_start_matches('$').parse()?)?;
        }
        Ok(usize::try_from(count)?)
    }))
}

/// `put` of one vote.
pub(crate) fn beanstalkd(address: &str, poll: Slug, picks: Arc<[Slug]>) -> Result<Cast<'static>> {
    let mut talk = Talk::open(address)?;
    Ok(Box::new(move || {
        let vote = line(&poll, &picks);
        talk.say(&format!("put 0 0 60 {}\r\n{vote}\r\n", vote.len()))?;
        let answer = talk.hear()?;
        ensure!(answer.starts_with("INSERTED "), "beanstalkd answered {answer:?}");
        Ok(())
    }))
}

/// `reserve` and `delete`, [`JOBS`] at a time.
pub(crate) fn beanstalkd_consumer(address: &str) -> Result<Consumer> {
    let mut talk = Talk::open(address)?;
    Ok(Consumer::start(move || {
        talk.say(&"reserve-with-timeout 0\r\n".repeat(JOBS))?;
        let mut deletes = Vec::new();
        for _ in 0..JOBS {
            let answer = talk.hear()?;
            let mut words = answer.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("RESERVED"), Some(id), Some(length)) => {
                    talk.skip(length.parse()?)?;
                    deletes.push(format!("delete {id}\r\n"));
                }
                (Some("TIMED_OUT"), ..) => {}
                _ => bail!("beanstalkd answered {answer:?}"),
            }
        }
        talk.say(&deletes.concat())?;
        for _ in &deletes {
            let answer = talk.hear()?;
            ensure!(answer.starts_with("DELETED"), "beanstalkd answered {answer:?}");
        }
        Ok(deletes.len())
    }))
}

/// Makes the table for [`insert`], of the same shape as `ballots`, and empties it.
pub(crate) fn insert_table(url: &str) -> Result<()> {
    let mut connection = mysql::Conn::new(url)?;
    connection.query_drop("CREATE TABLE IF NOT EXISTS direct_ballots LIKE ballots")?;
    Ok(connection.query_drop("TRUNCATE TABLE direct_ballots")?)
}

/// One insert, committed by itself, with a statement that is prepared once.
pub(crate) fn insert(url: &str, poll_id: i64) -> Result<Cast<'static>> {
    let mut connection = mysql::Conn::new(url)?;
    let statement =
        connection.prep("INSERT INTO direct_ballots (poll_id, identity, picks, at_ms) VALUES (?, ?, ?, ?)")?;
    Ok(Box::new(move || {
        let at_ms = now_ms();
        let identity = Identity::anonymous(at_ms).0;
        Ok(connection.exec_drop(&statement, (poll_id, &identity[..], 1, at_ms))?)
    }))
}
