//! Rules held against a real source: those that match nothing there, and those written for another root.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::expand::expand;
use super::super::judge::Judge;
use super::super::list::{Line, LineKind, List};
use super::{Finding, Severity, shown};

/// Why a source could not be walked.
#[derive(Debug, thiserror::Error)]
#[error("source {path}: cannot be read: {source}")]
pub struct SourceError {
    path: String,
    source: std::io::Error,
}

/// Checks each rule against what is in `source`, as rsync would be given it.
pub(super) fn check_source(
    list: &List,
    lines: &[Line<'_>],
    so_far: &[Finding],
    source: &Path,
    strict: bool,
) -> Result<Vec<Finding>, SourceError> {
    let expansion = expand(list);
    let judged = if strict { list } else { &expansion.list };
    let mut walk = Walk { judge: Judge::new(judged), matched: BTreeSet::new(), sent: 0 };
    let root = Root::of(source);
    let failed = |error| SourceError { path: shown(source.as_os_str().as_bytes()), source: error };
    if !source.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    walk.start(&root)?;
    let matched: BTreeSet<usize> = walk.matched.iter().map(|rule| judged.rules[*rule].line()).collect();
    let mut findings = Vec::new();
    for rule in &list.rules {
        let line = rule.line();
        let told = so_far.iter().any(|finding| finding.line == line && finding.severity == Severity::Error);
        if told || matched.contains(&line) {
            continue;
        }
        let Some(LineKind::Rule { start, end, .. }) = lines.get(line - 1).map(|line| &line.kind) else { continue };
        let (span, text) = (*start..*end, rule.pattern.text());
        findings.push(match root.rooted_elsewhere(text) {
            Some(instead) => {
                let message = "this rule is written for another root";
                let finding = Finding::new(Severity::Error, "wrong-root", line, span, message);
                let label = format!("paths begin with `/{}` here", shown(root.first_name().unwrap_or_default()));
                finding.label(label).help(format!("write `{}`", shown(&instead)))
            }
            None => {
                let message = "this rule decides nothing in this source";
                let label = format!("nothing in {} comes to this rule", shown(source.as_os_str().as_bytes()));
                Finding::new(Severity::Warning, "no-match", line, span, message).label(label)
            }
        });
    }
    if walk.sent == 0 && !so_far.iter().any(|finding| finding.code == "hides-everything") {
        let message = "nothing in this source is sent";
        findings
            .push(Finding::new(Severity::Error, "sends-nothing", 0, 0..1, message).label("the list hides all of it"));
    }
    Ok(findings)
}

/// The root of a transfer: a directory whose content it is, or that is itself what paths begin with.
struct Root {
    directory: PathBuf,
    name: Option<Vec<u8>>,
}

impl Root {
    fn of(source: &Path) -> Root {
        let content = matches!(source.as_os_str().as_bytes(), [.., b'/'] | [.., b'/', b'.'] | b".");
        let name = if content { None } else { source.file_name().map(|name| name.as_bytes().to_vec()) };
        Root { directory: source.into(), name }
    }

    fn first_name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// What to write for an anchored pattern that takes the source's content for the root, or names the
    /// source's own path on this machine.
    fn rooted_elsewhere(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        let rest = pattern.strip_prefix(b"/")?;
        let own_path = self.directory.as_os_str().as_bytes();
        let own_path = own_path.strip_suffix(b"/").unwrap_or(own_path);
        if let Some(below) = pattern.strip_prefix(own_path).filter(|below| below.starts_with(b"/")) {
            let name = self.first_name().map_or(Vec::new(), |name| [b"/", name].concat());
            return Some([&name, below].concat());
        }
        let first = rest.split(|byte| *byte == b'/').next()?;
        match self.first_name() {
            Some(name) => {
                let inside = first.iter().all(|byte| !matches!(byte, b'*' | b'?' | b'[' | b'\\'));
                (inside && first != name && self.directory.join(OsStr::from_bytes(first)).symlink_metadata().is_ok())
                    .then(|| [b"/", name, pattern].concat())
            }
            None => {
                let last = self.directory.file_name()?.as_bytes();
                let inner = rest.strip_prefix(last).filter(|inner| inner.starts_with(b"/") && inner.len() > 1)?;
                (!self.directory.join(OsStr::from_bytes(last)).is_dir()).then(|| inner.to_vec())
            }
        }
    }
}

/// A walk through what the list shows: rsync does not look into hidden directories, and so neither does this.
struct Walk<'l> {
    judge: Judge<'l>,
    matched: BTreeSet<usize>,
    sent: usize,
}

impl Walk<'_> {
    fn start(&mut self, root: &Root) -> Result<(), SourceError> {
        let mut open = Vec::new();
        match root.first_name() {
            Some(name) => {
                if self.sends(name, true) {
                    open.push((root.directory.clone(), name.to_vec()));
                }
            }
            None => open.push((root.directory.clone(), Vec::new())),
        }
        while let Some((directory, path)) = open.pop() {
            let failed = |source| SourceError { path: shown(directory.as_os_str().as_bytes()), source };
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let is_dir = entry.file_type().map_err(failed)?.is_dir();
                let name = entry.file_name();
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend(name.as_bytes());
                if self.sends(&below, is_dir) && is_dir {
                    open.push((entry.path(), below));
                }
            }
        }
        Ok(())
    }

    fn sends(&mut self, path: &[u8], is_dir: bool) -> bool {
        let verdict = self.judge.judge_bytes(path, is_dir);
        self.matched.extend(verdict.rule);
        self.sent += usize::from(verdict.sent);
        verdict.sent
    }
}
