//! [`RsyncOptions`]: what a caller adds to rsync's options, as far as it breaks no promise.
//!
//! Refused are options that delete otherwise, choose other files than the list does, change what paths are relative
//! to, or change the output that weir reads. A value stands behind a `=`, so that no option can swallow what
//! follows; a word that is no option would be another source.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::rules::lint::shown;

/// Options that may reach rsync.
#[derive(Clone, Debug, Default)]
pub struct RsyncOptions(Vec<OsString>);

/// Why an option may not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("rsync option {option}: {reason}")]
pub struct OptionError {
    option: String,
    reason: &'static str,
}

const DELETES: &str = "what is deleted is for weir to count beforehand; see --max-delete and --force of weir sync";
const SELECTS: &str = "which files are sent is for the list alone to say; put a rule there";
const WHOLE_LIST: &str = "deletions come last, which needs the whole list first";
const READS_LIST: &str = "it changes how rsync reads the list";
const ROOT: &str = "it changes what the paths of the list are relative to";
const OUTPUT: &str = "weir reads rsync's output; see -v, --json and --log-dir of weir sync";
const OTHER_RUN: &str = "it makes another kind of run out of it";
const VALUE: &str = "write its value behind a `=`";
const SHELL: &str = "a shell on the other end would read the names";
const ENDS_EARLY: &str =
    "weir would take its end for a lost connection and try again; end weir itself, with timeout(1)";
const BACKUP: &str =
    "the run would delete what is kept beside the files; add --backup-dir=/DIR or =../DIR, outside of the destination";

/// Long options that are refused, without `--` and `no-`; one that ends in `*` is any that begins so.
const REFUSED: [(&str, &str); 56] = [
    ("del", DELETES),
    ("delete*", DELETES),
    ("max-delete", DELETES),
    ("force", DELETES),
    ("ignore-errors", "an unreadable source would then be deleted from the destination"),
    ("remove-source-files", "it deletes the source"),
    ("remove-sent-files", "it deletes the source"),
    ("ignore-missing-args", "a missing source would then look like an empty one"),
    ("exclude*", SELECTS),
    ("include*", SELECTS),
    ("filter", SELECTS),
    ("cvs-exclude", SELECTS),
    ("files-from", SELECTS),
    ("from0", READS_LIST),
    ("recursive", OTHER_RUN),
    ("r", OTHER_RUN),
    ("inc-recursive", WHOLE_LIST),
    ("i-r", WHOLE_LIST),
    ("relative", ROOT),
    ("R", ROOT),
    ("implied-dirs", ROOT),
    ("dirs", OTHER_RUN),
    ("d", OTHER_RUN),
    ("old-d*", OTHER_RUN),
    ("mkpath", "make the destination's parent first, so that a misspelt one is found"),
    ("dry-run", "use --dry-run of weir sync, before `--`"),
    ("list-only", OTHER_RUN),
    ("daemon", OTHER_RUN),
    ("server", OTHER_RUN),
    ("sender", OTHER_RUN),
    ("config", OTHER_RUN),
    ("version", OTHER_RUN),
    ("help", OTHER_RUN),
    ("read-batch", OTHER_RUN),
    ("write-batch", OTHER_RUN),
    ("only-write-batch", OTHER_RUN),
    ("remote-option", "what it hides from weir reaches the other end"),
    ("rsh", "use --rsh of weir sync, before `--`"),
    ("i-d", ROOT),
    ("s", SHELL),
    ("old-args", SHELL),
    ("secluded-args", SHELL),
    ("protect-args", SHELL),
    ("out-format", OUTPUT),
    ("log-format", OUTPUT),
    ("itemize-changes", OUTPUT),
    ("human-readable", OUTPUT),
    ("8-bit-output", OUTPUT),
    ("iconv", "names would then not be the bytes that the list is about"),
    ("progress", OUTPUT),
    ("POPT*", OTHER_RUN),
    ("protocol", "under an old protocol rsync does not tell what is new, which the count needs"),
    ("stop-after", ENDS_EARLY),
    ("stop-at", ENDS_EARLY),
    ("time-limit", ENDS_EARLY),
    ("confine-root", "weir names the ends itself, and checks them"),
];

