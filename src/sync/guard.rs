//! What is refused before anything is touched, and why.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::host::HostName;
use super::output::Tally;
use super::place::{Place, resolve};
use crate::rules::lint::shown;
use crate::rules::{Expansion, List, ListError, expand};

/// Up to so many deletions pass by default, whatever their share.
const DEFAULT_FLOOR: u64 = 100;
/// The share of the destination's entries that may be deleted by default, in percent.
const DEFAULT_PERCENT: u64 = 50;

/// How much may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Limit {
    /// 100 entries or half of the destination's, whichever is more.
    #[default]
    Default,
    /// So many entries.
    Count(u64),
    /// So many percent of the destination's entries, 0 to 100.
    Percent(u64),
}

/// The text is no limit.
#[derive(Debug, thiserror::Error)]
#[error("expected a number of entries such as 20, or a share such as 5%")]
pub struct LimitError;

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Limit, LimitError> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Limit::Percent),
            None => text.parse().ok().map(Limit::Count),
        }
        .ok_or(LimitError)
    }
}

impl Limit {
    /// How many of `entries` may be deleted.
    pub(super) fn of(self, entries: u64) -> u64 {
        let share = |percent| u64::try_from(u128::from(entries) * u128::from(percent) / 100_u64 as u128);
        match self {
            Limit::Default => DEFAULT_FLOOR.max(share(DEFAULT_PERCENT).unwrap_or(u64::MAX)),
            Limit::Count(count) => count,
            Limit::Percent(percent) => share(percent).unwrap_or(u64::MAX),
        }
    }
}

/// Why a run is refused. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("`{}` is no host name: letters, digits, `-`, `_` and `.` only", shown(.0.as_bytes()))]
    HostName(String),
    #[error("no list for host {host}: there is no {}; another host's list is used only when named with --list{}",
        shown(path.as_os_str().as_bytes()), did_you_mean(meant))]
    NoList { host: HostName, path: PathBuf, meant: Vec<String> },
    #[error(transparent)]
    List(#[from] ListError),
    #[error("{0}: the list has no rule, so everything would be sent")]
    NoRule(String),
    #[error(
        "{list}:{line}: `{include}` is never reached: line {hider} hides `/{directory}/`; without --strict weir opens the way"
    )]
    Strict { list: String, line: usize, include: String, hider: usize, directory: String },
    #[error("source {path}: {source}")]
    Source { path: String, source: std::io::Error },
    #[error("source {0}: not a directory")]
    SourceKind(String),
    #[error("source {0}: a symbolic link, and rsync would copy the link itself; name the directory that it points to")]
    SourceLink(String),
    #[error("source {0}: empty; is its file system mounted?")]
    SourceEmpty(String),
    #[error("destination {path}: {source}")]
    Destination { path: String, source: std::io::Error },
    #[error("destination {0}: not a directory")]
    DestinationKind(String),
    #[error("destination {0}: the root directory")]
    DestinationRoot(String),
    #[error("source {from} is inside destination {to}: the run would delete what it reads")]
    SourceInside { from: String, to: String },
    #[error("destination {to} is inside source {from}: the run would copy what it writes")]
    DestinationInside { from: String, to: String },
    #[error("source {from} and destination {to} are the same directory")]
    Same { from: String, to: String },
    #[error("source and destination are both on other machines; rsync needs one end here")]
    BothRemote,
    #[error(
        "nothing would be sent and {deleted} entries deleted: the source is empty or the list hides all of it (--force lets it pass)"
    )]
    NothingSent { deleted: u64 },
    #[error("{deleted} of {entries} entries in the destination would be deleted ({}%), and at most {limit} may be: look with --dry-run; \
        --max-delete {deleted} or --force lets it pass", percent(*deleted, *entries))]
    TooMany { deleted: u64, entries: u64, limit: u64 },
}

/// The deletions that a run is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletions {
    /// Entries that would be deleted.
    pub deleted: u64,
    /// Entries in what the run touches of the destination.
    pub entries: u64,
    /// How many may be deleted; none if the refusal does not depend on it.
    pub limit: Option<u64>,
}

impl Refusal {
    /// A word for the kind of refusal, for scripts; it stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::HostName(_) => "host_name",
            Refusal::NoList { .. } => "no_list",
            Refusal::List(_) | Refusal::NoRule(_) => "list",
            Refusal::Strict { .. } => "strict",
            Refusal::Source { .. } | Refusal::SourceKind(_) | Refusal::SourceLink(_) => "source",
            Refusal::SourceEmpty(_) => "source_empty",
            Refusal::Destination { .. } | Refusal::DestinationKind(_) | Refusal::DestinationRoot(_) => "destination",
            Refusal::SourceInside { .. } | Refusal::DestinationInside { .. } | Refusal::Same { .. } => "overlap",
            Refusal::BothRemote => "both_remote",
            Refusal::NothingSent { .. } => "nothing_sent",
            Refusal::TooMany { .. } => "too_many_deletions",
        }
    }

    /// What was counted, if that is why.
    pub fn deletions(&self) -> Option<Deletions> {
        match *self {
            // What is not sent is deleted, and nothing is sent.
            Refusal::NothingSent { deleted } => Some(Deletions { deleted, entries: deleted, limit: None }),
            Refusal::TooMany { deleted, entries, limit } => Some(Deletions { deleted, entries, limit: Some(limit) }),
            _ => None,
        }
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    (part * 100).checked_div(whole).unwrap_or(0)
}

