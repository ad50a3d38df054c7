//! `poll status` for people and monitors: what it shows, and when `--check` calls somebody.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Memcached, Site, stderr, stdout, wait_until};

const CHECK: [&str; 3] = ["poll", "status", "--check"];

/// What `--check` prints, and its exit code.
fn check(site: &Site, limits: &[&str]) -> (String, i32) {
    let output = site.run(&[&CHECK[..], limits].concat());
    assert_eq!(stderr(&output), "");
    (stdout(&output), output.status.code().unwrap())
}

/// The kinds of problems found.
fn kinds(site: &Site, limits: &[&str]) -> Vec<String> {
    let output = site.run(&[&CHECK[..], limits, &["--json"]].concat());
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = checked["problems"].as_array().unwrap();
    assert_eq!(checked["ok"], json!(problems.is_empty()));
    assert_eq!(output.status.code(), Some(i32::from(!problems.is_empty())));
    problems.iter().map(|problem| problem["kind"].as_str().unwrap().to_string()).collect()
}

#[test]
fn all_is_well_in_one_line_and_in_none_for_cron() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    assert_eq!(check(&site, &[]), ("ok: 1 servers answer, 0 entries wait\n".into(), 0));
    assert_eq!(check(&site, &["--quiet"]), (String::new(), 0));
    assert_eq!(kinds(&site, &[]), [""; 0]);
    assert!(site.fails(2, &["poll", "status", "--max-depth", "1"]).contains("--check"));
}

#[test]
fn each_problem_is_one_line_that_names_it() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    wait_until("the vote has grown old", || kinds(&site, &["--max-age", "1ms"]) == ["age"]);
    assert_eq!(kinds(&site, &["--max-depth", "0"]), ["depth"]);
    let (lines, code) = check(&site, &["--max-depth", "0", "--max-age", "1ms"]);
    assert_eq!((lines.lines().count(), code), (2, 1), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with(&format!("memcached {}: ", memcached.address()))), "{lines}");
    assert!(lines.contains("1 entries wait (limit 0)"), "{lines}");

    let ticket = memcached.talk().incr("poll-queue-curr").unwrap();
    memcached.talk().set(&format!("poll-queue-key-{ticket}"), "rubbish");
    site.flush_partly();
    assert_eq!(kinds(&site, &[]), ["dead_letters"]);
    assert_eq!(kinds(&site, &["--max-dead-letters", "1"]), [""; 0]);
    // Quiet leaves out what is well, never a problem.
    let (lines, code) = check(&site, &["--quiet"]);
    assert!(lines.starts_with("1 dead letters (limit 0)") && code == 1, "{lines}");
}

#[test]
fn silence_is_told_although_nothing_waits_and_an_idle_flush_ends_it() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    // Never flushed: the server has not been up for longer than the limit, until it has.
    assert_eq!(kinds(&site, &[]), [""; 0]);
    wait_until("the server is up for over a second", || kinds(&site, &["--max-silence", "1s"]) == ["silence"]);
    assert!(check(&site, &["--max-silence", "1s"]).0.contains("never flushed"));
    site.ok(&["poll", "flush"]);
    let flushed_at = |site: &Site| site.status()["servers"][0]["flushed_at"].as_str().map(str::to_string);
    assert!(flushed_at(&site).is_some());
    assert_eq!(kinds(&site, &["--max-silence", "1min"]), [""; 0]);
    wait_until("the flush is long ago", || kinds(&site, &["--max-silence", "5ms"]) == ["silence"]);
    assert!(check(&site, &["--max-silence", "5ms"]).0.contains("no flush for"));
    // Without an open poll nobody needs a flush.
    site.ok(&["poll", "close", "now"]);
    assert_eq!(kinds(&site, &["--max-silence", "5ms"]), [""; 0]);
}

#[test]
fn a_server_the_database_and_the_spool_are_told_of_when_they_cannot_be_asked() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "flush"]);
    memcached.kill();
    assert_eq!(kinds(&site, &[]), ["server_down"]);
    assert!(check(&site, &[]).0.contains("cannot connect"));
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    fs::write(site.path("spool"), "a file where a folder should be").unwrap();
    assert_eq!(kinds(&site, &[]), ["server_down", "database_down", "spool"]);
}

#[test]
fn a_spool_that_cannot_be_listed_does_not_hide_the_rest() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    fs::write(site.path("spool"), "a file where a folder should be").unwrap();
    let output = site.run(&["poll", "status"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stdout(&output).contains(&memcached.address()), "{}", stdout(&output));
    assert!(stdout(&output).contains("unknown files"), "{}", stdout(&output));
    let told = stderr(&output);
    assert!(told.contains("spool/: ") || told.contains("spool: listing it"), "{told}");
    assert!(told.contains("the spool cannot be asked"), "{told}");
    let status = site.status();
    assert_eq!((&status["spool_files"], &status["servers"][0]["depth"]), (&Value::Null, &json!(0)));
    assert!(status["spool_error"].is_string());
    // Nor does it keep a flush from the queues and the totals.
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(site.flush_partly()["counted"], json!(1));
    assert_eq!(site.json(&["poll", "results", "now"])["total"], json!(1));
}

#[test]
fn spooled_votes_that_stay_are_told_of() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.create_now();
    memcached.kill();
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("spooled "));
    site.set("WEIR_DATABASE", database);
    memcached.restart();
    assert_eq!(kinds(&site, &[]), [""; 0]);
    wait_until("the file has grown old", || kinds(&site, &["--max-age", "5ms"]) == ["spool"]);
    site.ok(&["poll", "flush"]);
    assert_eq!(kinds(&site, &["--max-age", "5ms"]), [""; 0]);
}

#[test]
fn a_lock_that_was_left_held_is_not_taken_for_one_in_use() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "flush"]);
    let lock = |site: &Site| site.status()["servers"][0]["lock"].as_str().unwrap().to_string();
    assert_eq!(lock(&site), "free");
    memcached.talk().set("poll-queue-lock", "1");
    assert_eq!(lock(&site), "stuck");
    // Somebody waits for it: its counter rises, and it is as stuck as before.
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut script = memcached.talk();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                script.incr("poll-queue-lock");
            }
        });
        let seen = lock(&site);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        seen
    });
    assert_eq!(seen, "stuck");
    let output = site.run(&["poll", "status"]);
    assert!(stdout(&output).contains("held > 1 s") && stderr(&output).contains("takes it over"), "{output:?}");
    // It holds up neither votes nor flushes, so it is no problem.
    assert_eq!(kinds(&site, &[]), [""; 0]);
    site.ok(&["poll", "flush"]);
    site.ok(&["poll", "vote", "now", "yes", "--locked"]);
    assert_eq!(lock(&site), "free");
}

#[test]
fn with_one_server_left_of_two_status_says_that_there_is_one_copy() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    site.create_now();
    assert!(site.ok(&["poll", "status"]).contains("copies        2 of each ballot"));
    servers[1].kill();
    let status = site.status();
    assert_eq!((&status["copies"], &status["copies_possible"]), (&json!(2), &json!(1)));
    let told = site.fails(4, &["poll", "status"]);
    assert!(told.contains("only 1 of 2 copies of each ballot can be stored; votes go on with 1"), "{told}");
    servers[0].kill();
    assert!(site.fails(4, &["poll", "status"]).contains("votes go on with the database"));
}
