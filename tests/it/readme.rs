//! The README is a promise: every command that it shows is run here, in the order in which it shows them.

use std::fs;
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
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect();
    assert!(commands.len() > 10, "the README's commands were not found");
    let folder = Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap();
    let path = std::env::join_paths([folder, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
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
    }
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
