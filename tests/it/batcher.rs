//! The group commit of the library, driven as a long-lived writer drives it: many callers at once, each waiting for its
//! own answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::json;
use weir::poll::ballot::{IdentityKey, Refusal, Voter};
use weir::poll::batcher::{Answer, Batcher, Limits, NotGathered};
use weir::poll::site::Site as PollSite;
use weir::poll::spool::Spool;
use weir::poll::vote::{Outcome, Place, Vote};
use weir::queue::{Address, Keys, Prefix};
use weir::slug::Slug;
use weir::store::DatabaseUrl;

use crate::support::{Memcached, Site, wait_until};

/// The same site as the binary's, for the library.
pub(crate) fn library(site: &Site, servers: &[&Memcached]) -> PollSite {
    PollSite {
        memcached: servers.iter().map(|server| Address::new(&server.address()).unwrap()).collect(),
        keys: Keys::new(Prefix::new("poll-queue").unwrap()),
        database: DatabaseUrl::new(&format!("sqlite:{}", site.path("polls.sqlite").display())).unwrap(),
        spool: Spool::new(site.path("spool")),
        copies: 1,
        timeout: Duration::from_secs(10),
        keep: Duration::from_secs(60),
        identity_key: IdentityKey::new(None),
    }
}

pub(crate) fn vote(pick: &str, voter: Option<&str>) -> Vote {
    let slug = |text| Slug::new(text).unwrap();
    Vote { poll: slug("now"), picks: [slug(pick)].into(), voter: voter.map(|name| Voter::new(name).unwrap()) }
}

fn taken(answer: &Answer) -> Option<(Place, String)> {
    match &answer.outcome {
        Outcome::Taken(place, identity) => Some((*place, identity.to_string())),
        _ => None,
    }
}

fn is_refused(answer: &Answer) -> bool {
    let Outcome::Refused(refusal) = &answer.outcome else { return false };
    matches!(**refusal, Refusal::AlreadyVoted(_) | Refusal::UnderWay(_))
}

#[test]
fn callers_at_once_are_each_answered_for_their_own_vote() {
    const CALLERS: usize = 24;
    const VOTES_EACH: usize = 50;
    let servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref());
    site.create_now();
    let batcher = Batcher::start(&library(&site, &servers.each_ref()), Limits::default()).unwrap();
    let answers: Vec<(String, Answer)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let batcher = &batcher;
                // Every voter is named by two callers, so that one of each two is to be refused.
                let name = move |number| format!("{}-{number}", caller / 2);
                scope.spawn(move || {
                    let cast = |number| (name(number), batcher.cast(vote("yes", Some(&name(number)))).unwrap());
                    (0..VOTES_EACH).map(cast).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(batcher.waiting(), 0);
    let mut of_voter: HashMap<&str, Vec<&Answer>> = HashMap::new();
    answers.iter().for_each(|(voter, answer)| of_voter.entry(voter).or_default().push(answer));
    let mut receipts = BTreeSet::new();
    for (voter, answers) in of_voter {
        let (took, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| taken(answer).is_some());
        assert_eq!((took.len(), refused.len()), (1, 1), "{voter}");
        assert!(is_refused(refused[0]), "{:?}", refused[0]);
        receipts.extend(taken(took[0]).map(|(_, identity)| identity));
    }
    assert_eq!(receipts.len(), CALLERS / 2 * VOTES_EACH);
    site.ok(&["poll", "flush"]);
    assert_eq!(site.counted("now"), receipts.into_iter().collect::<Vec<_>>());
    site.ok(&["poll", "verify"]);
}

#[test]
fn each_answer_is_what_the_booth_says_of_that_vote() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let batcher = Batcher::start(&library(&site, &[&memcached]), Limits::default()).unwrap();
    let (sender, receiver) = channel();
    let unknown = Vote { poll: Slug::new("never").unwrap(), ..vote("yes", None) };
    let votes = [vote("yes", None), vote("maybe", None), unknown, vote("no", Some("ann"))];
    for (number, vote) in votes.into_iter().enumerate() {
        let sender = sender.clone();
        batcher.submit(vote, move |answer| sender.send((number, answer)).unwrap()).unwrap();
    }
    drop(sender);
    let answers: HashMap<usize, Answer> = receiver.into_iter().collect();
    assert_eq!(answers.len(), 4);
    let refusal = |number| match &answers[&number].outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refusal(1).contains("no choice \"maybe\"") && refusal(2).contains("no poll never"));
    assert_eq!(taken(&answers[&0]).unwrap().0, Place::Queued);
    assert_eq!(taken(&answers[&3]).unwrap().0, Place::Queued);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(2));
}

