//! A flush between whose first two looks, at the database and at the server, another flush is at work.

use std::time::Duration;

use serde_json::json;
use weir::poll::drain::{Drain, Holes};
use weir::poll::pulse::Pulse;
use weir::slug::Slug;
use weir::store::{
    self, Advance, Batch, DatabaseUrl, DeadLetter, Folded, Poll, Properties, QueueRow, Row, Settled, Store, Tally,
    Verdict,
};

use crate::support::{Memcached, Site, backend};

/// When the other process is at work.
#[derive(Clone, Copy, PartialEq)]
enum When {
    BeforeTheRow,
    AfterTheRow,
    /// After the position, before anything is read.
    BeforeThePolls,
}

/// A store around one of whose looks another process is at work.
struct Interrupted<'a> {
    inner: Box<dyn Store>,
    when: When,
    meanwhile: Option<Box<dyn FnOnce() + Send + 'a>>,
}

impl Interrupted<'_> {
    fn passes(&mut self, moment: When) {
        if let Some(meanwhile) = self.meanwhile.take_if(|_| self.when == moment) {
            meanwhile();
        }
    }
}

type Answer<T> = Result<T, store::Error>;

impl Store for Interrupted<'_> {
    fn create_poll(&mut self, poll: &Poll) -> Answer<()> {
        self.inner.create_poll(poll)
    }
    fn polls(&mut self) -> Answer<Vec<Poll>> {
        self.passes(When::BeforeThePolls);
        self.inner.polls()
    }
    fn poll(&mut self, slug: &Slug) -> Answer<Option<Poll>> {
        self.inner.poll(slug)
    }
    fn set_closing(&mut self, poll: &Poll, change: &mut dyn FnMut(&mut Poll)) -> Answer<Poll> {
        self.inner.set_closing(poll, change)
    }
    fn check_writable(&mut self) -> Answer<()> {
        self.inner.check_writable()
    }
    fn fold(&mut self, batch: Batch, advance: Option<Advance<'_>>) -> Answer<Folded> {
        self.inner.fold(batch, advance)
    }
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn properties(&mut self) -> Answer<Properties> {
        self.inner.properties()
    }
    fn keep_secret_fingerprint(&mut self, fingerprint: u64) -> Answer<u64> {
        self.inner.keep_secret_fingerprint(fingerprint)
    }
    fn queue(&mut self, name: &str) -> Answer<Option<QueueRow>> {
        self.passes(When::BeforeTheRow);
        let found = self.inner.queue(name);
        self.passes(When::AfterTheRow);
        found
    }
    fn queues(&mut self) -> Answer<Vec<QueueRow>> {
        self.inner.queues()
    }
    fn forget_missing(&mut self) -> Answer<()> {
        self.inner.forget_missing()
    }
    fn tally(&mut self, poll: &Poll) -> Answer<Tally> {
        self.inner.tally(poll)
    }
    fn repair(&mut self, poll: &Poll) -> Answer<(Tally, Tally)> {
        self.inner.repair(poll)
    }
    fn recount(&mut self, poll: &Poll) -> Answer<(Tally, Tally)> {
        self.inner.recount(poll)
    }
    fn turnout(&mut self, poll: &Poll, from_ms: i64, step_ms: i64) -> Answer<Vec<(u64, u64)>> {
        self.inner.turnout(poll, from_ms, step_ms)
    }
    fn for_each_ballot(&mut self, poll: &Poll, each: &mut dyn FnMut(Row) -> bool) -> Answer<()> {
        self.inner.for_each_ballot(poll, each)
    }
    fn dead_letter_count(&mut self) -> Answer<u64> {
        self.inner.dead_letter_count()
    }
    fn dead_letters(&mut self, limit: u32) -> Answer<Vec<DeadLetter>> {
        self.inner.dead_letters(limit)
    }
    fn dead_letters_after(&mut self, after: Option<[u8; 16]>, limit: u32) -> Answer<Vec<DeadLetter>> {
        self.inner.dead_letters_after(after, limit)
    }
    fn dead_letter(&mut self, id: [u8; 16]) -> Answer<Option<DeadLetter>> {
        self.inner.dead_letter(id)
    }
    fn settle_dead_letters(&mut self, verdicts: &[([u8; 16], Verdict)]) -> Answer<Settled> {
        self.inner.settle_dead_letters(verdicts)
    }
    fn unsafe_settings(&mut self) -> Answer<Vec<String>> {
        self.inner.unsafe_settings()
    }
}

fn open(site: &Site) -> Box<dyn Store> {
    let url = DatabaseUrl::new(&format!("sqlite:{}", site.path("polls.sqlite").display())).unwrap();
    store::open(&url, Duration::from_secs(60)).unwrap()
}

/// Drains with something going on meanwhile; afterwards the head must not be past the counter, and the next vote is
/// queued.
fn drain(memcached: &Memcached, site: &Site, when: When, meanwhile: impl FnOnce() + Send) {
    let backend = backend(memcached, site);
    let (mut watch, pulse) = (|_| {}, Pulse::default());
    let mut drain = Drain::open(&backend, &backend.memcached[0], &mut watch, &pulse).unwrap();
    let mut store = Interrupted { inner: open(site), when, meanwhile: Some(Box::new(meanwhile)) };
    let drained = drain.run(&mut store, Holes::All, None);
    assert!(store.meanwhile.is_none());
    let curr: i64 = memcached.talk().get("poll-queue-curr").unwrap().parse().unwrap();
    let head = open(site).queues().unwrap()[0].head;
    let place = site.ok(&["poll", "vote", "now", "yes"]);
    assert!(place.starts_with("queued "), "{place}");
    assert!(head <= curr, "head {head}, counter {curr}, {drained:?}");
}

#[test]
fn a_flush_that_another_overtakes_does_not_move_the_head_past_the_counter() {
    for when in [When::BeforeTheRow, When::AfterTheRow] {
        let memcached = Memcached::start();
        let site = Site::new(&[&memcached]);
        site.create_now();
        site.ok(&["poll", "vote", "now", "yes"]);
        site.ok(&["poll", "flush"]);
        drain(&memcached, &site, when, || {
            site.ok(&["poll", "vote", "now", "yes"]);
            site.ok(&["poll", "flush"]);
        });
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    }
}

#[test]
fn votes_of_an_epoch_that_begins_during_a_flush_are_counted() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    // A voter that begins the queue has recorded its epoch and made the lock, and not yet the counter.
    let epoch = ((1_u64 << 28) + 5) << 34;
    let mut voter = memcached.talk();
    voter.set("poll-queue-epoch-1", &epoch.to_string());
    voter.set("poll-queue-lock", "0");
    drain(&memcached, &site, When::BeforeThePolls, || {
        if voter.get("poll-queue-curr").is_none() {
            voter.set("poll-queue-curr", &epoch.to_string());
        }
        site.ok(&["poll", "vote", "now", "yes"]);
    });
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now").len(), 2);
}
