//! Ballots on disk, for when neither memcached nor the database takes them.
//!
//! Each append is a file of its own: written under a temporary name, synced, renamed, and the folder synced,
//! so a ballot that was acknowledged is on the disk and a torn write is never read. `flush` folds the files
//! into the database and deletes each after its commit; a file folded twice counts once, by the ballots' keys.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::failpoint::{self, Step};

const EXTENSION: &str = "ballots";

/// As long as a ballot's line.
const PROBE_LEN: usize = 128;

/// A failure of the spool, with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("spool {}: {doing}: {source}", path.display())]
pub struct SpoolError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

/// A folder of spooled ballots.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

/// The right to drain the spool, held until dropped.
#[derive(Debug)]
pub struct SpoolLock(#[allow(dead_code)] File);

impl Spool {
    /// The spool in `folder`, which is made when it is first written to.
    pub fn new(folder: impl Into<PathBuf>) -> Spool {
        Spool { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn error(&self, path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError + use<> {
        let path = path.to_path_buf();
        move |source| SpoolError { path, doing, source }
    }

    /// Writes an entry and returns once it is on the disk.
    ///
    /// # Errors
    /// [`SpoolError`]; then nothing of it is left.
    pub fn append(&self, entry: &[u8]) -> Result<(), SpoolError> {
        fs::create_dir_all(&self.folder).map_err(self.error(&self.folder, "making the folder"))?;
        let name = uuid::Uuid::now_v7().simple().to_string();
        let temporary = self.folder.join(format!(".{name}.tmp"));
        let path = self.folder.join(format!("{name}.{EXTENSION}"));
        let written = write_synced(&temporary, entry)
            .and_then(|()| fs::rename(&temporary, &path))
            .inspect(|()| failpoint::pass(Step::SpoolRenamed))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .inspect(|()| failpoint::pass(Step::SpoolKept));
        written.map_err(|source| {
            // A file that could not be made whole must not be found later by a person or a flush.
            let _ = fs::remove_file(&temporary).or_else(|_| fs::remove_file(&path));
            self.error(&path, "writing ballots")(source)
        })
    }

    /// Whether ballots could be written: writes a file as [`Spool::append`] does, and removes it.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn probe(&self) -> Result<(), SpoolError> {
        fs::create_dir_all(&self.folder).map_err(self.error(&self.folder, "making the folder"))?;
        let path = self.folder.join(format!(".{}.tmp", uuid::Uuid::now_v7().simple()));
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[b'.'; PROBE_LEN])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(self.error(&self.folder, "writing a probe file"))
    }

    /// The spooled files, oldest first.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder is there but cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let fail = |error| self.error(&self.folder, "listing it")(error);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let mut files: Vec<_> =
            paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == EXTENSION)).collect();
        files.sort();
        Ok(files)
    }

    /// When a spooled file was written, if it is still there.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn written(&self, path: &Path) -> Result<Option<SystemTime>, SpoolError> {
        match fs::metadata(path).and_then(|meta| meta.modified()) {
            Ok(at) => Ok(Some(at)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(path, "looking at it")(error)),
        }
    }

    /// The bytes of a spooled file.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, SpoolError> {
        fs::read(path).map_err(self.error(path, "reading ballots"))
    }

    /// Deletes a file whose ballots are in the database.
    ///
    /// # Errors
    /// [`SpoolError`]; its ballots will be found to be duplicates.
    pub fn remove(&self, path: &Path) -> Result<(), SpoolError> {
        fs::remove_file(path).map_err(self.error(path, "deleting a drained file"))
    }

    /// Takes the right to drain, or nothing while another process has it.
    ///
    /// # Errors
    /// [`SpoolError`] when the lock file cannot be made.
    pub fn lock(&self) -> Result<Option<SpoolLock>, SpoolError> {
        let path = self.folder.join(".lock");
        let file = File::create(&path).map_err(self.error(&path, "making the lock file"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(SpoolLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(self.error(&path, "locking it")(error.into())),
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    failpoint::pass(Step::SpoolWritten);
    file.sync_all()?;
    failpoint::pass(Step::SpoolSynced);
    Ok(())
}
