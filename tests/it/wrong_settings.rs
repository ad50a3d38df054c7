//! Wrong settings: a flush, a vote or a service with another database than the polls' is refused with a sentence that
//! names the setting, and nothing is taken out, counted or created.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use weir::queue::{Address, Connection, Keys, Owner, Prefix, claim_owner, owner};

use crate::support::{MariaDb, Memcached, Service, Site, stderr, stdout};

pub(crate) const CREATE_OTHER: [&str; 9] =
    ["poll", "create", "other", "--question", "Other?", "--choice", "yes=Yes", "--choice", "no=No"];

/// `poll flush`, whose exit code is expected; what it printed as JSON, and what it said on stderr.
pub(crate) fn flush(site: &Site, code: i32, more: &[&str]) -> (Value, String) {
    let output = site.run(&[&["poll", "flush", "--json"], more].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{}{message}", stdout(&output));
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), message)
}

/// A site with a database and a poll of its own, whose settings then name the servers of another site.
fn another_site(memcached: &[&Memcached], url: Option<String>) -> Site {
    let elsewhere = Memcached::start();
    let mut site = Site::new(&[&elsewhere]);
    if let Some(url) = url {
        site.set("WEIR_DATABASE", url);
    }
    site.ok(&CREATE_OTHER);
    site.set("WEIR_MEMCACHED", memcached.iter().map(|server| server.address()).collect::<Vec<_>>().join(","));
    site
}

fn assert_a_flush_into_another_database_takes_nothing_out(own: Option<String>, other: Option<String>) {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    if let Some(url) = own {
        site.set("WEIR_DATABASE", url);
    }
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let other = another_site(&[&memcached], other);
    let id = memcached.talk().get("poll-queue-database").unwrap();
    let name = memcached.talk().get("poll-queue-database-name").unwrap();
    let definition = memcached.talk().get("poll-queue-poll-now");
    for quiet in [&[][..], &["--quiet"]] {
        let message = other.fails(4, &[quiet, &["poll", "flush"]].concat());
        for part in [&memcached.address(), "poll-queue", &id, &name, "WEIR_DATABASE", "--adopt-queue"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("s3cret"), "{message}");
    }
    assert_eq!(other.status()["dead_letters"], json!(0));
    let mut talk = memcached.talk();
    assert!(talk.get("poll-queue-poll-other").is_none() && talk.get("poll-queue-poll-now") == definition);
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
}

#[test]
fn a_flush_into_another_database_takes_nothing_out_and_names_both() {
    assert_a_flush_into_another_database_takes_nothing_out(None, None);
    let mariadb = MariaDb::start();
    assert_a_flush_into_another_database_takes_nothing_out(Some(mariadb.create("a")), Some(mariadb.create("b")));
}

#[test]
fn a_flush_into_another_database_still_drains_the_servers_that_are_its_own() {
    let (own, foreign) = (Memcached::start(), Memcached::start());
    let site = Site::new(&[&foreign]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut other = another_site(&[&own], None);
    other.ok(&["poll", "vote", "other", "yes"]);
    other.set("WEIR_MEMCACHED", format!("{},{}", own.address(), foreign.address()));
    let (flushed, message) = flush(&other, 4, &[]);
    assert_eq!((&flushed["counted"], &flushed["ballots"]), (&json!(1), &json!(1)));
    assert!(message.contains(&foreign.address()) && !message.contains(&own.address()), "{message}");
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
}

#[test]
fn a_queue_is_moved_to_another_database_when_that_is_asked_for() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let other = another_site(&[&memcached], None);
    flush(&other, 4, &[]);
    flush(&other, 0, &["--adopt-queue"]);
    other.ok(&["poll", "vote", "other", "yes"]);
    assert_eq!(flush(&other, 0, &[]).0["counted"], json!(1));
    flush(&site, 4, &[]);
}

#[test]
fn a_database_without_polls_takes_nothing_out_of_a_queue_that_belongs_to_none() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("empty"));
    let mut script = memcached.talk();
    script.set("poll-queue-curr", "1");
    script.set("poll-queue-key-1", "{\"poll\":\"now\",\"picks\":[\"yes\"]}");
    let message = flush(&site, 4, &[]).1;
    assert!(message.contains("has no polls") && message.contains("mysql://weir:***@"), "{message}");
    assert!(script.get("poll-queue-database").is_none());
    assert_eq!(script.get("poll-queue-curr").unwrap(), "1");
    site.create_now();
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
}

