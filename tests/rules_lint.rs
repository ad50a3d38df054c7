//! Every kind of finding: the list that has it, the line, and the way out that has none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use weir::rules::lint::{Options, Severity, check};

/// The findings as `line:code`, those of the whole list with line 0.
fn findings(text: &[u8], options: Options<'_>) -> Vec<String> {
    let report = check("list", text, options).unwrap();
    report.findings.iter().map(|finding| format!("{}:{}", finding.line, finding.code)).collect()
}

fn found(text: impl AsRef<[u8]>) -> Vec<String> {
    findings(text.as_ref(), Options::default())
}

#[test]
fn lists_that_are_right_have_no_finding() {
    for right in [
        "- *.o\n- .git/\n- *~\n",
        "+ */\n+ *.c\n- *\n",
        "+ /apps/\n- /*\n+ /apps/bin/\n- /apps/*\n",
        "# a comment\n\n; another\n- /tmp/\n- core.[0-9]*\n- **/cache/**\n",
        "+ /www/***\n+ /etc/\n+ /etc/hosts\n- /etc/*\n- /*\n",
        "- /proc/*\n- /sys/*\n- /dev/*\n- lost+found\n",
        "+ foo/bar/\n- foo/*\n",
        "+ /a/\n+ src/main/\n- /*\n",
        "- [ ]a\n- +x\n- - y\n- a[ ]\n- !important\n- [{]a,b}\n",
        "- a\\*\n- [\\\\]x\n",
    ] {
        assert_eq!(found(right), [""; 0], "{right}");
    }
}

#[test]
fn text_that_reads_otherwise_than_it_looks() {
    for (text, code) in [
        (&b"\xef\xbb\xbf- a\n"[..], "1:byte-order-mark"),
        (b"\xff\xfe-\0 \0a\0\n\0", "1:byte-order-mark"),
        (b"+x\n", "1:near-prefix"),
        (b"-/x\n", "1:near-prefix"),
        (b"-\n", "1:near-prefix"),
        (b"+\tx\n", "1:near-prefix"),
        (b"-! x\n", "1:near-prefix"),
        (b" + x\n", "1:leading-blank"),
        (b" # x\n", "1:leading-blank"),
        (b"-  x\n", "1:leading-blank"),
        (b"  \n- a\n", "1:blank-line"),
        (b"include x\n", "1:filter-rule"),
        (b"exclude /x\n", "1:filter-rule"),
        (b"P x\n", "1:filter-rule"),
        (b": .rsync-filter\n", "1:filter-rule"),
        (b"dir-merge x\n", "1:filter-rule"),
        (b"!x\n", "1:not-clear"),
        (b"! \n", "1:not-clear"),
        (b"- x \n", "1:trailing-blank"),
        (b"- x\t\n", "1:trailing-blank"),
        (b"- x # y\n", "1:late-comment"),
        (b"- a\0b\n", "1:nul"),
        (b"- a\r\n- b\r\n", "1:crlf"),
        (b"- a\r- b\n", "1:carriage-return"),
        (b"- a\n!\n- b\n", "2:clear"),
        (b"- \"a b\"\n", "1:quotes"),
        (b"- *.{c,h}\n", "1:braces"),
        (b"- a\n+ \n", "2:no-pattern"),
    ] {
        let found = found(text);
        assert!(found.contains(&code.to_owned()), "{}: {found:?}", text.escape_ascii());
    }
    assert!(found([b"- ", &[b'a'; 5000][..]].concat()).contains(&"1:too-long".to_owned()));
}

#[test]
fn what_to_write_instead_of_a_filter_rule_does_what_was_meant() {
    for (text, wanted) in [
        ("include x", "write `+ x`; if a file has that name, write `- include x`"),
        ("S x", "write `+ x`; "),
        ("hide  x", "write `- x`; "),
        ("P x", "delete the line: a list says only what is sent"),
        ("protect x", "delete the line: "),
        ("R x", "delete the line: "),
        (": .rsync-filter", "write the rules of that file here"),
        ("+", "delete the line; if a file has that name, write `- +`"),
    ] {
        let report = check("list", format!("{text}\n- y\n").as_bytes(), Options::default()).unwrap();
        let help = report.findings[0].help.as_deref().unwrap();
        assert!(help.starts_with(wanted), "{text}: {help}");
    }
}

