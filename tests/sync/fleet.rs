//! Several hosts: each with its own list, its own destination, and its own end.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ground, NOTES, Ran};

fn fleet() -> Ground {
    let ground = Ground::new();
    ground.write("web2-exclude-list.txt", "+ /apps/var/\n- /apps/*\n");
    ground.write("web3-exclude-list.txt", NOTES);
    ground.write("more", "# the new ones\n\nweb3\n");
    ground
}

#[test]
fn each_host_gets_what_its_own_list_says() {
    let ground = fleet();
    let ran = ground.ok(&["--hosts", "web1,web2,@more", "--log-dir", "logs", "export/apps", "local/{host}"]);
    assert_eq!(ground.files("local/web2"), ["apps/var/file"]);
    assert_eq!(ground.files("local/web1"), ground.files("local/web3"));
    assert_eq!(ground.files("local").len(), 7);
    for host in ["web1", "web2", "web3"] {
        assert!(
            ran.out.lines().any(|line| line.trim_start().starts_with(host) && line.contains("done")),
            "{}",
            ran.out
        );
        let log = std::fs::read_to_string(ground.path(format!("logs/{host}.log"))).unwrap();
        assert!(log.contains(">f+++++++++ apps/") && log.contains(" created, "), "{log}");
    }
}

#[test]
fn one_hosts_failure_does_not_stop_the_others() {
    let ground = fleet();
    for number in 0..150 {
        ground.write(format!("local/web2/apps/{number}"), "");
    }
    let ran = ground.run(&["--json", "--parallel", "1", "--hosts", "web0,web2,web1", "export/apps", "local/{host}"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("2 of 3 hosts failed: web0, web2"), "{}", ran.err);
    assert!(ran.err.contains("web0: no list for host web0") && ran.err.contains("did you mean web1"), "{}", ran.err);
    let told: Vec<_> = ran.json().iter().map(|one| (one["host"].clone(), one["status"].clone())).collect();
    let wanted = [("web0", "refused"), ("web2", "refused"), ("web1", "done")];
    assert_eq!(told, wanted.map(|(host, status)| (host.into(), status.into())));
    assert_eq!(ground.files("local/web2").len(), 150);
    assert_eq!(ground.files("local/web1").len(), 3);
}

#[test]
fn what_cannot_be_a_fleet_is_refused_before_anything_is_touched() {
    let ground = fleet();
    for (arguments, code, wanted) in [
        (&["--hosts", "web1,web2", "export/apps", "local"][..], 2, "write {host}"),
        (&["--hosts", "web1,web1", "export/apps", "local/{host}"], 2, "web1 is named twice"),
        (&["--hosts", "web1,../x", "export/apps", "local/{host}"], 3, "is no host name"),
        (&["--hosts", "@missing", "export/apps", "local/{host}"], 1, "@missing: No such file"),
        (&["--hosts", "@/dev/zero", "export/apps", "local/{host}"], 1, "@/dev/zero: larger than any file of hosts"),
        (&["--hosts", "@/dev/null", "export/apps", "local/{host}"], 2, "names no host"),
        (&["--hosts", "web1", "--host", "web1", "export/apps", "local"], 2, "cannot be used with"),
        (&["--list", "more", "export/apps", "local/{host}"], 2, "needs --host"),
    ] {
        let ran = ground.run(arguments);
        assert!(ran.code == code && ran.err.contains(wanted), "{arguments:?}: {ran:?}");
    }
    assert!(ground.tree("local").is_empty());
}

#[test]
fn ctrl_c_stops_all_of_them_and_begins_no_other() {
    let ground = fleet();
    ground.stand_in("cat >/dev/null; echo $$ > pid.$$; exec sleep 3600");
    let arguments = ["--parallel", "2", "--hosts", "web1,web2,web3", "export/apps", "local/{host}"];
    let weir = ground.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pids = || {
        let names = ground.path(".").read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix("pid.")?.parse::<i32>().ok()).collect::<Vec<_>>()
    };
    let begun = std::time::Instant::now();
    while pids().len() < 2 {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&weir), Signal::INT).unwrap();
    let ran = Ran::of(&weir.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.out.contains("not begun") && ran.out.contains("stopped"), "{}", ran.out);
    let pids = pids();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is an orphan");
    }
}
