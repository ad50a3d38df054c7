//! A memcached without memory to give, started with `-M` as recommended: it refuses to store.

use serde_json::json;

use crate::support::{Memcached, Site};

#[test]
fn a_full_server_is_drained() {
    let memcached = Memcached::start_with_memory(4);
    let site = Site::new(&[&memcached]);
    site.create_now();
    // What the server refuses goes to the database.
    let lines: String = (0..60_000).map(|number| format!("now\tyes\tvoter {number}\n")).collect();
    let output = site.batch(&lines);
    let text = crate::support::stdout(&output);
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let (queued, stored) = (summary["queued"].as_u64().unwrap(), summary["stored"].as_u64().unwrap());
    assert!(queued > 0 && stored > 0 && queued + stored == 60_000, "{summary}");
    // A writer took a ticket and was killed.
    memcached.talk().incr("poll-queue-curr").unwrap();
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(queued));
    assert_eq!(site.counted("now").len(), 60_000);
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
}
