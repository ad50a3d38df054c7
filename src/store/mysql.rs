//! The store in MySQL 8, MariaDB 10.6 and later, and what speaks their protocol.
//!
//! A batch is one transaction: the queue's head is locked with `FOR UPDATE NOWAIT` and compared, ballots go in
//! as arrays of rows or multi-row `INSERT IGNORE` in key order, tallies are raised by the rows that were really inserted, the
//! head is set, all is committed. Deadlocks between two writers of one poll are retried whole.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, IsolationLevel, Opts, OptsBuilder, SslOpts, TxOpts, params};
use url::Url;

use crate::slug::Slug;

use super::batch::{add_votes, in_key_order};
use super::mysql_batch::{Manner, PACKET_MIN, is_deadlock, write};
use super::record::{
    Advance, Batch, Choice, DeadLetter, Folded, Identity, Poll, QueueHead, Row, Settled, Tally, Verdict,
};
use super::url::without_password;
use super::{Cause, Error, Once, Properties, Store, mysql_letters, mysql_properties};

mod migrations {
    refinery::embed_migrations!("src/store/migrations/mysql");
}

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a batch is tried when the database chooses it as a deadlock's victim.
const DEADLOCK_ATTEMPTS: u32 = 10;

/// How many ballots are read at once: Vitess refuses to return more than 10 000 rows unless told otherwise, and ends
/// what takes long.
const PAGE_ROWS: usize = 5_000;

type Rows<T> = Result<Vec<T>, mysql::Error>;
type PollColumns = (i64, String, String, u8, i64, Option<i64>, Option<i64>, Option<String>);

const SELECT_POLLS: &str = "SELECT id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms, \
     (SELECT once_per FROM poll_once WHERE poll_id = polls.id) FROM polls";

/// A MySQL database of polls.
pub(super) struct MysqlStore {
    name: String,
    opts: Opts,
    connection: Option<Conn>,
    /// Whether the server takes arrays of rows, once it has been asked.
    bulk: Option<bool>,
    /// Whether some ballots of the last batch were there already.
    repeats: bool,
}

impl MysqlStore {
    pub(super) fn open(url: &Url, patience: Duration) -> Result<MysqlStore, Error> {
        let name = without_password(url);
        let opts = options(url, patience).map_err(|error| Error::new(&name, "reading its URL", error))?;
        let mut store = MysqlStore { name, opts, connection: None, bulk: None, repeats: false };
        store.run("bringing its tables up to date", migrate)?;
        Ok(store)
    }

    /// Runs `work` on a living connection. After any failure the connection is dropped, for what state it is in
    /// is unknown; the next call makes a new one.
    fn run<T, E>(&mut self, doing: &'static str, work: impl FnOnce(&mut Conn) -> Result<T, E>) -> Result<T, Error>
    where
        E: Into<Cause>,
    {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Conn::new(self.opts.clone()).map_err(|error| Error::new(&self.name, "connecting", plain(error)))?,
        };
        let done = work(&mut connection).map_err(|error| Error::new(&self.name, doing, plain(error)))?;
        self.connection = Some(connection);
        Ok(done)
    }
}

/// The driver's error without its wrapping, which shows a struct to people, and a time-out by its name.
fn plain(error: impl Into<Cause>) -> Cause {
    let error = match error.into().downcast::<mysql::Error>() {
        Ok(error) => *error,
        Err(other) => return other,
    };
    match error {
        mysql::Error::CodecError(error) if error.source().is_some_and(is_time_out) => "no answer in time".into(),
        mysql::Error::IoError(error) if is_time_out(&error) => "no answer in time".into(),
        mysql::Error::DriverError(error) => Box::new(error),
        mysql::Error::IoError(error) => Box::new(error),
        mysql::Error::MySqlError(error) => Box::new(error),
        other => Box::new(other),
    }
}

fn is_time_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

