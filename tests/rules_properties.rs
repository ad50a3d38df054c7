//! What `check`, `expand` and `from_paths` promise, over random lists, with rsync as the judge where it can be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod rules_support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rules_support::generate::{NAMES, entries, list, tidy_list};
use rules_support::{Tree, difference, scratch, sent_by_rsync, sent_by_weir, sent_of};
use weir::rules::lint::{Options, Severity, check};
use weir::rules::{Action, Judge, List, Origin, Reach, TreePath, expand, from_paths, reach};

/// Runs a property over the same cases every time; `WEIR_RULES_CASES` makes them more, 5 000 being as given.
fn hold<S: Strategy>(cases: u32, seed: u8, strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let scale = std::env::var("WEIR_RULES_CASES").map_or(5000, |text| text.parse::<u32>().expect("a number"));
    let cases = (cases * scale / 5000).max(1);
    let config = Config { cases, failure_persistence: None, max_global_rejects: 100_000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&strategy, property) {
        panic!("{error}");
    }
}

fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rules-").tempdir_in(scratch()).unwrap()
}

fn any_list() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => tidy_list(), 1 => list()]
}

/// Many short paths out of the generators' alphabet, files and directories.
fn probes() -> Vec<TreePath> {
    let names: Vec<&[u8]> = NAMES.iter().copied().take(7).chain([&b"zq"[..], b"x.c"]).collect();
    let mut paths: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    for level in [1_usize, 2] {
        let parents: Vec<Vec<u8>> =
            paths.iter().filter(|path| path.split(|b| *b == b'/').count() == level).cloned().collect();
        paths.extend(parents.iter().flat_map(|parent| names.iter().map(|name| [parent, &b"/"[..], name].concat())));
    }
    let both = paths.iter().flat_map(|path| [path.clone(), [path, &b"/"[..]].concat()]);
    both.map(|path| TreePath::new(&path).unwrap()).collect()
}

/// No false alarm and no missed one: of a list's rules, those that `check` is silent about decide a path that
/// rsync agrees to, and those that it calls dead decide none of thousands.
#[test]
fn a_rule_without_a_finding_decides_something_and_a_dead_one_nothing() {
    let probes = probes();
    let at = temporary();
    hold(300, 11, any_list(), |text| {
        let Ok(list) = List::parse("list", &text) else { return Ok(()) };
        let report = check("list", &text, Options::default()).unwrap();
        let expanded = expand(&list).list;
        let reached = reach(&expanded);
        let mut witnesses = Vec::new();
        for (number, rule) in expanded.rules.iter().enumerate() {
            let Origin::Written { line } = rule.origin else { continue };
            match &reached[number] {
                Reach::Alive(path) => {
                    let verdict = Judge::new(&expanded).judge(path);
                    prop_assert_eq!((verdict.rule, verdict.blocked_by), (Some(number), None));
                    if rule.action == Action::Include {
                        witnesses.push(path.shown());
                    }
                }
                _ => prop_assert!(
                    report.findings.iter().any(|finding| finding.line == line),
                    "line {line} is dead and check is silent: {}",
                    text.escape_ascii()
                ),
            }
        }
        // Paths may be in each other's way, a file where another needs a directory, so each gets its own tree.
        for witness in witnesses.iter().filter(|path| path.len() < 200).take(3) {
            let tree = Tree::build(&[witness]);
            let sent = sent_by_rsync(tree.path(), &expanded.to_bytes(), at.path()).unwrap();
            prop_assert!(sent.contains(witness), "{} is not sent: {}", witness.escape_ascii(), text.escape_ascii());
        }
        let mut judge = Judge::new(&expanded);
        for probe in &probes {
            let verdict = judge.judge(probe);
            if let (Some(rule), None) = (verdict.rule, verdict.blocked_by) {
                prop_assert!(reached[rule] != Reach::Dead, "rule {rule} decides {probe:?}: {}", text.escape_ascii());
            }
        }
        Ok(())
    });
}

/// `hides-everything` and `hides-nothing` are told of no list that does otherwise.
#[test]
fn a_list_said_to_hide_everything_or_nothing_does() {
    let probes = probes();
    hold(500, 12, any_list(), |text| {
        let Ok(list) = List::parse("list", &text) else { return Ok(()) };
        let report = check("list", &text, Options::default()).unwrap();
        let expanded = expand(&list).list;
        let mut judge = Judge::new(&expanded);
        let sent = probes.iter().filter(|path| judge.judge(path).sent).count();
        let told = |code| report.findings.iter().any(|finding| finding.code == code);
        prop_assert!(!told("hides-everything") || sent == 0, "{}", text.escape_ascii());
        prop_assert!(!told("hides-nothing") || sent == probes.len(), "{}", text.escape_ascii());
        Ok(())
    });
}

/// Opening ways hides nothing that was sent, sends only what is at or below an opened directory, and a list that
/// was expanded needs no more.
#[test]
fn expansion_only_opens_what_it_says() {
    let probes = probes();
    hold(1000, 13, any_list(), |text| {
        let Ok(list) = List::parse("list", &text) else { return Ok(()) };
        let expansion = expand(&list);
        let (mut before, mut after) = (Judge::new(&list), Judge::new(&expansion.list));
        for probe in &probes {
            let (before, after) = (before.judge(probe).sent, after.judge(probe).sent);
            prop_assert!(after || !before, "{probe:?} is hidden now: {}", text.escape_ascii());
            let opened = expansion.additions.iter().any(|addition| {
                let below = probe.bytes().strip_prefix(&addition.directory[..]);
                below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
            });
            prop_assert!(before || !after || opened, "{probe:?} is sent now: {}", text.escape_ascii());
        }
        let again = List::parse("list", &expansion.list.to_bytes()).unwrap();
        prop_assert!(expand(&again).additions.is_empty(), "{}", text.escape_ascii());
        Ok(())
    });
}

