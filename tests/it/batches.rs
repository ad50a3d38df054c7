//! Batches at their worst: huge, killed half-way, cast twice, short of servers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use weir::poll::ballot::{IdentityKey, Voter};
use weir::queue::{Address, Claim, Connection, Keys, Prefix, claim};
use weir::slug::Slug;

use crate::support::{Memcached, Site, signal, stderr, stdout, wait_until};

/// The most memory that a process had resident, in KiB.
fn most_resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_batch_takes_no_more_memory_the_longer_it_gets() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut command = site.command(&["poll", "vote", "--batch", "--json", "--batch-id", "long"]);
    let mut batch = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = batch.stdin.take().unwrap();
    for part in 0..30 {
        let lines: String = (0..10_000)
            .map(
                |number| {
                    if number % 2 == 0 { "now\tyes\n".into() } else { format!("now\tno\tvoter {part} {number}\n") }
                },
            )
            .collect();
        input.write_all(lines.as_bytes()).unwrap();
    }
    // What was written is read but for a few buffers; a batch that kept it would have it by now.
    let most = most_resident_kib(batch.id());
    assert!(most < 64 * 1024, "{most} KiB");
    drop(input);
    let output = batch.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["accepted"], &summary["lines"]), (&json!(300_000), &json!(300_000)));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(300_000));
}

/// Casts a batch, kills it with -9 when some of it is queued, and casts it again to its end; the second run's summary.
fn kill_and_cast_again(memcached: &Memcached, site: &Site, lines: &str, options: &[&str]) -> Value {
    fs::write(site.path("votes.tsv"), lines).unwrap();
    let arguments = [&["poll", "vote", "--json", "--batch", "votes.tsv"], options].concat();
    let mut first = site.start(&arguments);
    let mut talk = memcached.talk();
    wait_until("some entries are queued", || {
        let ticket = talk.get("poll-queue-curr").and_then(|text| text.parse::<u64>().ok());
        ticket.is_some_and(|ticket| ticket & 0xff_ffff > 4)
    });
    first.kill().unwrap();
    assert_eq!(first.wait().unwrap().code(), None, "it ended before it could be killed");
    let output = site.run(&arguments);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap()
}

#[test]
fn a_batch_with_voters_killed_half_way_and_cast_again_counts_each_voter_once() {
    const VOTERS: usize = 200_000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let lines: String = (0..VOTERS).map(|number| format!("now\tyes\tvoter {number}\n")).collect();
    let again = kill_and_cast_again(&memcached, &site, &lines, &[]);
    let (accepted, refused) = (again["accepted"].as_u64().unwrap(), again["refused"].as_u64().unwrap());
    assert!(refused > 0 && accepted + refused == VOTERS as u64, "{again}");
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(VOTERS));
    assert_eq!(site.counted("now").len(), VOTERS);
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_batch_with_an_id_killed_half_way_and_cast_again_counts_each_line_once() {
    const LINES: usize = 400_000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let again = kill_and_cast_again(&memcached, &site, &"now\tyes\n".repeat(LINES), &["--batch-id", "of monday"]);
    assert_eq!((&again["accepted"], &again["refused"]), (&json!(LINES), &json!(0)));
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!(flushed["counted"], json!(LINES));
    assert!(flushed["duplicates"].as_u64().unwrap() > 0, "{flushed}");
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_batch_id_belongs_to_one_file_and_one_secret() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]).with("WEIR_VOTER_SECRET", "s");
    site.create_now();
    fs::write(site.path("votes.tsv"), "now\tyes\nnow\tno\tann\nnow\tyes\n").unwrap();
    let counted = |id: &str| {
        site.run(&["poll", "vote", "--batch", "votes.tsv", "--batch-id", id]);
        site.json(&["poll", "flush"])["counted"].as_u64().unwrap()
    };
    assert_eq!(counted("one"), 3);
    // Cast again, the nameless lines are known by their numbers and ann by her name.
    assert_eq!(counted("one"), 0);
    assert_eq!(counted("two"), 2);
    site.set("WEIR_VOTER_SECRET", "t");
    site.fails(2, &["poll", "vote", "--batch", "votes.tsv", "--batch-id", "two"]);
}

#[test]
fn a_batch_id_that_cannot_be_one_is_refused_before_a_line_is_read() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    fs::write(site.path("votes.tsv"), "now\tyes\n").unwrap();
    for bad in ["", "a\tb", "line\nfeed", &"x".repeat(257)] {
        let message = site.fails(2, &["poll", "vote", "--batch", "votes.tsv", "--batch-id", bad]);
        assert!(message.contains("a batch is named by 1 to 256 bytes"), "{message}");
    }
    site.fails(2, &["poll", "vote", "now", "yes", "--batch-id", "one"]);
    assert_eq!(memcached.talk().get("poll-queue-curr"), None);
    let help = site.ok(&["poll", "vote", "--help"]);
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("same --batch-id both times") && words.contains("each voter counts once"), "{help}");
}

