//! A memcached that is restarted while many vote.

use std::sync::Barrier;

use serde_json::json;
use weir::poll::vote::{Outcome, Place};

use crate::batcher::vote;
use crate::support::{Memcached, Site, backend};

#[test]
fn voters_that_find_no_counter_at_once_begin_one_epoch() {
    const VOTERS: usize = 150;
    for round in 0..5 {
        let memcached = Memcached::start_with_memory(64);
        let site = Site::new(&[&memcached]);
        site.create_now();
        let backend = backend(&memcached, &site);
        let (start, name) = (Barrier::new(VOTERS), |voter| format!("{round} {voter}"));
        std::thread::scope(|scope| {
            for voter in 0..VOTERS {
                let (start, backend) = (&start, &backend);
                scope.spawn(move || {
                    let mut writer = backend.clone().booth(false);
                    start.wait();
                    let written = writer.cast(vec![vote("yes", Some(&name(voter)))]);
                    assert!(matches!(written.outcomes[0], Outcome::Taken(Place::Queued, _)), "{written:?}");
                });
            }
        });
        let epochs = memcached.talk().keys().iter().filter(|key| key.starts_with("poll-queue-epoch-")).count();
        assert_eq!(epochs, 1, "round {round}");
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(VOTERS));
    }
}
