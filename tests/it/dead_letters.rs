//! Dead letters as an operator handles them: looked at, counted after all, kept, thrown away.

use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Site, Talk, stderr, stdout, wait_until};

/// Writes an entry as a script does that makes its own.
fn put(script: &mut Talk, entry: &str) {
    let ticket = script.incr("poll-queue-curr").unwrap();
    script.set(&format!("poll-queue-key-{ticket}"), entry);
}

/// A poll, a vote, and three lines that are no ballots yet: of a poll to come (named and nameless), and rubbish.
fn with_letters(memcached: &Memcached, database: Option<String>) -> Site {
    let mut site = Site::new(&[memcached]);
    if let Some(database) = database {
        site.set("WEIR_DATABASE", database);
    }
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let lines = ["{\"poll\":\"later\",\"picks\":[\"a\"],\"voter\":\"ann\"}", "{\"poll\":\"later\",\"picks\":[\"b\"]}"];
    put(&mut memcached.talk(), &format!("{}\n{}", lines[0], lines[1]));
    put(&mut memcached.talk(), "\u{1b}[2Jrubbish");
    assert_eq!(site.flush_partly()["dead_letters"], json!(3));
    site
}

fn create_later(site: &Site) {
    site.ok(&["poll", "create", "later", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
}

fn list(site: &Site) -> Vec<Value> {
    let text = site.ok(&["poll", "dead-letters", "list", "--all", "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn retried(site: &Site, arguments: &[&str], code: i32) -> Value {
    let output = site.run(&[&["poll", "dead-letters", "retry", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn are_counted_when_their_poll_is_there(memcached: &Memcached, site: &Site) {
    assert_eq!(list(site).len(), 3);
    let nothing = json!({"counted": 0, "duplicates": 0, "dropped": 0, "kept": 3});
    assert_eq!(retried(site, &["--all"], 4), nothing);
    create_later(site);
    // Ann has voted meanwhile: her first flushed ballot stands.
    site.ok(&["poll", "vote", "later", "b", "--voter", "ann"]);
    site.ok(&["poll", "flush"]);
    let some = json!({"counted": 1, "duplicates": 1, "dropped": 0, "kept": 1});
    assert_eq!(retried(site, &["--all"], 4), some);
    let left = list(site);
    assert_eq!((left.len(), left[0]["text"].as_str()), (1, Some("\u{1b}[2Jrubbish")));
    assert!(left[0]["reason"].as_str().unwrap().contains("not a ballot"), "{}", left[0]);
    assert!(left[0]["origin"].as_str().unwrap().contains(&memcached.address()), "{}", left[0]);
    assert_eq!(site.counted("later").len(), 2);
    assert_eq!(site.json(&["poll", "verify", "later"])["ok"], json!(true));
    site.ok(&["poll", "flush"]);
    assert_eq!(site.json(&["poll", "results", "later"])["total"], json!(2));
}

#[test]
fn dead_letters_are_counted_once_when_their_poll_is_there_in_sqlite() {
    let memcached = Memcached::start();
    are_counted_when_their_poll_is_there(&memcached, &with_letters(&memcached, None));
}

#[test]
fn dead_letters_are_counted_once_when_their_poll_is_there_in_mariadb() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    are_counted_when_their_poll_is_there(&memcached, &with_letters(&memcached, Some(mariadb.create("polls"))));
}

#[test]
fn a_ballot_without_a_time_is_judged_by_when_it_was_found() {
    let memcached = Memcached::start();
    let site = with_letters(&memcached, None);
    create_later(&site);
    put(&mut memcached.talk(), "{\"poll\":\"late\",\"picks\":[\"a\"],\"at\":253402300799999}");
    site.flush_partly();
    site.ok(&["poll", "create", "late", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
    for poll in ["later", "late"] {
        site.ok(&["poll", "close", poll]);
    }
    let settled = json!({"counted": 2, "duplicates": 0, "dropped": 0, "kept": 2});
    assert_eq!(retried(&site, &["--all"], 4), settled);
}

#[test]
fn several_retries_at_once_count_each_letter_once() {
    let memcached = Memcached::start();
    let site = with_letters(&memcached, None);
    let line = "{\"poll\":\"later\",\"picks\":[\"a\"]}\n";
    (0..4).for_each(|_| put(&mut memcached.talk(), &line.repeat(100)));
    site.flush_partly();
    create_later(&site);
    let retries: Vec<_> = (0..3).map(|_| site.start(&["poll", "dead-letters", "retry", "--all", "--json"])).collect();
    let counted = retries.into_iter().map(|retry| {
        let output = retry.wait_with_output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["counted"].as_u64().unwrap()
    });
    assert_eq!(counted.sum::<u64>(), 402);
    assert_eq!(site.counted("later").len(), 402);
    assert_eq!(site.json(&["poll", "verify", "later"])["ok"], json!(true));
}

#[test]
fn a_retry_killed_half_way_and_run_again_counts_each_letter_once_and_keeps_the_others() {
    const OF_EACH: u64 = 4000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    for poll in ["later", "late"] {
        let line = format!("{{\"poll\":\"{poll}\",\"picks\":[\"a\"],\"at\":253402300799998}}\n");
        put(&mut memcached.talk(), &line.repeat(OF_EACH as usize));
    }
    assert_eq!(site.flush_partly()["dead_letters"], json!(2 * OF_EACH));
    create_later(&site);
    site.ok(&["poll", "create", "late", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
    site.ok(&["poll", "close", "late"]);
    let database = rusqlite::Connection::open(site.path("polls.sqlite")).unwrap();
    let left = || database.query_row("SELECT COUNT(*) FROM dead_letters", [], |row| row.get::<_, i64>(0)).unwrap();
    let mut retry = site.start(&["poll", "dead-letters", "retry", "--all"]);
    wait_until("some are settled", || left() < 2 * OF_EACH as i64);
    retry.kill().unwrap();
    assert_eq!(retry.wait().unwrap().code(), None, "it ended before it could be killed");
    let rest = left() as u64;
    assert!(rest > OF_EACH, "{rest}");
    let settled = retried(&site, &["--all"], 4);
    assert_eq!((&settled["counted"], &settled["kept"]), (&json!(rest - OF_EACH), &json!(OF_EACH)));
    assert_eq!(site.counted("later").len() as u64, OF_EACH);
    assert_eq!(site.status()["dead_letters"], json!(OF_EACH));
    site.ok(&["poll", "verify"]);
}

#[test]
fn letters_are_chosen_by_id_shown_safely_and_dropped_for_good() {
    let memcached = Memcached::start();
    let site = with_letters(&memcached, None);
    let table = site.ok(&["poll", "dead-letters", "list"]);
    assert!(table.lines().count() == 4 && table.contains("no poll") && !table.contains('\u{1b}'), "{table:?}");
    let output = site.run(&["poll", "dead-letters", "list", "--limit", "1"]);
    assert!(stderr(&output).contains("2 more are not shown"), "{}", stderr(&output));

    let ids: Vec<String> = list(&site).iter().map(|letter| letter["id"].as_str().unwrap().into()).collect();
    let one = site.json(&["poll", "dead-letters", "list", &ids[0]]);
    assert_eq!(one["id"], json!(ids[0]));
    // Named twice it is one letter.
    let dropped = site.json(&["poll", "dead-letters", "drop", &ids[0], &ids[0]]);
    assert_eq!(dropped["dropped"], json!(1));
    for command in ["list", "retry", "drop"] {
        let message = site.fails(1, &["poll", "dead-letters", command, &ids[0]]);
        assert!(message.contains(&format!("no dead letter {}", ids[0])), "{message}");
    }
    let message = site.fails(4, &["poll", "dead-letters", "drop", &ids[0], &ids[1]]);
    assert!(message.contains("1 of these dead letters are not there"), "{message}");
    assert_eq!(site.ok(&["poll", "dead-letters", "drop", "--all"]), "1 dead letters dropped\n");
    assert_eq!(site.status()["dead_letters"], json!(0));
    let output = site.run(&["poll", "dead-letters", "list"]);
    assert_eq!((stdout(&output), stderr(&output)), (String::new(), "weir: there are no dead letters\n".into()));
}

#[test]
fn a_wrong_selection_is_refused_before_anything_is_touched() {
    let site = Site::new(&[]);
    for arguments in [&["retry"][..], &["drop"], &["drop", "--all", &"0".repeat(32)], &["drop", "xyz"], &["list", "1"]]
    {
        site.fails(2, &[&["poll", "dead-letters"], arguments].concat());
    }
    for command in ["list", "retry", "drop"] {
        assert!(site.ok(&["poll", "dead-letters", command, "--help"]).contains("Example"));
    }
}
