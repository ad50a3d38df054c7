//! Each guard refuses with exit code 3, names what is wrong, and leaves the destination as it was.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Ground, NOTES};

/// A ground with a destination that has something to lose.
fn ground() -> Ground {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    ground.write("local/apps/old", "old");
    ground
}

/// Runs, and expects a refusal that says `wanted` and touches nothing.
fn refused(ground: &Ground, arguments: &[&str], wanted: &str) {
    let before = (ground.tree("local"), ground.tree("export"));
    let ran = ground.run(arguments);
    assert_eq!(ran.code, 3, "{arguments:?}: {ran:?}");
    assert!(ran.err.contains(wanted), "{arguments:?}: {}", ran.err);
    assert_eq!((ground.tree("local"), ground.tree("export")), before, "{arguments:?}");
}

#[test]
fn lists_that_say_nothing() {
    let ground = ground();
    ground.write("empty", "");
    ground.write("comments", "# nothing\n;\n");
    ground.write("cleared", "- x\n!\n");
    std::fs::create_dir(ground.path("directory")).unwrap();
    ground.write("broken", "- a\n- \n");
    std::fs::File::create(ground.path("large")).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(ground.path("pipe")).status().unwrap().success());
    for (list, wanted) in [
        ("missing", "missing: cannot read the list: No such file"),
        ("empty", "empty: the list has no rule"),
        ("comments", "no rule"),
        ("cleared", "no rule"),
        ("directory", "directory: the list is a directory"),
        ("/dev/null", "/dev/null: the list is a device"),
        ("pipe", "pipe: the list is a pipe"),
        ("broken", "broken:2: a rule without a pattern"),
        ("large", "large: larger than any list (over 16 MiB)"),
    ] {
        refused(&ground, &["--list", list, "export/apps", "local"], wanted);
        refused(&ground, &["--no-guard", "--list", list, "export/apps", "local"], wanted);
    }
}