/// Every literal include of an expanded list whose parents no earlier rule hides is really sent by rsync.
#[test]
fn the_case_of_the_notes_is_sent_as_the_notes_tell_it() {
    let text = b"+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n- /apps/*\n";
    let files = ["bin/a", "lib/b/c", "var/d", "etc/e", "share/vim/vimrc", "share/emacs/f", "share/g", "sbin/h"];
    let tree = Tree::build(&files.map(|file| format!("apps/{file}")));
    let at = temporary();
    let source = tree.path().join("apps");
    let sent = |list: &[u8]| {
        let sent = sent_of(source.as_os_str(), list, at.path()).unwrap();
        sent.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
    };
    let plain = ["apps/", "apps/bin/", "apps/bin/a", "apps/lib/", "apps/lib/b/", "apps/lib/b/c"];
    assert_eq!(sent(text), plain, "plain rsync leaves vim out: if that changed, expansion is no longer needed");
    let expanded = expand(&List::parse("web1-exclude-list.txt", text).unwrap()).list.to_bytes();
    let vim = ["apps/share/", "apps/share/vim/", "apps/share/vim/vimrc"];
    assert_eq!(sent(&expanded), [&plain[..], &vim[..]].concat());
}

/// A list made from paths sends exactly those, what is in them, and the directories on the way: rsync says so.
#[test]
fn a_list_from_paths_sends_exactly_those() {
    let at = temporary();
    let wanted = prop::collection::vec((any::<Index>(), select(vec![true, false])), 1..6);
    hold(250, 14, (entries(10..40), wanted), |(entries, wanted)| {
        let tree = Tree::build(&entries);
        let all: Vec<&Vec<u8>> = tree.paths.iter().collect();
        prop_assume!(!all.is_empty());
        let paths: Vec<TreePath> = wanted
            .iter()
            .map(|(index, slash)| {
                let path = index.get(&all).as_slice();
                TreePath::new(if *slash { path } else { path.strip_suffix(b"/").unwrap_or(path) }).unwrap()
            })
            .collect();
        let expected: BTreeSet<Vec<u8>> = tree
            .paths
            .iter()
            .filter(|path| {
                paths.iter().any(|wanted| {
                    let wanted = wanted.bytes();
                    let bare = path.strip_suffix(b"/").unwrap_or(path);
                    bare == wanted
                        || path.starts_with(&[wanted, b"/"].concat())
                        || wanted.starts_with(path) && path.ends_with(b"/")
                })
            })
            .cloned()
            .collect();
        let list = from_paths("list", &paths);
        let sent = sent_by_rsync(tree.path(), &list.to_bytes(), at.path()).unwrap();
        let wrong = difference(&sent, &expected);
        prop_assert!(wrong.is_none(), "{}\n{}", wrong.unwrap_or_default(), list.to_bytes().escape_ascii());
        prop_assert_eq!(sent_by_weir(&tree.paths, &list), sent);
        let report = check("list", &list.to_bytes(), Options { strict: true, source: None }).unwrap();
        let errors: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let odd = paths
            .iter()
            .any(|path| path.bytes().iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\\' | b'\r' | 0x0b)));
        prop_assert!(errors.is_empty() || odd, "{errors:?}");
        Ok(())
    });
}

/// The index gives the answer of trying every rule in order.
#[test]
fn the_first_matching_rule_is_found_without_trying_all() {
    let probes = probes();
    hold(1000, 15, any_list(), |text| {
        let Ok(list) = List::parse("list", &text) else { return Ok(()) };
        let mut judge = Judge::new(&list);
        for probe in &probes {
            let verdict = judge.judge(probe);
            let (path, is_dir) = match verdict.blocked_by {
                Some(length) => (&probe.bytes()[..length], true),
                None => (probe.bytes(), probe.is_dir()),
            };
            let first = list.rules.iter().position(|rule| rule.pattern.matches(path, is_dir));
            prop_assert_eq!(verdict.rule, first, "{:?} {}", probe, text.escape_ascii());
        }
        Ok(())
    });
}

/// No bytes, as a list or as a path, make anything panic.
#[test]
fn any_bytes_get_an_answer() {
    let odd = select(b"[]!-\\:*?/^a. \t\r\n+#\0{},\"~\xff\xef\xbb\xbf".to_vec());
    let text = prop::collection::vec(prop_oneof![6 => odd, 1 => any::<u8>()], 0..120);
    hold(2000, 16, (text.clone(), text), |(text, path)| {
        let report = check("list", &text, Options::default()).unwrap();
        for finding in &report.findings {
            let length = if finding.line == 0 { usize::MAX } else { report.lines[finding.line - 1].len() + 1 };
            prop_assert!(finding.column <= length && !finding.message.is_empty(), "{finding:?}");
        }
        if let (Ok(list), Ok(path)) = (List::parse("list", &text), TreePath::new(&path)) {
            Judge::new(&list).judge(&path);
            from_paths("list", [&path]);
        }
        Ok(())
    });
}