#[test]
fn a_queue_that_lost_its_owner_is_claimed_by_the_next_flush_of_a_database_with_polls() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let owner = memcached.talk().get("poll-queue-database");
    memcached.restart();
    assert!(memcached.talk().get("poll-queue-database").is_none());
    flush(&site, 0, &[]);
    let mut talk = memcached.talk();
    assert_eq!(talk.get("poll-queue-database"), owner);
    assert!(talk.get("poll-queue-database-name").unwrap().ends_with("polls.sqlite"));
}

#[test]
fn a_full_server_without_room_for_an_owner_counts_as_claimed_and_one_with_an_owner_keeps_it() {
    let memcached = Memcached::start_with_memory(2);
    let keys = Keys::new(Prefix::new("poll-queue").unwrap());
    let owned = Keys::new(Prefix::new("owned").unwrap());
    let mut connection =
        Connection::open(&Address::new(&memcached.address()).unwrap(), Duration::from_secs(10)).unwrap();
    let [one, two] = [(1 << 62) - 1, (1 << 62) - 2].map(|id| Owner { id, name: format!("sqlite:{id}") });
    assert_eq!(claim_owner(&mut connection, &owned, &one).unwrap(), one);
    memcached.fill_up(0);
    for database in [&one, &two] {
        assert_eq!(claim_owner(&mut connection, &keys, database).unwrap(), *database);
        assert_eq!(owner(&mut connection, &keys).unwrap(), None);
        assert_eq!(claim_owner(&mut connection, &owned, database).unwrap(), one);
    }
}

#[test]
fn entries_of_a_poll_that_memcached_defines_and_the_database_lacks_stay_where_they_are() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    flush(&site, 0, &[]);
    // A backup of before the second poll is restored.
    let (file, backup) = (site.path("polls.sqlite"), site.path("backup.sqlite"));
    rusqlite::Connection::open(&file).unwrap().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    site.ok(&CREATE_OTHER);
    site.ok(&["poll", "vote", "now", "no"]);
    let receipt = site.ok(&["poll", "vote", "other", "yes"]);
    site.ok(&["poll", "vote", "now", "no"]);
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    std::fs::rename(&backup, &file).unwrap();
    for counted in [1, 0] {
        let (flushed, message) = flush(&site, 4, &[]);
        assert_eq!((&flushed["counted"], &flushed["dead_letters"]), (&json!(counted), &json!(0)));
        assert!(message.contains("poll other") && message.contains("weir poll create other"), "{message}");
    }
    // It is created again, as the message says: everything behind it is counted.
    site.ok(&CREATE_OTHER);
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(2));
    assert_eq!(site.counted("other"), [receipt.trim_end().strip_prefix("queued ").unwrap()]);
    assert_eq!(site.counted("now").len(), 3);
}

#[test]
fn spooled_votes_of_a_poll_that_memcached_defines_and_the_database_lacks_stay_where_they_are() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    memcached.kill();
    let database = format!("sqlite:{}", site.path("polls.sqlite").display());
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    assert!(site.ok(&["poll", "vote", "other", "yes"]).starts_with("spooled "));
    memcached.restart();
    memcached.talk().set("poll-queue-poll-other", "{}");
    site.set("WEIR_DATABASE", database);
    assert!(flush(&site, 4, &[]).1.contains("poll other"));
    assert_eq!((&site.status()["spool_files"], &site.status()["dead_letters"]), (&json!(1), &json!(0)));
    site.ok(&CREATE_OTHER);
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
}

#[test]
fn nothing_is_created_in_a_database_that_is_not_the_queues() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    site.set("WEIR_DATABASE", format!("sqlite:{}", site.path("mistyped.sqlite").display()));
    let message = site.fails(3, &CREATE_OTHER);
    assert!(message.contains("polls.sqlite") && message.contains("mistyped.sqlite, which does not exist"), "{message}");
    assert!(!site.path("mistyped.sqlite").exists());

    let other = another_site(&[&memcached], None);
    let create = ["poll", "create", "third", "--question", "Third?", "--choice", "yes=Yes", "--choice", "no=No"];
    assert!(other.fails(3, &create).contains("--adopt-queue"));
    assert!(other.fails(3, &["poll", "close", "other"]).contains("--adopt-queue"));
    let polls = other.ok(&["poll", "list", "--json"]);
    assert!(polls.lines().count() == 1 && polls.contains("\"open\":true"), "{polls}");
    let mut talk = memcached.talk();
    assert!(talk.get("poll-queue-poll-third").is_none() && talk.get("poll-queue-poll-other").is_none());
    other.ok(&[&create[..], &["--adopt-queue"]].concat());
}

