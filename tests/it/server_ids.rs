//! Servers are known by an id of their own: two names of one server are one, and what a server holds that is no longer
//! configured is found.

use serde_json::{Value, json};

use crate::support::{Memcached, Site, stderr, stdout, wait_until};

/// The problems that `status --check` finds: their kinds and messages.
fn problems(site: &Site, limits: &[&str]) -> Vec<(String, String)> {
    let output = site.run(&[&["poll", "status", "--check", "--json"], limits].concat());
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let problems = checked["problems"].as_array().unwrap();
    problems.iter().map(|problem| (text(&problem["kind"]), text(&problem["message"]))).collect()
}

fn kinds(site: &Site, limits: &[&str]) -> Vec<String> {
    problems(site, limits).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn two_names_of_one_server_hold_one_copy_and_it_is_said() {
    let memcached = Memcached::start();
    let (address, other) = (memcached.address(), format!("localhost:{}", memcached.port()));
    let site = Site::new(&[]).with("WEIR_MEMCACHED", format!("{address},{other}")).with("WEIR_COPIES", "2");
    site.create_now();
    for _ in 0..4 {
        let output = site.run(&["poll", "vote", "now", "yes"]);
        let told = stderr(&output);
        assert!(stdout(&output).starts_with("queued "), "{told}");
        assert!(told.contains("are one server") && told.contains(&address) && told.contains(&other), "{told}");
        assert!(told.contains("went to fewer than 2 servers"), "{told}");
    }
    let output = site.batch("now\tyes\n".repeat(100));
    let summary: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    assert_eq!((&summary["queued"], &summary["short_of_copies"]), (&json!(100), &json!(100)), "{summary}");
    // Each ballot is in the queue once.
    let status = site.status();
    assert_eq!(status["copies_possible"], json!(1));
    assert_eq!(status["servers"][0]["server_id"], status["servers"][1]["server_id"]);
    let found = problems(&site, &[]);
    assert_eq!(found[0].0, "one_server");
    assert!(found[0].1.contains(&address) && found[0].1.contains(&other), "{}", found[0].1);
    let told = stderr(&site.run(&["poll", "status"]));
    assert!(told.contains("are one server"), "{told}");
}

#[test]
fn two_servers_hold_two_copies_and_nothing_is_said() {
    let servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    site.create_now();
    for _ in 0..4 {
        let output = site.run(&["poll", "vote", "now", "yes"]);
        assert_eq!(stderr(&output), "");
    }
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(8));
    assert_eq!(kinds(&site, &[]), [""; 0]);
}

#[test]
fn a_vote_with_one_copy_asks_for_no_id() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    memcached.talk().delete("poll-queue-server");
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(memcached.talk().get("poll-queue-server"), None);
}

#[test]
fn votes_on_a_server_that_was_taken_off_the_list_are_reported_until_they_are_flushed() {
    let servers = [Memcached::start(), Memcached::start()];
    let mut site = Site::new(&servers.each_ref());
    site.create_now();
    let votes = "now\tyes\n".repeat(20_000);
    // Both queues are known to the database from this flush.
    assert!(site.batch(&votes).status.success());
    site.ok(&["poll", "flush"]);
    assert!(site.batch(&votes).status.success());
    site.set("WEIR_MEMCACHED", servers[0].address());
    site.ok(&["poll", "flush"]);
    assert_eq!(kinds(&site, &["--max-age", "1h"]), [""; 0]);
    wait_until("the votes have waited", || kinds(&site, &["--max-age", "1s"]) == ["stranded"]);
    let (_, message) = problems(&site, &["--max-age", "1s"]).remove(0);
    let advice = format!("--memcached {} --prefix poll-queue", servers[1].address());
    assert!(message.contains(&advice), "{message}");
    let told = stderr(&site.run(&["poll", "status"]));
    assert!(told.contains(&advice), "{told}");
    site.ok(&["poll", "flush", "--memcached", &servers[1].address(), "--prefix", "poll-queue", "--copies", "1"]);
    assert_eq!(kinds(&site, &["--max-age", "1s"]), [""; 0]);
    assert_eq!(site.counted("now").len(), 40_000);
}

#[test]
fn votes_under_another_prefix_are_reported() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    site.ok(&["poll", "vote", "now", "no"]);
    site.set("WEIR_PREFIX", "new");
    wait_until("the vote has waited", || kinds(&site, &["--max-age", "1ms"]) == ["stranded"]);
    assert!(problems(&site, &["--max-age", "1ms"])[0].1.contains("--prefix poll-queue"));
    site.ok(&["poll", "flush", "--prefix", "poll-queue"]);
    assert_eq!(kinds(&site, &["--max-age", "1ms"]), [""; 0]);
}

#[test]
fn a_server_that_was_restarted_or_renamed_is_no_stranded_queue_and_no_second_server() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    memcached.restart();
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(kinds(&site, &["--max-age", "1h"]), [""; 0]);
    site.ok(&["poll", "flush"]);
    assert_eq!(kinds(&site, &["--max-age", "1ms"]), [""; 0]);
    site.set("WEIR_MEMCACHED", format!("localhost:{}", memcached.port()));
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(kinds(&site, &["--max-age", "1h"]), [""; 0]);
}

#[test]
fn a_full_server_is_reported_while_it_refuses_votes_and_no_longer_than_that() {
    let memcached = Memcached::start_with_memory(4);
    let site = Site::new(&[&memcached]);
    site.create_now();
    let votes: String = (0..60_000).map(|number| format!("now\tyes\tvoter {number}\n")).collect();
    assert!(site.batch(&votes).status.success());
    let status = site.status();
    let server = &status["servers"][0];
    assert_eq!(server["takes_votes"], json!(false), "{server}");
    let found = problems(&site, &["--max-age", "1h"]);
    assert_eq!(found[0].0, "memory");
    assert!(found[0].1.contains(&format!("memcached {} refuses votes", memcached.address())), "{}", found[0].1);
    let shown = site.ok(&["poll", "status"]);
    assert!(shown.contains("full (4 MiB)"), "{shown}");
    // With memory again it takes votes, and its counter of refusals stays a figure.
    memcached.talk().flush_all();
    assert_eq!(kinds(&site, &["--max-age", "1h"]), [""; 0]);
    assert!(site.status()["servers"][0]["no_memory"].as_u64().unwrap() > 0);
}
