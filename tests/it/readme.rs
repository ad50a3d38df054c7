//! The README is a promise: every command that it shows is run here, in the order in which it shows them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Memcached, Site, stderr};

/// The two commands that take a whole clone: the continuous integration runs them.
const WHOLE_CLONE: [&str; 2] = ["sh examples/tour.sh", "sh tests/run.sh"];

#[test]
fn every_command_of_the_readme_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    fs::write(site.path("votes.tsv"), "now\tlater\nnow\tnow\tbob\n").unwrap();
    for name in ["bin", "lib", "share/vim"] {
        let directory = site.path("export/apps").join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), name).unwrap();
    }
    fs::create_dir_all(site.path("local/content")).unwrap();
    fs::create_dir_all(site.path("fleet")).unwrap();
    assert!(Command::new("gzip").arg("-k").arg(site.path("votes.tsv")).status().unwrap().success());
    let stand_ins = logs_of_two_hosts(&site);
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect();
    assert!(commands.len() > 10, "the README's commands were not found");
    let folder = Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap();
    let path = std::env::join_paths([stand_ins.as_path(), folder, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for command in commands {
        if WHOLE_CLONE.contains(&command) {
            assert!(root.join(command.rsplit(' ').next().unwrap()).is_file(), "{command}");
            continue;
        }
        // The batch names bob again in its second showing: refused lines are what it is about.
        let allowed: &[i32] = if command.contains("--batch") { &[0, 4] } else { &[0] };
        let settings = site.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env_clear().current_dir(site.path("."));
        shell.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(allowed.contains(&output.status.code().unwrap()), "{command}: {}", stderr(&output));
        let lines = String::from_utf8(output.stdout.clone()).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        if command.contains("--merge") {
            assert!(lines.len() == 100 && stderr(&output).contains("lines seen: 2010"), "{}", stderr(&output));
        } else if command.contains("--by") {
            let of = |host: &str| lines.iter().filter(|line| line.starts_with(host) && line.contains(" 500 ")).count();
            assert_eq!((lines.len(), of("web1 "), of("web2 ")), (5, 3, 2));
        } else if command.starts_with("tail") {
            assert!(lines.len() <= 10 && lines.iter().all(|line| *line == "late"), "{lines:?}");
        }
    }
}

/// A log, two hosts with archives, and two programs that stand in: an `ssh` whose hosts are folders here, and a
/// `tail` that is the real one on a log that grows, and ends after three seconds.
fn logs_of_two_hosts(site: &Site) -> std::path::PathBuf {
    let line = |host: &str, i: usize, status| format!("{host} GET /{i} {status} -\n");
    let mut log: String = (0..900).map(|i| line("web1", i, if i % 3 == 0 { 500 } else { 200 })).collect();
    log.extend((0..2).map(|i| line("web2", i, 500)));
    fs::write(site.path("access.log"), log).unwrap();
    for (host, count) in [("web1", 2000), ("web2", 10)] {
        fs::create_dir_all(site.path(host)).unwrap();
        let archive = site.path(host).join("access.log.1");
        fs::write(&archive, (0..count).map(|i| line(host, i, 200)).collect::<String>()).unwrap();
        assert!(Command::new("gzip").arg(archive).status().unwrap().success());
    }
    let stand_ins = site.path("stand-ins");
    fs::create_dir_all(&stand_ins).unwrap();
    let tail = "(for i in $(seq 25); do sleep 0.1; echo late >> access.log; done) &\ntimeout 3 /usr/bin/tail \"$@\"";
    for (name, script) in [("ssh", "cd \"$1\" && shift && exec sh -c \"$*\""), ("tail", tail)] {
        let path = stand_ins.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    stand_ins
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let help = Site::new(&[]).ok(&["--help"]);
    let of_help = help.split("Exit codes:\n").nth(1).unwrap();
    for line in of_help.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (code, meaning) = line.split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
}
