//! The store in MySQL 8, MariaDB 10.6 and later, and what speaks their protocol.
//!
//! A batch is one transaction: the queue's head is locked with `FOR UPDATE NOWAIT` and compared, ballots go in
//! as arrays of rows or multi-row `INSERT IGNORE` in key order, tallies are raised by the rows that were really inserted, the
//! head is set, all is committed. Deadlocks, and what a cluster answers in their place, are retried whole. After any other
//! failure the connection is dropped, and the next call connects anew, to another host if there is one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mysql::params;
use mysql::prelude::Queryable;

use crate::slug::Slug;

use super::batch::in_key_order;
use super::mysql_batch::{Manner, write};
use super::mysql_error::{is_answer, is_retryable, is_unavailable, is_unknown_variable, plain};
use super::mysql_migrate::migrate;
use super::mysql_session::{Session, connect, guarded};
use super::mysql_transaction::{begin, commit, rollback};
use super::mysql_url::MysqlUrl;
use super::record::{
    Advance, Batch, Choice, DeadLetter, Folded, Identity, Poll, QueueRow, Row, Settled, Tally, Verdict,
};
use super::{
    Cause, Error, Failure, Once, Properties, Store, WRITE_NOTHING, mysql_letters, mysql_properties, mysql_tally,
};

/// How often work is tried when the database chooses it as a deadlock's victim.
const ATTEMPTS: u32 = 20;

/// How many ballots are read at once: Vitess refuses to return more than 10 000 rows unless told otherwise, and ends
/// what takes long.
const PAGE_ROWS: usize = 5_000;

type Rows<T> = Result<Vec<T>, mysql::Error>;
type PollColumns = (i64, String, String, i64, i64, Option<i64>, Option<i64>, Option<String>);

const SELECT_POLLS: &str = "SELECT id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms, \
     (SELECT once_per FROM poll_once WHERE poll_id = polls.id) FROM polls";

type QueueColumns = (String, String, i64, String, u64, i64);

const SELECT_QUEUES: &str = "SELECT name, server, head, slots, missing, flushed_at_ms FROM queues";

/// A MySQL database of polls.
pub(super) struct MysqlStore {
    /// The URL without the password.
    name: String,
    url: MysqlUrl,
    timeout: Duration,
    session: Option<Session>,
    /// Whether some ballots of the last batch were there already.
    repeats: bool,
}

impl MysqlStore {
    pub(super) fn open(url: &MysqlUrl, timeout: Duration) -> Result<MysqlStore, Error> {
        let mut store = MysqlStore { name: url.to_string(), url: url.clone(), timeout, session: None, repeats: false };
        store.run("bringing its tables up to date", |session| migrate(session))?;
        Ok(store)
    }

    /// Runs `work` on a connection: again while the database chooses it as a deadlock's victim. `work` is either one
    /// statement or one transaction. After any other failure the connection is dropped, for what state it is in is unknown;
    /// the next call makes a new one.
    fn run<T, E>(&mut self, doing: &'static str, mut work: impl FnMut(&mut Session) -> Result<T, E>) -> Result<T, Error>
    where
        E: Into<Cause>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 1;
        loop {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => connect(&self.url, self.timeout).map_err(|cause| self.error("connecting", cause))?,
            };
            let cause = match guarded(|| work(&mut session)) {
                Ok(done) => {
                    self.session = Some(session);
                    return Ok(done);
                }
                Err(cause) => cause,
            };
            // Of what is undone now no lock is left when the next call comes.
            let undone = is_answer(cause.as_ref()) && guarded(|| rollback(&mut session)).is_ok();
            let again = undone && is_retryable(cause.as_ref());
            if !again || attempt == ATTEMPTS || Instant::now() >= deadline {
                if is_unavailable(cause.as_ref()) {
                    self.url.leave(session.host);
                }
                return Err(self.error(doing, cause));
            }
            self.session = Some(session);
            attempt += 1;
            make_way(attempt);
        }
    }

    fn error(&self, doing: &'static str, cause: Cause) -> Error {
        let unavailable = is_unavailable(cause.as_ref());
        Error::Failure(Failure { url: self.name.clone(), doing, source: plain(cause), unavailable })
    }
}

