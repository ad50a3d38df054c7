//! Every command and every flag once, as people and scripts see them.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Memcached, Site, stderr, stdout};

/// A site with the poll `now`, in which yes has two votes and no has one, flushed.
fn voted(memcached: &Memcached) -> Site {
    let site = Site::new(&[memcached]);
    site.create_now();
    assert!(site.batch("now\tyes\nnow\tyes\nnow\tno\n").status.success());
    site.ok(&["poll", "flush"]);
    site
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_poll_is_created_listed_closed_and_opened() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let create = ["poll", "create", "lunch", "--question", "What?", "--pick", "2", "--choice", "ham=Ham & Egg"];
    let created = site.json(&[&create[..], &["--choice", "b=B", "--closes", "2999-01-02T03:04:05Z"]].concat());
    assert_eq!((&created["poll"], &created["pick"], &created["open"]), (&json!("lunch"), &json!(2), &json!(true)));
    assert_eq!(created["ends_at"], json!("2999-01-02T03:04:05Z"));
    assert_eq!(created["choices"], json!([{"key": "ham", "label": "Ham & Egg"}, {"key": "b", "label": "B"}]));
    assert_eq!(site.json(&["poll", "list"]), created);
    assert!(site.fails(3, &[&create[..], &["--choice", "b=B"]].concat()).contains("poll lunch exists already"));

    site.create_now();
    let listed = site.ok(&["poll", "list"]);
    let lines: Vec<_> = listed.lines().map(str::trim).collect();
    assert!(lines.len() == 3 && lines[0].starts_with("POLL"), "{listed}");
    assert!(lines[1].starts_with("lunch") && lines[1].contains("open until 2999-01-02T03:04:05Z"), "{listed}");
    assert!(lines[2].starts_with("now") && lines[2].contains("open") && lines[2].ends_with("Now?"), "{listed}");

    assert!(site.ok(&["poll", "close", "lunch"]).starts_with("closed lunch at 2"));
    assert_eq!(json_lines(&site.ok(&["poll", "list", "--json"]))[0]["open"], json!(false));
    assert_eq!(site.ok(&["poll", "open", "lunch"]), "opened lunch until 2999-01-02T03:04:05Z\n");
    let until = site.ok(&["poll", "open", "now", "--closes", "2998-01-01T00:00:00Z"]);
    assert_eq!(until, "opened now until 2998-01-01T00:00:00Z\n");
    for command in ["open", "close", "export", "results", "verify"] {
        assert!(site.fails(3, &["poll", command, "never"]).contains("no poll never"));
    }
}

#[test]
fn what_was_cast_before_closing_counts_whenever_it_is_flushed_and_what_came_long_after_does_not() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]).with("WEIR_KEEP", "0s");
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "close", "now"]);
    // A script that writes entries itself goes on after the closing.
    let mut talk = memcached.talk();
    let ticket = talk.incr("poll-queue-curr").unwrap();
    let late = r#"{"poll":"now","picks":["no"],"voter":"late","at":4102444800000}"#;
    talk.set(&format!("poll-queue-key-{ticket}"), late);
    let flushed = site.flush_partly();
    assert_eq!((&flushed["counted"], &flushed["dead_letters"]), (&json!(1), &json!(1)));
    assert_eq!(talk.get(&format!("poll-queue-key-{ticket}")), None);
    assert_eq!(site.status()["dead_letters"], json!(1));
    assert!(
        site.ok(&["poll", "dead-letters", "list"]).contains("cast at 2100-01-01T00:00:00.000Z, more than 5 s after")
    );
    assert!(site.ok(&["poll", "results", "now"]).contains("1 ballots, as of"));
    site.ok(&["poll", "verify"]);
}

