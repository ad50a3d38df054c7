//! What nobody should type, send or configure: a clear error with the right code, nothing lost, nothing injected.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Site, free_port, stderr, stdout};

/// Texts that are no name of a poll, choice or prefix, and would do harm if they reached a key, a command, an SQL
/// statement, a path or a terminal.
fn hostile() -> Vec<String> {
    let short =
        ["", "a b", "a\nb", "a\r\nflush_all\r\n", "\u{1b}[2J", "x'; DROP TABLE ballots; --", "../../etc", "ä", "\t"];
    short.map(String::from).into_iter().chain(["x".repeat(10_000), "\u{7}".repeat(10_000)]).collect()
}

/// A message that may go to a terminal: no control characters, and no longer than a screen.
fn assert_readable(message: &str) {
    assert!(message.len() < 2000 && message.starts_with(['w', 'e']), "{message:?}");
    assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
}

fn create<'a>(poll: &'a str, choice: &'a str) -> [&'a str; 9] {
    ["poll", "create", poll, "--question", "Q", "--choice", "a=A", "--choice", choice]
}

#[test]
fn a_name_that_is_none_is_told_and_goes_nowhere() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    for bad in hostile() {
        let (bad, choice) = (bad.as_str(), format!("{bad}=B"));
        for arguments in [
            &["poll", "vote", bad, "yes"],
            &["poll", "vote", "now", bad],
            &["poll", "results", bad][..],
            &["poll", "close", bad],
            &["poll", "list", &format!("--{bad}x")],
            &["poll", "export", bad],
            &["poll", "vote", "now", "yes", "--prefix", bad],
            &["poll", "vote", "now", "yes", "--memcached", bad],
            &create(bad, "b=B"),
            &create("new", &choice),
        ] {
            assert_readable(&site.fails(2, arguments));
        }
    }
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(1));
    assert_eq!(site.json(&["poll", "list"])["poll"], json!("now"));
}

#[test]
fn a_voter_is_any_text_of_one_line_and_nothing_else() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    for bad in ["", "a\r\nset poll-queue-curr 0 0 1\r\n1", "\u{1b}[2J", &"x".repeat(10_000)] {
        let message = site.fails(2, &["poll", "vote", "now", "yes", "--voter", bad]);
        assert_readable(&message);
        assert!(message.contains("voter"), "{message}");
    }
    for good in ["Ann O'Neil", "'); DROP TABLE ballots; --", "--", "日本", "a,b\\"] {
        site.ok(&["poll", "vote", "now", "yes", &format!("--voter={good}")]);
    }
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(5));
}

#[test]
fn arguments_that_are_not_utf8_are_a_wrong_use() {
    let site = Site::new(&[]).with("WEIR_MEMCACHED", "127.0.0.1:1");
    let bad = OsStr::from_bytes(b"n\xff\xfew");
    for before in [&["poll", "vote"][..], &["poll", "vote", "now"], &["poll", "vote", "now", "yes", "--voter"], &[]] {
        let output = site.command(before).arg(bad).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{before:?}: {}", stderr(&output));
        assert_readable(&stderr(&output));
    }
    let output = site.command(&["poll", "list"]).env("WEIR_PREFIX", bad).output().unwrap();
    assert!(output.status.code() == Some(2) && stderr(&output).contains("WEIR_PREFIX is not UTF-8"));
}

#[test]
fn hostile_lines_of_a_batch_are_refused_one_by_one_and_the_rest_counts() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let mut lines = b"now\tyes\n".to_vec();
    let huge = vec![b'x'; 10 << 20];
    let bad: [&[u8]; 8] = [
        b"n\xff\tyes",
        b"now\tyes\rflush_all\r",
        b"now\tyes\tann\x1b[2J",
        b"now' OR 1=1\tyes",
        b"now\tyes'); DROP TABLE ballots; --",
        b"\0",
        b"now\tyes\t\0",
        &huge,
    ];
    lines.extend(bad.join(&b'\n'));
    lines.extend(b"\nnow\tno\tann");
    let output = site.batch(&lines);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let told: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = told.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(refused, (2..=9).collect::<Vec<_>>());
    told[..8].iter().for_each(|line| assert_readable(&format!("weir: {}", line["reason"].as_str().unwrap())));
    assert_eq!(told[8]["accepted"], json!(2));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn a_batch_that_cannot_be_read_is_named_and_an_empty_one_is_done() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    assert!(site.fails(1, &["poll", "vote", "--batch", "/no/such/votes.tsv"]).contains("/no/such/votes.tsv"));
    assert!(site.fails(1, &["poll", "vote", "--batch", "/dev"]).contains("/dev: Is a directory"));
    assert_eq!(stdout(&site.batch("")).lines().count(), 1);
    assert_eq!(site.ok(&["poll", "vote", "--batch"]), "accepted 0, refused 0\n");
}

