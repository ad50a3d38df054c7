//! What is refused: with code 3 and one sentence that says what to do, and nothing of it is counted.

use serde_json::json;

use crate::support::{Memcached, Site, wait_until};

/// Whether the vote is refused in one line that has all of `says`.
fn assert_refused(site: &Site, vote: &[&str], says: &[&str]) {
    let message = site.fails(3, &[&["poll", "vote"], vote].concat());
    let complete = says.iter().all(|part| message.contains(part));
    assert!(complete && message.lines().count() == 1, "{vote:?}: expected {says:?} in {message}");
}

fn assert_votes(site: &Site, yes: u64, no: u64) {
    let poll = site.ok(&["poll", "export", "now"]);
    let picked = |choice: &str| poll.lines().filter(|line| line.starts_with(&format!("now,{choice},"))).count() as u64;
    assert_eq!((picked("yes"), picked("no")), (yes, no), "{poll}");
    site.ok(&["poll", "verify"]);
}

#[test]
fn a_vote_that_breaks_the_polls_rules_is_refused_and_leaves_nothing() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let choices = ["--choice", "ham=Ham", "--choice", "egg=Egg", "--choice", "leek=Leek"];
    site.ok(&[&["poll", "create", "lunch", "--question", "Which two?", "--pick", "2"], &choices[..]].concat());
    for (vote, says) in [
        (&["never", "yes"][..], &["no poll never", "weir poll list"][..]),
        (&["now", "maybe"], &["no choice \"maybe\"", "yes, no"]),
        (&["now", "yes", "no"], &["at most 1", "2 were picked"]),
        (&["lunch", "ham", "egg", "leek"], &["at most 2", "3 were picked"]),
        (&["lunch", "ham", "ham"], &["ham was picked twice"]),
        (&["lunch", "yes", "--voter", "ann"], &["no choice \"yes\"", "ham, egg, leek"]),
    ] {
        assert_refused(&site, vote, says);
    }
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    // The refused vote of ann has not used up her vote.
    site.ok(&["poll", "vote", "lunch", "leek", "ham", "--voter", "ann"]);
}

#[test]
fn a_poll_that_does_not_exist_is_refused_by_the_database_too() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    memcached.kill();
    assert_refused(&site, &["never", "yes"], &["no poll never", "weir poll list"]);
    assert_refused(&site, &["now", "maybe"], &["no choice \"maybe\"", "yes, no"]);
    assert_votes(&site, 0, 0);
}

#[test]
fn a_closed_poll_is_refused_until_it_is_opened_again() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "close", "now"]);
    assert_refused(&site, &["now", "yes"], &["poll now closed at 2", "weir poll open now"]);
    memcached.kill();
    assert_refused(&site, &["now", "yes"], &["poll now closed at 2", "weir poll open now"]);
    memcached.restart();
    site.ok(&["poll", "open", "now"]);
    site.ok(&["poll", "vote", "now", "yes"]);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}

#[test]
fn a_poll_that_closes_by_itself_refuses_from_then_on() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "open", "now", "--closes", "1s"]);
    wait_until("the poll has closed", || site.json(&["poll", "list"])["open"] == json!(false));
    assert_refused(&site, &["now", "yes"], &["poll now closed at 2"]);
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
}

#[test]
fn a_voters_second_vote_is_refused_by_memcached_before_and_after_a_flush() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    assert_refused(&site, &["now", "no", "--voter", "ann"], &["voted in poll now already", "first vote stands"]);
    site.ok(&["poll", "vote", "now", "no", "--voter", "Ann"]);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
    assert_refused(&site, &["now", "no", "--voter", "ann"], &["already"]);
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    assert_votes(&site, 1, 1);
}

#[test]
fn a_voters_second_vote_is_refused_by_the_database_when_memcached_is_down() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    site.ok(&["poll", "flush"]);
    memcached.kill();
    assert_refused(&site, &["now", "no", "--voter", "ann"], &["already", "first vote stands"]);
    assert!(site.ok(&["poll", "vote", "now", "no", "--voter", "bob"]).starts_with("stored "));
    assert_refused(&site, &["now", "yes", "--voter", "bob"], &["already", "first vote stands"]);
    assert_votes(&site, 1, 1);
}

#[test]
fn a_voters_second_vote_that_got_in_is_a_duplicate_at_the_flush() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    // In one flush: the mark was lost (evicted, say) between two votes.
    let first = site.json(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    memcached.talk().delete(&mark(&first["id"]));
    assert_eq!(site.json(&["poll", "vote", "now", "no", "--voter", "ann"])["id"], first["id"]);
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!((&flushed["ballots"], &flushed["counted"], &flushed["duplicates"]), (&json!(2), &json!(1), &json!(1)));
    // In a later one: memcached came back empty, marks and all.
    memcached.restart();
    site.ok(&["poll", "vote", "now", "no", "--voter", "ann"]);
    let flushed = site.json(&["poll", "flush"]);
    assert_eq!((&flushed["counted"], &flushed["duplicates"]), (&json!(0), &json!(1)));
    // By way of the spool, which knows nobody.
    memcached.kill();
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    assert!(site.ok(&["poll", "vote", "now", "no", "--voter", "ann"]).starts_with("spooled "));
    site.set("WEIR_DATABASE", database);
    assert_eq!(site.flush_partly()["duplicates"], json!(1));
    assert_votes(&site, 1, 0);
}

/// The key that says that this identity has voted in `now`.
fn mark(id: &serde_json::Value) -> String {
    format!("poll-queue-voted-now-{}", id.as_str().unwrap())
}

#[test]
fn a_claim_that_was_never_confirmed_lapses_in_seconds_and_locks_nobody_out() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    let mut talk = memcached.talk();
    site.create_now();
    // Another queue tells which identity ann has.
    let elsewhere = site.json(&["poll", "vote", "now", "yes", "--voter", "ann", "--prefix", "other"]);
    let mark = mark(&elsewhere["id"]);
    // A counter that counts nothing, no database, no spool: the vote fails after ann was marked.
    talk.set("poll-queue-curr", "rubbish");
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    site.set("WEIR_SPOOL", "/dev/null/none");
    let message = site.fails(1, &["poll", "vote", "now", "yes", "--voter", "ann"]);
    assert!(message.contains("NOT taken"), "{message}");
    assert!(talk.ttl(&mark).unwrap() <= 10);
    talk.delete("poll-queue-curr");
    site.set("WEIR_DATABASE", database);
    site.set("WEIR_SPOOL", site.path("spool").display().to_string());
    assert_refused(&site, &["now", "yes", "--voter", "ann"], &["not acknowledged", "again in 10 seconds"]);
    // As ten seconds would do.
    talk.delete(&mark);
    site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    assert!(talk.ttl(&mark).unwrap() > 24 * 3600);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}
