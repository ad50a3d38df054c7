//! [`List`]: the rules of an rsync include/exclude file, read as `--exclude-from` reads it.
//!
//! A line ends at a newline, a carriage return or both. A line that is empty or begins with `#` or `;` says
//! nothing. `+ ` and `- ` in column 0 are the only prefixes; `!` alone drops every rule above it; any other line
//! is an exclude, whatever it looks like: `include x`, ` + x` and `+x` hide files of those names. What follows a
//! NUL is not read, and rsync drops lines too long for it. A prefix with nothing behind it stops rsync, and
//! so this reader refuses the list.

use std::fs::{File, FileType};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::lint::shown;
use super::pattern::Pattern;

/// The largest list that is read: thousands of times what a person writes, and far from filling the memory.
const LIST_MAX_BYTES: u64 = 16 << 20;

/// The longest line that rsync keeps, and the longest pattern, in bytes.
const LINE_MAX_BYTES: usize = 5119;
const PATTERN_MAX_BYTES: usize = 4095;

/// What a rule does with the path it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `+`: the path is sent.
    Include,
    /// `-`: the path is hidden, and a directory with all that is in it.
    Exclude,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the list, on this line.
    Written {
        /// The line, counted from 1.
        line: usize,
    },
    /// It was added by [`super::expand`] so that the include on this line can be reached.
    Added {
        /// The line of the include, counted from 1.
        include_line: usize,
    },
}

/// One rule of a list.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// What it matches.
    pub pattern: Pattern,
    /// Where it comes from.
    pub origin: Origin,
}

impl Rule {
    /// The line of the rule, or of the include that it was added for.
    pub fn line(&self) -> usize {
        match self.origin {
            Origin::Written { line } | Origin::Added { include_line: line } => line,
        }
    }

    /// The rule with its prefix, as it can stand in a list.
    pub fn text(&self) -> Vec<u8> {
        let prefix: &[u8] = if self.action == Action::Include { b"+ " } else { b"- " };
        [prefix, self.pattern.text()].concat()
    }
}

/// One line of a list, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Its bytes without its end.
    pub(crate) bytes: &'t [u8],
    pub(crate) ending: Ending,
    pub(crate) kind: LineKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Newline,
    CrLf,
    /// A carriage return alone, which ends a line for rsync and for few editors.
    Cr,
    /// The end of the file.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Blank,
    Comment,
    /// `!`: every rule above is dropped.
    Clear,
    /// A rule whose pattern begins at this column, counted from 0, and ends before the other.
    Rule {
        action: Action,
        start: usize,
        end: usize,
    },
    /// A prefix with nothing behind it: rsync stops here.
    NoPattern,
    /// Longer than rsync keeps: it says so and drops the line.
    TooLong,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("{path}: cannot read the list: {source}")]
    Read {
        /// The path of the list.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no regular file: a pipe may never end, a device may never begin.
    #[error("{path}: the list is {what}, not a regular file")]
    Kind {
        /// The path of the list.
        path: String,
        /// What it is, with its article.
        what: &'static str,
    },
    /// It is larger than any list.
    #[error("{path}: larger than any list (over {} MiB); is it one?", LIST_MAX_BYTES >> 20)]
    TooBig {
        /// The path of the list.
        path: String,
    },
    /// A `+ ` or `- ` has nothing behind it; rsync refuses the list.
    #[error("{path}:{line}: a rule without a pattern; rsync stops here")]
    NoPattern {
        /// The path of the list.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is longer than rsync takes, which drops it with a message.
    #[error("{path}:{line}: a rule longer than rsync takes ({PATTERN_MAX_BYTES} bytes); it would be dropped")]
    TooLong {
        /// The path of the list.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
}

/// The rules of a list, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct List {
    /// The name of the list, for messages: its path as it was given.
    pub name: String,
    /// The rules that are in force: none from above the last `!`.
    pub rules: Vec<Rule>,
}

impl List {
    /// Reads the list at `path`.
    ///
    /// # Errors
    /// [`ListError`] when it is no regular file or cannot be read, or rsync would refuse it or drop a line of it.
    pub fn read(path: &Path) -> Result<List, ListError> {
        let (name, text) = read_file(path)?;
        List::parse(&name, &text)
    }

    /// Reads a list out of its bytes.
    ///
    /// # Errors
    /// [`ListError`] when rsync would refuse the list or drop a line of it.
    pub fn parse(name: &str, text: &[u8]) -> Result<List, ListError> {
        let mut rules = Vec::new();
        for line in lines(text) {
            let path = || name.to_owned();
            match line.kind {
                LineKind::Blank | LineKind::Comment => {}
                LineKind::Clear => rules.clear(),
                LineKind::NoPattern => return Err(ListError::NoPattern { path: path(), line: line.number }),
                LineKind::TooLong => return Err(ListError::TooLong { path: path(), line: line.number }),
                LineKind::Rule { action, start, end } => {
                    let pattern = Pattern::new(&line.bytes[start..end]);
                    rules.push(Rule { action, pattern, origin: Origin::Written { line: line.number } });
                }
            }
        }
        Ok(List { name: name.to_owned(), rules })
    }

    /// The rules as a list that every rsync reads alike: one to a line, each with its prefix.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for rule in &self.rules {
            text.extend(rule.text());
            text.push(b'\n');
        }
        text
    }
}

/// Reads the file of a list; gives its name for messages, and its bytes.
pub(crate) fn read_file(path: &Path) -> Result<(String, Vec<u8>), ListError> {
    let name = shown(path.as_os_str().as_bytes());
    let unreadable = |source| ListError::Read { path: name.clone(), source };
    // Asked before it is opened: to open a pipe is to wait for its other end.
    let kind = path.metadata().map_err(unreadable)?.file_type();
    if !kind.is_file() {
        return Err(ListError::Kind { path: name, what: kind_name(kind) });
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LIST_MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LIST_MAX_BYTES {
        return Err(ListError::TooBig { path: name });
    }
    Ok((name, text))
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// Splits the bytes of a list into lines and says what each is.
pub(crate) fn lines(text: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (bytes, end) = rest.split_at(length);
        let (ending, taken) = match end {
            [b'\r', b'\n', ..] => (Ending::CrLf, 2),
            [b'\r', ..] => (Ending::Cr, 1),
            [_, ..] => (Ending::Newline, 1),
            [] => (Ending::None, 0),
        };
        rest = &end[taken..];
        lines.push(Line { number: lines.len() + 1, bytes, ending, kind: kind(bytes) });
    }
    lines
}

fn kind(bytes: &[u8]) -> LineKind {
    if bytes.len() > LINE_MAX_BYTES {
        return LineKind::TooLong;
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (action, start) = match &bytes[..end] {
        [] => return LineKind::Blank,
        [b'#' | b';', ..] => return LineKind::Comment,
        b"!" => return LineKind::Clear,
        [b'+', b' ', ..] => (Action::Include, 2),
        [b'-', b' ', ..] => (Action::Exclude, 2),
        _ => (Action::Exclude, 0),
    };
    match end - start {
        0 => LineKind::NoPattern,
        1..=PATTERN_MAX_BYTES => LineKind::Rule { action, start, end },
        _ => LineKind::TooLong,
    }
}
