//! Another voter secret than the polls', or none: a process that has it is refused with a sentence that names the setting,
//! and no vote is cast.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Memcached, Service, Site, stderr};
use crate::wrong_settings::{CREATE_OTHER, flush};

/// What a command that would go on until a signal says when it ends by itself with exit code 2.
fn refused_at_start(site: &Site, arguments: &[&str]) -> String {
    let mut child = site.start(arguments);
    let ended = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        child.try_wait().unwrap()
    });
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(2), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

fn assert_names_the_secret(message: &str) {
    for part in ["WEIR_VOTER_SECRET", "voter-secret", "no vote was cast"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_process_with_another_secret_or_none_is_refused_everywhere() {
    let mut memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]).with("WEIR_VOTER_SECRET", "of this site");
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    for secret in ["of another host", ""] {
        site.set("WEIR_VOTER_SECRET", secret);
        assert_names_the_secret(&site.fails(2, &["poll", "vote", "now", "no", "--voter", "ann"]));
        assert_names_the_secret(&site.fails(2, &["poll", "flush"]));
        assert_names_the_secret(&refused_at_start(&site, &["poll", "flush", "--every", "50ms"]));
        assert_names_the_secret(&site.fails(2, &["poll", "dead-letters", "retry", "--all"]));
        assert_names_the_secret(&site.fails(2, &CREATE_OTHER));
        let batch = site.batch("now\tyes\tbob\n".repeat(3));
        assert_eq!(batch.status.code(), Some(2));
        assert_names_the_secret(&stderr(&batch));
        let summary: Value = serde_json::from_slice(&batch.stdout).unwrap();
        assert_eq!((&summary["status"], &summary["accepted"]), (&json!("stopped"), &json!(0)));
        // The same without a definition in memcached, and without memcached.
        memcached.talk().delete("poll-queue-poll-now");
        assert_names_the_secret(&site.fails(2, &["poll", "vote", "now", "no", "--voter", "ann"]));
        memcached.black_hole();
        let away = ["poll", "vote", "now", "no", "--voter", "ann", "--timeout", "100ms"];
        assert_names_the_secret(&site.fails(2, &away));
        memcached.revive();
    }
    site.set("WEIR_VOTER_SECRET", "of this site");
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
    site.fails(3, &["poll", "vote", "now", "no", "--voter", "ann"]);
    memcached.kill();
    site.fails(3, &["poll", "vote", "now", "no", "--voter", "ann"]);
    assert_eq!((site.counted("now").len(), site.ok(&["poll", "list", "--json"]).lines().count()), (1, 1));
}

#[test]
fn a_service_with_another_secret_does_not_start_and_one_that_finds_it_later_takes_no_vote() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]).with("WEIR_VOTER_SECRET", "of this site");
    site.create_now();
    site.set("WEIR_VOTER_SECRET", "of another host");
    assert_names_the_secret(&refused_at_start(&site, &["poll", "serve", "--listen", "127.0.0.1:0"]));
    // The database is away, and memcached has the definition.
    site.set("WEIR_DATABASE", "sqlite:/dev/null/none");
    let service = Service::start(&site, &["--flush-every", "0"]);
    let headers = [("content-type", "application/json")];
    let answer = service.request("POST", "/api/v1/polls/now/votes", &headers, "{\"choices\":[\"yes\"]}");
    assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("not_taken")));
    assert_eq!(service.get("/polls/now").status, 200);
    assert_names_the_secret(&std::fs::read_to_string(site.path("serve.log")).unwrap());
    assert!(memcached.talk().get("poll-queue-curr").is_none());
}

#[test]
fn the_command_line_uses_the_secret_that_the_service_made_on_the_same_host() {
    let memcached = Memcached::start();
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    // Without any secret there is nothing that could differ.
    site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]);
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
    let service = Service::start(&site, &["--flush-every", "0"]);
    site.ok(&CREATE_OTHER);
    site.ok(&["poll", "vote", "other", "yes", "--voter", "ann"]);
    assert_eq!(flush(&site, 0, &[]).0["counted"], json!(1));
    assert_eq!(service.end(), Some(0));
    // Another host has another spool folder, and no secret.
    site.set("WEIR_SPOOL", site.path("spool of another host").display().to_string());
    assert_names_the_secret(&site.fails(2, &["poll", "vote", "other", "no", "--voter", "ann"]));
    assert_names_the_secret(&site.fails(2, &["poll", "flush"]));
}
