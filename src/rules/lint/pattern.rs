//! Patterns that can match nothing, whatever the tree: found by looking at the pattern alone.

use super::super::class::BadClass;
use super::super::glob::{Flaw, Token};
use super::super::pattern::{Compare, Pattern};
use super::{Finding, Severity, shown};

/// Checks one pattern, which begins at column `start` (counted from 0) of its line.
pub(super) fn check_pattern(line: usize, start: usize, pattern: &Pattern) -> Option<Finding> {
    let text = pattern.text();
    let dead = |code, message: &str| Finding::new(Severity::Error, code, line, start..start + text.len(), message);
    if let Some(flaw) = pattern.flaw() {
        return Some(flawed(flaw, dead));
    }
    let tokens = pattern.tokens();
    if tokens.is_empty() {
        let finding = dead("root", "this names the root of the transfer, which no rule decides");
        return Some(finding.label("can match nothing").help("write `/*` for all that is in the root"));
    }
    if let Some(Token::Set(_)) = tokens.iter().find(|token| matches!(token, Token::Set(set) if set.is_empty())) {
        let finding = dead("empty-class", "a bracket that no byte can match").label("can match nothing");
        return Some(finding.help("write the slash outside of the bracket"));
    }
    let names: Vec<&[Token]> = tokens.split(|token| *token == Token::Byte(b'/')).collect();
    if names.iter().any(|name| name.is_empty()) {
        let finding = dead("empty-name", "two slashes with nothing in between").label("can match nothing");
        return Some(finding.help(format!("write `{}`", shown(&tidied(text)))));
    }
    let is = |name: &[Token], dots: &[u8]| {
        name.len() == dots.len() && name.iter().zip(dots).all(|(token, dot)| *token == Token::Byte(*dot))
    };
    if names.iter().any(|name| is(name, b".") || is(name, b"..")) {
        let finding = dead("dot-name", "rsync sees no path with `.` or `..` in it").label("can match nothing");
        let help = if names.iter().any(|name| is(name, b"..")) {
            "write the path from the root of the transfer".to_owned()
        } else {
            format!("write `{}`", shown(&tidied(text)))
        };
        return Some(finding.help(help));
    }
    if let (Compare::Literal(_), Some(at)) = (&pattern.compare, text.iter().position(|byte| *byte == b'\\')) {
        let message = "a backslash escapes only in a pattern that has a wildcard";
        let finding = Finding::new(Severity::Warning, "backslash", line, start + at..start + at + 1, message);
        let without: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\\').collect();
        let help = format!("write `{}`; for a real backslash, write `[\\\\]`", shown(&without));
        return Some(finding.label("here it is part of the name").help(help));
    }
    None
}

fn flawed(flaw: &Flaw, dead: impl Fn(&'static str, &str) -> Finding) -> Finding {
    let finding = match flaw {
        Flaw::TrailingBackslash => dead("trailing-backslash", "a backslash at the end escapes nothing")
            .help("delete it, or write `\\\\` for a real one"),
        Flaw::Class(BadClass::Unclosed) => {
            dead("unclosed-class", "a bracket that is never closed").help("close it, or write `\\[` for a real one")
        }
        Flaw::Class(BadClass::UnknownName(name)) => {
            let message = format!("`[:{}:]` is no class that rsync knows", shown(name));
            let names = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit";
            dead("unknown-class", &message).help(format!("the classes are {names}"))
        }
    };
    finding.label("can match nothing")
}

/// The pattern without doubled slashes and without `.` for a name.
fn tidied(text: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    let anchored = text.starts_with(b"/") || text.starts_with(b"./");
    let start: &[u8] = if anchored { b"/" } else { b"" };
    let end: &[u8] = if text.ends_with(b"/") { b"/" } else { b"" };
    [start, &names.join(&b'/'), end].concat()
}