#[test]
fn votes_are_taken_alone_and_in_batches_from_files_and_standard_input() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    assert!(site.ok(&["poll", "vote", "--locked", "now", "yes"]).starts_with("queued "));
    assert_eq!(memcached.talk().get("poll-queue-lock").unwrap(), "0");
    let path = site.path("votes.tsv");
    fs::write(&path, "now\tyes\r\nnow\tno\tann\n").unwrap();
    let batch = ["poll", "vote", "--batch", path.to_str().unwrap()];
    assert_eq!(site.ok(&batch), "accepted 2 (2 queued), refused 0\n");
    for file in [&["--batch"][..], &["--batch", "-", "--locked"]] {
        let mut command = site.command(&[&["poll", "vote"], file].concat());
        let output = command.stdin(Stdio::from(fs::File::open(&path).unwrap())).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert_eq!(stdout(&output), "accepted 1 (1 queued), refused 1\n");
        assert!(stderr(&output).contains("line 2: this voter has voted in poll now already"), "{}", stderr(&output));
    }
    let flushed = site.ok(&["poll", "flush"]);
    assert_eq!(flushed, "5 ballots: 5 counted, 0 duplicates, 0 dead letters\n");
}

#[test]
fn results_are_a_table_json_or_csv_and_need_no_database_after_a_flush() {
    let memcached = Memcached::start();
    let site = voted(&memcached).with("WEIR_DATABASE", "sqlite:/dev/null/none");
    let results = site.json(&["poll", "results", "now"]);
    assert_eq!(results["choices"][1], json!({"key": "no", "label": "No", "votes": 1, "share": 1.0 / 3.0}));
    assert_eq!((&results["total"], &results["poll"]), (&json!(3), &json!("now")));
    let as_of = results["as_of"].as_str().unwrap();
    assert_eq!(json_lines(&site.ok(&["poll", "results", "now", "--format", "json"]))[0], results);
    let csv = site.ok(&["poll", "results", "now", "--format", "csv"]);
    let rows = format!("now,yes,\"Yes\",2,0.666667,3,{as_of}\nnow,no,\"No\",1,0.333333,3,{as_of}\n");
    assert_eq!(csv, format!("poll,choice,label,votes,share,total,as_of\n{rows}"));
    let table = site.ok(&["poll", "results", "now"]);
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[..3], ["now Now? (open)", "Yes 2 66.7 %", "No 1 33.3 %"]);
    assert!(lines[3].starts_with("3 ballots, as of 2"), "{table}");
    assert!(site.fails(1, &["poll", "results"]).contains("/dev/null/none"));
}

