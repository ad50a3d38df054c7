//! Ends that are none of weir's making: Ctrl-C, SIGTERM, and a reader that has seen enough.

use std::io::{BufRead, BufReader, Read};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Memcached, Site, signal};

#[test]
fn a_flush_service_ends_well_when_it_is_told_to() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    for stop in [Signal::INT, Signal::TERM] {
        site.ok(&["poll", "vote", "now", "yes"]);
        let mut service = site.start(&["poll", "flush", "--every", "10ms", "--json"]);
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
        let flushed: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(flushed["counted"], json!(1));
        // A vote that comes later is counted by the same service.
        site.ok(&["poll", "vote", "now", "no"]);
        let flushed: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(flushed["counted"], json!(1));
        signal(&service, stop);
        let ended = service.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{ended:?}");
    }
    assert_eq!(site.counted("now").len(), 4);
}

#[test]
fn a_reader_that_has_seen_enough_ends_an_export_without_a_word() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    assert!(site.batch("now\tyes\n".repeat(5000)).status.success());
    site.ok(&["poll", "flush"]);
    for format in ["csv", "jsonl"] {
        let mut export = site.start(&["poll", "export", "now", "--format", format]);
        let mut first = [0; 10];
        export.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = export.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{ended:?}");
    }
}
