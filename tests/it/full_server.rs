//! A memcached without memory to give, started with `-M` as recommended: it refuses to store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use weir::poll::batcher::{Batcher, Limits};
use weir::poll::vote::{Outcome, Place};

use crate::batcher::vote;
use crate::support::{Memcached, Site, backend};

#[test]
fn a_full_server_is_drained_and_takes_votes_again() {
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
    assert!(site.ok(&["poll", "vote", "now", "no"]).starts_with("queued "));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
}

#[test]
fn votes_taken_and_refused_in_turn_by_a_full_server_are_each_counted_once() {
    const VOTERS: usize = 8;
    for memory_mib in [4, 8] {
        let memcached = Memcached::start_with_memory(memory_mib);
        let site = Site::new(&[&memcached]);
        site.create_now();
        site.ok(&["poll", "vote", "now", "yes"]);
        memcached.fill_up(40);
        let flusher = site.start(&["--quiet", "poll", "flush", "--every", "20ms"]);
        let backend = backend(&memcached, &site);
        let over = AtomicBool::new(false);
        // One batcher for each, so that each has tickets of its own.
        let votes: Vec<(Place, String)> = std::thread::scope(|scope| {
            let voters: Vec<_> = (0..VOTERS)
                .map(|_| {
                    let (backend, over) = (&backend, &over);
                    scope.spawn(move || {
                        let mut taken = Vec::new();
                        while !over.load(Ordering::Relaxed) {
                            let batcher = Batcher::start(backend, Limits::default()).unwrap();
                            for _ in 0..20 {
                                match batcher.cast(vote("yes", None)).unwrap().outcome {
                                    Outcome::Taken(place, identity) => taken.push((place, identity.to_string())),
                                    other => panic!("{other:?}"),
                                }
                            }
                        }
                        taken
                    })
                })
                .collect();
            std::thread::sleep(std::time::Duration::from_secs(3));
            over.store(true, Ordering::Relaxed);
            voters.into_iter().flat_map(|voter| voter.join().unwrap()).collect()
        });
        kill_process(Pid::from_child(&flusher), Signal::TERM).unwrap();
        let flushed = flusher.wait_with_output().unwrap();
        assert!(flushed.status.success(), "{}", crate::support::stderr(&flushed));
        site.run(&["poll", "flush"]);
        let queued = votes.iter().filter(|(place, _)| *place == Place::Queued).count();
        assert!(queued > 100 && queued < votes.len(), "{queued} of {} votes were queued", votes.len());
        let counted: BTreeSet<_> = site.counted("now").into_iter().collect();
        let lost = votes.iter().filter(|(_, identity)| !counted.contains(identity)).count();
        assert_eq!((lost, counted.len()), (0, votes.len() + 1), "{memory_mib} MiB");
        site.ok(&["poll", "verify"]);
    }
}