/// What is stored comes back to the letter, from whichever database.
fn assert_texts_are_kept(site: &Site) {
    let question = "Robert'); DROP TABLE polls; -- \" \\ % _ 日本 🍕 <b>?";
    let label = "a=b', \"c\"";
    let choices = ["--choice".into(), format!("a={label}"), "--choice".into(), "b=\\'".into()];
    let create = ["poll", "create", "now", "--question", question];
    site.ok(&[&create[..], choices.each_ref().map(String::as_str).as_slice()].concat());
    site.ok(&["poll", "flush"]);
    let results = site.json(&["poll", "results", "now"]);
    assert_eq!((&results["question"], &results["choices"][0]["label"]), (&json!(question), &json!(label)));
    assert_eq!(site.json(&["poll", "list"])["choices"][1]["label"], json!("\\'"));
    for bad in ["", " \t", "a\nb", "\u{1b}[2J", &"x".repeat(10_000)] {
        let create = ["poll", "create", "new", "--question", bad, "--choice", "a=A", "--choice", "b=B"];
        assert_readable(&site.fails(2, &create));
    }
}

#[test]
fn questions_and_labels_are_text_and_never_sql() {
    let (memcached, another, mariadb) = (Memcached::start(), Memcached::start(), MariaDb::start());
    assert_texts_are_kept(&Site::new(&[&memcached]));
    assert_texts_are_kept(&Site::new(&[&another]).with("WEIR_DATABASE", mariadb.create("polls")));
}

#[test]
fn entries_that_are_no_ballots_become_dead_letters_and_block_nothing() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let mut talk = memcached.talk();
    let entries = [
        "rubbish",
        r#"{"poll":"now'; DROP TABLE ballots; --","picks":["yes"]}"#,
        r#"{"poll":"now","picks":["yes') --"]}"#,
        r#"{"poll":"now","picks":["yes"],"voter":"a\r\nflush_all"}"#,
        r#"{"poll":"never","picks":["yes"]}"#,
        r#"{"poll":"now","picks":["no"]}"#,
    ];
    for entry in entries {
        let ticket = talk.incr("poll-queue-curr").unwrap();
        talk.set(&format!("poll-queue-key-{ticket}"), entry);
    }
    let flushed = site.flush_partly();
    assert_eq!((&flushed["counted"], &flushed["dead_letters"]), (&json!(2), &json!(5)));
    assert_eq!(site.status()["dead_letters"], json!(5));
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
}

#[test]
fn a_wrong_database_url_is_told_without_its_password() {
    let site = Site::new(&[]).with("WEIR_MEMCACHED", "127.0.0.1:1");
    for bad in [
        "mysql://u:s3cret@",
        "mysql://u:s3cret@h",
        "mysql://u:s3cret@h:x/d",
        "mysql://u:s3cret@h/d?tls=maybe",
        "mysql://u:s3cret@h/d?no_such_parameter=1",
        "postgres://u:s3cret@h/d",
        "s3cret",
    ] {
        for arguments in [&["poll", "list", "--database", bad][..], &["config", "--database", bad]] {
            let output = site.run(arguments);
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains("flag --database: database: "), "{message}");
            assert!(!(stdout(&output) + &message).contains("s3cret"), "{message}");
        }
    }
    let nobody = format!("mysql://u:s3cret@127.0.0.1:{}/d", free_port());
    let message = site.fails(1, &["poll", "list", "-vvv", "--database", &nobody]);
    assert!(message.contains("mysql://u:***@127.0.0.1") && !message.contains("s3cret"), "{message}");
    assert!(!site.ok(&["config", "--database", &nobody]).contains("s3cret"));
}

