//! [`check`]: tells what in a list does not do what it seems to say.
//!
//! Every finding names a line and the part of it, the reason and a way out, and has a code that stays the same:
//!
//! - what reads otherwise than it looks (`text`): near-prefixes such as `+x` or `include x`, blanks, a BOM, CRLF;
//! - patterns that can match nothing (`pattern`): `a//`, `./x`, an unclosed bracket;
//! - rules that decide nothing (`reach`): behind a hidden parent, or after a rule that takes all they match;
//!   and lists that hide everything or nothing. These are proved, see [`super::reach`], not guessed;
//! - with a source (`source`): rules that match nothing there, and patterns of another root.
//!
//! An *error* is a rule that does not do what it says; a *warning* is one that does nothing, or that works
//! for weir and not for plain rsync. Whoever means the odd thing can always write it so that it is no finding: `- +x`
//! for a file named `+x`, `[ ]` for a blank that matters. It refuses to judge taste: a list that sends what its
//! rules say has no finding, however it is laid out.

mod pattern;
mod reach;
mod source;
mod text;

use std::path::Path;

use serde::Serialize;

use super::list::{LineKind, List, ListError, Origin, Rule, lines, read_file};
use super::pattern::Pattern;

pub use source::SourceError;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A rule does nothing, or plain rsync reads it otherwise than weir.
    Warning,
    /// A rule or the list does not do what it says.
    Error,
}

/// One thing that is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of finding, which never changes its name.
    pub code: &'static str,
    /// The line, counted from 1; 0 for the list as a whole.
    pub line: usize,
    /// The first byte that it is about, counted from 1.
    pub column: usize,
    /// How many bytes it is about.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// Why, in a few words that stand under the caret.
    pub label: String,
    /// Other lines that have to do with it, and what they say.
    pub notes: Vec<String>,
    /// What to write instead.
    pub help: Option<String>,
}

/// What a list is checked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'o> {
    /// Judge the list as plain rsync reads it: an include that needs a way opened is an error.
    pub strict: bool,
    /// The source that the list is for, as rsync would be given it: with a slash at its end, its content is
    /// the root of the transfer; without, the directory itself is.
    pub source: Option<&'o Path>,
}

/// What was found in a list.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the list, as given.
    pub name: String,
    /// The lines of the list without their ends.
    pub lines: Vec<Vec<u8>>,
    /// The findings, by line.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Why a list could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// The source cannot be walked.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Checks the list at `path`.
///
/// # Errors
/// [`CheckError`] when the list or the source cannot be read; whatever is wrong *in* the list is a finding.
pub fn check_file(path: &Path, options: Options<'_>) -> Result<Report, CheckError> {
    let (name, text) = read_file(path)?;
    check(&name, &text, options)
}

/// Checks the bytes of a list.
///
/// # Errors
/// [`CheckError`] when the source cannot be read.
pub fn check(name: &str, text: &[u8], options: Options<'_>) -> Result<Report, CheckError> {
    let lines = lines(text);
    let mut findings = Vec::new();
    let mut list = List { name: name.to_owned(), rules: Vec::new() };
    for line in &lines {
        findings.extend(text::check_line(line));
        match line.kind {
            LineKind::Rule { action, start, end } => {
                let pattern = Pattern::new(&line.bytes[start..end]);
                findings.extend(pattern::check_pattern(line.number, start, &pattern));
                list.rules.push(Rule { action, pattern, origin: Origin::Written { line: line.number } });
            }
            LineKind::Clear => {
                findings.extend(text::check_clear(line, list.rules.len()));
                list.rules.clear();
            }
            LineKind::Blank | LineKind::Comment | LineKind::NoPattern | LineKind::TooLong => {}
        }
    }
    findings.extend(text::check_endings(&lines));
    findings.extend(reach::check_reach(&list, &lines, &findings, options.strict));
    if let Some(source) = options.source {
        findings.extend(source::check_source(&list, &lines, &findings, source, options.strict)?);
    }
    findings.sort_by_key(|finding| (finding.line, finding.column, std::cmp::Reverse(finding.severity)));
    Ok(Report { name: name.to_owned(), lines: lines.iter().map(|line| line.bytes.to_vec()).collect(), findings })
}

impl Finding {
    fn new(
        severity: Severity,
        code: &'static str,
        line: usize,
        span: std::ops::Range<usize>,
        message: &str,
    ) -> Finding {
        Finding {
            severity,
            code,
            line,
            column: span.start + 1,
            length: span.len().max(1),
            message: message.to_owned(),
            label: String::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    fn label(mut self, label: impl Into<String>) -> Finding {
        self.label = label.into();
        self
    }

    fn note(mut self, note: impl Into<String>) -> Finding {
        self.notes.push(note.into());
        self
    }

    fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }
}

/// Bytes for a message: text as it is, all else escaped, so that nothing in a list can move the cursor.
pub fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || is_invisible(character) {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

/// Characters that take no room or turn the direction of the text: in a list they are a mistake or a trick.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
