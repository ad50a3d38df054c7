//! What the tests of `weir::rules` share: trees on disk, the installed rsync as the judge, and generators.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod generate;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use weir::rules::{Judge, List, TreePath};

/// A path of a tree: a directory ends in `/`, a symbolic link in `@`.
pub type Entry = Vec<u8>;

/// A tree in a temporary directory, and what stands in it.
pub struct Tree {
    pub root: tempfile::TempDir,
    /// Every path, parents included; a directory ends in `/`.
    pub paths: BTreeSet<Vec<u8>>,
}

impl Tree {
    /// Builds the entries and the directories above them; an entry in the way of an earlier one is left out.
    pub fn build<E: AsRef<[u8]>>(entries: &[E]) -> Tree {
        let root = tempfile::Builder::new().prefix("rules-").tempdir_in(scratch()).unwrap();
        let mut paths = BTreeSet::new();
        for entry in entries {
            let entry = entry.as_ref();
            let (name, kind) = match entry.split_last() {
                Some((b'/', name)) => (name, b'/'),
                Some((b'@', name)) => (name, b'@'),
                _ => (entry, b' '),
            };
            let parent = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &name[..at]);
            let at = root.path().join(OsStr::from_bytes(name));
            let directory = if kind == b'/' { name } else { parent };
            if !make_directories(root.path(), directory) || (kind != b'/' && at.symlink_metadata().is_ok()) {
                continue;
            }
            for (end, _) in directory.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                paths.insert([&directory[..end], b"/"].concat());
            }
            if !directory.is_empty() {
                paths.insert([directory, b"/"].concat());
            }
            match kind {
                b'/' => continue,
                // A link to a directory: rsync must not take it for one.
                b'@' => std::os::unix::fs::symlink(".", &at).unwrap(),
                _ => drop(std::fs::File::create(&at).unwrap()),
            }
            paths.insert(name.to_vec());
        }
        Tree { root, paths }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }
}

/// Makes a directory and those above it; false, with nothing made, if a file or a link is in the way: a path
/// through a link would leave the tree.
fn make_directories(root: &Path, directory: &[u8]) -> bool {
    let ends = directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let all = || ends.clone().chain([directory.len()]).map(|end| root.join(OsStr::from_bytes(&directory[..end])));
    let free = all().all(|path| path.symlink_metadata().map_or(true, |found| found.is_dir()));
    if free {
        all().for_each(|path| std::fs::create_dir_all(path).unwrap());
    }
    free
}

/// Memory rather than disk where there is some: thousands of small trees are built and thrown away.
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}

/// Runs the installed rsync; its absence is a failure, never a skip.
pub fn rsync(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut command = Command::new("rsync");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    command.args(arguments).output().expect("these tests need rsync: install the package `rsync`")
}

/// What rsync would send of `source` (which gets a slash, so that its content is the root) under `list`: each
/// path, a directory with a slash; or its exit code.
pub fn sent_by_rsync(source: &Path, list: &[u8], scratch: &Path) -> Result<BTreeSet<Vec<u8>>, i32> {
    let mut source = source.as_os_str().to_owned();
    source.push("/");
    sent_of(&source, list, scratch)
}

/// As [`sent_by_rsync`], of the source as it is given.
pub fn sent_of(source: &OsStr, list: &[u8], scratch: &Path) -> Result<BTreeSet<Vec<u8>>, i32> {
    let (file, empty) = (scratch.join("list"), scratch.join("empty"));
    std::fs::write(&file, list).unwrap();
    std::fs::create_dir_all(&empty).unwrap();
    let mut from = std::ffi::OsString::from("--exclude-from=");
    from.push(&file);
    let output = rsync([OsStr::new("-rnl"), OsStr::new("--out-format=%n"), &from, source, empty.as_os_str()]);
    if !output.status.success() {
        return Err(output.status.code().unwrap_or(-1));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"./");
    Ok(lines.map(decode).collect())
}

/// Undoes rsync's `\#ooo`.
fn decode(line: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = line;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest {
            [b'\\', b'#', a @ b'0'..=b'7', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                decoded.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            _ => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}

/// What weir says is sent of `paths` under `list`.
pub fn sent_by_weir(paths: &BTreeSet<Vec<u8>>, list: &List) -> BTreeSet<Vec<u8>> {
    let mut judge = Judge::new(list);
    paths.iter().filter(|path| judge.judge(&TreePath::new(path).unwrap()).sent).cloned().collect()
}

/// The difference between two sets, for a message.
pub fn difference(weir: &BTreeSet<Vec<u8>>, rsync: &BTreeSet<Vec<u8>>) -> Option<String> {
    let show = |set: Vec<&Vec<u8>>| set.iter().map(|path| format!("  {}\n", path.escape_ascii())).collect::<String>();
    let (only_weir, only_rsync) = (show(weir.difference(rsync).collect()), show(rsync.difference(weir).collect()));
    (weir != rsync).then(|| format!("only weir sends:\n{only_weir}only rsync sends:\n{only_rsync}"))
}
