//! A flush between whose first two looks, at the database and at the server, another flush is at work.

use std::time::Duration;

use serde_json::json;
use weir::poll::ballot::IdentityKey;
use weir::poll::drain::{Count, Drain};
use weir::poll::pulse::Pulse;
use weir::queue::{Address, Keys, Prefix};
use weir::slug::Slug;
use weir::store::{
    self, Advance, Batch, DatabaseUrl, DeadLetter, Folded, Poll, QueueHead, Row, Settled, Store, Tally, Verdict,
};

use crate::support::{Memcached, Site};

/// A store around whose first look at a queue's head another process is at work.
struct Interrupted<'a> {
    inner: Box<dyn Store>,
    before: bool,
    meanwhile: Option<Box<dyn FnOnce() + Send + 'a>>,
}

type Answer<T> = Result<T, store::Error>;

impl Store for Interrupted<'_> {
    fn create_poll(&mut self, poll: &Poll) -> Answer<()> {
        self.inner.create_poll(poll)
    }
    fn polls(&mut self) -> Answer<Vec<Poll>> {
        self.inner.polls()
    }
    fn poll(&mut self, slug: &Slug) -> Answer<Option<Poll>> {
        self.inner.poll(slug)
    }
    fn set_closing(&mut self, poll_id: i64, closes_at_ms: Option<i64>, closed_at_ms: Option<i64>) -> Answer<()> {
        self.inner.set_closing(poll_id, closes_at_ms, closed_at_ms)
    }
    fn fold(&mut self, batch: Batch, advance: Option<Advance<'_>>) -> Answer<Folded> {
        self.inner.fold(batch, advance)
    }
    fn queue_head(&mut self, queue: &str) -> Answer<Option<i64>> {
        let seen = self.inner.queue_head(queue);
        let Some(meanwhile) = self.meanwhile.take() else { return seen };
        meanwhile();
        if self.before { self.inner.queue_head(queue) } else { seen }
    }
    fn queue_heads(&mut self) -> Answer<Vec<QueueHead>> {
        self.inner.queue_heads()
    }
    fn tally(&mut self, poll: &Poll) -> Answer<Tally> {
        self.inner.tally(poll)
    }
    fn recount(&mut self, poll: &Poll) -> Answer<(Tally, Tally)> {
        self.inner.recount(poll)
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
}

#[test]
fn a_flush_that_was_overtaken_closed_the_slots_of_votes_to_come() {
    for before in [true, false] {
        let memcached = Memcached::start();
        let site = Site::new(&[&memcached]);
        site.create_now();
        site.ok(&["poll", "vote", "now", "yes"]);
        site.ok(&["poll", "flush"]);
        let url = DatabaseUrl::new(&format!("sqlite:{}", site.path("polls.sqlite").display())).unwrap();
        let open = || store::open(&url, Duration::from_secs(60)).unwrap();
        let meanwhile = Box::new(|| {
            site.ok(&["poll", "vote", "now", "yes"]);
            site.ok(&["poll", "flush"]);
        });
        let mut drain = Drain {
            address: &Address::new(&memcached.address()).unwrap(),
            keys: &Keys::new(Prefix::new("poll-queue").unwrap()),
            timeout: Duration::from_secs(10),
            key: &IdentityKey::new(None),
            watch: &mut |_| {},
            pulse: &Pulse::default(),
            count: Count::default(),
            took_over_lock: false,
            head: None,
        };
        let drained = drain.run(&mut Interrupted { inner: open(), before, meanwhile: Some(meanwhile) });
        let curr: i64 = memcached.talk().get("poll-queue-curr").unwrap().parse().unwrap();
        assert_eq!(open().queue_heads().unwrap()[0].head, curr, "{drained:?}");
        let place = site.ok(&["poll", "vote", "now", "yes"]);
        assert!(place.starts_with("queued "), "{place}");
        assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    }
}