#[test]
fn what_gathers_while_a_server_is_silent_goes_out_together_and_a_full_lane_says_so_at_once() {
    const GATHERED_MAX: usize = 3000;
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let limits = Limits { gathered_max: GATHERED_MAX, ..Limits::default() };
    let mut library = library(&site, &[&memcached]);
    library.timeout = Duration::from_secs(60);
    let batcher = Batcher::start(&library, limits).unwrap();
    memcached.black_hole();
    let (sender, receiver) = channel();
    let submit = || {
        let sender = sender.clone();
        batcher.submit(vote("yes", None), move |answer| sender.send(answer).unwrap())
    };
    submit().unwrap();
    wait_until("the first vote is under way", || batcher.waiting() == 0);
    (0..GATHERED_MAX).for_each(|_| submit().unwrap());
    assert_eq!(batcher.waiting(), GATHERED_MAX);
    assert_eq!(submit(), Err(NotGathered::Full));
    assert!(receiver.try_recv().is_err());
    memcached.revive();
    let answers: Vec<_> = receiver.iter().take(GATHERED_MAX + 1).collect();
    assert!(answers.iter().all(|answer| matches!(taken(answer), Some((Place::Queued, _)))));
    // One entry for the first, and as few as the length of an entry allows for all others: 3000 lines of 100 bytes.
    let depth = site.status()["servers"][0]["depth"].as_u64().unwrap();
    assert!((2..=6).contains(&depth), "{depth}");
    let mut talk = memcached.talk();
    let last: u64 = talk.get("poll-queue-curr").unwrap().trim().parse().unwrap();
    for ticket in last + 1 - depth..=last {
        let entry = talk.get(&format!("poll-queue-key-{ticket}")).unwrap();
        assert!(entry.len() < 256 * 1024, "{}", entry.len());
    }
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(GATHERED_MAX + 1));
}

#[test]
fn dropping_the_batcher_casts_and_answers_what_has_gathered() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let batcher = Batcher::start(&library(&site, &[&memcached]), Limits { batch_max: 7, ..Limits::default() }).unwrap();
    memcached.black_hole();
    let (sender, receiver) = channel();
    for _ in 0..100 {
        let sender = sender.clone();
        batcher.submit(vote("no", None), move |answer| sender.send(answer).unwrap()).unwrap();
    }
    drop(sender);
    memcached.revive();
    drop(batcher);
    assert_eq!(receiver.try_iter().filter(|answer| taken(answer).is_some()).count(), 100);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(100));
}

#[test]
fn a_server_killed_under_load_costs_no_acknowledged_vote_that_was_copied() {
    const CALLERS: usize = 8;
    let mut servers = [Memcached::start(), Memcached::start()];
    let site = Site::new(&servers.each_ref());
    site.create_now();
    let library = PollSite { copies: 2, ..library(&site, &servers.each_ref()) };
    let batcher = Batcher::start(&library, Limits::default()).unwrap();
    let killed = AtomicBool::new(false);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let (batcher, killed) = (&batcher, &killed);
        let cast = move |caller: usize| {
            let (mut answers, mut after) = (Vec::new(), 0);
            while after < 100 {
                after += usize::from(killed.load(Ordering::Relaxed));
                let name = format!("{caller}-{}", answers.len());
                answers
                    .push(batcher.cast(vote("yes", Some(&name).filter(|_| caller > 1).map(String::as_str))).unwrap());
            }
            answers
        };
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || cast(caller))).collect();
        wait_until("votes are queued", || site.status()["servers"][0]["depth"].as_u64().unwrap() > 20);
        servers[0].kill();
        killed.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let receipts: BTreeSet<_> = answers.iter().map(|answer| taken(answer).unwrap().1).collect();
    assert_eq!(receipts.len(), answers.len());
    site.flush_partly();
    let counted: BTreeSet<_> = site.counted("now").into_iter().collect();
    assert!(receipts.is_subset(&counted), "{} of {} are lost", receipts.difference(&counted).count(), receipts.len());
    assert_eq!(counted.len(), receipts.len());
}