#[test]
fn results_come_from_the_database_when_memcached_is_away_and_of_all_polls_when_none_is_named() {
    let mut memcached = Memcached::start();
    let site = voted(&memcached);
    site.ok(&["poll", "create", "other", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
    memcached.kill();
    let output = site.run(&["poll", "results", "--json"]);
    let totals = json_lines(&stdout(&output));
    assert_eq!(totals.iter().map(|one| &one["total"]).collect::<Vec<_>>(), [&json!(3), &json!(0)]);
    assert_eq!(stderr(&output).matches(&memcached.address()).count(), 1, "{}", stderr(&output));
}

#[test]
fn every_counted_ballot_is_exported() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let create = ["poll", "create", "two", "--question", "Q", "--pick", "2"];
    site.ok(&[&create[..], &["--choice", "a=A", "--choice", "b=B", "--choice", "c=C"]].concat());
    let receipt = site.json(&["poll", "vote", "two", "c", "a"]);
    site.ok(&["poll", "flush"]);
    let exported = json_lines(&site.ok(&["poll", "export", "two", "--format", "jsonl"]));
    assert_eq!((&exported[0]["id"], &exported[0]["picks"]), (&receipt["id"], &json!(["a", "c"])));
    let (id, at) = (receipt["id"].as_str().unwrap(), exported[0]["at"].as_str().unwrap());
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    assert_eq!(site.ok(&["poll", "export", "two"]), format!("poll,picks,id,at\ntwo,\"a,c\",{id},{at}\n"));
}

#[test]
fn status_shows_what_waits_where() {
    let mut memcached = Memcached::start();
    let site = voted(&memcached);
    site.ok(&["poll", "vote", "now", "yes"]);
    memcached.talk().set("poll-queue-lock", "1");
    let status = site.json(&["poll", "status"]);
    let server = &status["servers"][0];
    assert_eq!((&server["depth"], &server["locked"], &server["error"]), (&json!(1), &json!(true), &Value::Null));
    assert_eq!((&server["evictions"], &server["may_evict"]), (&json!(0), &json!(false)));
    assert!(server["oldest_ms"].is_u64() && server["flushed_at"].is_string(), "{server}");
    assert!(server["used_bytes"].as_u64() < server["limit_bytes"].as_u64(), "{server}");
    for none in ["spool_files", "dead_letters"] {
        assert_eq!(status[none], json!(0));
    }
    let table = site.ok(&["poll", "status"]);
    assert!(table.contains(&memcached.address()) && table.contains("held") && table.contains("refuses"), "{table}");

    memcached.kill();
    let message = site.fails(4, &["poll", "status"]);
    assert!(message.contains(&memcached.address()) && message.contains("1 of 1 servers"), "{message}");
    assert_eq!(site.status()["servers"][0]["depth"], Value::Null);
    memcached.restart();
    let output = site.run(&["poll", "status", "--json", "--database", "sqlite:/dev/null/none"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(json_lines(&stdout(&output))[0]["database_error"].as_str().unwrap().contains("/dev/null/none"));
}

#[test]
fn verify_finds_a_tally_that_somebody_changed() {
    let memcached = Memcached::start();
    let site = voted(&memcached);
    assert_eq!(site.ok(&["poll", "verify"]), "now: ok, 3 ballots\n");
    let database = rusqlite::Connection::open(site.path("polls.sqlite")).unwrap();
    database.execute("UPDATE choices SET votes = 7 WHERE choice = 'no'", []).unwrap();
    let output = site.run(&["poll", "verify", "now"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "now: WRONG, 3 ballots, tallied 3\n  no: 1 votes, tallied 7\n");
    let advice = "\"weir poll verify --repair\" sets them to the recount";
    assert_eq!(stderr(&output), format!("weir: 1 of 1 polls have wrong tallies: {advice}\n"));
    database.execute("UPDATE choices SET votes = 1 WHERE choice = 'no'", []).unwrap();
    database.execute("DELETE FROM ballots WHERE picks = 2", []).unwrap();
    let output = site.run(&["poll", "verify", "--json"]);
    let verdict = &json_lines(&stdout(&output))[0];
    assert_eq!((&verdict["ok"], &verdict["ballots"], &verdict["tallied"]), (&json!(false), &json!(2), &json!(3)));
    assert_eq!(verdict["choices"][1], json!({"key": "no", "votes": 0, "tallied": 1}));
}

#[test]
fn each_setting_is_a_flag_a_variable_or_a_line_of_a_file_and_config_tells_which() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]).with("WEIR_VOTER_SECRET", "s3cret");
    site.set("WEIR_DATABASE", "mysql://u:s3cret@127.0.0.1/d");
    let file = site.path("weir.toml");
    fs::write(&file, "[poll]\nmemcached = ['a:1', 'b:1']\nprefix = 'file'\ncopies = 1\n[sync]\nmax-delete = 20\n")
        .unwrap();
    let arguments = ["config", "--config", file.to_str().unwrap(), "--timeout", "3s"];
    let text = site.ok(&arguments);
    assert!(!text.contains("s3cret"), "{text}");
    let shown = json_lines(&site.ok(&[&arguments[..], &["--json"]].concat()));
    let of = |name: &str| {
        let found = shown.iter().find(|setting| setting["name"] == name).unwrap();
        (found["value"].as_str().unwrap().to_string(), found["origin"].as_str().unwrap().to_string())
    };
    let line = |number: u8| format!("{}:{number}", file.display());
    assert_eq!(of("timeout"), ("3s".into(), "flag --timeout".into()));
    assert_eq!(of("memcached"), (memcached.address(), "environment WEIR_MEMCACHED".into()));
    assert_eq!(of("prefix"), ("file".into(), line(3)));
    assert_eq!(of("copies"), ("1".into(), line(4)));
    assert_eq!(of("voter-secret"), ("***".into(), "environment WEIR_VOTER_SECRET".into()));
    assert_eq!(of("max-delete"), ("20".into(), line(6)));
    assert_eq!(of("retry-wait"), ("1s".into(), "default".into()));
    assert!(text.contains("\n[sync]\nlists"), "{text}");
    assert_eq!(of("database").0, "mysql://u:***@127.0.0.1/d");
    assert!(text.contains("spool") && site.command(&["config"]).env_clear().output().unwrap().status.code() == Some(2));
}

#[test]
fn a_site_can_be_set_up_by_flags_alone() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let (server, spool) = (memcached.address(), site.path("s").display().to_string());
    let database = format!("sqlite:{}", site.path("of/flag.sqlite").display());
    let flags =
        ["--memcached", &server, "--database", &database, "--spool", &spool, "--prefix", "p_1", "--copies", "1"];
    let run = |command: &[&str]| {
        let output = site.command(&[command, &flags, &["--timeout", "10s"]].concat()).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    run(&["poll", "create", "now", "--question", "Q", "--choice", "a=A", "--choice", "b=B"]);
    assert!(run(&["poll", "vote", "now", "a"]).starts_with("queued "));
    assert!(memcached.talk().get("p_1-curr").is_some());
    assert!(run(&["poll", "flush"]).starts_with("1 ballots: 1 counted"));
    assert!(run(&["poll", "verify"]).starts_with("now: ok, 1 ballots"));
}

#[test]
fn the_voter_secret_decides_which_identity_a_voter_has() {
    let identity = |secret: &str| {
        let memcached = Memcached::start();
        let site = Site::new(&[&memcached]).with("WEIR_VOTER_SECRET", secret);
        site.create_now();
        site.json(&["poll", "vote", "now", "yes", "--voter", "ann"])["id"].clone()
    };
    assert_ne!(identity(""), identity("of this site"));
    assert_eq!(identity("of this site"), identity("of this site"));
}

#[test]
fn help_completions_and_manual_pages_cover_every_command() {
    let site = Site::new(&[]);
    let commands =
        ["create", "vote", "flush", "results", "list", "open", "close", "export", "status", "dead-letters", "verify"];
    let man = site.path("man/man1");
    site.ok(&["man", man.to_str().unwrap()]);
    let completions = ["bash", "zsh", "fish"].map(|shell| site.ok(&["completions", shell]));
    for command in commands {
        let help = site.ok(&["poll", command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("weir poll {command}")), "{help}");
        assert!(man.join(format!("weir-poll-{command}.1")).is_file());
        assert!(completions.iter().all(|script| script.contains(command)));
    }
    for command in ["config", "man", "completions"] {
        assert!(site.ok(&[command, "--help"]).contains("Example"));
    }
    let page = fs::read_to_string(man.join("weir.1")).unwrap();
    for text in [site.ok(&["--help"]), page] {
        assert!((0..=4).all(|code| text.contains(&format!("\n  {code}  ")) || text.contains(&format!("{code}  "))));
        assert!(text.contains("partly done"), "{text}");
    }
    assert_eq!(site.ok(&["--version"]), format!("weir {}\n", env!("CARGO_PKG_VERSION")));
    assert!(site.fails(2, &[]).contains("Usage"));
}

#[test]
fn quiet_drops_what_is_neither_data_nor_warning() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    assert!(stderr(&site.run(&["poll", "dead-letters", "list"])).contains("no dead letters"));
    assert_eq!(stderr(&site.run(&["poll", "dead-letters", "list", "-q"])), "");
    memcached.kill();
    let output = site.run(&["--quiet", "poll", "vote", "now", "yes"]);
    assert!(stdout(&output).starts_with("stored ") && stderr(&output).starts_with("weir: warning: memcached"));
}

#[test]
fn verbose_tells_where_the_work_goes_and_leaves_the_data_alone() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let output = site.run(&["-v", "poll", "flush"]);
    let queue = format!("weir: info: memcached {}: 1 ballots", memcached.address());
    assert_eq!((stdout(&output).lines().count(), stderr(&output).lines().count()), (1, 1));
    assert!(stderr(&output).starts_with(&queue), "{}", stderr(&output));
    let told = stderr(&site.run(&["poll", "vote", "now", "no", "-vv"]));
    let server = format!("weir: debug: memcached {}: ", memcached.address());
    assert!(told.contains(&format!("{server}connecting\n")), "{told}");
    assert!(told.lines().all(|line| line.starts_with(&server)), "{told}");
    assert_eq!(stderr(&site.run(&["poll", "vote", "now", "no", "-v"])), "");
}
