//! Remote ends: through a stand-in for the remote shell, and an rsync daemon on loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::{Ground, PATIENCE, real_rsync};

const WANTED: [&str; 3] = ["apps/bin/file", "apps/lib/file", "apps/share/vim/file"];

#[test]
fn a_remote_source_with_export_as_the_destination() {
    let ground = Ground::new();
    let shell = ground.shell();
    let source = format!("files1:{}", ground.path("export/apps").display());
    std::fs::create_dir(ground.path("other")).unwrap();
    let run = ["--rsh", &shell, "--host", "web1", &source, "other"];
    ground.ok(&run);
    assert_eq!(ground.files("other"), WANTED);
    ground.write("other/apps/old", "old");
    ground.ok(&run);
    assert_eq!(ground.files("other"), WANTED);
}

#[test]
fn a_remote_destination_is_counted_and_guarded_too() {
    let ground = Ground::new();
    let shell = ground.shell();
    let destination = format!("web1:{}", ground.path("local").display());
    let run = ["--rsh", &shell, "--host", "web1", "export/apps", &destination];
    ground.ok(&run);
    assert_eq!(ground.files("local"), WANTED);
    for number in 0..120 {
        ground.write(format!("local/apps/{number}"), "");
    }
    let before = ground.tree("local");
    let ran = ground.run(&run);
    assert!(ran.code == 3 && ran.err.contains("120 of 128 entries"), "{ran:?}");
    assert_eq!(ground.tree("local"), before);
}

#[test]
fn a_remote_source_that_is_missing_or_empty_deletes_nothing() {
    let ground = Ground::new();
    let shell = ground.shell();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    let before = ground.tree("local");
    let missing = format!("files1:{}", ground.path("missing/apps").display());
    let ran = ground.run(&["--rsh", &shell, "--host", "web1", &missing, "local"]);
    assert!(ran.code == 23 && ran.err.contains("No such file"), "{ran:?}");
    assert!(ran.err.contains("code 23 before anything was touched: the source or part of it"), "{}", ran.err);
    std::fs::create_dir_all(ground.path("hollow/apps")).unwrap();
    let hollow = format!("files1:{}", ground.path("hollow/apps").display());
    let ran = ground.run(&["--rsh", &shell, "--host", "web1", &hollow, "local"]);
    assert!(ran.code == 3 && ran.err.contains("nothing would be sent"), "{ran:?}");
    assert_eq!(ground.tree("local"), before);
}

#[test]
fn the_other_end_is_compressed_and_told_no_names_by_a_shell() {
    let ground = Ground::new();
    ground.stand_in("printf '%s\\n' \"$@\" >> words; exec $RSYNC \"$@\"");
    let shell = ground.shell();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    let words = std::fs::read_to_string(ground.path("words")).unwrap();
    assert!(!words.contains("--compress\n") && words.contains("--\n./export/apps\n./local\n"), "{words}");
    let destination = format!("web1:{}", ground.path("local").display());
    ground.ok(&["--rsh", &shell, "--host", "web1", "export/apps", &destination]);
    let words = std::fs::read_to_string(ground.path("words")).unwrap();
    assert!(words.contains("--compress\n") && words.contains("--protect-args\n"), "{words}");
}

#[test]
fn a_shell_that_cannot_connect_is_tried_again_and_then_told() {
    let ground = Ground::new();
    let shell = ground.script("rsh", "echo try >> tries; echo no route >&2; exit 255").display().to_string();
    let run = ["--retries", "2", "--retry-wait", "10ms", "--rsh", &shell, "--host", "web1", "export/apps", "web1:/x"];
    let ran = ground.run(&run);
    assert!(matches!(ran.code, 255 | 12), "{ran:?}");
    assert!(ran.err.contains("try 2 of 2") && ran.err.contains("no route"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(ground.path("tries")).unwrap().lines().count(), 3);
}

/// An rsync daemon with the modules `source` and `target`.
struct Daemon {
    process: Child,
    port: u16,
}

impl Daemon {
    fn start(ground: &Ground) -> Daemon {
        let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let ids = if ids.0 == 0 { format!("uid = {}\ngid = {}\n", ids.0, ids.1) } else { String::new() };
        let module = |name: &str, path: &str, more: &str| {
            format!("[{name}]\npath = {}\nuse chroot = no\n{ids}{more}\n", ground.path(path).display())
        };
        let modules = module("source", "export", "read only = yes") + &module("target", "local", "read only = no");
        ground.write("rsyncd.conf", modules);
        // A port that was free may be taken before the daemon has it, so several are tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(real_rsync());
            command.args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")]);
            command.arg(format!("--config={}", ground.path("rsyncd.conf").display()));
            command.arg("--log-file=/dev/null");
            let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut daemon = Daemon { process, port };
            let begun = Instant::now();
            while daemon.process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return daemon;
                }
                assert!(begun.elapsed() < PATIENCE, "the daemon does not listen");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        panic!("no daemon could be started");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_daemon_as_either_end() {
    let ground = Ground::new();
    let daemon = Daemon::start(&ground);
    let module = |name: &str| format!("rsync://127.0.0.1:{}/{name}", daemon.port);
    std::fs::create_dir(ground.path("pulled")).unwrap();
    ground.ok(&["--host", "web1", &module("source/apps"), "pulled"]);
    assert_eq!(ground.files("pulled"), WANTED);
    ground.ok(&["--host", "web1", "export/apps", &module("target")]);
    assert_eq!(ground.files("local"), WANTED);
    for number in 0..120 {
        ground.write(format!("local/apps/{number}"), "");
    }
    let ran = ground.run(&["--host", "web1", "export/apps", &module("target")]);
    assert!(ran.code == 3 && ran.err.contains("120 of 128 entries"), "{ran:?}");
    let port = format!("--port={}", daemon.port);
    ground.ok(&["--force", "--host", "web1", "export/apps", "127.0.0.1::target", "--", &port]);
    assert_eq!(ground.files("local"), WANTED);
    let ran = ground.run(&["--retries", "0", "--host", "web1", &module("nowhere/apps"), "pulled"]);
    assert!(ran.code == 5 && ran.err.contains("Unknown module"), "{ran:?}");
    assert_eq!(ground.files("pulled"), WANTED);
}
