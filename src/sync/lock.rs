//! One run at a time into one destination, nor into a directory in or above it.
//!
//! Each run keeps a file with its destination, pid and host, and holds a `flock` on it as long as it lives. Its rsync
//! inherits that lock: should weir be killed, its rsync may go on for hours, and the destination is free when both are
//! gone. A new run reads the files of all that are going, one such reader at a time, and leaves if one
//! of them stands in its way.
//!
//! The files are in `/run/lock/weir-sync-UID`, or below `/var/lock` or `/tmp` where that is missing. `$XDG_RUNTIME_DIR` and
//! `$TMPDIR` are no places for them: cron jobs and shells differ in those and have to meet here. So it keeps
//! apart the runs of one user on one machine; other users' and machines' runs into the same destination are
//! not seen.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, test_kill_process};

use crate::rules::lint::shown;

/// Where lock directories are looked for, the best first.
const PLACES: [&str; 3] = ["/run/lock", "/var/lock", "/tmp"];

/// Why a destination cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LockError {
    #[error("destination {destination}: another run is going there: {holder}")]
    Held { destination: String, holder: String },
    #[error("lock {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("lock {}: not a directory of this user's alone", .0.display())]
    Foreign(PathBuf),
}

/// A destination that is held. It is freed when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that stays is unlocked, and the next run removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Lock {
    /// Takes `destination`, an absolute path or a remote place by its one name.
    pub(super) fn take(destination: &[u8]) -> Result<Lock, LockError> {
        Lock::take_in(&directory()?, destination)
    }

    fn take_in(directory: &Path, destination: &[u8]) -> Result<Lock, LockError> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: std::io::Error| LockError::Io { path, source }
        };
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let gate_path = directory.join("gate");
        let gate = open(&gate_path).map_err(failed(&gate_path))?;
        flock(&gate, FlockOperation::LockExclusive).map_err(|error| failed(&gate_path)(error.into()))?;
        for entry in directory.read_dir().map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            if path.extension() != Some(OsStr::new("run")) {
                continue;
            }
            // One that has ended in the meantime is in nobody's way.
            let Ok(mut file) = File::open(&path) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = std::fs::remove_file(&path);
                continue;
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(failed(&path))?;
            let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
            let (holder, held) = (shown(&text[..end]), text.get(end + 1..).unwrap_or_default());
            if overlap(held, destination) {
                let orphan = if is_gone(&holder) { "; that process is gone, and its rsync still going" } else { "" };
                let holder = format!("{holder}, into {}{orphan}", shown(held));
                return Err(LockError::Held { destination: shown(destination), holder });
            }
        }
        let path = directory.join(format!("{}-{}.run", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed)));
        let mut file = open(&path).map_err(failed(&path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(&path)(error.into()))?;
        fcntl_setfd(&file, FdFlags::empty()).map_err(|error| failed(&path)(error.into()))?;
        let host = gethostname::gethostname();
        let since = jiff::Zoned::now().strftime("%F %T").to_string();
        let first = format!("pid {} on {} since {since}\n", std::process::id(), shown(host.as_bytes()));
        let written = file.write_all(first.as_bytes()).and_then(|()| file.write_all(destination));
        written.map_err(failed(&path))?;
        Ok(Lock { path, _file: file })
    }
}

/// Whether the process is gone that wrote `pid N ...`.
fn is_gone(holder: &str) -> bool {
    let pid = holder.split(' ').nth(1).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// Whether two destinations are one, or one of them is in the other.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || short.ends_with(b"/"))
}

/// The directory of the lock files; made if it is missing.
fn directory() -> Result<PathBuf, LockError> {
    let user = rustix::process::geteuid().as_raw();
    let mut last = LockError::Foreign(PathBuf::from("/tmp"));
    for place in PLACES {
        let path = Path::new(place).join(format!("weir-sync-{user}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                last = LockError::Io { path, source: error };
            }
            _ => match path.symlink_metadata() {
                Ok(found) if found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 => return Ok(path),
                Ok(_) => return Err(LockError::Foreign(path)),
                Err(source) => last = LockError::Io { path, source },
            },
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_held_once_with_all_in_and_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let take = |destination: &[u8]| Lock::take_in(directory.path(), destination);
        let held = take(b"/a/b").unwrap();
        for taken in [&b"/a/b"[..], b"/a/b/c", b"/a"] {
            let error = take(taken).unwrap_err().to_string();
            assert!(error.contains(&format!("pid {} on ", std::process::id())), "{error}");
        }
        let _beside = take(b"/a/bc").unwrap();
        let _remote = take(b"h:/a/b").unwrap();
        drop(held);
        take(b"/a/b/c").unwrap();
    }

    #[test]
    fn a_run_that_was_killed_holds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("1-0.run"), "pid 1 on x since y\n/a").unwrap();
        Lock::take_in(directory.path(), b"/a").unwrap();
        assert!(!directory.path().join("1-0.run").exists());
    }
}
