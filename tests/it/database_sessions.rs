//! Whatever a MySQL server's defaults are, weir's sessions have the settings that it relies on; and a server that may lose
//! what it has committed is refused.

use mysql::prelude::Queryable;
use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Site, free_port, signal, stdout, wait_until};

/// Defaults that an operator may have chosen, each of which breaks a program that relies on another.
const HOSTILE: [&str; 12] = [
    "transaction_isolation = 'READ-UNCOMMITTED'",
    "transaction_read_only = 1",
    "autocommit = 0",
    "completion_type = 'CHAIN'",
    "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    "sql_select_limit = 1",
    "sql_safe_updates = 1",
    "innodb_lock_wait_timeout = 1000",
    "lock_wait_timeout = 1000",
    "time_zone = '-11:00'",
    "innodb_strict_mode = 0",
    "init_connect = 'SET NAMES latin1, autocommit = 0'",
];

fn make_hostile(mariadb: &MariaDb) {
    let mut root = mariadb.connect(None);
    for setting in HOSTILE {
        let setting = if setting.starts_with("transaction_") {
            setting.replacen("transaction_", "tx_", 1)
        } else {
            setting.into()
        };
        root.query_drop(format!("SET GLOBAL {setting}")).unwrap();
    }
    // init_connect is for those without SUPER.
    root.query_drop("SET autocommit = 1, completion_type = 0").unwrap();
    root.query_drop("CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'plain'").unwrap();
    root.query_drop("GRANT ALL ON polls.* TO plain@'127.0.0.1'").unwrap();
}

#[test]
fn no_default_of_the_server_changes_what_is_stored() {
    let (mut memcached, mariadb) = (Memcached::start(), MariaDb::start());
    mariadb.create("polls");
    make_hostile(&mariadb);
    let site =
        Site::new(&[&memcached]).with("WEIR_DATABASE", format!("mysql://plain:plain@{}/polls", mariadb.address()));
    for poll in ["now", "then"] {
        let labels = ["yes=\"Ja\" \\ 🗳", "no=Ñö", "maybe=Ç"];
        let choices = labels.iter().flat_map(|label| ["--choice", label]);
        site.ok(&["poll", "create", poll, "--question", "Jetzt 🗳?"].into_iter().chain(choices).collect::<Vec<_>>());
    }
    assert_eq!(site.ok(&["poll", "list", "--json"]).lines().count(), 2);
    site.batch("now\tyes\nthen\tno\nnow\tmaybe\nnonsense\nnow\tno\n");
    site.ok(&["poll", "flush"]);
    memcached.kill();
    assert!(site.ok(&["poll", "vote", "now", "no"]).starts_with("stored"));
    site.ok(&["poll", "close", "now"]);
    site.fails(3, &["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "open", "now"]);
    assert!(site.ok(&["poll", "vote", "now", "no"]).starts_with("stored"));
    memcached.restart();
    site.ok(&["poll", "flush"]);
    site.ok(&["poll", "verify"]);
    let results: Value = serde_json::from_str(&site.ok(&["poll", "results", "now", "--json"])).unwrap();
    assert_eq!(results["question"], json!("Jetzt 🗳?"));
    let of = |choice: usize, field: &str| results["choices"][choice][field].clone();
    assert_eq!([0, 1, 2].map(|choice| of(choice, "votes")), [json!(1), json!(3), json!(1)]);
    assert_eq!((of(0, "label"), of(1, "label")), (json!("\"Ja\" \\ 🗳"), json!("Ñö")));
    assert_eq!(site.counted("now").len(), 5);
}

#[test]
fn a_flush_does_not_act_on_what_another_has_not_committed() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let mut site = Site::new(&[&memcached]).with("WEIR_DATABASE", mariadb.create("polls"));
    site.create_now();
    mariadb.connect(None).query_drop("SET GLOBAL tx_isolation = 'READ-UNCOMMITTED'").unwrap();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    site.batch("now\tyes\n".repeat(20));
    // One flush has moved the head and written the ballots, and never commits.
    site.set("WEIR_FAILPOINT", "store.committing=stop");
    let mut stopped = site.start(&["poll", "flush"]);
    wait_until("the ballots are written", || {
        let mut root = mariadb.connect(Some("polls"));
        root.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").unwrap();
        root.query_first::<u64, _>("SELECT SUM(ballots) FROM polls").unwrap() == Some(21)
    });
    site.set("WEIR_FAILPOINT", "");
    // It must not believe that head and delete the entries before it.
    site.run(&["poll", "flush"]);
    signal(&stopped, rustix::process::Signal::KILL);
    stopped.wait().unwrap();
    wait_until("its transaction is undone", || site.run(&["poll", "flush"]).status.success());
    site.ok(&["poll", "verify"]);
    assert_eq!(site.counted("now").len(), 21);
}

#[test]
fn a_flush_into_a_database_that_may_lose_commits_takes_nothing_out() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let url = mariadb.create("polls");
    let mut site = Site::new(&[&memcached]).with("WEIR_DATABASE", &url);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    mariadb.connect(None).query_drop("SET GLOBAL innodb_flush_log_at_trx_commit = 2").unwrap();
    let message = site.fails(1, &["poll", "flush"]);
    for part in ["innodb_flush_log_at_trx_commit is 2", "durability=relaxed", &mariadb.address()] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(site.status()["servers"][0]["depth"], json!(1));
    // A vote that has no other place is better there than nowhere.
    let memcached_address = memcached.address();
    site.set("WEIR_MEMCACHED", format!("127.0.0.1:{}", free_port()));
    assert!(stdout(&site.run(&["poll", "vote", "now", "yes"])).starts_with("stored"));
    site.set("WEIR_MEMCACHED", memcached_address);
    site.set("WEIR_DATABASE", format!("{url}?durability=relaxed"));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    assert_eq!(site.counted("now").len(), 2);
}