/// Others that only concern the output.
const REFUSED_OUTPUT: [&str; 11] =
    ["info", "debug", "verbose", "v", "quiet", "stats", "stderr", "msgs2stderr", "outbuf", "h", "i"];

/// Letters of a cluster that are refused.
const REFUSED_LETTERS: [(u8, &str); 16] = [
    (b'n', "use --dry-run of weir sync, before `--`"),
    (b'v', OUTPUT),
    (b'q', OUTPUT),
    (b'i', OUTPUT),
    (b'h', OUTPUT),
    (b'8', OUTPUT),
    (b'P', "it shows progress, which weir does; write --partial"),
    (b'f', SELECTS),
    (b'F', SELECTS),
    (b'C', SELECTS),
    (b'0', READS_LIST),
    (b'R', ROOT),
    (b'd', OTHER_RUN),
    (b'V', OTHER_RUN),
    (b'M', "what it hides from weir reaches the other end"),
    (b'e', "use --rsh of weir sync, before `--`"),
];

/// Letters that take a value.
const VALUED_LETTERS: &[u8] = b"BT@";

/// Long options that take a value.
const VALUED: [&str; 38] = [
    "address",
    "backup-dir",
    "block-size",
    "bwlimit",
    "cc",
    "checksum-choice",
    "checksum-seed",
    "chmod",
    "chown",
    "compare-dest",
    "compress-choice",
    "compress-level",
    "compress-threads",
    "contimeout",
    "copy-as",
    "copy-dest",
    "early-input",
    "groupmap",
    "link-dest",
    "log-file",
    "log-file-format",
    "max-alloc",
    "max-size",
    "min-size",
    "modify-window",
    "partial-dir",
    "password-file",
    "port",
    "rsync-path",
    "skip-compress",
    "sockopts",
    "suffix",
    "temp-dir",
    "timeout",
    "usermap",
    "zc",
    "zl",
    "zt",
];

/// Long options under which a dry run that finds nothing to do has done all that there is to do. Of others (say,
/// `--link-dest`) rsync may have something to do and not say so.
const PLAIN: [&str; 24] = [
    "acls",
    "atimes",
    "bwlimit",
    "checksum",
    "chmod",
    "chown",
    "compress",
    "compress-choice",
    "compress-level",
    "contimeout",
    "executability",
    "group",
    "hard-links",
    "numeric-ids",
    "owner",
    "partial",
    "password-file",
    "perms",
    "port",
    "rsync-path",
    "times",
    "timeout",
    "whole-file",
    "xattrs",
];

impl RsyncOptions {
    /// Takes the options that stand behind `--`.
    ///
    /// # Errors
    /// [`OptionError`] with the option and the reason for the first that is refused.
    pub fn new(options: &[OsString]) -> Result<RsyncOptions, OptionError> {
        let keeps_elsewhere = options.iter().any(|option| is_backup_elsewhere(option));
        for option in options {
            let beside = !keeps_elsewhere && is_backup(option);
            if let Err(reason) = if beside { Err(BACKUP) } else { check(option) } {
                return Err(OptionError { option: shown(option.as_bytes()), reason });
            }
        }
        Ok(RsyncOptions(options.to_vec()))
    }

    /// The options, as they were given.
    pub(super) fn words(&self) -> &[OsString] {
        &self.0
    }

    /// Whether a dry run that finds nothing to do proves that there is nothing to do.
    pub(super) fn are_plain(&self) -> bool {
        self.0.iter().all(|option| {
            let name = option.to_str().and_then(|option| option.strip_prefix("--")).map(|option| name_of(option).0);
            name.is_some_and(|name| PLAIN.contains(&name))
        })
    }
}

/// Whether rsync is told to keep what it replaces. Under `--delete-excluded` the copies beside the files are
/// nothing that the list sends, and the same run deletes them.
fn is_backup(option: &OsStr) -> bool {
    match option.as_bytes() {
        [b'-', b'-', long @ ..] => long == b"backup" || long.starts_with(b"backup-dir="),
        [b'-', letters @ ..] => {
            letters.iter().take_while(|letter| !VALUED_LETTERS.contains(letter)).any(|letter| *letter == b'b')
        }
        _ => false,
    }
}