#[test]
fn a_wrong_configuration_is_named_with_its_line() {
    let site = Site::new(&[]).with("WEIR_MEMCACHED", "127.0.0.1:1");
    let path = site.path("weir.toml");
    let config = path.to_str().unwrap();
    for (text, says) in [
        (&b"[poll]\nmemcache = 'a:1'\n"[..], ":2: there is no setting memcache"),
        (b"[poll]\n\ncopies = '9'\n", ":3: copies: \"9\""),
        (b"[poll]\nprefix = 'a b'\n", ":2: prefix: \"a b\""),
        (b"[polls]\n", ":1: there is no table [polls]"),
        (b"[poll]\ndatabase = mysql://u:s3cret@h/d\n", ":2: "),
        (b"[poll]\nprefix = '\xff'\n", ": "),
    ] {
        fs::write(&path, text).unwrap();
        let message = site.fails(2, &["poll", "list", "--config", config]);
        assert_readable(&message);
        assert!(message.contains(&format!("weir.toml{says}")) && !message.contains("s3cret"), "{message}");
    }
    for unreadable in ["/no/such/weir.toml", "/dev"] {
        let message = site.fails(2, &["poll", "list", "--config", unreadable]);
        assert!(message.contains(unreadable) && message.matches("os error").count() == 1, "{message}");
        let by_variable = site.command(&["config"]).env("WEIR_CONFIG", unreadable).output().unwrap();
        assert!(by_variable.status.code() == Some(2) && stderr(&by_variable).contains(unreadable));
    }
}

#[test]
fn wrong_flags_and_values_are_a_wrong_use() {
    let site = Site::new(&[]).with("WEIR_MEMCACHED", "127.0.0.1:1,127.0.0.1:2");
    let create = |more: &[&'static str]| [&create("now", "b=B"), more].concat();
    for arguments in [
        &["poll", "vote", "now"][..],
        &["poll", "vote", "now", "yes", "--batch", "file"],
        &["poll", "vote", "now", "yes", "--no-such-flag"],
        &["poll", "no-such-command"],
        &["poll", "results", "--format", "xml"],
        &["poll", "flush", "--every", "0s"],
        &["poll", "flush", "--every", "5"],
        &["poll", "list", "--copies", "0"],
        &["poll", "list", "--copies", "3"],
        &["poll", "list", "--timeout", "0ms"],
        &["poll", "list", "--timeout", "-1s"],
        &["poll", "list", "--memcached", "host:0"],
        &["poll", "list", "--memcached", "a:1,a:1"],
        &["poll", "open", "now", "--closes", "2001-01-01"],
        &["poll", "create", "now", "--question", "Q", "--choice", "a=A"],
        &create(&["--choice", "a=B"]),
        &create(&["--choice", "c"]),
        &create(&["--pick", "0"]),
        &create(&["--pick", "3"]),
        &create(&["--closes", "soon"]),
        &create(&["--closes", "2001-01-01"]),
    ] {
        assert_readable(&site.fails(2, arguments));
    }
}

/// Runs the binary where no file may grow.
fn on_a_full_disk(site: &Site, arguments: &[&str]) -> std::process::Output {
    let weir = site.command(arguments);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\""]).arg(weir.get_program()).args(weir.get_args());
    shell.env_clear().envs(weir.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(site.path("")).output().unwrap()
}

#[test]
fn a_vote_that_no_disk_takes_is_not_acknowledged_and_leaves_nothing() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    let votes = site.path("votes.tsv");
    fs::write(&votes, "now\tyes\nnow\tno\n").unwrap();
    let batch = ["poll", "vote", "--batch", votes.to_str().unwrap()];
    memcached.kill();
    for (arguments, says) in
        [(&["poll", "vote", "now", "yes"][..], "NOT taken"), (&batch, "lines 1 to 2 were NOT taken")]
    {
        let output = on_a_full_disk(&site, arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{:?}: {message}", output.status);
        let spool = site.path("spool");
        assert!(message.contains(says) && message.contains(spool.to_str().unwrap()), "{message}");
        assert_eq!(fs::read_dir(spool).unwrap().count(), 0);
    }
    site.set("WEIR_SPOOL", "/dev/null/spool");
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    assert!(site.fails(1, &["poll", "vote", "now", "yes"]).contains("spool /dev/null/spool"));
    assert!(site.fails(1, &batch).contains("lines 1 to 2 were NOT taken"));
}

#[test]
fn a_flush_that_the_disk_stops_says_so_and_leaves_the_votes_queued() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let output = on_a_full_disk(&site, &["poll", "flush"]);
    assert_eq!(output.status.code(), Some(1), "{:?}: {}", output.status, stderr(&output));
    assert!(stderr(&output).contains("polls.sqlite"), "{}", stderr(&output));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    site.ok(&["poll", "verify"]);
}

#[test]
fn output_that_cannot_be_written_is_an_error_that_names_it() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    for arguments in [&["poll", "list"][..], &["poll", "export", "now"], &["poll", "status", "--json"], &["config"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = site.command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).starts_with("weir: standard output: "), "{}", stderr(&output));
    }
}
