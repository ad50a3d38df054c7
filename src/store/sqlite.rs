//! The store in a SQLite file: the embedded default, for one machine.
//!
//! Writers queue up behind `BEGIN IMMEDIATE`; WAL lets readers go on meanwhile; `synchronous = FULL` makes a
//! commit survive a power cut, which a vote that was acknowledged as stored deserves.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow, TransactionBehavior, params};

use crate::failpoint::{self, Step};
use crate::slug::Slug;

use super::batch::Settlement;
use super::record::{
    Advance, Batch, Choice, DeadLetter, Folded, Identity, Poll, QueueRow, Row, Settled, Tally, Verdict,
};
use super::sqlite_batch::insert;
use super::sqlite_open::{file_at, prepare};
use super::{Error, Once, OnceError, Properties, Store, WRITE_NOTHING, sqlite_properties, sqlite_tally};

/// A SQLite file of polls.
pub(super) struct SqliteStore {
    name: String,
    path: PathBuf,
    connection: Connection,
    /// Which file is open: somebody may put another one in its place, such as a restored backup.
    file: Option<(u64, u64)>,
}

impl SqliteStore {
    pub(super) fn open(path: &Path) -> Result<SqliteStore, Error> {
        let name = format!("sqlite:{}", path.display());
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| Error::new(&name, "making its folder", error))?;
        }
        let mut connection = Connection::open(path).map_err(|error| Error::new(&name, "opening it", error))?;
        // After the opening: if the file was replaced in between, the next call opens it again.
        let file = file_at(path);
        prepare(&mut connection).map_err(|error| Error::new(&name, "bringing its tables up to date", error))?;
        Ok(SqliteStore { name, path: path.to_path_buf(), connection, file })
    }

    /// Opens the file again if it has been replaced since it was opened: what is written to the old one is lost.
    fn reopen_if_replaced(&mut self) -> Result<(), Error> {
        let found = file_at(&self.path);
        if found.is_some() && found == self.file {
            return Ok(());
        }
        if found.is_none() {
            let gone = "the file is gone; nothing was read or written. Restore it, or restart this process";
            return Err(Error::new(&self.name, "looking for it", gone));
        }
        tracing::warn!("database {}: the file was replaced; opening it again", self.name);
        *self = SqliteStore::open(&self.path)?;
        Ok(())
    }

    fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.reopen_if_replaced()?;
        work(&mut self.connection).map_err(|error| Error::new(&self.name, doing, error))
    }
}