#[test]
fn patterns_that_can_match_nothing() {
    for (pattern, code) in [
        ("a//", "empty-name"),
        ("a//b", "empty-name"),
        ("//a", "empty-name"),
        ("./a", "dot-name"),
        ("/a/../b", "dot-name"),
        ("/", "root"),
        ("[a", "unclosed-class"),
        ("[[:word:]]", "unknown-class"),
        ("a[/]b", "empty-class"),
        ("a*\\", "trailing-backslash"),
        ("a\\ b", "backslash"),
    ] {
        assert_eq!(found(format!("- {pattern}\n- zz\n")), [format!("1:{code}")], "{pattern}");
    }
}

#[test]
fn rules_that_decide_nothing() {
    for (text, codes) in [
        ("- /a/\n+ /a/b\n- /c\n", &["2:hidden-parent"][..]),
        ("+ /a/*/b\n- /a/*\n", &["1:hidden-parent"]),
        ("+ apps/share/vim/\n- /apps/*\n", &["1:hidden-parent"]),
        ("- *.o\n+ x.o\n", &["0:hides-nothing", "2:shadowed"][1..]),
        ("- *.o\n- x.o\n", &["2:redundant"]),
        ("- a\n- a\n", &["2:redundant"]),
        ("- a/\n- /a/b\n", &["2:hidden-parent"]),
        ("+ *.c\n- x.c\n- y\n", &["2:shadowed"]),
        ("- [ab]\n- [a-c]\n- b\n", &["3:redundant"]),
        ("- a*\n- b*\n- [ab]x\n", &["3:redundant"]),
        ("+ /x\n+ *.c\n", &["0:hides-nothing"]),
        ("# nothing\n", &["0:no-rule"]),
        ("- *\n", &["1:hides-everything"]),
        ("- /*\n+ /a\n", &["1:hides-everything", "2:shadowed"]),
    ] {
        assert_eq!(found(text), codes, "{text}");
    }
}

#[test]
fn the_list_of_the_notes_warns_and_is_an_error_when_strict() {
    let notes = b"+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n- /apps/*\n";
    let report = check("list", notes, Options::default()).unwrap();
    assert_eq!(report.count(Severity::Error), 0);
    assert_eq!(found(notes), ["3:hidden-parent"]);
    let report = check("list", notes, Options { strict: true, source: None }).unwrap();
    assert_eq!((report.count(Severity::Error), report.findings.len()), (1, 1));
    let help = report.findings[0].help.as_deref().unwrap();
    assert_eq!(help, "put `+ /apps/share/` just before line 5");
    let mended = b"+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n+ /apps/share/\n- /apps/*\n";
    assert_eq!(findings(mended, Options { strict: true, source: None }), [""; 0]);
}

#[test]
fn a_source_shows_what_matches_nothing_and_what_is_rooted_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let apps = root.path().join("apps");
    for file in ["bin/a", "share/vim/b"] {
        std::fs::create_dir_all(apps.join(file).parent().unwrap()).unwrap();
        std::fs::write(apps.join(file), "").unwrap();
    }
    let with = |source: &std::path::Path, text: &str| {
        findings(text.as_bytes(), Options { strict: false, source: Some(source) })
    };
    assert_eq!(with(&apps, "+ /apps/bin/\n- /apps/*\n"), [""; 0]);
    assert_eq!(with(&apps, "+ /bin/\n- /apps/*\n"), ["0:sends-nothing", "1:wrong-root"][1..]);
    assert_eq!(with(&apps, "- /apps/gone\n- *.o\n- bin\n"), ["1:no-match", "2:no-match"]);
    let content = root.path().join("apps/");
    assert_eq!(with(&content, "+ /bin/\n- /*\n"), [""; 0]);
    assert_eq!(with(&content, "+ /apps/bin/\n- vim\n"), ["1:wrong-root"]);
    let own = format!("- {}/bin/\n- vim\n", apps.display());
    assert_eq!(with(&apps, &own), ["1:wrong-root"]);
    let missing = root.path().join("missing/");
    let error = check("list", b"- a\n", Options { strict: false, source: Some(&missing) }).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}
