//! `weir rules` as a shell script meets it: exit codes, what is on stdout, and JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use assert_cmd::Command;
use serde_json::Value;

const NOTES: &str = "+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n- /apps/*\n";

struct Lists(tempfile::TempDir);

impl Lists {
    fn new(lists: &[(&str, &str)]) -> Lists {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in lists {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Lists(directory)
    }

    /// Runs `weir rules ...` beside the lists; gives the exit code, stdout and stderr.
    fn weir(&self, arguments: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
        let mut command = Command::cargo_bin("weir").unwrap();
        let output = command.arg("rules").args(arguments).current_dir(&self.0).write_stdin(input).output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    }

    fn text(&self, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
        let (code, out, err) = self.weir(arguments, input);
        (code, String::from_utf8(out).unwrap(), err)
    }
}

#[test]
fn explain_prints_the_documented_object_for_each_path() {
    let lists = Lists::new(&[("web1-exclude-list.txt", NOTES)]);
    let (code, out, err) =
        lists.text(&["explain", "--json", "web1-exclude-list.txt"], b"apps/var/\napps/share/vim/x\n\nzoo\n");
    assert_eq!(code, 0, "{err}");
    let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3);
    let first = &answers[0];
    assert_eq!(
        [&first["path"], &first["sent"], &first["rule"], &first["list"], &first["line"], &first["blocked_by"]],
        [
            &Value::from("apps/var/"),
            &false.into(),
            &"- /apps/*".into(),
            &"web1-exclude-list.txt".into(),
            &5.into(),
            &Value::Null
        ]
    );
    assert_eq!([&answers[1]["sent"], &answers[1]["rule"]], [&Value::from(true), &Value::Null]);
    assert!(err.contains("`+ /apps/share/`"), "every addition is told: {err}");
    let (_, out, _) = lists.text(&["explain", "--json", "--strict", "web1-exclude-list.txt", "apps/share/vim/x"], b"");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        [&answer["sent"], &answer["line"], &answer["blocked_by"]],
        [&Value::from(false), &5.into(), &"apps/share/".into()]
    );
}

#[test]
fn explain_names_the_rule_the_line_and_the_parent() {
    let lists = Lists::new(&[("list", NOTES)]);
    let (code, out, _) = lists.text(&["explain", "list", "apps/var/x/y", "apps/share/", "../x"], b"");
    assert_eq!(code, 4, "one path is refused, the others are answered");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("hidden apps/var/x/y") && lines[0].contains("list:5") && lines[0].ends_with("apps/var/")
    );
    assert!(lines[1].starts_with("sent   apps/share/") && lines[1].contains("list:3 (added"), "{out}");
}

#[test]
fn explain_takes_and_gives_any_bytes() {
    let lists = Lists::new(&[("list", "- *.o\n")]);
    let input = b"a\xff\0b\nc\0x.o\0";
    let (code, out, _) = lists.weir(&["explain", "--only-sent", "-0", "list"], input);
    assert_eq!((code, out.as_slice()), (0, &b"a\xff\0b\nc\0"[..]));
    let (_, out, _) = lists.text(&["explain", "--json", "-0", "list"], b"a\xff\0");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["path_hex"], "61ff");
}

#[test]
fn check_points_at_the_place_and_exits_1_on_an_error_only() {
    let lists =
        Lists::new(&[("good-exclude-list.txt", "- *.o\n"), ("bad-exclude-list.txt", "- *.o\n+x\n"), ("other", "+y\n")]);
    let (code, out, err) = lists.text(&["check"], b"");
    assert_eq!(code, 1);
    let place = "error[near-prefix]: a prefix without a space is part of the name\n --> ./bad-exclude-list.txt:2:1\n  |\n2 | +x\n  | ^ ";
    assert!(out.starts_with(place), "{out}");
    assert!(!out.contains("+y") && err.contains("1 error and 0 warnings in 2 lists"), "{err}");
    assert_eq!(lists.text(&["check", "good-exclude-list.txt"], b""), (0, String::new(), String::new()));
    let (code, out, _) = lists.text(&["check", "--json", "bad-exclude-list.txt"], b"");
    let finding: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(
        [&finding["list"], &finding["line"], &finding["column"], &finding["code"], &finding["severity"]],
        [&Value::from("bad-exclude-list.txt"), &2.into(), &1.into(), &"near-prefix".into(), &"error".into()]
    );
}

