//! Options for rsync behind `--`, and the environment.

use crate::support::Ground;

#[test]
fn options_reach_rsync() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local", "--", "--chmod=F600", "-W"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = ground.path("local/apps/bin/file").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn options_that_break_a_promise_are_refused_with_the_reason() {
    let ground = Ground::new();
    ground.write("local/apps/old", "old");
    let before = ground.tree("local");
    for (option, reason) in [
        ("--delete-before", "what is deleted is for weir to count"),
        ("--max-delete=9999", "what is deleted is for weir to count"),
        ("--ignore-errors", "an unreadable source"),
        ("--exclude-from=-", "for the list alone to say"),
        ("--files-from=x", "for the list alone to say"),
        ("-f", "for the list alone to say"),
        ("--from0", "how rsync reads the list"),
        ("-aR", "what the paths of the list are relative to"),
        ("-n", "use --dry-run of weir sync"),
        ("-essh", "use --rsh of weir sync"),
        ("--old-args", "a shell on the other end"),
        ("--bwlimit", "behind a `=`"),
        ("export/apps/var", "exactly one source"),
        ("--", "exactly one source"),
        ("--backup", "add --backup-dir"),
        ("--backup-dir=old", "add --backup-dir"),
        ("--stop-after=5", "with timeout(1)"),
        ("--protocol=28", "does not tell what is new"),
    ] {
        let ran = ground.run(&["--host", "web1", "export/apps", "local", "--", option]);
        let said = ran.err.contains(&format!("rsync option {option}: ")) && ran.err.contains(reason);
        assert!(ran.code == 3 && said, "{option}: {ran:?}");
    }
    assert_eq!(ground.tree("local"), before);
}

#[test]
fn backups_elsewhere_are_kept() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    ground.write("export/apps/bin/file", "a newer one");
    ground.write("local/apps/old", "old");
    for _ in 0..2 {
        ground.ok(&["--host", "web1", "export/apps", "local", "--", "-b", "--backup-dir=../kept"]);
        assert_eq!(ground.files("kept"), ["apps/bin/file", "apps/old"]);
    }
}

#[test]
fn an_option_that_rsync_does_not_know_fails_with_its_code() {
    let ground = Ground::new();
    let ran = ground.run(&["--host", "web1", "export/apps", "local", "--", "--no-such-option"]);
    assert!(ran.code == 1 && ran.err.contains("--no-such-option: unknown option"), "{ran:?}");
    assert!(ran.err.contains("rsync did not understand its arguments"), "{}", ran.err);
    assert!(ground.files("local").is_empty());
}

#[test]
fn the_environment_changes_nothing() {
    let ground = Ground::new();
    let mut command = ground.command(&["--host", "web1", "export/apps", "local"]);
    command.env("RSYNC_RSH", "false").env("RSYNC_ICONV", "utf8,latin1").env("RSYNC_PASSWORD", "secret");
    command.env("LC_ALL", "de_DE.UTF-8");
    ground.stand_in("env > environment; exec $RSYNC \"$@\"");
    let ran = crate::support::Ran::of(&command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in ["RSYNC_RSH", "RSYNC_ICONV"] {
        assert!(ran.err.contains(&format!("{name} is set and not passed on")), "{}", ran.err);
    }
    let seen = std::fs::read_to_string(ground.path("environment")).unwrap();
    assert!(!seen.contains("RSYNC_RSH") && !seen.contains("RSYNC_ICONV") && seen.contains("LC_ALL=C\n"), "{seen}");
    assert!(seen.contains("RSYNC_PASSWORD=secret") && !ran.err.contains("secret"), "{seen}");
}

#[test]
fn link_dest_makes_its_links_though_the_count_finds_nothing_to_do() {
    use std::os::unix::fs::MetadataExt;
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    let link_dest = format!("--link-dest={}", ground.path("local").display());
    ground.ok(&["--host", "web1", "export/apps", "second", "--", &link_dest]);
    let inode = |path: &str| ground.path(path).metadata().unwrap().ino();
    assert_eq!(inode("local/apps/bin/file"), inode("second/apps/bin/file"));
}
