//! Named cases that lists get wrong, each judged by the installed rsync: the quirks of its grammar and of its
//! matching, and every case in which the differential test once found weir to differ.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod rules_support;

use std::time::{Duration, Instant};

use rules_support::{Tree, difference, scratch, sent_by_rsync, sent_by_weir};
use weir::rules::{Judge, List, ListError, TreePath};

const TREE: &[&[u8]] = &[
    b"a/b/c/d",
    b"a/b.o",
    b"a/x/y/z",
    b"b/a/b",
    b"ab",
    b"a b",
    b"c/",
    b"link@",
    b"d/link@",
    b"+ a",
    b"!a",
    b"#a",
    b" a",
    b"a ",
    b"include a",
    b"a\\b",
    b"a*",
    b"[a]",
    b"a\nb",
    b"\xff",
    b"x.o",
    b"deep/1/2/3/4/5/6/7/8/9/10/11/12/a",
    b"-",
    b"+a",
];

/// Both judge the same list over the same tree.
fn agree(name: &str, list: &[u8]) {
    let tree = Tree::build(TREE);
    let at = tempfile::Builder::new().prefix("rules-").tempdir_in(scratch()).unwrap();
    let weir = sent_by_weir(&tree.paths, &List::parse("list", list).unwrap());
    let rsync = sent_by_rsync(tree.path(), list, at.path()).unwrap();
    if let Some(difference) = difference(&weir, &rsync) {
        panic!("{name}: {}\n{difference}", list.escape_ascii());
    }
}

#[test]
fn prefixes_count_in_column_0_and_with_a_space_only() {
    for list in
        ["+a\n- a*\n", " + a\n- *a\n", "+\ta\n- a\n", "include a\n- a b\n", "-  a\n", "- + a\n", "-a\n", "-\n", "P a\n"]
    {
        agree("prefix", list.as_bytes());
    }
}

#[test]
fn an_exclamation_mark_clears_only_alone() {
    for list in ["- a\n!\n- b\n", "- a\n! \n- b\n", "!a\n", "- !a\n", "!\n", "+ a\n- a\n!"] {
        agree("clear", list.as_bytes());
    }
}

#[test]
fn lines_end_at_newlines_and_carriage_returns() {
    for list in
        ["- a\r\n- b\r\n", "- a\r- b", "\n\n- a\n\n", "- a", "# - a\n; - b\n- ab\n #a\n", "- a\0b\n", "\0- a\n- b\n"]
    {
        agree("line", list.as_bytes());
    }
}

#[test]
fn slashes_anchor_and_count_names() {
    for list in [
        "/a\n", "a/b\n", "/b\n", "a/\n", "/a/b/\n", "/link/\n", "link\n", "a//b\n", "//a\n", "./a\n", "/\n", "a//\n",
        "b/c/d\n",
    ] {
        agree("slash", list.as_bytes());
    }
}

#[test]
fn stars_and_what_they_cross() {
    for list in [
        "*\n",
        "**\n",
        "/*\n",
        "/**\n",
        "/a/*\n",
        "/a/**\n",
        "/a/***\n",
        "a/***\n",
        "a/***/\n",
        "**/b\n",
        "**b\n",
        "a**d\n",
        "a/**/d\n",
        "a/*/d\n",
        "*.o\n",
        "a*\n",
        "a?\n",
        "*/*/*\n",
        "**/*/d\n",
        "/a/b***\n",
        "x/**\n",
        "***\n",
        "/***\n",
        "d**a\n",
        "1/**/a\n",
    ] {
        agree("star", list.as_bytes());
    }
}

/// Found by the differential test: `/a/***` matches `a` itself, which the index did not look for.
#[test]
fn three_stars_behind_a_slash_match_the_directory_itself() {
    agree("three stars", b"- /a/***\n");
    agree("three stars", b"+ /a/***\n- /a/b/***\n- *\n");
}

#[test]
fn backslashes_escape_only_beside_a_wildcard() {
    for list in
        ["a\\b\n", "a\\\\b\n", "a\\*\n", "\\a*\n", "a\\\\?\n", "[a]\n", "\\[a]\n", "\\[a\\]\n", "a*\\\n", "*\\b\n"]
    {
        agree("backslash", list.as_bytes());
    }
}

#[test]
fn brackets_follow_their_own_rules() {
    for list in [
        "[a-c]\n",
        "[!a-c]\n",
        "[^a-c]*\n",
        "[]a]*\n",
        "[[:alpha:]]\n",
        "[[:alpha:]-]\n",
        "[[:word:]]\n",
        "[[:]\n",
        "[[::]]\n",
        "[a\n",
        "[c-a]\n",
        "a[/]b\n",
        "[a/b]\n",
        "[\\]]*\n",
        "[a-\\c]\n",
        "[--b]\n",
        "[[:space:]]a\n",
        "[!]a]*\n",
        "a[!x]b\n",
    ] {
        agree("bracket", list.as_bytes());
    }
    agree("bracket", b"[\x80-\xff]\n");
    agree("bracket", b"[!\x01-\x7f]\n");
}

#[test]
fn bytes_are_not_characters() {
    agree("bytes", b"\xff\n");
    agree("bytes", b"?\n");
    agree("bytes", b"a?b\n");
}

/// rsync refuses the list, and so does weir, with the line.
#[test]
fn a_prefix_without_a_pattern_is_refused_by_both() {
    let tree = Tree::build(TREE);
    let at = tempfile::tempdir().unwrap();
    for list in [&b"- a\n+ \n"[..], b"- ", b"- \0a\n"] {
        assert_eq!(sent_by_rsync(tree.path(), list, at.path()), Err(1));
        assert!(matches!(List::parse("list", list), Err(ListError::NoPattern { .. })));
    }
}

/// rsync drops the line and goes on; weir refuses the list, for a list with a rule less is another list.
#[test]
fn a_line_that_rsync_drops_is_refused() {
    let tree = Tree::build(TREE);
    let at = tempfile::tempdir().unwrap();
    for (length, dropped) in [(4095, false), (4096, true), (5119, true), (5120, true), (9000, true)] {
        let list = [b"- ", &b"a".repeat(length)[..], b"\n- /a\n"].concat();
        let sent = sent_by_rsync(tree.path(), &list, at.path()).unwrap();
        assert!(!sent.contains(&b"a/"[..]), "the rule behind it counts");
        let refused = matches!(List::parse("list", &list), Err(ListError::TooLong { line: 1, .. }));
        assert_eq!(refused, dropped, "{length}");
    }
    let stars = [&b"*".repeat(4095)[..], b"\n"].concat();
    assert!(sent_by_rsync(tree.path(), &stars, at.path()).unwrap().is_empty());
    agree("the longest pattern", &stars);
}

/// A matcher that backtracks needs more than a lifetime for these.
#[test]
fn no_pattern_takes_exponential_time() {
    let mut path = "a".repeat(250);
    for _ in 0..14 {
        path.push('/');
        path.push_str(&"a".repeat(250));
    }
    let path = TreePath::new(path.as_bytes()).unwrap();
    let mut list = String::new();
    for piece in ["a*", "a**", "*?", "[a]*", "**/a*"] {
        list.push_str(&format!("- {}b\n- /{}b\n", piece.repeat(200), piece.repeat(200)));
    }
    let list = List::parse("list", list.as_bytes()).unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(Judge::new(&list).judge(&path).sent);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "a limit, not a measurement: {:?}", begun.elapsed());
}
