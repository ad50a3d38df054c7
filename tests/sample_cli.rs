//! `weir sample` as scripts and operators call it: options, exit codes, signals, and the recipes of the README.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A limit, not a measurement: whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn weir(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("sample").args(arguments).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    weir(dir, arguments).output().unwrap()
}

/// Its output, when it must succeed and say nothing else.
fn lines(dir: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(dir, arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn piped(dir: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = weir(dir, arguments).stdin(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn log(count: usize) -> String {
    (0..count).map(|i| format!("{i} host{} {}\n", i % 3, if i % 10 == 0 { 500 } else { 200 })).collect()
}

fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

#[test]
fn twenty_lines_are_the_default_and_one_seed_is_one_sample_from_anywhere() {
    let whole = log(20_000);
    let cut = whole.find("\n9000 ").unwrap() + 1;
    let dir = dir_with(&[("log", &whole), ("a", &whole[..cut]), ("b", whole[cut..].trim_end())]);
    let dir = dir.path();
    assert_eq!(lines(dir, &["log"]).len(), 20);
    let seeded = lines(dir, &["--seed", "7", "log"]);
    assert_eq!(seeded.len(), 20);
    assert_eq!(lines(dir, &["--seed", "7", "--threads", "1", "--scan", "a", "b"]), seeded);
    let from_pipe = |arguments: &[&str]| text(&piped(dir, arguments, whole.as_bytes()).stdout);
    assert_eq!(from_pipe(&["--seed", "7"]).lines().collect::<Vec<_>>(), seeded);
    assert_eq!(from_pipe(&["--seed", "7", "-"]).lines().collect::<Vec<_>>(), seeded);
    let file = fs::File::open(dir.join("log")).unwrap();
    let redirected = weir(dir, &["--seed", "7"]).stdin(file).output().unwrap();
    assert_eq!(text(&redirected.stdout).lines().collect::<Vec<_>>(), seeded);
    let mut sorted = lines(dir, &["--seed", "7", "--shuffle", "log"]);
    assert_ne!(sorted, seeded);
    let number = |line: &String| line.split(' ').next().unwrap().parse::<u32>().unwrap();
    sorted.sort_by_key(number);
    assert_eq!(sorted, seeded);
    assert_eq!(lines(dir, &["-n", "3", "a", "-", "b"]).len(), 3);
    assert_eq!(lines(dir, &["-n", "99999", "a", "b"]), whole.lines().collect::<Vec<_>>());
}

#[test]
fn standard_input_is_sampled_from_where_it_stands() {
    let dir = dir_with(&[("log", "read already\none\ntwo\n")]);
    let mut file = fs::File::open(dir.path().join("log")).unwrap();
    file.read_exact(&mut [0; 13]).unwrap();
    let output = weir(dir.path(), &[]).stdin(file).output().unwrap();
    assert_eq!(text(&output.stdout), "one\ntwo\n");
}

#[test]
fn options_do_what_they_say() {
    let dir =
        dir_with(&[("log", &log(3000)), ("table", "page,hits\na,0\nb,2\nc,0\n"), ("nul", "a\nb\0c"), ("empty", "")]);
    let dir = dir.path();
    assert_eq!(lines(dir, &["--weight", "hits", "-d", ",", "-H", "1", "table"]), ["page,hits", "b,2"]);
    assert_eq!(lines(dir, &["--by", "2", "-d", " ", "-n", "2", "log"]).len(), 6);
    assert_eq!(lines(dir, &["--by", "3", "-d", " ", "-n", "5", "--seed", "1", "--shuffle", "log"]).len(), 10);
    assert_eq!(lines(dir, &["--replace", "-n", "5000", "log"]).len(), 5000);
    assert_eq!(lines(dir, &["--rate", "100%", "log"]).len(), 3000);
    assert!(lines(dir, &["--rate", "0", "log"]).is_empty());
    assert!((200..400).contains(&lines(dir, &["--rate", "0.1", "--seed", "1", "log"]).len()));
    assert_eq!(run(dir, &["-z", "nul"]).stdout, b"a\nb\0c\0");
    assert!(lines(dir, &["empty"]).is_empty() && lines(dir, &[]).is_empty());
    assert_eq!(lines(dir, &["-H", "1", "-n", "0", "table"]), ["page,hits"]);
    let stats = text(&run(dir, &["--stats", "--scan", "--seed", "9", "-n", "30", "log"]).stderr);
    for line in ["lines seen: 3000", "lines chosen: 30", "chance of inclusion: 0.01", "seed: 9", "way: scan, threads: "]
    {
        assert!(stats.contains(line), "{stats}");
    }
    let stats = text(&run(dir, &["--stats", "--rate", "1%", "--seed", "9", "log"]).stderr);
    assert!(stats.contains("lines seen: 3000") && stats.contains("way: rate"), "{stats}");
}

#[test]
fn combinations_that_make_no_sense_are_refused_with_a_sentence() {
    let dir = dir_with(&[("log", "a\n")]);
    for arguments in [
        &["--rate", "0.1", "-n", "3", "log"][..],
        &["--rate", "0.1", "--weight", "1", "log"],
        &["--rate", "0.1", "--by", "1", "log"],
        &["--rate", "0.1", "--replace", "log"],
        &["--rate", "0.1", "--shuffle", "log"],
        &["--rate", "0.1", "--save", "s", "log"],
        &["--rate", "0.1", "--every", "1s", "log"],
        &["--replace", "--by", "1", "log"],
        &["--replace", "--save", "s", "log"],
        &["-d", ",", "log"],
        &["-", "log", "-"],
        &["--merge", "-", "-"],
        &["--save", "s", "--shuffle", "log"],
        &["--save", "-", "--every", "1s", "log"],
        &["--by", "host", "log"],
        &["--by", "0", "log"],
        &["--weight", "bytes", "log"],
        &["log", "--merge", "s"],
        &["--seed", "1", "--merge", "s"],
        &["--every", "1", "--merge", "s"],
        &["-H", "1", "--merge", "s"],
        &["-z", "--merge", "s"],
    ] {
        let output = run(dir.path(), arguments);
        let told = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && told.len() > 40 && output.stdout.is_empty(),
            "{arguments:?}: {told}"
        );
    }
    for arguments in
        [&["--rate", "2"][..], &["--rate", "x"], &["--every", "0"], &["-d", "ab"], &["-n", "-1"], &["--threads", "0"]]
    {
        assert_eq!(run(dir.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn what_fails_is_named_and_no_line_is_printed() {
    let dir = dir_with(&[("log", "a\n"), ("bad.sample", "a\n")]);
    for (arguments, name) in [
        (&["log", "missing"][..], "missing"),
        (&["log", "."], "."),
        (&["--weight", "1", "log"], "log"),
        (&["--merge", "bad.sample"], "bad.sample"),
    ] {
        let output = run(dir.path(), arguments);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(&format!("{name}: ")), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = dir_with(&[("log", &log(200_000))]);
    for arguments in [&["-n", "200000", "log"][..], &["--rate", "1", "log"]] {
        let mut child = weir(dir.path(), arguments).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            first.starts_with("0 host0") && output.status.success() && output.stderr.is_empty(),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn more_draws_with_replacement_than_memory_holds_are_printed_as_they_are_made() {
    let dir = dir_with(&[("log", &log(10))]);
    let mut child = weir(dir.path(), &["--replace", "--shuffle", "-n", &u64::MAX.to_string(), "log"]).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(out.lines().take(10_000).filter(|line| line.as_ref().unwrap().contains(" host")).count(), 10_000);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn twenty_long_lines_of_a_pipe_need_no_memory_of_their_length() {
    let dir = dir_with(&[]);
    let log: Vec<u8> = (0..40u8).flat_map(|i| [&vec![b'a' + i % 26; 3 << 20][..], b"\n"].concat()).collect();
    for fields in ["", "--by 2"] {
        let limited = format!("ulimit -d 49152 && exec {} sample -n 20 {fields}", env!("CARGO_BIN_EXE_weir"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited]).current_dir(dir.path());
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| drop(stdin.write_all(&log).map(|()| stdin)));
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<&[u8]> = output.stdout.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 20);
        assert!(
            lines.iter().all(|line| line.len() == (3 << 20) + 1 && line[..3 << 20].iter().all(|it| it == &line[0]))
        );
    }
}

#[test]
fn at_a_rate_a_line_is_printed_when_it_comes_however_steadily_others_follow() {
    let dir = dir_with(&[]);
    let mut child = weir(dir.path(), &["--rate", "1"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let seen = std::sync::atomic::AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let seen = &seen;
        scope.spawn(move || {
            while !seen.load(std::sync::atomic::Ordering::Relaxed) && started.elapsed() < LIMIT {
                stdin.write_all(b"line\n").unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        seen.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(first == "line\n" && started.elapsed() < LIMIT);
    });
    assert!(child.wait().unwrap().success());
}

#[test]
fn ctrl_c_ends_the_wait_for_a_pipe_that_nobody_writes_to() {
    let dir = dir_with(&[]);
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let sample = weir(dir.path(), &["pipe"]);
    // Tests that a shell runs in the background inherit that SIGINT is ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(sample.get_program()).args(sample.get_args()).current_dir(dir.path());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    assert!(!child.wait().unwrap().success());
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Feeds a stream that does not end, waits until the handlers stand, and gives the child back.
fn live(dir: &Path, arguments: &[&str], fed: &[u8]) -> Child {
    let mut child = weir(dir, arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(fed).unwrap();
    let status = format!("/proc/{}/status", child.id());
    // SIGUSR1 is signal 10 and SIGINT 2: bits 9 and 1 of the caught signals.
    let handlers_stand = || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & 0x202 == 0x202
    };
    let started = Instant::now();
    while !handlers_stand() {
        assert!(started.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn usr1_prints_the_sample_so_far_and_ctrl_c_prints_it_and_ends_with_130() {
    let dir = dir_with(&[]);
    for fields in [&[][..], &["--by", "9"]] {
        let mut child = live(dir.path(), &[&["-n", "2", "-H", "1"], fields].concat(), b"head\none\ntwo\nunfini");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut next = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line
        };
        // The bytes may still be on their way when the first signal comes: ask until they are there.
        loop {
            signal(&child, Signal::USR1);
            let mut printed = [next(), String::new(), String::new()];
            std::thread::sleep(Duration::from_millis(150));
            if printed[0] == "head\n" {
                printed[1] = next();
                printed[2] = next();
                assert_eq!(printed, ["head\n", "one\n", "two\n"]);
                break;
            }
        }
        signal(&child, Signal::INT);
        let rest: Vec<String> = (0..3).map(|_| next()).collect();
        assert_eq!(rest, ["head\n", "one\n", "two\n"]);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code() == Some(130) && output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

/// Recipe: what is going on right now in a log that is being written?
#[test]
fn recipe_a_live_tail_is_sampled_every_so_often() {
    let dir = dir_with(&[("access.log", &log(500))]);
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-f", "access.log"]).current_dir(dir.path()).stdout(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut weir =
        weir(dir.path(), &["-n", "3", "--every", "200ms"]).stdin(tail.stdout.take().unwrap()).spawn().unwrap();
    let mut out = BufReader::new(weir.stdout.take().unwrap());
    // Lines that are appended after the first prints are in later ones.
    let mut appended = fs::OpenOptions::new().append(true).open(dir.path().join("access.log")).unwrap();
    let started = Instant::now();
    let mut seen = 0;
    loop {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        seen += 1;
        if line.starts_with("late") && seen > 3 {
            break;
        }
        appended.write_all("late\n".repeat(50).as_bytes()).unwrap();
        assert!(started.elapsed() < LIMIT);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    // The end of the stream is the end of the run; what was not read yet is read first.
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(weir.wait().unwrap().success() && rest.lines().count() >= 3);
}

/// Recipe: one sample of the archives of several hosts, each of which sends only its own sample.
#[test]
fn recipe_archives_of_several_hosts_are_sampled_as_one() {
    let dir = dir_with(&[]);
    let dir = dir.path();
    for (host, count) in [("web1", 3000), ("web2", 100), ("web3", 5)] {
        let plain: String = (0..count).map(|i| format!("{host} {i}\n")).collect();
        fs::write(dir.join(format!("{host}.log.zst")), zstd::encode_all(plain.as_bytes(), 1).unwrap()).unwrap();
        // What `ssh HOST weir sample -n 100 --save - LOG > HOST.sample` runs on the host.
        let saved = run(dir, &["-n", "100", "--save", "-", &format!("{host}.log.zst")]);
        assert!(saved.status.success());
        fs::write(dir.join(format!("{host}.sample")), saved.stdout).unwrap();
    }
    let output = run(dir, &["--stats", "--merge", "web1.sample", "web2.sample", "web3.sample"]);
    assert!(output.status.success() && text(&output.stderr).contains("lines seen: 3105"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 100);
    assert_eq!(lines(dir, &["-n", "10", "--merge", "web1.sample", "web2.sample"]).len(), 10);
    // The same host twice is told, not counted.
    let twice = run(dir, &["--merge", "web1.sample", "web1.sample"]);
    assert!(twice.status.code() == Some(1) && text(&twice.stderr).contains("twice"), "{}", text(&twice.stderr));
    // A merged sample can be saved and merged again.
    assert!(lines(dir, &["--save", "both.sample", "--merge", "web1.sample", "web2.sample"]).is_empty());
    assert_eq!(lines(dir, &["--merge", "both.sample", "web3.sample"]).len(), 100);
    assert!(!dir.join("both.sample.partial").exists());
    let too_many = run(dir, &["-n", "101", "--merge", "web1.sample", "web3.sample"]);
    assert!(too_many.status.code() == Some(1) && text(&too_many.stderr).contains("web1.sample"));
}

/// Recipe: a few errors of each host, however unevenly they fail.
#[test]
fn recipe_errors_by_host() {
    let dir = dir_with(&[("access.log", &log(3000))]);
    let grep = Command::new("grep").args([" 500$", "access.log"]).current_dir(dir.path()).output().unwrap();
    let output = piped(dir.path(), &["--by", "2", "-d", " ", "-n", "3"], &grep.stdout);
    let chosen = text(&output.stdout);
    for host in ["host0", "host1", "host2"] {
        let of_host = chosen.lines().filter(|line| line.contains(host) && line.ends_with(" 500"));
        assert_eq!(of_host.count(), 3, "{chosen}");
    }
}
