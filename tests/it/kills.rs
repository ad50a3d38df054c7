//! Nothing lost and nothing counted twice, whatever is killed when. Each test ends with the same sentence:
//! acknowledged ballots are the counted ballots, each once, and `poll verify` agrees.
//!
//! A flusher that must die at one exact step is this test binary run again as a child: it calls the library's own
//! drain and kills itself with -9 when the drain tells it has got to that step.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use serde_json::json;
use weir::poll::ballot::IdentityKey;
use weir::poll::drain::{Holes, Step};
use weir::poll::flush::{Flusher, Report};
use weir::poll::spool::Spool;
use weir::queue::{Address, Connection, Keys, Prefix, enqueue};
use weir::store::DatabaseUrl;

use crate::support::{MariaDb, Memcached, Site, wait_until};

const STEPS: [&str; 4] = ["folding", "committed", "deleting", "deleted"];

fn name_of(step: Step) -> &'static str {
    match step {
        Step::Positioned { .. } => "positioned",
        Step::Folding => "folding",
        Step::Committed { .. } => "committed",
        Step::Deleting => "deleting",
        Step::Deleted => "deleted",
    }
}

/// Not a test by itself: the child that dies. Without its settings it does nothing.
#[test]
fn child_that_dies_at_a_step() {
    let Ok(step) = std::env::var("DIE_AT") else { return };
    let setting = |name: &str| std::env::var(name).unwrap();
    let mut flusher = Flusher::new(weir::poll::site::Site {
        memcached: setting("WEIR_MEMCACHED").split(',').map(|one| Address::new(one).unwrap()).collect(),
        keys: Keys::new(Prefix::new("poll-queue").unwrap()),
        database: DatabaseUrl::new(&setting("WEIR_DATABASE")).unwrap(),
        spool: Spool::new(setting("WEIR_SPOOL")),
        copies: 1,
        timeout: Duration::from_secs(10),
        keep: Duration::ZERO,
        identity_key: IdentityKey::new(None),
    });
    let flushed = flusher.flush(Holes::All, &mut Report::default(), &mut |now| {
        if name_of(now) == step {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    panic!("it should have died at {step}: {flushed:?}");
}

fn flush_and_die(site: &Site, step: &str) {
    let binary = std::env::current_exe().unwrap();
    let mut child = Command::new(binary);
    child.args(["--exact", "kills::child_that_dies_at_a_step", "--nocapture"]).env("DIE_AT", step);
    for (name, value) in site.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))) {
        child.env(name, value);
    }
    let output = child.stdin(Stdio::null()).output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(Signal::KILL.as_raw()), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Single votes, a batch, and one line that is no ballot; the receipts of the votes that have one.
fn fill(site: &Site, round: usize) -> usize {
    for number in 0..5 {
        let voter = format!("{round} {number}");
        site.ok(&["poll", "vote", "now", "yes", "--voter", &voter]);
    }
    let lines: String = (0..1000).map(|number| format!("now\tno\tbatch {round} {number}\n")).collect();
    assert!(site.batch(&lines).status.success());
    1005
}

fn settle(site: &Site, acknowledged: usize) {
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now").len(), acknowledged);
    assert_eq!(site.json(&["poll", "results"])["total"], json!(acknowledged));
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    assert_eq!(site.json(&["poll", "status"])["servers"][0]["depth"], json!(0));
}

fn flushers_killed_at_each_step(memcached: &Memcached, site: &Site) {
    site.create_now();
    let mut acknowledged = 0;
    for (round, step) in STEPS.into_iter().enumerate() {
        acknowledged += fill(site, round);
        flush_and_die(site, step);
        // A second death on top of the first, at the same place.
        acknowledged += fill(site, round + STEPS.len());
        flush_and_die(site, step);
        settle(site, acknowledged);
        let curr: u64 = memcached.talk().get("poll-queue-curr").unwrap().parse().unwrap();
        let left = (curr - 30..=curr).filter(|ticket| {
            let slot = memcached.talk().get(&format!("poll-queue-key-{ticket}"));
            slot.is_some_and(|entry| entry.starts_with('{'))
        });
        assert_eq!(left.count(), 0, "slots were left behind after a death at {step}");
    }
}

#[test]
fn a_flusher_killed_at_any_step_loses_and_doubles_nothing_in_sqlite() {
    let memcached = Memcached::start();
    flushers_killed_at_each_step(&memcached, &Site::new(&[&memcached]).with("WEIR_KEEP", "0s"));
}

#[test]
fn a_flusher_killed_at_any_step_loses_and_doubles_nothing_in_mariadb() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls")).with("WEIR_KEEP", "0s");
    flushers_killed_at_each_step(&memcached, &site);
}

#[test]
fn a_flusher_killed_within_its_transaction_has_done_nothing() {
    use mysql::prelude::Queryable;
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    let acknowledged = fill(&site, 0);
    // Another transaction holds the tally's row: the flusher has inserted its ballots and waits to commit.
    let mut other = mariadb.connect(Some("polls"));
    other.query_drop("START TRANSACTION").unwrap();
    other.query_drop("SELECT * FROM polls FOR UPDATE").unwrap();
    let mut flusher = site.start(&["poll", "flush"]);
    let mut watcher = mariadb.connect(Some("polls"));
    let mut processes = |which: &str| {
        let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE {which}");
        watcher.query_first::<u64, _>(sql).unwrap()
    };
    wait_until("the flusher waits for the row", || processes("info LIKE 'UPDATE polls SET ballots%'") == Some(1));
    flusher.kill().unwrap();
    flusher.wait().unwrap();
    other.query_drop("ROLLBACK").unwrap();
    wait_until("the dead flusher's connection is gone", || processes("user = 'weir'") == Some(2));
    assert_eq!(site.counted("now").len(), 0);
    settle(&site, acknowledged);
}

