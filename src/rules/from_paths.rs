//! [`from_paths`]: a correct list out of the paths that are wanted.
//!
//! Every wanted path is included; every directory above one is included as the way to it and the rest of it is
//! hidden; the rest of the root is hidden last. A wanted directory ends in a slash and is wanted with all that
//! is in it. All names mean themselves: special bytes are escaped. It refuses paths that name the root, for
//! then no list is needed.

use std::collections::BTreeMap;

use super::judge::TreePath;
use super::list::{Action, List, Origin, Rule};
use super::pattern::{self, Pattern};

/// What is known of one name in the tree of wanted paths.
#[derive(Default)]
struct Node {
    /// Wanted itself, as a directory or as whatever it is.
    wanted: Option<Kind>,
    below: BTreeMap<Vec<u8>, Node>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    Whatever,
}

/// Makes the list that sends exactly these paths, what is in those that are directories, and the directories
/// on the way to them. `name` is the list's name in messages.
pub fn from_paths<'p>(name: &str, paths: impl IntoIterator<Item = &'p TreePath>) -> List {
    let mut root = Node::default();
    for path in paths {
        let names = path.bytes().split(|byte| *byte == b'/');
        let node = names.fold(&mut root, |node, name| node.below.entry(name.to_vec()).or_default());
        let kind = if path.is_dir() { Kind::Directory } else { Kind::Whatever };
        node.wanted = node.wanted.max(Some(kind));
    }
    let mut rules = Vec::new();
    let mut ways = vec![(Vec::new(), &root)];
    while let Some((directory, node)) = ways.pop() {
        let rule = |action, pattern: Vec<u8>, line| Rule {
            action,
            pattern: Pattern::new(&pattern),
            origin: Origin::Written { line },
        };
        for (name, child) in &node.below {
            let path = [&directory[..], b"/", name].concat();
            let mut text = pattern::quote(&path, false);
            // What is below a wanted path comes with it if it is a directory; if it was wanted as something
            // that may be a file, the directory of the same name still has to come.
            if child.wanted != Some(Kind::Whatever) {
                text.push(b'/');
            }
            rules.push(rule(Action::Include, text, rules.len() + 1));
        }
        rules.push(rule(Action::Exclude, [&pattern::quote(&directory, true)[..], b"/*"].concat(), rules.len() + 1));
        let inner = node.below.iter().rev().filter(|(_, child)| child.wanted.is_none());
        ways.extend(inner.map(|(name, child)| ([&directory[..], b"/", name].concat(), child)));
    }
    List { name: name.to_owned(), rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_selection_becomes_a_list_that_works() {
        let paths = ["apps/bin/", "apps/lib/", "apps/share/vim/"].map(|path| TreePath::new(path.as_bytes()).unwrap());
        let wanted = "+ /apps/\n- /*\n+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/\n- /apps/*\n+ /apps/share/vim/\n- /apps/share/*\n";
        assert_eq!(String::from_utf8(from_paths("list", &paths).to_bytes()).unwrap(), wanted);
    }
}