#[test]
fn with_every_server_killed_votes_go_to_the_database_and_without_that_to_the_spool() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let library = library(&site, &[&memcached]);
    let batcher = Batcher::start(&library, Limits::default()).unwrap();
    assert_eq!(taken(&batcher.cast(vote("yes", Some("ann"))).unwrap()).unwrap().0, Place::Queued);
    site.ok(&["poll", "flush"]);
    memcached.kill();
    let stored = batcher.cast(vote("yes", Some("bob"))).unwrap();
    assert_eq!(taken(&stored).unwrap().0, Place::Stored);
    assert!(stored.failures.iter().any(|failure| failure.contains(&memcached.address())), "{:?}", stored.failures);
    assert!(is_refused(&batcher.cast(vote("no", Some("ann"))).unwrap()));
    let nowhere = PollSite { database: DatabaseUrl::new("sqlite:/dev/null/none").unwrap(), ..library.clone() };
    let batcher = Batcher::start(&nowhere, Limits::default()).unwrap();
    assert_eq!(taken(&batcher.cast(vote("yes", None)).unwrap()).unwrap().0, Place::Spooled);
    let nowhere = PollSite { spool: Spool::new("/dev/null/none"), ..nowhere };
    let batcher = Batcher::start(&nowhere, Limits::default()).unwrap();
    assert_eq!(batcher.cast(vote("yes", None)).unwrap().outcome, Outcome::NotTaken);
    site.flush_partly();
    assert_eq!(site.counted("now").len(), 3);
}

#[test]
fn a_panic_in_a_lane_leaves_the_votes_under_it_without_an_answer_and_the_lane_takes_the_next() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let batcher = Batcher::start(&library(&site, &[&memcached]), Limits::default()).unwrap();
    let (sender, receiver) = channel();
    memcached.black_hole();
    let first = sender.clone();
    batcher.submit(vote("yes", None), move |answer| first.send(Some(answer)).unwrap()).unwrap();
    wait_until("the first vote is under way", || batcher.waiting() == 0);
    // These two are cast together, and what takes the first one's answer panics.
    batcher.submit(vote("yes", None), |_| panic!("the caller's own fault")).unwrap();
    let second = sender.clone();
    batcher.submit(vote("yes", None), move |answer| second.send(Some(answer)).unwrap()).unwrap();
    memcached.revive();
    assert!(receiver.recv().unwrap().is_some());
    wait_until("the trouble is told", || {
        batcher.trouble().is_some_and(|trouble| trouble.contains("caller's own fault"))
    });
    drop(sender);
    // The second one's reply was dropped uncalled.
    assert!(receiver.recv().is_err());
    assert!(taken(&batcher.cast(vote("no", Some("ann"))).unwrap()).is_some());
    assert_eq!(batcher.trouble(), None);
    drop(batcher);
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(4));
}

#[test]
fn a_definition_that_was_read_refuses_wrong_votes_when_nothing_answers_any_more() {
    let mut memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let database = DatabaseUrl::new("sqlite:/dev/null/none").unwrap();
    let batcher = Batcher::start(&PollSite { database, ..library(&site, &[&memcached]) }, Limits::default()).unwrap();
    assert_eq!(taken(&batcher.cast(vote("yes", None)).unwrap()).unwrap().0, Place::Queued);
    memcached.kill();
    let began = Instant::now();
    // For longer than the second for which a definition is not read again.
    while began.elapsed() < Duration::from_millis(1500) {
        let refused = batcher.cast(vote("maybe", None)).unwrap().outcome;
        assert!(
            matches!(&refused, Outcome::Refused(why) if matches!(**why, Refusal::UnknownChoice { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(taken(&batcher.cast(vote("yes", None)).unwrap()).unwrap().0, Place::Spooled);
}
