//! Names with anything in them arrive whole, and mean nothing on the way.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::support::Ground;

const HOSTILE: [&[u8]; 9] = [
    b"with space",
    b"quo'te\"s",
    b"new\nline",
    b"-dash",
    b"co:lon",
    b"$(touch pwned)`touch pwned`",
    b"st*r?[a]",
    b"back\\slash",
    b"no utf\xff8",
];

fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

#[test]
fn sources_and_destinations_of_any_name() {
    let ground = Ground::new();
    let shell = ground.shell();
    ground.write("list", "- /x\n");
    for name in HOSTILE {
        let (source, destination) = (os(&[b"src ", name].concat()), os(name));
        ground.write(std::path::Path::new(&source).join("file"), name);
        let relative = os(&[b"./", name].concat());
        ground.ok(&[OsStr::new("--list"), OsStr::new("list"), &slashed(&source), &relative]);
        assert_eq!(std::fs::read(ground.path(&destination).join("file")).unwrap(), name);
        // The same through a remote shell, once each way.
        let at = |path: &OsStr| [b"h:", ground.path(path).as_os_str().as_bytes()].concat();
        let (pushed, pulled) = (os(&[b"pushed ", name].concat()), os(&[b"./pulled ", name].concat()));
        let options = ["--rsh", &shell, "--list", "list"].map(OsString::from);
        let run = |ends: [OsString; 2]| ground.ok(&[&options[..], &ends].concat());
        run([slashed(&source), os(&at(&pushed))]);
        run([slashed(&os(&at(&source))), pulled.clone()]);
        for copy in [pushed, pulled] {
            assert_eq!(std::fs::read(ground.path(copy).join("file")).unwrap(), name, "{}", name.escape_ascii());
        }
    }
    assert!(!ground.path("pwned").exists());
}

fn slashed(path: &OsStr) -> OsString {
    os(&[path.as_bytes(), b"/"].concat())
}

#[test]
fn a_directory_here_whose_name_looks_remote_is_local() {
    let ground = Ground::new();
    ground.write("list", "- /x\n");
    ground.write("a:b/file", "here");
    std::fs::create_dir(ground.path("c:d")).unwrap();
    ground.ok(&["--list", "list", "a:b", "c:d"]);
    assert_eq!(ground.files("c:d"), ["a:b/file"]);
}

#[test]
fn a_remote_wildcard_means_itself() {
    let ground = Ground::new();
    let shell = ground.shell();
    ground.write("list", "- /x\n");
    ground.write("remote/a*/file", "starred");
    ground.write("remote/ab/file", "other");
    let source = format!("h:{}/", ground.path("remote/a*").display());
    ground.ok(&["--rsh", &shell, "--list", "list", &source, "local"]);
    assert_eq!(ground.tree("local")[&b"file"[..]].as_deref(), Some(&b"starred"[..]));
    let source = format!("h:{}/", ground.path("remote/b*").display());
    assert_ne!(ground.run(&["--rsh", &shell, "--list", "list", &source, "local"]).code, 0);
}

#[test]
fn names_are_shown_to_the_byte_and_move_no_cursor() {
    let ground = Ground::new();
    ground.write("list", "- /x\n");
    for name in HOSTILE {
        ground.write(std::path::Path::new("src").join(OsStr::from_bytes(name)), name);
    }
    ground.write(std::path::Path::new("src").join(OsStr::from_bytes(b"\x1b[2J\\#033")), "");
    let ran = ground.ok(&["--json", "--dry-run", "--list", "list", "src/", "local"]);
    let changes = ran.json()[0]["changes"].as_array().unwrap().clone();
    let bytes = |change: &serde_json::Value| match change["path_hex"].as_str() {
        Some(hex) => (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect(),
        None => change["path"].as_str().unwrap().as_bytes().to_vec(),
    };
    let told: Vec<Vec<u8>> = changes.iter().map(bytes).collect();
    for name in HOSTILE.iter().chain(&[&b"\x1b[2J\\#033"[..]]) {
        assert!(told.iter().any(|path| path == name), "{}", name.escape_ascii());
    }
    let ran = ground.ok(&["-v", "--list", "list", "src/", "local"]);
    for shown in ["no utf\\xff8\n", "back\\\\slash\n", "new\\nline\n", "\\u{1b}[2J\\\\#033\n"] {
        assert!(ran.out.contains(shown), "{shown:?} in {}", ran.out);
    }
}