impl Store for SqliteStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&mut self) -> Result<Properties, Error> {
        self.reopen_if_replaced()?;
        let read = sqlite_properties::read(&self.connection);
        read.map_err(|error| Error::new(&self.name, "reading its properties", error))
    }

    fn keep_secret_fingerprint(&mut self, fingerprint: u64) -> Result<u64, Error> {
        self.reopen_if_replaced()?;
        let kept = sqlite_properties::keep_fingerprint(&self.connection, fingerprint);
        kept.map_err(|error| Error::new(&self.name, "storing the fingerprint of the voter secret", error))
    }

    fn create_poll(&mut self, poll: &Poll) -> Result<(), Error> {
        let created = self.run("creating a poll", |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let inserted = tx.execute(
                "INSERT OR IGNORE INTO polls (id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    poll.id,
                    poll.slug.as_str(),
                    poll.question,
                    poll.pick_max,
                    poll.created_at_ms,
                    poll.closes_at_ms,
                    poll.closed_at_ms
                ],
            )?;
            if inserted == 1 {
                tx.execute(
                    "INSERT INTO poll_once (poll_id, once_per) VALUES (?1, ?2)",
                    params![poll.id, poll.once.as_str()],
                )?;
            }
            for (position, choice) in poll.choices.iter().enumerate().take_while(|_| inserted == 1) {
                tx.execute(
                    "INSERT INTO choices (poll_id, position, choice, label) VALUES (?1, ?2, ?3, ?4)",
                    params![poll.id, position as i64, choice.key.as_str(), choice.label],
                )?;
            }
            tx.commit()?;
            Ok(inserted == 1)
        })?;
        if created { Ok(()) } else { Err(Error::PollExists(poll.slug.clone())) }
    }

    fn polls(&mut self) -> Result<Vec<Poll>, Error> {
        self.run("listing polls", |connection| {
            let sql = format!("{SELECT_POLLS} ORDER BY created_at_ms, slug");
            let mut polls: Vec<Poll> = connection.prepare(&sql)?.query_map([], poll_of)?.collect::<Result<_, _>>()?;
            let mut of: HashMap<i64, usize> = HashMap::new();
            of.extend(polls.iter().enumerate().map(|(index, poll)| (poll.id, index)));
            let mut statement = connection.prepare("SELECT choice, label, poll_id FROM choices ORDER BY position")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(index) = of.get(&row.get(2)?) {
                    polls[*index].choices.push(Choice { key: slug_at(row, 0)?, label: row.get(1)? });
                }
            }
            Ok(polls)
        })
    }

    fn poll(&mut self, slug: &Slug) -> Result<Option<Poll>, Error> {
        self.run("reading a poll", |connection| {
            let sql = format!("{SELECT_POLLS} WHERE slug = ?1");
            let mut poll = connection.query_row(&sql, [slug.as_str()], poll_of).optional()?;
            poll.iter_mut().try_for_each(|poll| load_choices(connection, poll))?;
            Ok(poll)
        })
    }

    fn set_closing(&mut self, poll: &Poll, change: &mut dyn FnMut(&mut Poll)) -> Result<Poll, Error> {
        self.run("opening or closing a poll", |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut poll = poll.clone();
            let times = "SELECT closes_at_ms, closed_at_ms FROM polls WHERE id = ?1";
            (poll.closes_at_ms, poll.closed_at_ms) =
                tx.query_row(times, [poll.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            change(&mut poll);
            let sql = "UPDATE polls SET closes_at_ms = ?2, closed_at_ms = ?3 WHERE id = ?1";
            tx.execute(sql, params![poll.id, poll.closes_at_ms, poll.closed_at_ms])?;
            tx.commit()?;
            Ok(poll)
        })
    }

    fn check_writable(&mut self) -> Result<(), Error> {
        self.run("looking whether it takes writes", |connection| connection.execute(WRITE_NOTHING, []).map(|_| ()))
    }

    fn fold(&mut self, batch: Batch, advance: Option<Advance<'_>>) -> Result<Folded, Error> {
        let _turn = turn_to_write();
        let folded = self.run("writing ballots", |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(advance) = &advance {
                let QueueRow { name, server, head, slots, missing, flushed_at_ms } = advance.to;
                let found = queue(&tx, name)?.map(|row| (row.head, row.slots));
                if !advance.starts_at(found) {
                    return Ok(None);
                }
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO queues (name, server, head, slots, missing, flushed_at_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![name, server, head, slots, *missing as i64, flushed_at_ms])?;
                failpoint::pass(Step::HeadMoved);
            }
            let folded = insert(&tx, batch)?;
            failpoint::pass(Step::Committing);
            tx.commit()?;
            failpoint::pass(Step::Committed);
            Ok(Some(folded))
        })?;
        let queue = || advance.map(|advance| advance.to.name.clone()).unwrap_or_default();
        folded.ok_or_else(|| Error::QueueTaken { queue: queue() })
    }

    fn queue(&mut self, name: &str) -> Result<Option<QueueRow>, Error> {
        self.run("reading a queue's row", |connection| queue(connection, name))
    }

    fn queues(&mut self) -> Result<Vec<QueueRow>, Error> {
        self.run("listing queues", |connection| {
            connection.prepare(&format!("{SELECT_QUEUES} ORDER BY name"))?.query_map([], queue_row)?.collect()
        })
    }

    fn forget_missing(&mut self) -> Result<(), Error> {
        self.run("clearing missing tickets", |connection| {
            connection.execute("UPDATE queues SET missing = 0", []).map(|_| ())
        })
    }

    fn tally(&mut self, poll: &Poll) -> Result<Tally, Error> {
        self.run("reading a tally", |connection| sqlite_tally::tally(&connection.transaction()?, poll))
    }

    fn recount(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error> {
        self.run("counting ballots", |connection| sqlite_tally::recount(connection, poll))
    }

    fn repair(&mut self, poll: &Poll) -> Result<(Tally, Tally), Error> {
        let _turn = turn_to_write();
        self.run("setting a tally to the recount", |connection| sqlite_tally::repair(connection, poll))
    }

    fn turnout(&mut self, poll: &Poll, from_ms: i64, step_ms: i64) -> Result<Vec<(u64, u64)>, Error> {
        self.run("reading the turnout", |connection| {
            let sql = "SELECT MAX(at_ms - ?2, 0) / ?3 AS step, COUNT(*) FROM ballots WHERE poll_id = ?1 \
                       GROUP BY step ORDER BY step";
            connection
                .prepare_cached(sql)?
                .query_map(params![poll.id, from_ms, step_ms.max(1)], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
                })?
                .collect()
        })
    }

    fn for_each_ballot(&mut self, poll: &Poll, each: &mut dyn FnMut(Row) -> bool) -> Result<(), Error> {
        self.run("reading ballots", |connection| {
            let sql = "SELECT identity, picks, at_ms FROM ballots WHERE poll_id = ?1 ORDER BY identity";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([poll.id])?;
            while let Some(row) = rows.next()? {
                let (identity, picks, at_ms) = (row.get(0)?, row.get::<_, i64>(1)? as u64, row.get(2)?);
                if !each(Row { poll_id: poll.id, identity: Identity(identity), picks, at_ms }) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn dead_letter_count(&mut self) -> Result<u64, Error> {
        self.run("counting dead letters", |connection| {
            connection.query_row("SELECT COUNT(*) FROM dead_letters", [], |row| row.get::<_, i64>(0)).map(|n| n as u64)
        })
    }

    fn dead_letters(&mut self, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        self.run("reading dead letters", |connection| {
            letters(connection, "ORDER BY found_at_ms DESC, id LIMIT ?1", params![limit])
        })
    }

    fn dead_letters_after(&mut self, after: Option<[u8; 16]>, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        self.run("reading dead letters", |connection| match after {
            Some(id) => letters(connection, "WHERE id > ?1 ORDER BY id LIMIT ?2", params![id, limit]),
            None => letters(connection, "ORDER BY id LIMIT ?1", params![limit]),
        })
    }

    fn dead_letter(&mut self, id: [u8; 16]) -> Result<Option<DeadLetter>, Error> {
        self.run("reading a dead letter", |connection| Ok(letters(connection, "WHERE id = ?1", params![id])?.pop()))
    }

    fn settle_dead_letters(&mut self, verdicts: &[([u8; 16], Verdict)]) -> Result<Settled, Error> {
        let _turn = turn_to_write();
        self.run("settling dead letters", |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut settlement = Settlement::default();
            for (id, verdict) in verdicts {
                let there = match verdict {
                    Verdict::Kept(reason) => tx
                        .prepare_cached("UPDATE dead_letters SET reason = ?2 WHERE id = ?1")?
                        .execute(params![id, reason])?,
                    _ => tx.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute(params![id])?,
                };
                if there == 1 {
                    settlement.add(verdict.clone());
                }
            }
            let ballots = settlement.batch.rows.len() as u64;
            let folded = insert(&tx, std::mem::take(&mut settlement.batch))?;
            tx.commit()?;
            Ok(settlement.settled(ballots, folded.counted))
        })
    }

    /// SQLite is opened with settings of weir's own.
    fn unsafe_settings(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// SQLite has one writer at a time anyway. The writers of one process wait for each other here, where the next is
/// woken at once; in SQLite it would sleep, look, and perhaps never find it free.
fn turn_to_write() -> MutexGuard<'static, ()> {
    static WRITER: Mutex<()> = Mutex::new(());
    WRITER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn letters(connection: &Connection, which: &str, values: impl Params) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql = format!("SELECT id, origin, reason, bytes, found_at_ms FROM dead_letters {which}");
    let letter = |row: &SqlRow<'_>| {
        let (id, origin, reason) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(DeadLetter { id, origin, reason, bytes: row.get(3)?, found_at_ms: row.get(4)? })
    };
    connection.prepare(&sql)?.query_map(values, letter)?.collect()
}

const SELECT_POLLS: &str = "SELECT id, slug, question, pick_max, created_at_ms, closes_at_ms, closed_at_ms, \
     (SELECT once_per FROM poll_once WHERE poll_id = polls.id) FROM polls";

fn poll_of(row: &SqlRow<'_>) -> rusqlite::Result<Poll> {
    Ok(Poll {
        id: row.get(0)?,
        slug: slug_at(row, 1)?,
        question: row.get(2)?,
        choices: Vec::new(),
        pick_max: row.get(3)?,
        created_at_ms: row.get(4)?,
        closes_at_ms: row.get(5)?,
        closed_at_ms: row.get(6)?,
        once: once_at(row, 7)?,
    })
}

/// A poll of before there was a choice has none stored.
fn once_at(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Once> {
    let text: Option<String> = row.get(column)?;
    text.map_or(Ok(Once::default()), |text| text.parse()).map_err(|error: OnceError| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn load_choices(connection: &Connection, poll: &mut Poll) -> rusqlite::Result<()> {
    poll.choices = connection
        .prepare_cached("SELECT choice, label FROM choices WHERE poll_id = ?1 ORDER BY position")?
        .query_map([poll.id], |row| Ok(Choice { key: slug_at(row, 0)?, label: row.get(1)? }))?
        .collect::<Result<_, _>>()?;
    Ok(())
}

fn slug_at(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Slug> {
    let text: String = row.get(column)?;
    Slug::new(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

const SELECT_QUEUES: &str = "SELECT name, server, head, slots, missing, flushed_at_ms FROM queues";

fn queue(connection: &Connection, name: &str) -> rusqlite::Result<Option<QueueRow>> {
    connection.prepare_cached(&format!("{SELECT_QUEUES} WHERE name = ?1"))?.query_row([name], queue_row).optional()
}

fn queue_row(row: &SqlRow<'_>) -> rusqlite::Result<QueueRow> {
    let (name, server, head) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (slots, missing) = (row.get(3)?, row.get::<_, i64>(4)? as u64);
    Ok(QueueRow { name, server, head, slots, missing, flushed_at_ms: row.get(5)? })
}