/// `tls=on` asks for TLS verified against the public roots or `root_cert_path`; `tls=unverified` for TLS
/// whoever answers. Every other parameter is the driver's.
fn options(url: &Url, patience: Duration) -> Result<Opts, Cause> {
    let mut plain = url.clone();
    let mut tls = None;
    let rest: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(name, _)| name != "tls").collect();
    for (_, value) in url.query_pairs().filter(|(name, _)| name == "tls") {
        tls = Some(match value.as_ref() {
            "on" => SslOpts::default(),
            "unverified" => SslOpts::default().with_danger_accept_invalid_certs(true),
            _ => return Err("tls= takes on or unverified".into()),
        });
    }
    match rest.is_empty() {
        true => plain.set_query(None),
        false => drop(plain.query_pairs_mut().clear().extend_pairs(rest)),
    }
    let opts = Opts::from_url(plain.as_str())?;
    let tls = match (tls, opts.get_ssl_opts()) {
        (Some(_), Some(given)) => Some(given.clone()),
        (tls, given) => tls.or_else(|| given.cloned()),
    };
    Ok(OptsBuilder::from_opts(opts)
        .prefer_socket(false)
        .tcp_connect_timeout(Some(CONNECT_TIMEOUT.min(patience)))
        .read_timeout(Some(patience))
        .write_timeout(Some(patience))
        .ssl_opts(tls)
        .into())
}

/// Says what is wrong with the parameters of a URL, before anything is connected to.
pub(super) fn check_parameters(url: &Url) -> Result<(), String> {
    options(url, CONNECT_TIMEOUT).map(|_| ()).map_err(|cause| cause.to_string())
}

fn migrate(connection: &mut Conn) -> Result<(), Cause> {
    let newest = migrations::migrations::runner().get_migrations().iter().map(|one| one.version()).max();
    // A user without the right to create tables can work on a database that is up to date. No history table
    // yet is an error here, and means the same as an empty one.
    let applied: Option<i32> =
        connection.query_first("SELECT MAX(version) FROM refinery_schema_history").ok().flatten().flatten();
    if applied < newest {
        super::migrate(|| migrations::migrations::runner().run(connection))?;
    }
    Ok(())
}

/// A transaction whose first read fixes the moment of all its reads. Not `WITH CONSISTENT SNAPSHOT`, which would fix it a
/// statement earlier: the driver panics when the server hangs up on that.
fn one_moment() -> TxOpts {
    TxOpts::default().set_isolation_level(Some(IsolationLevel::RepeatableRead))
}

