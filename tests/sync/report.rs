//! What a run tells: summaries, dry runs, JSON, rsync's own errors, further tries.

use crate::support::{Ground, real_rsync};

#[test]
fn a_summary_counts_what_happened() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    ground.write("export/apps/bin/new", "12345");
    ground.write("export/apps/lib/file", "longer than before");
    ground.write("local/apps/old", "old");
    let ran = ground.ok(&["-v", "--host", "web1", "export/apps", "local"]);
    let last = ran.out.lines().last().unwrap();
    assert!(last.starts_with("web1: 1 deleted, 1 created, 1 updated, "), "{last}");
    assert!(
        ran.out.contains("*deleting   apps/old\n") && ran.out.contains(">f+++++++++ apps/bin/new\n"),
        "{}",
        ran.out
    );
    let ran = ground.ok(&["--host", "web1", "export/apps", "local", "-q"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
}

#[test]
fn a_dry_run_shows_deletions_first_and_touches_nothing() {
    let ground = Ground::new();
    ground.write("local/apps/old/file", "old");
    let before = ground.tree("local");
    let ran = ground.ok(&["-n", "--host", "web1", "export/apps", "local"]);
    assert!(ran.out.starts_with("2 would be deleted:\n  apps/old/file\n  apps/old/\n"), "{}", ran.out);
    assert!(ran.out.contains(" would be created:\n  apps/bin/\n"), "{}", ran.out);
    assert_eq!(ground.tree("local"), before);
}

#[test]
fn json_tells_all_of_it() {
    let ground = Ground::new();
    ground.write("local/apps/old", "old");
    let ran = ground.ok(&["--json", "-v", "--host", "web1", "export/apps", "local"]);
    let [report] = &ran.json()[..] else { panic!("{}", ran.out) };
    let numbers =
        ["deleted", "created", "updated", "entries", "changed_bytes", "retried"].map(|key| report[key].as_u64());
    assert_eq!(numbers, [1, 7, 0, 8, 15, 0].map(Some));
    assert_eq!(
        [&report["status"], &report["host"], &report["dry_run"]],
        [&"done".into(), &"web1".into(), &serde_json::Value::from(false)]
    );
    assert!(
        report["changes"].as_array().unwrap().iter().any(|one| one["change"] == "deleted" && one["path"] == "apps/old")
    );
}

#[test]
fn json_tells_why_a_run_is_refused_and_what_was_counted() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    ground.write("local/apps/old", "old");
    ground.write("nothing", "- /apps/*\n");
    let refused = |arguments: &[&str]| {
        let ran = ground.run(&[&["--json"], arguments, &["export/apps", "local"]].concat());
        let report = ran.json().remove(0);
        assert_eq!((ran.code, &report["status"]), (3, &"refused".into()), "{ran:?}");
        report["refusal"].clone()
    };
    let of = |reason, deleted: Option<u64>, entries: Option<u64>, limit: Option<u64>| serde_json::json!({"reason": reason, "would_delete": deleted, "destination_entries": entries, "max_delete": limit});
    let too_many = of("too_many_deletions", Some(1), Some(9), Some(0));
    assert_eq!(refused(&["--max-delete", "0", "--host", "web1"]), too_many);
    assert_eq!(refused(&["--dry-run", "--max-delete", "0", "--host", "web1"]), too_many);
    assert_eq!(refused(&["--list", "nothing"]), of("nothing_sent", Some(8), Some(8), None));
    assert_eq!(refused(&["--list", "missing"]), of("list", None, None, None));
    assert_eq!(refused(&["--host", "web2"]), of("no_list", None, None, None));
    let ran = ground.ok(&["--json", "--host", "web1", "export/apps", "local"]);
    assert!(ran.json()[0]["refusal"].is_null());
}

#[test]
fn json_tells_of_further_tries_that_did_not_help() {
    let ground = Ground::new();
    ground.stand_in("exit 30");
    let ran =
        ground.run(&["--json", "--retries", "2", "--retry-wait", "1ms", "--host", "web1", "export/apps", "local"]);
    let report = &ran.json()[0];
    assert_eq!((ran.code, &report["status"], &report["retried"]), (30, &"failed".into(), &2.into()));
    assert!(report["refusal"].is_null() && report["rsync_code"] == 30, "{report}");
}

#[test]
fn a_code_of_rsync_is_passed_on_with_a_sentence() {
    let ground = Ground::new();
    for (code, sentence) in [
        (11, "is the destination's file system full"),
        (23, "before anything was touched: the source or part of it could not be read"),
        (2, "protocol"),
    ] {
        ground.stand_in(&format!("cat >/dev/null; echo 'rsync error: no luck' >&2; exit {code}"));
        let ran = ground.run(&["--host", "web1", "export/apps", "local"]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains("rsync error: no luck\n") && ran.err.contains(sentence), "{}", ran.err);
    }
}

#[test]
fn files_that_vanish_are_a_warning() {
    let ground = Ground::new();
    ground.stand_in("$RSYNC \"$@\" && exit 24");
    let ran = ground.ok(&["--host", "web1", "export/apps", "local"]);
    assert!(ran.err.contains("warning: web1: files vanished"), "{}", ran.err);
    assert_eq!(ground.files("local").len(), 3);
}

#[test]
fn lost_connections_are_tried_again_and_other_failures_are_not() {
    for code in [5, 10, 12, 30, 35, 255] {
        let ground = Ground::new();
        ground.stand_in(&format!("echo x >> tries; [ $(wc -l < tries) -gt 2 ] || exit {code}; exec $RSYNC \"$@\""));
        let ran = ground.ok(&["--retry-wait", "5ms", "--host", "web1", "export/apps", "local"]);
        assert!(ran.err.contains(&format!("rsync ended with code {code}: ")), "{}", ran.err);
        assert!(
            ran.err.contains("try 1 of 3 again in 5 ms") && ran.err.contains("try 2 of 3 again in 10 ms"),
            "{}",
            ran.err
        );
        assert_eq!(ground.files("local").len(), 3);
    }
    for code in [1, 3, 11, 20] {
        let ground = Ground::new();
        ground.stand_in(&format!("echo x >> tries; exit {code}"));
        assert_eq!(ground.run(&["--retry-wait", "5ms", "--host", "web1", "export/apps", "local"]).code, code);
        assert_eq!(std::fs::read_to_string(ground.path("tries")).unwrap(), "x\n");
    }
}

#[test]
fn without_rsync_the_package_is_named() {
    let ground = Ground::new();
    let mut command = ground.command(&["--host", "web1", "export/apps", "local"]);
    let ran = crate::support::Ran::of(&command.env("PATH", ground.path("nothing")).output().unwrap());
    assert!(ran.code == 1 && ran.err.contains("is the package `rsync` installed?"), "{ran:?}");
    assert!(real_rsync().is_absolute());
}
