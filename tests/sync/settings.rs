//! Settings of runs: a flag wins over the environment, that over the file, that over the default.

use crate::support::{Ground, Ran};

const FILE: &str = "[sync]\nlists = \"lists\"\nmax-delete = 0\nretries = 1\nretry-wait = \"1ms\"\nlog-dir = \"logs\"\n";

/// A ground with a file of settings, a list where it says, and something to delete.
fn ground() -> Ground {
    let ground = Ground::new();
    ground.write("weir.toml", FILE);
    ground.write("lists/db1-exclude-list.txt", "+ /apps/etc/\n- /apps/*\n");
    ground.write("local/apps/old", "old");
    ground
}

fn run(ground: &Ground, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let ends = ["--config", "weir.toml", "--host", "db1", "export/apps", "local"];
    let mut command = ground.command(&[arguments, &ends].concat());
    Ran::of(&command.envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn the_file_says_where_the_lists_are_how_much_may_go_and_where_the_logs_go() {
    let ground = ground();
    let ran = run(&ground, &[], &[]);
    assert!(ran.code == 3 && ran.err.contains("and at most 0 may be"), "{ran:?}");
    let log = std::fs::read_to_string(ground.path("logs/db1.log")).unwrap();
    assert!(log.contains("failed: 1 of 2 entries"), "{log}");
    // The environment wins over the file, a flag over both.
    let ran = run(&ground, &[], &[("WEIR_MAX_DELETE", "49%")]);
    assert!(ran.code == 3 && ran.err.contains("1 of 2 entries"), "{ran:?}");
    let ran = run(&ground, &["--max-delete", "1"], &[("WEIR_MAX_DELETE", "49%")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ground.files("local"), ["apps/etc/file"]);
}

#[test]
fn the_shell_and_the_further_tries_may_come_from_there_too() {
    let ground = ground();
    let shell = ground.script("rsh", "echo try >> tries; exit 255").display().to_string();
    let ends = ["--config", "weir.toml", "--host", "db1", "export/apps", "db1:/x"];
    let ran = Ran::of(&ground.command(&ends).env("WEIR_RSH", shell).output().unwrap());
    assert!(matches!(ran.code, 12 | 255) && ran.err.contains("try 1 of 1 again in 1 ms"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(ground.path("tries")).unwrap().lines().count(), 2);
}

#[test]
fn check_finds_the_lists_where_sync_does() {
    let ground = ground();
    ground.write("lists/db2-exclude-list.txt", "+x\n- y\n");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["rules", "check"]).env("WEIR_LISTS", ground.path("lists"));
    let ran = Ran::of(&command.output().unwrap());
    assert!(ran.code == 1 && ran.err.contains("1 error and 0 warnings in 2 lists"), "{ran:?}");
}

#[test]
fn a_wrong_setting_is_named_with_its_place_before_anything_is_touched() {
    let ground = ground();
    for (variable, value, wanted) in [
        ("WEIR_MAX_DELETE", "half", "environment WEIR_MAX_DELETE: max-delete: expected a number of entries"),
        ("WEIR_RETRIES", "-1", "environment WEIR_RETRIES: retries: "),
        ("WEIR_RETRY_WAIT", "1", "environment WEIR_RETRY_WAIT: retry-wait: \"1\": expected a duration"),
        ("WEIR_PARALLEL", "0", "environment WEIR_PARALLEL: parallel: \"0\": expected a number from 1 to 256"),
    ] {
        let ran = run(&ground, &[], &[(variable, value)]);
        assert!(ran.code == 2 && ran.err.contains(wanted), "{ran:?}");
    }
    ground.write("weir.toml", "[sync]\n\nlist = \"x\"\n");
    let ran = run(&ground, &[], &[]);
    assert!(ran.code == 2 && ran.err.contains("weir.toml:3: there is no setting list"), "{ran:?}");
    let ran = run(&ground, &["--max-delete", "-5"], &[]);
    assert!(ran.code == 2 && ran.err.contains("expected a number of entries such as 20"), "{ran:?}");
    assert_eq!(ground.files("local"), ["apps/old"]);
}