impl Store for MysqlStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&mut self) -> Result<Properties, Error> {
        self.run("reading its properties", mysql_properties::read)
    }

    fn keep_secret_fingerprint(&mut self, fingerprint: u64) -> Result<u64, Error> {
        let keep = |connection: &mut Conn| mysql_properties::keep_fingerprint(connection, fingerprint);
        self.run("storing the fingerprint of the voter secret", keep)
    }

    fn create_poll(&mut self, poll: &Poll) -> Result<(), Error> {
        let created = self.run("creating a poll", |connection| {
            let mut tx = connection.start_transaction(TxOpts::default())?;
            tx.exec_drop(
                "INSERT IGNORE INTO polls (id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms) \
                 VALUES (:id, :slug, :question, :pick_max, :created, :closes, :closed)",
                params! {
                    "id" => poll.id,
                    "slug" => poll.slug.as_str(),
                    "question" => &poll.question,
                    "pick_max" => poll.pick_max,
                    "created" => poll.created_at_ms,
                    "closes" => poll.closes_at_ms,
                    "closed" => poll.closed_at_ms,
                },
            )?;
            let created = tx.affected_rows() == 1;
            if created {
                tx.exec_drop("INSERT INTO poll_once (poll_id, once_per) VALUES (?, ?)", (poll.id, poll.once.as_str()))?;
                let choices = poll.choices.iter().enumerate();
                tx.exec_batch(
                    "INSERT INTO choices (poll_id, position, choice, label) VALUES (?, ?, ?, ?)",
                    choices.map(|(position, choice)| (poll.id, position, choice.key.as_str(), &choice.label)),
                )?;
            }
            tx.commit()?;
            Ok::<_, mysql::Error>(created)
        })?;
        if created { Ok(()) } else { Err(Error::PollExists(poll.slug.clone())) }
    }

    fn polls(&mut self) -> Result<Vec<Poll>, Error> {
        self.run("listing polls", |connection| {
            let rows: Vec<PollColumns> = connection.query(format!("{SELECT_POLLS} ORDER BY created_at_ms, slug"))?;
            let choices: Vec<(i64, String, String)> =
                connection.query("SELECT poll_id, choice, label FROM choices ORDER BY position")?;
            let mut of: HashMap<i64, Vec<(String, String)>> = HashMap::new();
            for (poll_id, key, label) in choices {
                of.entry(poll_id).or_default().push((key, label));
            }
            let polls = rows.into_iter().map(|row| whole_poll(of.remove(&row.0).unwrap_or_default(), row));
            polls.collect::<Result<_, Cause>>()
        })
    }

    fn poll(&mut self, slug: &Slug) -> Result<Option<Poll>, Error> {
        self.run("reading a poll", |connection| {
            let row: Option<PollColumns> =
                connection.exec_first(format!("{SELECT_POLLS} WHERE slug = ?"), (slug.as_str(),))?;
            let Some(row) = row else { return Ok(None) };
            let choices =
                connection.exec("SELECT choice, label FROM choices WHERE poll_id = ? ORDER BY position", (row.0,))?;
            Ok::<_, Cause>(Some(whole_poll(choices, row)?))
        })
    }

    fn set_closing(&mut self, poll_id: i64, closes_at_ms: Option<i64>, closed_at_ms: Option<i64>) -> Result<(), Error> {
        self.run("opening or closing a poll", |connection| {
            let sql = "UPDATE polls SET closes_at_ms = ?, closed_at_ms = ? WHERE id = ?";
            connection.exec_drop(sql, (closes_at_ms, closed_at_ms, poll_id))
        })
    }

    fn fold(&mut self, mut batch: Batch, advance: Option<Advance<'_>>) -> Result<Folded, Error> {
        let found = batch.rows.len() as u64;
        let rows = in_key_order(std::mem::take(&mut batch.rows));
        let (mut bulk, repeats) = (self.bulk, self.repeats);
        let outcome = self.run("writing ballots", |connection| {
            // Not worth asking for a single vote.
            if bulk.is_none() && found > 1 {
                let server: Option<(String, u64)> = connection.query_first("SELECT VERSION(), @@max_allowed_packet")?;
                let able = |(version, packet): (String, u64)| version.contains("MariaDB") && packet >= PACKET_MIN;
                bulk = Some(server.is_some_and(able));
            }
            let manner = Manner { bulk: bulk == Some(true), repeats };
            let mut attempt = 1;
            loop {
                match write(connection, &rows, &batch, advance, manner) {
                    Err(error) if is_deadlock(&error) && attempt < DEADLOCK_ATTEMPTS => {
                        attempt += 1;
                        make_way(attempt);
                    }
                    other => return other,
                }
            }
        })?;
        self.bulk = bulk;
        self.repeats = outcome.is_some_and(|counted| counted < rows.len() as u64);
        match (outcome, advance) {
            (Some(counted), _) => Ok(Folded { counted, duplicates: found - counted }),
            (None, advance) => {
                Err(Error::QueueTaken { queue: advance.map(|advance| advance.queue.to_string()).unwrap_or_default() })
            }
        }
    }

    fn queue_head(&mut self, queue: &str) -> Result<Option<i64>, Error> {
        self.run("reading a queue's head", |connection| {
            connection.exec_first("SELECT head FROM queues WHERE name = ?", (queue,))
        })
    }

    fn queue_heads(&mut self) -> Result<Vec<QueueHead>, Error> {
        self.run("listing queues", |connection| -> Rows<QueueHead> {
            connection.query_map(
                "SELECT name, head, flushed_at_ms FROM queues ORDER BY name",
                |(name, head, flushed_at_ms)| QueueHead { name, head, flushed_at_ms },
            )
        })
    }

    fn tally(&mut self, poll: &Poll) -> Result<Tally, Error> {
        self.run("reading a tally", |connection| {
            let mut tx = connection.start_transaction(one_moment())?;
            tally(&mut tx, poll)
        })
    }

    fn recount(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error> {
        self.run("counting ballots", |connection| {
            let mut tx = connection.start_transaction(one_moment())?;
            let stored = tally(&mut tx, poll)?;
            let groups: Vec<(u64, u64)> =
                tx.exec("SELECT picks, COUNT(*) FROM ballots WHERE poll_id = ? GROUP BY picks", (poll.id,))?;
            let mut counted = Tally { ballots: 0, refused: stored.refused, votes: vec![0; poll.choices.len()] };
            for (picks, ballots) in groups {
                counted.ballots += ballots;
                add_votes(&mut counted.votes, picks, ballots);
            }
            Ok::<_, mysql::Error>((stored, counted))
        })
    }

    fn turnout(&mut self, poll: &Poll, from_ms: i64, step_ms: i64) -> Result<Vec<(u64, u64)>, Error> {
        self.run("reading the turnout", |connection| {
            connection.exec(
                "SELECT GREATEST(at_ms - ?, 0) DIV ? AS step, COUNT(*) FROM ballots WHERE poll_id = ? \
                 GROUP BY step ORDER BY step",
                (from_ms, step_ms.max(1), poll.id),
            )
        })
    }

    fn for_each_ballot(&mut self, poll: &Poll, each: &mut dyn FnMut(Row) -> bool) -> Result<(), Error> {
        self.run("reading ballots", |connection| {
            let select = |after| format!("SELECT identity, picks, at_ms FROM ballots WHERE poll_id = ?{after} ORDER BY identity LIMIT {PAGE_ROWS}");
            let (first, next) = (select(""), select(" AND identity > ?"));
            let mut page: Vec<(Vec<u8>, u64, i64)> = connection.exec(&first, (poll.id,))?;
            loop {
                for (identity, picks, at_ms) in &page {
                    let identity = Identity(sixteen(identity)?);
                    if !each(Row { poll_id: poll.id, identity, picks: *picks, at_ms: *at_ms }) {
                        return Ok(());
                    }
                }
                let Some((last, ..)) = page.pop().filter(|_| page.len() + 1 == PAGE_ROWS) else { return Ok::<_, Cause>(()) };
                page = connection.exec(&next, (poll.id, last))?;
            }
        })
    }

    fn dead_letter_count(&mut self) -> Result<u64, Error> {
        self.run("counting dead letters", |connection| {
            connection.query_first("SELECT COUNT(*) FROM dead_letters").map(Option::unwrap_or_default)
        })
    }

    fn dead_letters(&mut self, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        self.run("reading dead letters", |connection| mysql_letters::newest(connection, limit))
    }

    fn dead_letters_after(&mut self, after: Option<[u8; 16]>, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        self.run("reading dead letters", |connection| mysql_letters::after(connection, after, limit))
    }

    fn dead_letter(&mut self, id: [u8; 16]) -> Result<Option<DeadLetter>, Error> {
        self.run("reading a dead letter", |connection| mysql_letters::one(connection, id))
    }

    fn settle_dead_letters(&mut self, verdicts: &[([u8; 16], Verdict)]) -> Result<Settled, Error> {
        self.run("settling dead letters", |connection| {
            let mut attempt = 1;
            loop {
                match mysql_letters::settle(connection, verdicts) {
                    Err(error) if is_deadlock(&error) && attempt < DEADLOCK_ATTEMPTS => {
                        attempt += 1;
                        make_way(attempt);
                    }
                    other => return other,
                }
            }
        })
    }
}