#[test]
fn a_list_that_may_not_be_read() {
    let ground = ground();
    let list = ground.path("web1-exclude-list.txt");
    std::fs::set_permissions(&list, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same; for root a loop of links is a list that cannot be read.
    if rustix::process::geteuid().is_root() {
        std::fs::remove_file(&list).unwrap();
        symlink("web1-exclude-list.txt", &list).unwrap();
    }
    refused(&ground, &["--host", "web1", "export/apps", "local"], "cannot read the list");
}

#[test]
fn the_list_of_another_host() {
    let ground = ground();
    refused(&ground, &["--host", "web2", "export/apps", "local"], "did you mean web1-exclude-list.txt?");
    refused(&ground, &["--host", "web1.example.org", "export/apps", "local"], "did you mean web1-exclude-list.txt?");
    let ran = ground.run(&["--host", "db", "export/apps", "local"]);
    assert!(ran.code == 3 && !ran.err.contains("did you mean"), "{ran:?}");
}

#[test]
fn hosts_that_are_none() {
    let ground = ground();
    ground.write("lists/x", "");
    for host in ["../web1", "lists/../web1", "..", "web1\n", "\u{1b}[2J", "", "-web1", "we b"] {
        refused(&ground, &[&format!("--host={host}"), "export/apps", "local"], "is no host name");
    }
}

#[test]
fn sources_that_are_none() {
    let ground = ground();
    std::fs::create_dir(ground.path("hollow")).unwrap();
    symlink("export/apps", ground.path("link")).unwrap();
    for (source, wanted) in [
        ("missing", "source missing: No such file"),
        ("hollow", "source hollow: empty"),
        ("hollow/", "source hollow/: empty"),
        ("export/apps/bin/file", "not a directory"),
        ("link", "source link: a symbolic link"),
        ("", "source: an empty path"),
        ("/", "the root directory"),
        ("//", "the root directory"),
        ("/tmp/..", "the root directory"),
        ("host:", "no path after the host"),
        ("host:/", "the root directory"),
        ("host::", "no path after the host"),
        ("-oProxyCommand=x:/a", "unexpected argument"),
    ] {
        let before = ground.tree("local");
        let ran = ground.run(&["--host", "web1", source, "local"]);
        assert!(matches!(ran.code, 2 | 3) && ran.err.contains(wanted), "{source:?}: {ran:?}");
        assert_eq!(ground.tree("local"), before);
    }
}

#[test]
fn destinations_that_are_none() {
    let ground = ground();
    for (destination, wanted) in [
        ("", "destination: an empty path"),
        ("/", "the root directory"),
        ("/tmp/../", "the root directory"),
        ("export/apps/bin/file", "not a directory"),
        ("host:/", "the root directory"),
    ] {
        refused(&ground, &["--host", "web1", "export/apps", destination], wanted);
    }
    symlink("/", ground.path("root")).unwrap();
    refused(&ground, &["--host", "web1", "export/apps", "root"], "the root directory");
    refused(&ground, &["--host", "web1", "a:x", "b:y"], "both on other machines");
}

#[test]
fn one_end_inside_the_other() {
    let ground = ground();
    symlink(ground.path("export/apps"), ground.path("alias")).unwrap();
    for (source, destination, wanted) in [
        ("export/apps", "export", "is inside destination"),
        ("export/apps/", "export/apps", "are the same directory"),
        ("export/apps/", "export", "is inside destination"),
        ("export/apps", "export/apps/copy", "is inside source"),
        ("export/apps", "alias/copy", "is inside source"),
        ("export/apps/", "alias", "are the same directory"),
        ("export/apps", "local/../export/apps/var", "is inside source"),
    ] {
        refused(&ground, &["--list", "web1-exclude-list.txt", source, destination], wanted);
    }
}

#[test]
fn too_many_deletions() {
    let ground = ground();
    for number in 0..150 {
        ground.write(format!("local/apps/old{number}"), "old");
    }
    let run = ["--host", "web1", "export/apps", "local"];
    refused(&ground, &run, "151 of 159 entries in the destination would be deleted (94%), and at most 100 may be");
    for (limit, wanted) in [("150", "at most 150 may be"), ("94%", "at most 149 may be"), ("0", "at most 0 may be")] {
        refused(&ground, &[&["--max-delete", limit], &run[..]].concat(), wanted);
    }
    let before = ground.tree("local");
    let ran = ground.run(&[&["--dry-run"], &run[..]].concat());
    assert_eq!(ran.code, 3, "a dry run says what the run would do: {ran:?}");
    assert!(ran.out.starts_with("151 would be deleted:\n") && ran.err.contains("the run itself would be refused"));
    assert_eq!(ground.tree("local"), before);
    let ran = ground.ok(&[&["--force"], &run[..]].concat());
    assert!(ran.err.contains("--force: 151 of 159 entries in the destination are deleted"), "{}", ran.err);
    assert_eq!(ground.files("local").len(), 3);
}

#[test]
fn limits_let_pass_what_is_under_them() {
    let ground = ground();
    ground.ok(&["--max-delete", "1", "--host", "web1", "export/apps", "local"]);
    ground.write("local/apps/old", "old");
    refused(&ground, &["--max-delete", "11%", "--host", "web1", "export/apps", "local"], "1 of 9 entries");
    ground.ok(&["--max-delete", "12%", "--host", "web1", "export/apps", "local"]);
    assert_eq!(ground.files("local").len(), 3);
}

#[test]
fn a_list_that_sends_nothing_deletes_nothing() {
    let ground = ground();
    ground.write("all", "- /apps/*\n");
    refused(&ground, &["--list", "all", "export/apps", "local"], "nothing would be sent and 8 entries deleted");
    ground.ok(&["--force", "--list", "all", "export/apps", "local"]);
    assert!(ground.files("local").is_empty());
}

#[test]
fn an_unreadable_part_of_the_source_deletes_nothing() {
    let ground = ground();
    // Root may look into everything, so for root rsync runs as somebody else.
    if rustix::process::geteuid().is_root() {
        let everybody =
            |path: &str| std::fs::set_permissions(ground.path(path), std::fs::Permissions::from_mode(0o777));
        for path in [".", "local", "local/apps", "local/apps/bin"] {
            everybody(path).unwrap();
        }
        ground.stand_in("exec setpriv --reuid 65534 --regid 65534 --clear-groups $RSYNC \"$@\"");
    }
    ground.write("export/apps/bin/new", "new");
    std::fs::set_permissions(ground.path("export/apps/lib"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let ran = ground.run(&["--json", "--dry-run", "--host", "web1", "export/apps", "local"]);
    let report = &ran.json()[0];
    assert_eq!((ran.code, &report["status"], &report["rsync_code"]), (23, &"failed".into(), &23.into()), "{ran:?}");
    assert!(report["created"] == 1 && ran.err.contains("part of it could not be read"), "{ran:?}");
    let ran = ground.run(&["--host", "web1", "export/apps", "local"]);
    assert!(ran.code == 23 && ran.err.contains("after a read error nothing was deleted"), "{ran:?}");
    assert!(ran.err.contains("Permission denied"), "{}", ran.err);
    assert!(ground.path("local/apps/old").exists() && ground.path("local/apps/lib/file").exists());
}

#[test]
fn what_changes_after_the_count_is_bounded() {
    let ground = ground();
    for number in 0..40 {
        ground.write(format!("export/apps/bin/{number}"), "new");
    }
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    // The source loses its files between the count and the run.
    ground.write("local/apps/old", "old");
    ground.stand_in("$RSYNC \"$@\"; code=$?; rm -f export/apps/bin/*; exit $code");
    let ran = ground.run(&["--max-delete", "5", "--host", "web1", "export/apps", "local"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    assert!(ran.err.contains("more would have been deleted than was counted"), "{}", ran.err);
    assert!(ground.files("local").len() >= 38, "{:?}", ground.files("local"));
}

#[test]
fn a_list_is_not_taken_from_the_tree_it_describes() {
    // Filters of rsync's that a list cannot have stay names: no file in the source changes the selection.
    let ground = ground();
    ground.write("export/apps/bin/.rsync-filter", "- *\n");
    ground.write("list", format!("{NOTES}: .rsync-filter\n"));
    ground.ok(&["--list", "list", "export/apps", "local"]);
    assert!(ground.path("local/apps/bin/file").exists());
}