#[test]
fn what_is_no_list_is_refused_and_keeps_no_other_from_being_checked() {
    let lists = Lists::new(&[("good", "- *.o\n"), ("bad", "+x\n- y\n")]);
    assert!(std::process::Command::new("mkfifo").arg(lists.0.path().join("pipe")).status().unwrap().success());
    for (list, wanted) in [
        ("pipe", "pipe: the list is a pipe, not a regular file"),
        (".", ".: the list is a directory"),
        ("/dev/zero", "/dev/zero: the list is a device"),
        ("/dev/full", "/dev/full: the list is a device"),
    ] {
        for arguments in [&["check", list][..], &["expand", list], &["explain", list, "x"]] {
            let (code, out, err) = lists.text(arguments, b"");
            assert!(code == 1 && out.is_empty() && err.contains(wanted), "{arguments:?}: {err}");
        }
    }
    let (code, out, err) = lists.text(&["check", "pipe", "bad", "good"], b"");
    assert!(code == 1 && out.contains("bad:1:1"), "{out}");
    assert!(err.contains("pipe: the list is a pipe") && err.contains("in 2 lists; 1 list not read"), "{err}");
    let (code, _, err) = lists.text(&["check", "--source", "missing", "good"], b"");
    assert!(code == 1 && err.contains("source missing: cannot be read: No such file"), "{err}");
    let (code, _, err) = lists.text(&["check", "--source", "bad", "good"], b"");
    assert!(code == 1 && err.contains("source bad: cannot be read: not a directory"), "{err}");
}

#[test]
fn a_stream_without_lines_is_no_path() {
    let lists = Lists::new(&[("list", "- *.o\n")]);
    for arguments in [&["explain", "list"][..], &["from-paths"]] {
        let (code, _, err) = lists.text(arguments, &[b'a'; 100_000]);
        assert!(code == 1 && err.contains("standard input: a path of over 65536 bytes"), "{err}");
    }
}

#[test]
fn strict_and_quiet_change_what_a_later_hidden_parent_is() {
    let lists = Lists::new(&[("list", NOTES)]);
    let (code, out, _) = lists.text(&["check", "list"], b"");
    assert!(code == 0 && out.starts_with("warning[hidden-parent]"), "{out}");
    let (code, out, _) = lists.text(&["check", "--quiet", "list"], b"");
    assert_eq!((code, out.as_str()), (0, ""));
    let (code, out, _) = lists.text(&["check", "--strict", "list"], b"");
    assert!(code == 1 && out.starts_with("error[hidden-parent]"), "{out}");
}

#[test]
fn expand_prints_what_rsync_is_given() {
    let lists = Lists::new(&[("list", NOTES)]);
    let (code, out, err) = lists.text(&["expand", "list"], b"");
    let wanted = "+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n+ /apps/share/\n- /apps/*\n";
    assert_eq!((code, out.as_str()), (0, wanted));
    assert!(err.contains("list:3: added `+ /apps/share/` before line 5"), "{err}");
    let (code, out, err) = lists.text(&["expand", "--strict", "list"], b"");
    assert_eq!((code, out.as_str()), (1, NOTES));
    assert!(err.contains("list:3: `+ /apps/share/vim/` is never reached"), "{err}");
    let (code, _, err) = lists.text(&["expand", "missing"], b"");
    assert!(code == 1 && err.contains("missing: cannot read the list"), "{err}");
}

#[test]
fn from_paths_reads_arguments_or_standard_input() {
    let lists = Lists::new(&[]);
    let wanted = "+ /apps/\n- /*\n+ /apps/bin/\n- /apps/*\n";
    assert_eq!(lists.text(&["from-paths", "apps/bin/"], b""), (0, wanted.to_owned(), String::new()));
    assert_eq!(lists.text(&["from-paths"], b"apps/bin/\n"), (0, wanted.to_owned(), String::new()));
    for refused in [&["from-paths"][..], &["from-paths", ".."], &["from-paths", "/"]] {
        let (code, out, _) = lists.text(refused, b"");
        assert_eq!((code, out.as_str()), (1, ""), "{refused:?}");
    }
}