impl Store for MysqlStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&mut self) -> Result<Properties, Error> {
        self.run("reading its properties", |session| mysql_properties::read(session))
    }

    fn keep_secret_fingerprint(&mut self, fingerprint: u64) -> Result<u64, Error> {
        self.run("storing the fingerprint of the voter secret", |session| {
            mysql_properties::keep_fingerprint(session, fingerprint)
        })
    }

    fn create_poll(&mut self, poll: &Poll) -> Result<(), Error> {
        let created = self.run("creating a poll", |connection| {
            begin(connection)?;
            connection.exec_drop(
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
            let created = connection.affected_rows() == 1;
            if created {
                let once = "INSERT INTO poll_once (poll_id, once_per) VALUES (?, ?)";
                connection.exec_drop(once, (poll.id, poll.once.as_str()))?;
                for (position, choice) in poll.choices.iter().enumerate() {
                    connection.exec_drop(
                        "INSERT INTO choices (poll_id, position, choice, label) VALUES (?, ?, ?, ?)",
                        (poll.id, position, choice.key.as_str(), &choice.label),
                    )?;
                }
            }
            commit(connection)?;
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

    fn set_closing(&mut self, poll: &Poll, change: &mut dyn FnMut(&mut Poll)) -> Result<Poll, Error> {
        self.run("opening or closing a poll", |tx| {
            begin(tx)?;
            let mut poll = poll.clone();
            let times = "SELECT closes_at_ms, closed_at_ms FROM polls WHERE id = ? FOR UPDATE";
            (poll.closes_at_ms, poll.closed_at_ms) = tx.exec_first(times, (poll.id,))?.unwrap_or_default();
            change(&mut poll);
            let sql = "UPDATE polls SET closes_at_ms = ?, closed_at_ms = ? WHERE id = ?";
            tx.exec_drop(sql, (poll.closes_at_ms, poll.closed_at_ms, poll.id))?;
            commit(tx)?;
            Ok::<_, mysql::Error>(poll)
        })
    }

    fn check_writable(&mut self) -> Result<(), Error> {
        self.run("looking whether it takes writes", |connection| connection.query_drop(WRITE_NOTHING))
    }

    fn fold(&mut self, mut batch: Batch, advance: Option<Advance<'_>>) -> Result<Folded, Error> {
        let found = batch.rows.len() as u64;
        let rows = in_key_order(std::mem::take(&mut batch.rows));
        let repeats = self.repeats;
        let outcome = self.run("writing ballots", |session| {
            let manner = Manner { bulk: session.bulk, repeats };
            write(session, &rows, &batch, advance, manner)
        })?;
        self.repeats = outcome.is_some_and(|counted| counted < rows.len() as u64);
        match (outcome, advance) {
            (Some(counted), _) => Ok(Folded { counted, duplicates: found - counted }),
            (None, advance) => {
                Err(Error::QueueTaken { queue: advance.map(|advance| advance.to.name.clone()).unwrap_or_default() })
            }
        }
    }

    fn queue(&mut self, name: &str) -> Result<Option<QueueRow>, Error> {
        self.run("reading a queue's row", |connection| -> Result<_, mysql::Error> {
            let found: Option<QueueColumns> =
                connection.exec_first(format!("{SELECT_QUEUES} WHERE name = ?"), (name,))?;
            Ok(found.map(queue_row))
        })
    }

    fn queues(&mut self) -> Result<Vec<QueueRow>, Error> {
        self.run("listing queues", |connection| -> Rows<QueueRow> {
            connection.query_map(format!("{SELECT_QUEUES} ORDER BY name"), queue_row)
        })
    }

    fn forget_missing(&mut self) -> Result<(), Error> {
        self.run("clearing missing tickets", |connection| connection.query_drop("UPDATE queues SET missing = 0"))
    }

    fn tally(&mut self, poll: &Poll) -> Result<Tally, Error> {
        self.run("reading a tally", |connection| mysql_tally::tally(connection, poll))
    }

    fn recount(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error> {
        self.run("counting ballots", |connection| mysql_tally::recount(connection, poll))
    }

    fn repair(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error> {
        self.run("setting a tally to the recount", |connection| mysql_tally::repair(connection, poll))
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
        let select = |after| {
            format!(
                "SELECT identity, picks, at_ms FROM ballots WHERE poll_id = ?{after} ORDER BY identity LIMIT {PAGE_ROWS}"
            )
        };
        let (first, next) = (select(""), select(" AND identity > ?"));
        let mut after: Option<Identity> = None;
        loop {
            // A page is read whole before any of it is handed on, so that it can be read again.
            let page = self.run("reading ballots", |connection| {
                let page: Vec<(Vec<u8>, i64, i64)> = match after {
                    None => connection.exec(&first, (poll.id,))?,
                    Some(Identity(after)) => connection.exec(&next, (poll.id, after.to_vec()))?,
                };
                let row = |(identity, picks, at_ms): (Vec<u8>, i64, i64)| {
                    Ok(Row { poll_id: poll.id, identity: Identity(sixteen(&identity)?), picks: picks as u64, at_ms })
                };
                page.into_iter().map(row).collect::<Result<Vec<Row>, Cause>>()
            })?;
            after = page.last().map(|row| row.identity);
            let is_last = page.len() < PAGE_ROWS;
            if !page.into_iter().all(&mut *each) || is_last {
                return Ok(());
            }
        }
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
        self.run("settling dead letters", |connection| mysql_letters::settle(connection, verdicts))
    }

    fn unsafe_settings(&mut self) -> Result<Vec<String>, Error> {
        if self.url.is_relaxed() {
            return Ok(Vec::new());
        }
        let setting = self.run("reading its settings", |session| {
            if session.cluster {
                // What one node loses the others have.
                return Ok(None);
            }
            match session.query_first::<String, _>("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit") {
                Err(error) if is_unknown_variable(&error) => Ok(None),
                other => other,
            }
        })?;
        let unsafe_setting = setting.filter(|value| value != "1").map(|value| {
            format!(
                "database {}: innodb_flush_log_at_trx_commit is {value}: the server may lose committed ballots in a power failure; \
                 set it to 1, or accept that with ?durability=relaxed in the database URL",
                self.url
            )
        });
        Ok(unsafe_setting.into_iter().collect())
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
        pick_max: pick_max.try_into()?,
        created_at_ms,
        closes_at_ms,
        closed_at_ms,
        once,
    })
}

fn queue_row((name, server, head, slots, missing, flushed_at_ms): QueueColumns) -> QueueRow {
    QueueRow { name, server, head, slots, missing, flushed_at_ms }
}
