//! The way of a vote from end to end.

use serde_json::json;

use crate::support::{Memcached, Site, stdout};

#[test]
fn votes_are_queued_flushed_counted_and_shown() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let first = site.ok(&["poll", "vote", "now", "yes"]);
    assert!(first.starts_with("queued ") && first.trim_end().len() == 7 + 32, "{first}");
    let named = site.json(&["poll", "vote", "now", "no", "--voter", "ann"]);
    assert_eq!((&named["status"], &named["poll"]), (&json!("queued"), &json!("now")));
    assert_eq!(site.json(&["poll", "flush"]), json!({"ballots": 2, "counted": 2, "duplicates": 0, "dead_letters": 0}));
    let results = site.json(&["poll", "results", "now"]);
    assert_eq!((&results["total"], &results["open"], &results["question"]), (&json!(2), &json!(true), &json!("Now?")));
    assert_eq!(results["choices"][0], json!({"key": "yes", "label": "Yes", "votes": 1, "share": 0.5}));
    let mut receipts = vec![first.trim_end()[7..].to_string(), named["id"].as_str().unwrap().to_string()];
    receipts.sort();
    assert_eq!(site.counted("now"), receipts);
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
}

#[test]
fn a_batch_is_taken_line_by_line_and_refused_lines_are_named() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let output = site.batch("now\tyes\nnow\tnever\nnow\tno\tann\n\nnow\tyes\tann\nother\tyes\n");
    assert_eq!(output.status.code(), Some(4));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut refused: Vec<_> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
    refused.sort_unstable();
    assert_eq!(refused, [2, 4, 5, 6]);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["lines"], &summary["accepted"], &summary["refused"]), (&json!(6), &json!(2), &json!(4)));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn a_large_batch_is_counted_to_the_last_ballot() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let lines: String = (0..100_000).map(|n| if n % 4 == 0 { "now\tno\n" } else { "now\tyes\n" }).collect();
    assert!(site.batch(&lines).status.success());
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(100_000));
    let results = site.json(&["poll", "results", "now"]);
    assert_eq!((&results["choices"][0]["votes"], &results["choices"][1]["votes"]), (&json!(75_000), &json!(25_000)));
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
}
