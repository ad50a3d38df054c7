//! What reads otherwise than it looks: the text of a line before its pattern is thought about.

use super::super::list::{Ending, Line, LineKind};
use super::{Finding, Severity, shown};

/// What begins a rule for `--filter`, where rsync knows it; in a list it is a name. Each with what a list has for it.
const FILTER_RULES: [(&str, Instead); 15] = [
    ("include", Instead::Prefix("+ ")),
    ("show", Instead::Prefix("+ ")),
    ("S", Instead::Prefix("+ ")),
    ("exclude", Instead::Prefix("- ")),
    ("hide", Instead::Prefix("- ")),
    ("H", Instead::Prefix("- ")),
    ("protect", Instead::Advice(NO_PROTECTION)),
    ("P", Instead::Advice(NO_PROTECTION)),
    ("risk", Instead::Advice(NO_PROTECTION)),
    ("R", Instead::Advice(NO_PROTECTION)),
    ("merge", Instead::Advice(NO_MERGE)),
    (".", Instead::Advice(NO_MERGE)),
    ("dir-merge", Instead::Advice(NO_MERGE)),
    (":", Instead::Advice(NO_MERGE)),
    ("clear", Instead::Advice("write `!` alone")),
];
const NO_PROTECTION: &str = "delete the line: a list says only what is sent, and what it does not send is deleted";
const NO_MERGE: &str = "write the rules of that file here";

/// What to write instead of a rule that works in `--filter` only.
#[derive(Clone, Copy)]
enum Instead {
    /// This before the pattern.
    Prefix(&'static str),
    /// Something else.
    Advice(&'static str),
}

/// Checks one line by itself.
pub(super) fn check_line(line: &Line<'_>) -> Option<Finding> {
    let whole = 0..line.bytes.len();
    let error = |code, span, message: &str| Finding::new(Severity::Error, code, line.number, span, message);
    let (start, end) = match line.kind {
        LineKind::NoPattern => {
            let finding = error("no-pattern", whole, "a rule without a pattern");
            return Some(
                finding.label("rsync stops here with an error").help("delete the line, or name what is meant"),
            );
        }
        LineKind::TooLong => {
            let finding = error("too-long", 0..1, "a rule longer than rsync takes");
            return Some(finding.label("rsync drops the whole line").help("a path has at most 4095 bytes"));
        }
        LineKind::Rule { start, end, .. } => (start, end),
        LineKind::Blank | LineKind::Comment | LineKind::Clear => return nul(line),
    };
    let pattern = &line.bytes[start..end];
    mark(line)
        .or_else(|| nul(line))
        .or_else(|| if start == 0 { prefix(line, pattern) } else { None })
        .or_else(|| blanks(line, start, pattern))
        .or_else(|| looks(line, start, pattern))
}

/// A byte order mark is part of the first pattern, or of the prefix that it spoils.
fn mark(line: &Line<'_>) -> Option<Finding> {
    let (mark, name) = match line.bytes {
        [0xef, 0xbb, 0xbf, ..] if line.number == 1 => (3, "a UTF-8 byte order mark"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if line.number == 1 => (2, "a UTF-16 byte order mark"),
        _ => return None,
    };
    let message = format!("the list begins with {name}");
    let finding = Finding::new(Severity::Error, "byte-order-mark", 1, 0..mark, &message);
    Some(
        finding
            .label("rsync reads it as part of the first pattern")
            .help("save the list as plain UTF-8 without a mark"),
    )
}

fn nul(line: &Line<'_>) -> Option<Finding> {
    let at = line.bytes.iter().position(|byte| *byte == 0)?;
    let finding = Finding::new(Severity::Error, "nul", line.number, at..line.bytes.len(), "a NUL in the line");
    Some(finding.label("rsync reads nothing from here to the end of the line").help("delete it"))
}

/// A line that begins like a rule but is none: a literal exclude of what it spells.
fn prefix(line: &Line<'_>, pattern: &[u8]) -> Option<Finding> {
    let literal = format!("rsync hides files named `{}`", shown(pattern));
    let advised = |code, length, message: &str, advice: &str| {
        let finding = Finding::new(Severity::Error, code, line.number, 0..length, message).label(literal.clone());
        Some(finding.help(format!("{advice}; if a file has that name, write `- {}`", shown(pattern))))
    };
    let found = |code, length, message: &str, instead: &[u8]| {
        advised(code, length, message, &format!("write `{}`", shown(instead)))
    };
    let unindented = pattern.trim_ascii_start();
    if unindented.is_empty() {
        let finding =
            Finding::new(Severity::Error, "blank-line", line.number, 0..pattern.len(), "a line of blanks only");
        return Some(finding.label(literal).help("delete the blanks"));
    }
    if unindented.len() < pattern.len() {
        let blanks = pattern.len() - unindented.len();
        let message = if matches!(unindented, [b'#' | b';', ..]) {
            "a comment that does not begin the line is none"
        } else {
            "a prefix counts only in the first column"
        };
        let finding = Finding::new(Severity::Error, "leading-blank", line.number, 0..blanks, message).label(literal);
        let help = format!("write `{}`; for a name that begins with a blank, write `- [ ]...`", shown(unindented));
        return Some(finding.help(help));
    }
    match pattern {
        [b'+' | b'-', b'\t', rest @ ..] => found(
            "near-prefix",
            2,
            "a prefix is followed by a space, not by a tab",
            &[&pattern[..1], b" ", rest].concat(),
        ),
        [b'+' | b'-'] => advised("near-prefix", 1, "a prefix without a pattern is a name", "delete the line"),
        [b'+' | b'-', b'/' | b'!' | b's' | b'r' | b'p' | b'x' | b'C' | b',', b' ', rest @ ..] => {
            let message = "modifiers work in --filter only, not in a list";
            found("near-prefix", 2, message, &[&pattern[..1], b" ", rest].concat())
        }
        [b'+' | b'-', rest @ ..] => found(
            "near-prefix",
            1,
            "a prefix without a space is part of the name",
            &[&pattern[..1], b" ", rest].concat(),
        ),
        [b'!', rest @ ..] => {
            let finding =
                Finding::new(Severity::Error, "not-clear", line.number, 0..1, "`!` with more behind it is a name");
            let wanted = format!("`+ {}` to include, `!` alone to drop the rules above", shown(rest.trim_ascii()));
            Some(
                finding.label(literal).help(format!("write {wanted}; if a file has that name, `- {}`", shown(pattern))),
            )
        }
        _ => {
            let word_end = pattern.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
            let (word, rest) = pattern.split_at(word_end);
            let (word, instead) = FILTER_RULES.into_iter().find(|(known, _)| known.as_bytes() == word)?;
            let message = format!("`{word}` works in --filter only, not in a list");
            match instead {
                Instead::Prefix(sign) => {
                    found("filter-rule", word_end, &message, &[sign.as_bytes(), rest.trim_ascii()].concat())
                }
                Instead::Advice(advice) => advised("filter-rule", word_end, &message, advice),
            }
        }
    }
}

/// Blanks that are part of the pattern though they hardly look it.
fn blanks(line: &Line<'_>, start: usize, pattern: &[u8]) -> Option<Finding> {
    let error = |code, span, message: &str| Finding::new(Severity::Error, code, line.number, span, message);
    let end = start + pattern.len();
    let leading = pattern.len() - pattern.trim_ascii_start().len();
    let trailing = pattern.len() - pattern.trim_ascii_end().len();
    if leading > 0 {
        let finding = error("leading-blank", start..start + leading, "more than one blank after the prefix");
        let help = "keep one blank; for a name that begins with a blank, write `[ ]`";
        return Some(finding.label("rsync takes this as the beginning of the name").help(help));
    }
    if trailing > 0 {
        let finding = error("trailing-blank", end - trailing..end, "blanks at the end of the line");
        let help = "delete them; for a name that ends with a blank, write `[ ]`";
        return Some(finding.label("rsync takes them as the end of the name").help(help));
    }
    let comment = pattern.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'#']))?;
    let finding = error("late-comment", start + comment..end, "a comment behind a rule is part of its pattern");
    let help = "put the comment on a line of its own; for a name with ` #` in it, write `[ ]#`";
    Some(finding.label("rsync takes this as the end of the name").help(help))
}