#[test]
fn only_create_makes_a_sqlite_file() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let file = site.path("polls.sqlite");
    for arguments in [
        &["poll", "flush"][..],
        &["poll", "--quiet", "flush"],
        &["poll", "list"],
        &["poll", "results"],
        &["poll", "verify"],
        &["poll", "export", "now"],
        &["poll", "close", "now"],
        &["poll", "dead-letters", "list"],
    ] {
        let message = site.fails(1, arguments);
        assert!(message.contains(&file.display().to_string()) && message.contains("weir poll create"), "{message}");
        assert!(!message.contains("HOME"), "{message}");
        assert!(!file.exists(), "{arguments:?}");
    }
    assert!(stderr(&site.run(&["poll", "status"])).contains("polls.sqlite"));
    memcached.kill();
    let vote = site.run(&["poll", "vote", "now", "yes"]);
    assert!(stdout(&vote).starts_with("spooled ") && stderr(&vote).contains("polls.sqlite"), "{}", stderr(&vote));
    assert!(!file.exists());
    memcached.restart();
    site.create_now();
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
}

#[test]
fn a_default_path_without_a_file_is_reported_with_the_home_that_it_depends_on() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", "");
    let home = site.path("home");
    for command in ["flush", "list"] {
        let message = site.fails(1, &["poll", command]);
        let file = home.join(".local/share/weir/polls.sqlite").display().to_string();
        assert!(message.contains(&file) && message.contains(&format!("HOME ({})", home.display())), "{message}");
    }
    assert!(!home.join(".local/share/weir/polls.sqlite").exists());
    site.create_now();
    flush(&site, 0, &[]);
}

#[test]
fn a_service_on_a_fresh_machine_shows_no_polls_and_makes_no_file() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let service = Service::start(&site, &["--flush-every", "50ms"]);
    assert_eq!(service.get("/").status, 200);
    assert_eq!(service.get("/api/v1/polls").json()["polls"], json!([]));
    assert!(!site.path("polls.sqlite").exists());
    // It finds the file once there is one.
    site.create_now();
    crate::support::wait_until("the new poll is listed", || {
        service.get("/api/v1/polls").json()["polls"].as_array().is_some_and(|polls| polls.len() == 1)
    });
}

#[test]
fn a_flush_that_made_dead_letters_exits_4_and_says_where_to_look() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    for quiet in [&[][..], &["--quiet"]] {
        let mut script = memcached.talk();
        let ticket = script.incr("poll-queue-curr").unwrap_or_else(|| {
            script.set("poll-queue-curr", "1");
            1
        });
        script.set(&format!("poll-queue-key-{ticket}"), "rubbish\nrubbish");
        let message = site.fails(4, &[quiet, &["poll", "flush"]].concat());
        assert!(message.contains("2 lines became dead letters") && message.contains("dead-letters list"), "{message}");
    }
    assert_eq!(flush(&site, 0, &[]).0["ballots"], json!(0));
}

#[test]
fn processes_that_meet_a_new_database_at_once_give_it_one_id_and_one_secret() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    let create = |number: usize| {
        let (name, secret) = (format!("poll-{number}"), format!("secret {}", number % 2));
        let mut command =
            site.command(&["poll", "create", &name, "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
        command.env("WEIR_VOTER_SECRET", secret).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let created: Vec<_> = (0..6).map(create).collect();
    let ended: Vec<_> = created.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    // All of one secret, and none of the other.
    let winners = if ended[0].status.success() { 0 } else { 1 };
    for (number, output) in ended.iter().enumerate() {
        let want = if number % 2 == winners { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(want), "poll-{number}: {}", stderr(output));
    }
}

#[test]
fn a_vote_for_a_poll_of_another_database_is_refused_and_not_put_into_the_queue_of_this_one() {
    let memcached = Memcached::start();
    let (owner, other) = (Site::new(&[&memcached]), Site::new(&[]));
    other.ok(&[&CREATE_OTHER[..], &["--memcached", "127.0.0.1:1"]].concat());
    owner.create_now();
    for _ in 0..3 {
        let message = other.fails(2, &["poll", "vote", "other", "yes", "--memcached", &memcached.address()]);
        assert!(message.contains("belongs to database") && message.contains("no vote was cast"), "{message}");
    }
    assert_eq!(owner.json(&["poll", "flush"])["ballots"], json!(0));
}
