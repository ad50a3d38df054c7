//! A place of its own for each test, and what stands in for remote shells and failing rsyncs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The list of the notes.
pub const NOTES: &str = include_str!("../../examples/web1-exclude-list.txt");

/// How long anything may take before a test gives up waiting for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary directory with the notes' tree in `export/apps` and the list of `web1`.
pub struct Ground(tempfile::TempDir);

/// Every path below a directory, with its content if it is a file.
pub type Tree = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Ground {
    pub fn new() -> Ground {
        let ground = Ground(tempfile::tempdir().unwrap());
        for name in ["bin", "lib", "var", "etc", "share/vim", "share/emacs", "sbin"] {
            ground.write(format!("export/apps/{name}/file"), name);
        }
        ground.write("web1-exclude-list.txt", NOTES);
        std::fs::create_dir(ground.path("local")).unwrap();
        ground
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes a script that can be run.
    pub fn script(&self, path: &str, text: &str) -> PathBuf {
        self.write(path, format!("#!/bin/sh\n{text}\n"));
        let path = self.path(path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A remote shell that runs the command here, whatever the host.
    pub fn shell(&self) -> String {
        self.script("rsh", "shift; exec sh -c \"$*\"").display().to_string()
    }

    /// Puts a program called `rsync` before the real one, which the script may call as `$RSYNC`.
    pub fn stand_in(&self, text: &str) {
        self.script("path/rsync", &format!("RSYNC={}\n{text}", real_rsync().display()));
    }

    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let own = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([self.path("path")].into_iter().chain(std::env::split_paths(&own))).unwrap();
        command.arg("sync").args(arguments).current_dir(self.0.path()).env("PATH", path).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs and expects success.
    pub fn ok(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    pub fn tree(&self, below: &str) -> Tree {
        let mut tree = Tree::new();
        walk(&self.path(below), b"", &mut tree);
        tree
    }

    /// The paths below a directory that are files.
    pub fn files(&self, below: &str) -> Vec<String> {
        let files = self.tree(below).into_iter().filter(|(_, content)| content.is_some());
        files.map(|(path, _)| String::from_utf8(path).unwrap()).collect()
    }

    /// Waits until a file is there and not empty.
    pub fn wait_for(&self, path: &str) -> String {
        let begun = Instant::now();
        loop {
            match std::fs::read_to_string(self.path(path)) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => assert!(begun.elapsed() < PATIENCE, "{path} never came"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn walk(directory: &Path, prefix: &[u8], tree: &mut Tree) {
    let Ok(entries) = directory.read_dir() else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = [prefix, entry.file_name().as_bytes()].concat();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &[&path[..], b"/"].concat(), tree);
            tree.insert(path, None);
        } else {
            tree.insert(path, Some(std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

/// The installed rsync; its absence is a failure, never a skip.
pub fn real_rsync() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("rsync")).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("these tests need rsync: install the package `rsync`"))
}

/// How a process ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its lines of JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
