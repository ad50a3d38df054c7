//! [`Judge`]: says of a path whether it is sent, by which rule, and which hidden parent blocks it.
//!
//! rsync does not look into a hidden directory, so a path is sent when neither it nor any directory above it
//! is hidden; the topmost hidden one decides, whatever later rules say of the path itself. A path that no rule
//! matches is sent. A symbolic link is not a directory, whatever it points to. The root itself is never
//! judged. Paths that rsync can never see, such as those with `..` in them, are refused.

use super::index::{Index, ancestors};
use super::list::{Action, List};

/// What is decided about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is sent.
    pub sent: bool,
    /// The rule that decided, as its place in [`List::rules`]; of a blocked path, the rule that hides the parent.
    pub rule: Option<usize>,
    /// The length of the hidden parent within the path, without its slash, if a parent is hidden.
    pub blocked_by: Option<usize>,
}

/// A path as it stands below the root of the transfer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreePath {
    path: Vec<u8>,
    is_dir: bool,
}

/// Why something is no path below a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It names the root itself or nothing.
    #[error("{0:?}: names the root of the transfer, which no rule decides")]
    Root(String),
    /// It has `..` in it.
    #[error("{0:?}: a path with `..` is never seen by rsync; write it from the root of the transfer")]
    Parent(String),
    /// It has a NUL in it.
    #[error("{0:?}: no path has a NUL in it")]
    Nul(String),
}

impl TreePath {
    /// Takes a path relative to the root of the transfer; a slash at its end makes it a directory. A leading
    /// `/` or `./` and doubled slashes are dropped.
    ///
    /// # Errors
    /// [`PathError`] when no entry below a root has such a path.
    pub fn new(text: &[u8]) -> Result<TreePath, PathError> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        if text.contains(&0) {
            return Err(PathError::Nul(shown()));
        }
        let mut path = Vec::with_capacity(text.len());
        for name in text.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent(shown())),
                name if path.is_empty() => path.extend(name),
                name => {
                    path.push(b'/');
                    path.extend(name);
                }
            }
        }
        if path.is_empty() {
            return Err(PathError::Root(shown()));
        }
        let is_dir = text.ends_with(b"/") || text.ends_with(b"/.");
        Ok(TreePath { path, is_dir })
    }

    /// A path that is clean already.
    pub(crate) fn known(path: Vec<u8>, is_dir: bool) -> TreePath {
        TreePath { path, is_dir }
    }

    /// The path without a slash at either end.
    pub fn bytes(&self) -> &[u8] {
        &self.path
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is_dir
    }

    /// The path as it is shown: a directory ends in a slash.
    pub fn shown(&self) -> Vec<u8> {
        let mut shown = self.path.clone();
        if self.is_dir {
            shown.push(b'/');
        }
        shown
    }
}

/// Judges paths by one list. It remembers the directories above the last path, so that paths in the order of
/// a tree cost one decision each.
#[derive(Debug)]
pub struct Judge<'l> {
    list: &'l List,
    index: Index<'l>,
    last: Vec<u8>,
    /// The directories above `last` from the top: the length of each, its rule, and whether it is hidden.
    above: Vec<(usize, Option<usize>, bool)>,
}

impl<'l> Judge<'l> {
    /// Prepares to judge by `list`.
    pub fn new(list: &'l List) -> Judge<'l> {
        Judge { list, index: Index::new(&list.rules), last: Vec::new(), above: Vec::new() }
    }

    /// Judges one path.
    pub fn judge(&mut self, path: &TreePath) -> Verdict {
        self.judge_bytes(&path.path, path.is_dir)
    }

    /// Judges a path that is known to be clean: no slash at either end, none doubled.
    pub(crate) fn judge_bytes(&mut self, path: &[u8], is_dir: bool) -> Verdict {
        let same = self.last.iter().zip(path).take_while(|(old, new)| old == new).count();
        self.above.retain(|(length, ..)| *length < same || (*length == same && path.get(same) == Some(&b'/')));
        self.last.clear();
        self.last.extend_from_slice(path);
        let known = self.above.last().map_or(0, |(length, ..)| length + 1);
        for directory in ancestors(path).filter(|directory| directory.len() >= known.max(1)) {
            if self.above.last().is_some_and(|(_, _, hidden)| *hidden) {
                break;
            }
            let rule = self.first_match(directory, true);
            self.above.push((directory.len(), rule, self.hides(rule)));
        }
        match self.above.last() {
            Some((length, rule, true)) => Verdict { sent: false, rule: *rule, blocked_by: Some(*length) },
            _ => {
                let rule = self.first_match(path, is_dir);
                Verdict { sent: !self.hides(rule), rule, blocked_by: None }
            }
        }
    }

    /// The first rule that matches the path itself, whatever is decided about its parents.
    pub(crate) fn first_match(&self, path: &[u8], is_dir: bool) -> Option<usize> {
        self.index.first_match(path, is_dir)
    }

    pub(crate) fn hides(&self, rule: Option<usize>) -> bool {
        rule.is_some_and(|rule| self.list.rules[rule].action == Action::Exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> List {
        List::parse("test", text.as_bytes()).unwrap()
    }

    #[test]
    fn a_hidden_parent_decides_for_all_below_it() {
        let list = list("+ /a/b/c\n- /a/*\n");
        let mut judge = Judge::new(&list);
        let verdict = judge.judge(&TreePath::new(b"a/b/c").unwrap());
        assert_eq!(verdict, Verdict { sent: false, rule: Some(1), blocked_by: Some(3) });
        let verdict = judge.judge(&TreePath::new(b"a/bb").unwrap());
        assert_eq!(verdict, Verdict { sent: false, rule: Some(1), blocked_by: None });
        assert!(judge.judge(&TreePath::new(b"b/c").unwrap()).sent);
    }

    #[test]
    fn paths_are_cleaned_or_refused() {
        let path = TreePath::new(b"./a//b/").unwrap();
        assert_eq!((path.bytes(), path.is_dir()), (b"a/b".as_slice(), true));
        for bad in [b"".as_slice(), b"/", b".", b"a/../b", b"a\0b"] {
            assert!(TreePath::new(bad).is_err(), "{bad:?}");
        }
    }
}