fn did_you_mean(meant: &[String]) -> String {
    if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(" or ")) }
}

/// Reads the list at `path` and opens its ways, or refuses it.
pub(super) fn read_list(path: &Path, strict: bool) -> Result<Expansion, Refusal> {
    let list = List::read(path)?;
    if list.rules.is_empty() {
        return Err(Refusal::NoRule(list.name));
    }
    let expansion = expand(&list);
    match expansion.additions.first() {
        Some(first) if strict => Err(Refusal::Strict {
            list: list.name,
            line: first.include_line,
            include: shown(&first.include),
            hider: first.hidden_by_line,
            directory: shown(&first.directory),
        }),
        _ => Ok(expansion),
    }
}

/// Refuses places that make no sense together. Of a remote place only its name is known here; what is there, the
/// dry run tells.
pub(super) fn check_places(source: &Place, destination: &Place) -> Result<(), Refusal> {
    if source.is_remote() && destination.is_remote() {
        return Err(Refusal::BothRemote);
    }
    if let Place::Local(path) = source {
        check_source(path, source)?;
    }
    let Place::Local(path) = destination else { return Ok(()) };
    let failed = |error| Refusal::Destination { path: destination.shown(), source: error };
    let resolved = resolve(path).map_err(failed)?;
    if resolved.parent().is_none() {
        return Err(Refusal::DestinationRoot(destination.shown()));
    }
    if path.metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(Refusal::DestinationKind(destination.shown()));
    }
    let Place::Local(from) = source else { return Ok(()) };
    let touched = destination.touched(source).map_err(failed)?;
    let from_resolved = from.canonicalize().map_err(|error| Refusal::Source { path: source.shown(), source: error })?;
    for to in [resolved.as_path(), Path::new(OsStr::from_bytes(&touched))] {
        let (from, told) = (source.shown(), shown(to.as_os_str().as_bytes()));
        match (is_within(&from_resolved, to), is_within(to, &from_resolved)) {
            (true, true) => return Err(Refusal::Same { from, to: told }),
            (true, false) => return Err(Refusal::SourceInside { from, to: told }),
            (false, true) => return Err(Refusal::DestinationInside { from, to: told }),
            (false, false) => {}
        }
    }
    Ok(())
}

fn check_source(path: &Path, source: &Place) -> Result<(), Refusal> {
    let failed = |error| Refusal::Source { path: source.shown(), source: error };
    let found = path.symlink_metadata().map_err(failed)?;
    // With a slash at its end the system itself follows the link, and so does rsync.
    if found.is_symlink() && source.name_in_root().is_some() {
        return Err(Refusal::SourceLink(source.shown()));
    }
    if !path.metadata().map_err(failed)?.is_dir() {
        return Err(Refusal::SourceKind(source.shown()));
    }
    if path.canonicalize().map_err(failed)?.parent().is_none() {
        return Err(Refusal::Source { path: source.shown(), source: std::io::Error::other("the root directory") });
    }
    match path.read_dir().map_err(failed)?.next() {
        None => Err(Refusal::SourceEmpty(source.shown())),
        Some(entry) => entry.map(drop).map_err(failed),
    }
}

/// Whether a directory is another one or below it, by what they are rather than by what they are called: a bind
/// mount has several names.
fn is_within(inner: &Path, outer: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let of_outer = identity(outer);
    inner.ancestors().any(|above| above == outer || (of_outer.is_some() && identity(above) == of_outer))
}

/// Judges what a dry run counted; gives how many entries the run may delete.
pub(super) fn judge(tally: &Tally, limit: Limit) -> Result<u64, Refusal> {
    let deleted = tally.deleted;
    let entries = tally.files.saturating_sub(tally.created_in_all) + deleted;
    let limit = limit.of(entries);
    // The root of the transfer itself is always counted as sent.
    if tally.files <= 1 && deleted > 0 {
        return Err(Refusal::NothingSent { deleted });
    }
    if deleted > limit { Err(Refusal::TooMany { deleted, entries, limit }) } else { Ok(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_hold() {
        assert_eq!("20".parse::<Limit>().unwrap(), Limit::Count(20));
        assert_eq!("0%".parse::<Limit>().unwrap().of(1000), 0);
        assert_eq!("5%".parse::<Limit>().unwrap().of(1000), 50);
        for bad in ["", "%", "-1", "101%", "1.5", "5 %"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }

    #[test]
    fn by_default_a_hundred_entries_or_half_of_them_pass() {
        let judged = |deleted, kept| judge(&Tally { deleted, files: kept, ..Tally::default() }, Limit::Default);
        assert!(judged(100, 2).is_ok());
        assert!(judged(101, 2).is_err());
        assert!(judged(101, 101).is_ok());
        assert!(judged(1000, 999).is_err());
        assert!(matches!(judged(1, 1), Err(Refusal::NothingSent { deleted: 1 })));
        assert!(judged(0, 1).is_ok());
    }
}