/// A relative directory is one in the destination unless it leaves it.
fn is_backup_elsewhere(option: &OsStr) -> bool {
    let directory = option.as_bytes().strip_prefix(b"--backup-dir=").unwrap_or_default();
    directory.starts_with(b"/") || directory.starts_with(b"../")
}

/// The name without `no-`, and whether a value follows behind `=`.
fn name_of(option: &str) -> (&str, bool) {
    let (name, valued) = option.split_once('=').map_or((option, false), |(name, _)| (name, true));
    (name.strip_prefix("no-").unwrap_or(name), valued)
}

fn check(option: &OsStr) -> Result<(), &'static str> {
    match option.as_bytes() {
        b"-" | b"--" | b"" => Err("it is no option; a run has exactly one source and one destination"),
        [b'-', b'-', long @ ..] => check_long(long),
        [b'-', letters @ ..] => check_letters(letters),
        _ => Err("it is no option; an option's value stands behind a `=`, and a run has exactly one source"),
    }
}

fn check_long(option: &[u8]) -> Result<(), &'static str> {
    // Names are ASCII; what is not UTF-8 can only be in a value.
    let text = String::from_utf8_lossy(option);
    let (name, valued) = name_of(&text);
    let same = |refused: &str| match refused.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == refused,
    };
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| same(refused)) {
        return Err(reason);
    }
    if REFUSED_OUTPUT.contains(&name) {
        return Err(OUTPUT);
    }
    if VALUED.contains(&name) && !valued && !text.starts_with("no-") { Err(VALUE) } else { Ok(()) }
}

fn check_letters(letters: &[u8]) -> Result<(), &'static str> {
    for (place, letter) in letters.iter().enumerate() {
        if let Some((_, reason)) = REFUSED_LETTERS.iter().find(|(refused, _)| refused == letter) {
            return Err(reason);
        }
        if VALUED_LETTERS.contains(letter) {
            return if place + 1 < letters.len() { Ok(()) } else { Err("write its value right behind it") };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(options: &[&str]) -> Result<RsyncOptions, OptionError> {
        RsyncOptions::new(&options.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_breaks_no_promise_is_taken() {
        for option in [
            "--bwlimit=1000",
            "-H",
            "-AXz",
            "--no-owner",
            "--partial",
            "-B8192",
            "--chmod=F644",
            "--timeout=9",
            "--delay-updates",
            "--backup-dir=../old",
            "-Tb",
        ] {
            assert!(taken(&[option]).is_ok(), "{option}");
        }
        assert!(taken(&["-b", "--backup-dir=/old", "--suffix=.old"]).is_ok());
    }

    #[test]
    fn what_breaks_one_is_refused_with_the_reason() {
        for option in [
            "--delete",
            "--delete-before",
            "--del",
            "--no-delete-excluded",
            "--max-delete=9",
            "--exclude-from=-",
            "--filter=- x",
            "-f- x",
            "--files-from=x",
            "-0",
            "-avn",
            "-n",
            "--dry-run",
            "-R",
            "-P",
            "-e ssh",
            "-essh",
            "--rsh=x",
            "-M--delete",
            "x",
            "--",
            "-",
            "",
            "--bwlimit",
            "-B",
            "-aB",
            "--info=none",
            "--old-args",
            "--no-s",
            "--old-d",
            "--del",
            "--delete-a",
            "--i-r",
            "--usermap",
            "--protocol=28",
            "--stop-after=9",
            "--confine-root=/",
            "--backup",
            "-ab",
            "--backup-dir=old",
        ] {
            assert!(taken(&["-H", option]).is_err(), "{option}");
        }
        let error = taken(&["--files-from=x\n"]).unwrap_err().to_string();
        assert!(error.starts_with("rsync option --files-from=x\\n: which files are sent"), "{error}");
    }

    #[test]
    fn only_plain_options_let_a_dry_run_stand_for_the_run() {
        assert!(taken(&["--bwlimit=9", "--no-owner"]).unwrap().are_plain());
        assert!(!taken(&["--link-dest=/x"]).unwrap().are_plain());
        assert!(!taken(&["-H"]).unwrap().are_plain());
    }
}
