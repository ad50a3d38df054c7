//! The definitions that this service read last, in memory and in files in the spool's folder, so that a service that is
//! started in an outage still has its polls.
//!
//! One file per poll, `definitions/SLUG.json`, written when the definition changed or [`REWRITE_MS`] after the last time.
//! It is renamed into place and not synced: losing it costs votes only if the machine fails in an outage, and a torn file is
//! passed over. At most [`KEPT_MAX`] polls are kept, those read last; only polls that exist come here, so made-up names
//! neither fill it nor displace anything.
//!
//! It refuses to decide: whether a poll exists is asked elsewhere first, and only when neither memcached nor the database
//! answers is what stands here used.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::poll::ballot::Poll;
use crate::poll::spool::Spool;
use crate::slug::Slug;

/// How many polls are kept.
const KEPT_MAX: usize = 1024;

/// After how long the time of a definition that stays the same is written anew, in milliseconds.
const REWRITE_MS: i64 = 60_000;

const FOLDER: &str = "definitions";
const EXTENSION: &str = "json";

/// A definition, and when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Dated {
    pub poll: Poll,
    /// Unix time in milliseconds.
    pub as_of_ms: i64,
}

/// All of them.
pub(super) struct LastKnown {
    folder: PathBuf,
    kept: Mutex<HashMap<Slug, Kept>>,
    fails: AtomicBool,
}

struct Kept {
    dated: Dated,
    written_ms: i64,
}

impl LastKnown {
    /// What earlier runs left in the spool's folder.
    pub(super) fn read(spool: &Spool) -> LastKnown {
        let folder = spool.folder().join(FOLDER);
        let mut found = files(&folder);
        found.sort_by_key(|dated| std::cmp::Reverse(dated.as_of_ms));
        for dated in found.split_off(found.len().min(KEPT_MAX)) {
            // What is not deleted is only passed over again.
            let _ = fs::remove_file(path(&folder, &dated.poll.slug));
        }
        let kept = found.into_iter().map(|dated| {
            let written_ms = dated.as_of_ms;
            (dated.poll.slug.clone(), Kept { dated, written_ms })
        });
        LastKnown { kept: Mutex::new(kept.collect()), folder, fails: AtomicBool::new(false) }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Slug, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, slug: &Slug) -> Option<Dated> {
        self.kept().get(slug).map(|kept| kept.dated.clone())
    }

    /// Every poll, oldest first, and when the newest of them was read; nothing if there are none.
    pub(super) fn all(&self) -> Option<(Vec<Poll>, i64)> {
        let kept = self.kept();
        let as_of_ms = kept.values().map(|kept| kept.dated.as_of_ms).max()?;
        let mut polls: Vec<Poll> = kept.values().map(|kept| kept.dated.poll.clone()).collect();
        polls.sort_by_key(|poll| (poll.created_at_ms, poll.id));
        Some((polls, as_of_ms))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept().is_empty()
    }

    /// Keeps a definition that was just read. It may write a file, so it is for threads that may block.
    pub(super) fn keep(&self, poll: &Poll, as_of_ms: i64) {
        let dated = {
            let mut kept = self.kept();
            let before = kept.get_mut(&poll.slug);
            let same = before.as_ref().is_some_and(|before| before.dated.poll == *poll);
            if let Some(before) = before.filter(|before| same && as_of_ms - before.written_ms < REWRITE_MS) {
                before.dated.as_of_ms = as_of_ms;
                return;
            }
            let dated = Dated { poll: poll.clone(), as_of_ms };
            kept.insert(poll.slug.clone(), Kept { dated: dated.clone(), written_ms: as_of_ms });
            dated
        };
        match write(&self.folder, &dated) {
            Ok(()) => self.fails.store(false, Ordering::Relaxed),
            Err(error) if !self.fails.swap(true, Ordering::Relaxed) => {
                let folder = self.folder.display();
                tracing::warn!(
                    "{folder}: the definition of poll {} could not be written: {error}; a restart during an outage would \
                     not know it",
                    poll.slug
                );
            }
            Err(_) => {}
        }
        self.drop_oldest();
    }

    /// Drops a poll that does not exist any more.
    pub(super) fn forget(&self, slug: &Slug) {
        if self.kept().remove(slug).is_some() {
            // A file that stays is corrected as soon as the database answers.
            let _ = fs::remove_file(path(&self.folder, slug));
        }
    }

    fn drop_oldest(&self) {
        let oldest = {
            let kept = self.kept();
            let oldest = kept.values().min_by_key(|kept| kept.dated.as_of_ms).map(|kept| kept.dated.poll.slug.clone());
            oldest.filter(|_| kept.len() > KEPT_MAX)
        };
        oldest.into_iter().for_each(|slug| self.forget(&slug));
    }
}

fn path(folder: &Path, slug: &Slug) -> PathBuf {
    folder.join(slug.as_str()).with_extension(EXTENSION)
}

fn files(folder: &Path) -> Vec<Dated> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = entries.filter(|path| path.extension().is_some_and(|ending| ending == EXTENSION));
    let read = |path: PathBuf| {
        let dated: Dated = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (path.file_stem()? == dated.poll.slug.as_str()).then_some(dated)
    };
    named.filter_map(read).collect()
}

fn write(folder: &Path, dated: &Dated) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".{}.tmp", uuid::Uuid::now_v7().simple()));
    let written = fs::write(&temporary, serde_json::to_vec(dated)?);
    written.and_then(|()| fs::rename(&temporary, path(folder, &dated.poll.slug))).inspect_err(|_| {
        // It holds nothing that is missing elsewhere.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::ballot::Choice;

    fn poll(name: &str) -> Poll {
        let choice = |key| Choice { key: Slug::new(key).unwrap(), label: "A".into() };
        let choices = vec![choice("a"), choice("b")];
        Poll::new(Slug::new(name).unwrap(), "?".into(), choices, 1, None).unwrap()
    }

    #[test]
    fn polls_read_last_survive_a_restart_and_torn_files_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        let known = LastKnown::read(&spool);
        assert!(known.is_empty() && known.all().is_none());
        let now = poll("now");
        known.keep(&now, 1);
        // The same a little later is not written, a change is.
        known.keep(&now, 2);
        assert_eq!(known.get(&now.slug).unwrap().as_of_ms, 2);
        assert_eq!(LastKnown::read(&spool).get(&now.slug).unwrap().as_of_ms, 1);
        let closed = Poll { closed_at_ms: Some(3), ..now.clone() };
        known.keep(&closed, 4);
        known.keep(&poll("gone"), 5);
        known.forget(&poll("gone").slug);
        fs::write(spool.folder().join("definitions/torn.json"), "{").unwrap();
        fs::copy(spool.folder().join("definitions/now.json"), spool.folder().join("definitions/other.json")).unwrap();
        let again = LastKnown::read(&spool);
        assert_eq!(again.all().unwrap(), (vec![closed], 4));
        // Polls are displaced by polls only, the one read longest ago first.
        (0..KEPT_MAX as i64).for_each(|number| again.keep(&poll(&format!("p{number}")), 10 + number));
        assert_eq!((again.all().unwrap().0.len(), again.get(&now.slug)), (KEPT_MAX, None));
        assert_eq!(LastKnown::read(&spool).all().unwrap().0.len(), KEPT_MAX);
    }
}
