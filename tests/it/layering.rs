//! The rules of the house, kept by a test and not by hope: which room may know which, where clap, anyhow and
//! printing stay, and that files stay small enough to read.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_MAX_LINES: usize = 400;

/// Room and the rooms it may import; every room may use the leaf `failpoint`, most the leaf `slug`.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("cli", &["config", "poll", "queue", "rules", "sample", "store", "sync", "slug", "web", "cli"]),
    ("config", &[]),
    ("poll", &["queue", "store", "slug", "poll"]),
    ("queue", &["slug", "queue"]),
    ("rules", &["rules"]),
    ("sample", &["sample"]),
    ("store", &["slug", "store"]),
    ("web", &["poll", "queue", "store", "slug", "web"]),
    ("sync", &["rules", "sync"]),
];

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

fn of_src() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found = sources(&root);
    assert!(found.len() > 20, "the sources were not found");
    let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    found.into_iter().map(|(path, text)| (relative(path), text)).collect()
}

/// The room a file is in: `queue/lock.rs` and `queue.rs` are both of `queue`.
fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_run_one_way() {
    let wrong: Vec<_> = of_src()
        .iter()
        .filter_map(|(path, text)| Some((path, text, MAY_IMPORT.iter().find(|(name, _)| *name == room(path))?.1)))
        .flat_map(|(path, text, allowed)| {
            let imported = code(text).flat_map(|line| line.split("crate::").skip(1));
            let names = imported.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
            let bad = names
                .filter(|name| !allowed.contains(name) && *name != "failpoint")
                .map(|name| format!("{path} imports {name}"));
            bad.collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_known_to_this_test() {
    let known = MAY_IMPORT.map(|(name, _)| name);
    for (path, _) in of_src() {
        assert!(known.contains(&room(&path)) || ["main", "lib", "slug", "failpoint"].contains(&room(&path)), "{path}");
    }
}

#[test]
fn the_command_lines_libraries_and_printing_stay_in_their_place() {
    for (path, text) in of_src() {
        let at_the_edge = path == "main.rs" || path.starts_with("cli/");
        for line in code(&text) {
            assert!(at_the_edge || !(line.contains("clap::") || line.contains("anyhow::")), "{path}: {line}");
            let prints = ["println!(", "print!(", "io::stdout(", "io::stderr("].iter().any(|word| line.contains(word));
            assert!(path == "cli/output.rs" || !prints, "{path}: {line}");
        }
    }
}

#[test]
fn no_file_has_grown_into_two() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in [sources(&root.join("src")), sources(&root.join("tests"))].concat() {
        let lines = text.lines().count();
        assert!(lines <= FILE_MAX_LINES, "{}: {lines} lines", path.display());
    }
}