/// Waits a little before a deadlock's victim tries again: at once it would meet the same transactions.
fn make_way(attempt: u32) {
    std::thread::sleep(Duration::from_millis(rand::random_range(0..=u64::from(attempt) * 5)));
}

fn sixteen(bytes: &[u8]) -> Result<[u8; 16], std::array::TryFromSliceError> {
    bytes.try_into()
}

fn whole_poll(choices: Vec<(String, String)>, row: PollColumns) -> Result<Poll, Cause> {
    let (id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms, once) = row;
    // A poll of before there was a choice has none stored.
    let once = once.map_or(Ok(Once::default()), |text| text.parse())?;
    let choices = choices.into_iter().map(|(key, label)| Ok(Choice { key: Slug::new(&key)?, label }));
    let choices = choices.collect::<Result<_, crate::slug::SlugError>>()?;
    Ok(Poll {
        id,
        slug: Slug::new(&slug)?,
        question,
        choices,
        pick_max,
        created_at_ms,
        closes_at_ms,
        closed_at_ms,
        once,
    })
}

fn tally(tx: &mut mysql::Transaction<'_>, poll: &Poll) -> Result<Tally, mysql::Error> {
    let (ballots, refused) =
        tx.exec_first("SELECT ballots, refused FROM polls WHERE id = ?", (poll.id,))?.unwrap_or_default();
    let votes = tx.exec("SELECT votes FROM choices WHERE poll_id = ? ORDER BY position", (poll.id,))?;
    Ok(Tally { ballots, refused, votes })
}