#[test]
fn two_flushers_at_once_count_each_ballot_once() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    let mut acknowledged = 0;
    for round in 0..4 {
        acknowledged += fill(&site, round);
        let mut flushers: Vec<_> = (0..3).map(|_| site.start(&["poll", "flush"])).collect();
        for flusher in &mut flushers {
            assert!(flusher.wait().unwrap().success());
        }
    }
    settle(&site, acknowledged);
}

#[test]
fn a_database_killed_during_a_flush_gets_everything_later() {
    let (memcached, mut mariadb) = (Memcached::start(), MariaDb::start());
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    let lines: String = (0..60_000).map(|number| format!("now\tno\tvoter {number}\n")).collect();
    assert!(site.batch(&lines).status.success());
    let mut flusher = site.start(&["poll", "flush"]);
    let mut watcher = mariadb.connect(Some("polls"));
    wait_until("a first chunk is committed", || {
        use mysql::prelude::Queryable;
        watcher.query_first::<u64, _>("SELECT ballots FROM polls").unwrap().unwrap_or_default() > 0
    });
    mariadb.kill();
    flusher.wait().unwrap();
    assert_eq!(site.run(&["poll", "flush"]).status.code(), Some(1));
    site.ok(&["poll", "vote", "now", "yes"]);
    mariadb.restart();
    settle(&site, 60_001);
}

#[test]
fn a_memcached_restarted_between_flushes_begins_an_epoch_that_is_read_from_its_start() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut acknowledged = 0;
    for round in 0..3 {
        acknowledged += fill(&site, round);
        site.ok(&["poll", "flush"]);
        memcached.restart();
    }
    // Restarted and flushed while empty, too.
    site.ok(&["poll", "flush"]);
    acknowledged += fill(&site, 3);
    settle(&site, acknowledged);
}

#[test]
fn entries_of_an_epoch_whose_counter_was_evicted_are_still_read() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut acknowledged = fill(&site, 0);
    site.ok(&["poll", "flush"]);
    acknowledged += fill(&site, 1);
    memcached.talk().delete("poll-queue-curr");
    acknowledged += fill(&site, 2);
    settle(&site, acknowledged);
}

#[test]
fn a_vote_whose_slot_was_read_while_it_was_empty_is_counted() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut voter = memcached.talk();
    let ticket = voter.incr("poll-queue-curr").unwrap();
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(1));
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    voter.set(&format!("poll-queue-key-{ticket}"), r#"{"poll":"now","picks":["yes"],"voter":"ann"}"#);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    settle(&site, 2);
}

#[test]
fn a_ticket_taken_ahead_is_not_used_in_the_queue_of_another_prefix() {
    let memcached = Memcached::start();
    let address = Address::new(&memcached.address()).unwrap();
    let mut connection = Connection::open(&address, Duration::from_secs(10)).unwrap();
    for prefix in ["poll-queue", "other-queue"] {
        let keys = Keys::new(Prefix::new(prefix).unwrap());
        (0..3).for_each(|_| enqueue(&mut connection, &keys, &[b"x"]).unwrap());
        let last: u64 = memcached.talk().get(&keys.curr()).unwrap().parse().unwrap();
        let filled =
            (last - 5..=last).filter(|ticket| memcached.talk().get(&format!("{prefix}-key-{ticket}")).is_some());
        assert_eq!(filled.count(), 3, "{prefix}");
    }
}

#[test]
fn a_real_writer_suspended_and_revived_after_the_flush_is_counted_once() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let lines: String = (0..200_000).map(|number| format!("now\tno\tvoter {number}\n")).collect();
    std::fs::write(site.path("votes.tsv"), lines).unwrap();
    let mut writer = site.start(&["poll", "vote", "--batch", "votes.tsv"]);
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        kill_process(Pid::from_child(&writer), Signal::STOP).unwrap();
        site.ok(&["poll", "flush"]);
        kill_process(Pid::from_child(&writer), Signal::CONT).unwrap();
    }
    assert!(writer.wait().unwrap().success());
    settle(&site, 200_000);
}

#[test]
fn what_is_no_ballot_is_kept_or_counted_and_never_blocks() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut script = memcached.talk();
    script.set("poll-queue-lock", "0");
    script.set("poll-queue-curr", "0");
    for entry in
        ["\u{1}garbage", "{\"poll\":\"other\",\"picks\":[\"yes\"]}", "{\"poll\":\"now\",\"picks\":[\"blue\"]}", ""]
    {
        let ticket = script.incr("poll-queue-curr").unwrap();
        script.set(&format!("poll-queue-key-{ticket}"), entry);
    }
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "close", "now"]);
    let ticket = script.incr("poll-queue-curr").unwrap();
    script.set(&format!("poll-queue-key-{ticket}"), "{\"poll\":\"now\",\"picks\":[\"yes\"],\"at\":253402300799999}");
    assert_eq!(site.flush_partly(), json!({"ballots": 5, "counted": 1, "duplicates": 0, "dead_letters": 4}));
    let status = site.json(&["poll", "status"]);
    assert_eq!(status["dead_letters"], json!(4));
    settle(&site, 1);
}
