//! [`expand`]: makes an include work whose parent directory a later rule hides.
//!
//! In `+ /apps/share/vim/`, `- /apps/*` the second rule hides `/apps/share`, rsync never looks into it, and the
//! include is never reached. What the list means is plain all the same: it names vim before it hides the rest.
//! So just before the rule that hides the parent, `+ /apps/share/` opens the way and `- /apps/share/*` keeps
//! the rest of it hidden. Nothing that was sent before is hidden by that; what else is sent is below an opened
//! directory, and an include says so (`+ *.txt` further up holds in an opened directory as it does elsewhere).
//!
//! It refuses to open a way that an *earlier* rule hides: there the list says first that the directory is
//! hidden, and to send it would be a surprise. It also leaves alone an include that is not anchored, one that
//! another rule comes before, and a parent that is itself a wildcard (`/home/*/public/`): there every
//! directory would be made on the other side, whether or not it holds anything. `check` tells of all of these.

use super::glob::Token;
use super::list::{Action, List, Origin, Rule};
use super::pattern::{self, Pattern};

/// A way that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The directory, from the root of the transfer, without slashes at its ends.
    pub directory: Vec<u8>,
    /// The line of the include that needs it.
    pub include_line: usize,
    /// The text of the include.
    pub include: Vec<u8>,
    /// The line of the rule that hides the directory, as the list was written.
    pub hidden_by_line: usize,
    /// The rules that were added.
    pub rules: Vec<Vec<u8>>,
}

/// A list whose includes can be reached, and what was added to it.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The list that rsync is given.
    pub list: List,
    /// What was added, in the order of the includes.
    pub additions: Vec<Addition>,
}

/// Opens the way to every anchored include whose parent a later rule hides.
pub fn expand(list: &List) -> Expansion {
    let mut expansion = Expansion { list: list.clone(), additions: Vec::new() };
    for written in list.rules.iter().filter(|rule| rule.action == Action::Include && rule.pattern.is_anchored()) {
        open_way(&mut expansion, written);
    }
    expansion
}

fn open_way(expansion: &mut Expansion, include: &Rule) {
    let parents = literal_parents(&include.pattern);
    let Some(place) = expansion.list.rules.iter().position(|rule| rule.origin == include.origin) else { return };
    if parents.is_empty() || !decides_its_own(&expansion.list, place) {
        return;
    }
    let hider = |list: &List, parent: &[u8]| {
        let rule = list.rules.iter().position(|rule| rule.pattern.matches(parent, true))?;
        (list.rules[rule].action == Action::Exclude).then_some(rule)
    };
    // Half a way is no way: if an earlier rule hides any of the parents, nothing is added for the others.
    if parents.iter().any(|parent| hider(&expansion.list, parent).is_some_and(|hider| hider < place)) {
        return;
    }
    for parent in parents {
        let Some(hider) = hider(&expansion.list, &parent) else { continue };
        let rules = &mut expansion.list.rules;
        let origin = Origin::Added { include_line: include.line() };
        let way = [b"/", &pattern::quote(&parent, false)[..], b"/"].concat();
        let rest = [b"/", &pattern::quote(&parent, true)[..], b"/*"].concat();
        let mut added = vec![Rule { action: Action::Include, pattern: Pattern::new(&way), origin }];
        if !rules[..hider].iter().any(|rule| rule.action == Action::Exclude && *rule.pattern.text() == *rest) {
            added.push(Rule { action: Action::Exclude, pattern: Pattern::new(&rest), origin });
        }
        expansion.additions.push(Addition {
            directory: parent,
            include_line: include.line(),
            include: include.text(),
            hidden_by_line: hidden_by_line(&expansion.additions, &rules[hider]),
            rules: added.iter().map(Rule::text).collect(),
        });
        rules.splice(hider..hider, added);
    }
}

/// The line of the written rule behind an added one: a way inside a way is hidden by what hid the outer one.
fn hidden_by_line(additions: &[Addition], hider: &Rule) -> usize {
    let text = hider.text();
    match hider.origin {
        Origin::Written { line } => line,
        Origin::Added { include_line } => additions
            .iter()
            .find(|addition| addition.rules.contains(&text))
            .map_or(include_line, |addition| addition.hidden_by_line),
    }
}

/// The directories above what an anchored pattern names, from the top, up to the first one that has a wildcard.
pub(crate) fn literal_parents(pattern: &Pattern) -> Vec<Vec<u8>> {
    let tokens = pattern.tokens();
    let mut parents = Vec::new();
    let mut path = Vec::new();
    for token in &tokens {
        match token {
            Token::Byte(b'/') if !path.is_empty() => {
                parents.push(path.clone());
                path.push(b'/');
            }
            Token::Byte(byte) => path.push(*byte),
            Token::Set(_) | Token::Star | Token::StarStar => break,
        }
    }
    parents
}

/// The one path that a pattern matches, if it is anchored and has no wildcards.
pub(crate) fn literal_path(pattern: &Pattern) -> Option<Vec<u8>> {
    let bytes = pattern.tokens().into_iter().map(|token| if let Token::Byte(byte) = token { Some(byte) } else { None });
    pattern.is_anchored().then(|| bytes.collect()).flatten()
}

/// Whether the rule at `place` is the first to match the path that it names; of a wildcard nobody knows.
fn decides_its_own(list: &List, place: usize) -> bool {
    let pattern = &list.rules[place].pattern;
    let Some(path) = literal_path(pattern) else { return true };
    let first = |is_dir| list.rules.iter().position(|rule| rule.pattern.matches(&path, is_dir));
    first(true) == Some(place) || (!pattern.dir_only && first(false) == Some(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        let list = List::parse("test", text.as_bytes()).unwrap();
        String::from_utf8(expand(&list).list.to_bytes()).unwrap()
    }

    #[test]
    fn the_list_of_the_notes_gets_the_one_rule_that_it_lacks() {
        let notes = "+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n- /apps/*\n";
        let wanted = "+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n+ /apps/share/\n- /apps/*\n";
        assert_eq!(expanded(notes), wanted);
    }

    #[test]
    fn a_way_inside_a_way_is_opened_level_by_level() {
        let wanted = "+ /a/b/c/d\n+ /a/\n+ /a/b/\n+ /a/b/c/\n- /a/b/c/*\n- /a/b/*\n- /a/*\n- /*\n";
        assert_eq!(expanded("+ /a/b/c/d\n- /*\n"), wanted);
        assert_eq!(expanded(wanted), wanted);
    }

    #[test]
    fn what_an_earlier_rule_hides_stays_hidden() {
        for same in ["- /a/*\n+ /a/b/c\n", "- /a/b/c\n+ /a/b/c\n- /a/*\n", "+ b/c\n- b\n", "+ /a/*/c\n- /a/*\n"] {
            assert_eq!(expanded(same), same);
        }
    }

    #[test]
    fn special_bytes_of_a_parent_mean_themselves_in_what_is_added() {
        assert_eq!(expanded("+ /a\\b/c\n- /*\n"), "+ /a\\b/c\n+ /a\\b/\n- /a\\\\b/*\n- /*\n");
        assert_eq!(expanded("+ /a\\*b/c\n- /*\n"), "+ /a\\*b/c\n+ /a\\*b/\n- /a\\*b/*\n- /*\n");
    }
}
