//! Ctrl-C, and two runs into one destination.

use std::process::{Child, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Ground, PATIENCE, Ran};

/// Writes its process ids to `pids` and then takes an hour.
const SLOW: &str = "sleep 3600 & echo $$ $! > pids; wait";

fn start(ground: &Ground, arguments: &[&str]) -> Child {
    ground.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until none of these processes is left.
fn assert_gone(pids: &str) {
    let begun = Instant::now();
    for pid in pids.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()) {
        // One that has ended and that nobody has waited for yet has done no less.
        let alive = || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            test_kill_process(pid).is_ok() && !status.contains(") Z ")
        };
        while alive() {
            assert!(begun.elapsed() < PATIENCE, "process {pid:?} is an orphan");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_stop_ends_everything_that_was_started() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let ground = Ground::new();
        ground.stand_in(SLOW);
        let weir = start(&ground, &["--host", "web1", "export/apps", "local"]);
        let pids = ground.wait_for("pids");
        kill_process(Pid::from_child(&weir), signal).unwrap();
        let ran = Ran::of(&weir.wait_with_output().unwrap());
        assert_eq!(ran.code, 130, "{ran:?}");
        assert_gone(&pids);
    }
}

#[test]
fn a_stop_ends_a_real_rsync_and_its_remote_shell() {
    let ground = Ground::new();
    let shell = ground.script("rsh", SLOW).display().to_string();
    let weir = start(&ground, &["--rsh", &shell, "--host", "web1", "export/apps", "web1:/x"]);
    let pids = ground.wait_for("pids");
    kill_process(Pid::from_child(&weir), Signal::TERM).unwrap();
    assert_eq!(Ran::of(&weir.wait_with_output().unwrap()).code, 130);
    // With a terminal the remote shell stays in its group, and Ctrl-C there ends both; a test may have one.
    if std::fs::File::open("/dev/tty").is_err() {
        assert_gone(&pids);
    } else {
        for pid in pids.split_whitespace() {
            let _ = kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL);
        }
    }
}

#[test]
fn a_stop_ends_a_pause_between_tries() {
    let ground = Ground::new();
    ground.stand_in("echo x > tried; exit 30");
    let weir = start(&ground, &["--retry-wait", "1h", "--host", "web1", "export/apps", "local"]);
    ground.wait_for("tried");
    kill_process(Pid::from_child(&weir), Signal::INT).unwrap();
    assert_eq!(Ran::of(&weir.wait_with_output().unwrap()).code, 130);
}

#[test]
fn a_second_run_into_one_destination_is_refused_with_who_holds_it() {
    let ground = Ground::new();
    ground.write("whole", "- /x\n");
    ground.stand_in(&format!("[ -e pids ] && exec $RSYNC \"$@\"; {SLOW}"));
    let first = start(&ground, &["--host", "web1", "export/apps", "local"]);
    let pids = ground.wait_for("pids");
    std::os::unix::fs::symlink("local", ground.path("alias")).unwrap();
    for (source, destination) in [
        ("export/apps", "local"),
        ("export/apps/", "alias/apps"),
        ("export/", "local"),
        ("export/apps/bin", "local/apps"),
    ] {
        let ran = ground.run(&["--list", "whole", source, destination]);
        assert_eq!(ran.code, 3, "{ran:?}");
        let holder = format!("another run is going there: pid {} on ", first.id());
        assert!(ran.err.contains(&holder) && ran.err.contains("/local/apps"), "{}", ran.err);
    }
    assert!(ground.files("local").is_empty());
    // Beside it, and to look at what would be done, nobody has to wait.
    ground.ok(&["--list", "whole", "export/apps/bin", "local"]);
    ground.ok(&["--dry-run", "--host", "web1", "export/apps", "local"]);
    kill_process(Pid::from_child(&first), Signal::KILL).unwrap();
    first.wait_with_output().unwrap();
    // What a run that was killed has started goes on, and so the destination is still held.
    let ran = ground.run(&["--host", "web1", "export/apps", "local"]);
    assert!(ran.code == 3 && ran.err.contains("that process is gone, and its rsync still going"), "{ran:?}");
    for pid in pids.split_whitespace() {
        let _ = kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL);
    }
    assert_gone(&pids);
    ground.ok(&["--host", "web1", "export/apps", "local"]);
}