/// Claims ann as a run does that dies before her vote is queued.
fn claim_ann(memcached: &Memcached) {
    let now = Slug::new("now").unwrap();
    let identity = IdentityKey::new(None).named(&now, &Voter::new("ann").unwrap());
    let address = Address::new(&memcached.address()).unwrap();
    let mut connection = Connection::open(&address, Duration::from_secs(10)).unwrap();
    let mark = Keys::new(Prefix::new("poll-queue").unwrap()).voted(&now, &identity.0);
    assert_eq!(claim(&mut connection, &[mark]).unwrap(), [Claim::Made]);
}

#[test]
fn a_voter_claimed_by_a_run_that_died_is_taken_when_the_claim_has_lapsed() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    claim_ann(&memcached);
    let output = site.batch("now\tyes\tann\nnow\tno\tbob\n");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["accepted"], &summary["refused"]), (&json!(2), &json!(0)));
    assert!(stderr(&output).contains("1 voters are being taken just now"), "{}", stderr(&output));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn a_batch_short_of_servers_goes_on_with_one_copy_and_says_so_once() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    site.create_now();
    servers[1].kill();
    let output = site.batch("now\tyes\n".repeat(12_000));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["queued"], &summary["short_of_copies"]), (&json!(12_000), &json!(12_000)));
    let told = stderr(&output);
    assert_eq!(told.matches("fewer than 2 servers").count(), 1, "{told}");
    assert_eq!(told.matches(&servers[1].address()).count(), 1, "{told}");
    assert_eq!(site.flush_partly()["counted"], json!(12_000));
}

/// Starts a batch on a pipe that never ends by itself, and lets it queue some entries. Then the server is stopped, so that
/// votes are under way and stay so.
fn start_endless_batch(memcached: &Memcached, site: &Site, options: &[&str]) -> Child {
    let mut command = site.command(&[&["poll", "vote", "--batch", "--json"], options].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut batch = command.spawn().unwrap();
    let mut input = batch.stdin.take().unwrap();
    // Ends when nobody reads any more.
    thread::spawn(move || while input.write_all("now\tyes\n".repeat(100).as_bytes()).is_ok() {});
    let mut talk = memcached.talk();
    let mut tickets = || talk.get("poll-queue-curr").map_or(0, |text| text.parse::<u64>().unwrap() & 0xff_ffff);
    let before = tickets();
    wait_until("some entries are queued", || tickets() > before + 4);
    memcached.black_hole();
    batch
}

#[test]
fn a_batch_that_is_interrupted_ends_with_a_summary_that_is_exact() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    for (stop, options, hint) in [
        (Signal::INT, &[][..], "tail -n +"),
        (Signal::TERM, &["--batch-id", "monday"], "the same input and --batch-id"),
    ] {
        let batch = start_endless_batch(&memcached, &site, options);
        signal(&batch, stop);
        memcached.revive();
        let output = batch.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["status"], json!("interrupted"));
        let lines = summary["lines"].as_u64().unwrap();
        assert_eq!((&summary["accepted"], &summary["refused"]), (&json!(lines), &json!(0)));
        let said = stderr(&output);
        assert!(lines > 0 && said.contains(&format!("all lines up to {lines} were accepted or refused")), "{said}");
        assert!(said.contains(hint) && !said.contains(&format!("tail -n +{lines} ")), "{said}");
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(lines));
    }
}

#[test]
fn a_second_signal_ends_a_batch_at_once() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut batch = start_endless_batch(&memcached, &site, &[]);
    let begun = Instant::now();
    wait_until("it ends", || {
        let ended = batch.try_wait().unwrap().is_some();
        if !ended {
            signal(&batch, Signal::INT);
        }
        ended
    });
    // Sooner than the server's time-out, which the votes under way wait for.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let output = batch.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0));
}

#[test]
fn a_batch_that_waits_for_a_claim_to_lapse_is_interrupted_at_once() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    claim_ann(&memcached);
    fs::write(site.path("votes.tsv"), "now\tyes\tann\nnow\tno\tbob\n").unwrap();
    let mut batch = site.start(&["poll", "vote", "--batch", "votes.tsv"]);
    let mut said = BufReader::new(batch.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("1 voters are being taken just now"), "{line}");
    let begun = Instant::now();
    signal(&batch, Signal::INT);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let output = batch.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(130), "accepted 1 (1 queued), refused 1\n"));
    assert!(rest.contains("line 1: a vote of this voter") && rest.contains("all lines up to 2 were"), "{rest}");
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}