/// What other tools understand and rsync takes literally.
fn looks(line: &Line<'_>, start: usize, pattern: &[u8]) -> Option<Finding> {
    let span = start..start + pattern.len();
    let warning = |code, message: &str| Finding::new(Severity::Warning, code, line.number, span.clone(), message);
    if let [quote @ (b'"' | b'\''), .., last] = pattern
        && quote == last
    {
        let finding = warning("quotes", "quotes are part of the name").label("rsync knows no quotes here");
        return Some(finding.help("write the name without them; for a name with quotes, put one in brackets"));
    }
    let brace = pattern.iter().position(|byte| *byte == b'{')?;
    let close = pattern[brace..].iter().position(|byte| *byte == b'}')? + brace;
    let bracketed = brace > 0 && pattern[brace - 1] == b'[';
    (!bracketed && pattern[brace..close].contains(&b',')).then(|| {
        let finding = warning("braces", "braces are part of the name").label("rsync knows no alternatives");
        finding.help("write a rule for each; for a name with braces, write `[{]`")
    })
}

/// A `!` under other rules drops them.
pub(super) fn check_clear(line: &Line<'_>, dropped: usize) -> Option<Finding> {
    (dropped > 0).then(|| {
        let rules = if dropped == 1 { "the rule above it".to_owned() } else { format!("the {dropped} rules above it") };
        let finding = Finding::new(Severity::Warning, "clear", line.number, 0..1, &format!("`!` drops {rules}"));
        finding.label("the list begins anew here").help("delete it, or what stands above it")
    })
}

/// Line ends that are right for rsync and surprise elsewhere; one finding for all of them.
pub(super) fn check_endings(lines: &[Line<'_>]) -> Vec<Finding> {
    let of = |ending| lines.iter().filter(move |line| line.ending == ending);
    let mut findings = Vec::new();
    if let Some(first) = of(Ending::CrLf).next() {
        let count = of(Ending::CrLf).count();
        let message = format!("{count} of {} lines end in CRLF", lines.len());
        let at = first.bytes.len();
        let finding = Finding::new(Severity::Warning, "crlf", first.number, at..at + 1, &message);
        let label = "rsync takes it as the end of the line, other tools as part of the name";
        findings.push(finding.label(label).help("save the list with newlines only"));
    }
    findings.extend(of(Ending::Cr).map(|line| {
        let at = line.bytes.len();
        let message = "a carriage return inside a line ends it";
        let finding = Finding::new(Severity::Warning, "carriage-return", line.number, at..at + 1, message);
        let label = "rsync reads what follows as a line of its own";
        finding.label(label).help("end lines with newlines only; for such a name, write `?`")
    }));
    findings
}
