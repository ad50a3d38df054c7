//! One suite that every store passes: SQLite and MariaDB are the same to the rest of weir.

use std::time::Duration;

use weir::poll::ballot::{Choice, Identity, Once, Poll};
use weir::slug::Slug;
use weir::store::{
    self, Advance, Batch, DatabaseUrl, DeadLetter, Error, Folded, QueueRow, Row, Settled, Store, TRANSACTION_ROWS_MAX,
    Verdict,
};

use crate::support::MariaDb;

fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

fn poll(name: &str) -> Poll {
    let choices = ["yes", "no", "maybe"].map(|key| Choice { key: slug(key), label: format!("{key} 'ö' \"\\ 🗳") });
    Poll::new(slug(name), "It's \"so\"; -- ö\\ 🗳?".into(), choices.into(), 2, Some(4_000_000_000_000)).unwrap()
}

fn row(poll: &Poll, voter: u128, picks: u64) -> Row {
    Row { poll_id: poll.id, identity: Identity(voter.to_be_bytes()), picks, at_ms: 1000 + voter as i64 }
}

fn batch(rows: Vec<Row>) -> Batch {
    Batch { rows, ..Batch::default() }
}

fn queue(head: i64) -> QueueRow {
    let (name, server, slots) = ("q@1".into(), "h:1".into(), format!("slots up to {head}"));
    QueueRow { name, server, head, slots, missing: 3, flushed_at_ms: 77 }
}

/// Writes rows with a queue's row, which must be the one of `from` and becomes that of `to`.
fn fold(store: &mut dyn Store, rows: Vec<Row>, from: Option<i64>, to: i64) -> Result<Folded, Error> {
    let (from, to) = (from.map(queue), queue(to));
    store.fold(batch(rows), Some(Advance { from: from.as_ref(), to: &to }))
}

fn on_every_store(check: impl Fn(&mut dyn Store, &DatabaseUrl)) {
    let folder = tempfile::tempdir().unwrap();
    let mariadb = MariaDb::start();
    let sqlite = format!("sqlite:{}", folder.path().join("new folder/polls.sqlite").display());
    for url in [sqlite, mariadb.create("polls")] {
        let url = DatabaseUrl::new(&url).unwrap();
        check(open(&url).as_mut(), &url);
    }
}

fn open(url: &DatabaseUrl) -> Box<dyn Store> {
    store::create(url, Duration::from_secs(30)).unwrap()
}

#[test]
fn turnout_is_counted_by_steps_of_time() {
    on_every_store(|store, _| {
        let (poll, other) = (poll("one"), poll("two"));
        store.create_poll(&poll).unwrap();
        store.create_poll(&other).unwrap();
        // Cast at 1000 and a few milliseconds, one a millisecond.
        let rows = |poll: &Poll| (0..30).map(|voter| row(poll, voter, 1)).collect::<Vec<_>>();
        store.fold(batch([rows(&poll), rows(&other)].concat()), None).unwrap();
        assert_eq!(store.turnout(&poll, 1000, 10).unwrap(), [(0, 10), (1, 10), (2, 10)]);
        assert_eq!(store.turnout(&poll, 1005, 20).unwrap(), [(0, 25), (1, 5)]);
        assert_eq!(store.turnout(&poll, 1000, 7_000_000).unwrap(), [(0, 30)]);
    });
}

#[test]
fn polls_are_kept_as_they_were_created() {
    on_every_store(|store, url| {
        let (one, two) = (poll("one"), Poll { once: Once::CookieAndIp, ..poll("two") });
        store.create_poll(&one).unwrap();
        store.create_poll(&two).unwrap();
        assert!(matches!(store.create_poll(&poll("one")), Err(Error::PollExists(name)) if name == slug("one")));
        assert_eq!(store.poll(&slug("one")).unwrap().as_ref(), Some(&one));
        assert_eq!(store.poll(&slug("three")).unwrap(), None);
        // What is stored is handed out, whatever the caller knows.
        let known = Poll { closes_at_ms: None, ..two.clone() };
        let closed = store.set_closing(&known, &mut |poll| {
            assert_eq!(*poll, two);
            (poll.closes_at_ms, poll.closed_at_ms) = (None, Some(5));
        });
        let closed = closed.unwrap();
        assert_eq!(closed, Poll { closes_at_ms: None, closed_at_ms: Some(5), ..two });
        // Opened again, the tables are there already, and so is everything in them.
        assert_eq!(open(url).polls().unwrap(), [one, closed]);
    });
}

#[test]
fn a_ballot_counts_once_and_the_first_stands() {
    on_every_store(|store, _| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let rows = vec![row(&now, 1, 0b001), row(&now, 2, 0b110), row(&now, 1, 0b010), row(&now, 1, 0b001)];
        assert_eq!(store.fold(batch(rows), None).unwrap(), Folded { counted: 2, duplicates: 2 });
        let rows = vec![row(&now, 2, 0b001), row(&now, 3, 0b001)];
        assert_eq!(store.fold(batch(rows), None).unwrap(), Folded { counted: 1, duplicates: 1 });
        let (stored, counted) = store.recount(&now).unwrap();
        assert_eq!(stored, counted);
        assert_eq!((stored.ballots, stored.votes.as_slice()), (3, &[2, 1, 1][..]));
        assert_eq!(store.tally(&now).unwrap(), stored);
        let mut seen = Vec::new();
        store
            .for_each_ballot(&now, &mut |row| {
                seen.push(row);
                seen.len() < 2
            })
            .unwrap();
        assert_eq!(seen, [row(&now, 1, 0b001), row(&now, 2, 0b110)]);
        // A walk that was ended early leaves the store fit for more.
        assert_eq!(store.polls().unwrap().len(), 1);
    });
}

#[test]
fn a_queues_row_is_written_with_the_ballots_or_not_at_all() {
    on_every_store(|store, url| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        assert_eq!(store.queue("q@1").unwrap(), None);
        fold(store, vec![row(&now, 1, 1)], None, 10).unwrap();
        for wrong in [None, Some(9), Some(11)] {
            let refused = fold(store, vec![row(&now, 2, 1)], wrong, 20);
            assert!(matches!(refused, Err(Error::QueueTaken { queue }) if queue == "q@1"));
        }
        let other = QueueRow { slots: "other slots".into(), ..queue(10) };
        let refused = store.fold(batch(vec![row(&now, 2, 1)]), Some(Advance { from: Some(&other), to: &queue(20) }));
        assert!(matches!(refused, Err(Error::QueueTaken { .. })));
        assert_eq!((store.queue("q@1").unwrap(), store.tally(&now).unwrap().ballots), (Some(queue(10)), 1));
        let mut other = open(url);
        fold(other.as_mut(), vec![row(&now, 2, 1)], Some(10), i64::MAX).unwrap();
        assert_eq!((store.queue("q@1").unwrap(), store.tally(&now).unwrap().ballots), (Some(queue(i64::MAX)), 2));
        // Without ballots the row is written too: a run of empty slots.
        fold(store, Vec::new(), Some(i64::MAX), 3).unwrap();
        assert_eq!(store.queues().unwrap(), [queue(3)]);
        store.forget_missing().unwrap();
        assert_eq!(store.queues().unwrap(), [QueueRow { missing: 0, ..queue(3) }]);
    });
}

#[test]
fn dead_letters_are_kept_once_with_their_bytes() {
    on_every_store(|store, _| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let letter = |id: u8| DeadLetter {
            id: [id; 16],
            origin: "q@h:1 5".into(),
            reason: "it's no ballot 🗳".into(),
            bytes: vec![0, 255, b'\'', b'\\', id],
            found_at_ms: i64::from(id),
        };
        let with =
            |letters: &[u8]| Batch { dead_letters: letters.iter().copied().map(letter).collect(), ..Batch::default() };
        store.fold(with(&[1, 2]), None).unwrap();
        store.fold(with(&[2]), None).unwrap();
        assert_eq!(store.dead_letter_count().unwrap(), 2);
        assert_eq!(store.dead_letters(5).unwrap(), [letter(2), letter(1)]);
        assert_eq!(store.dead_letters(1).unwrap(), [letter(2)]);
    });
}

#[test]
fn dead_letters_are_settled_once_and_whole_whoever_comes_first() {
    on_every_store(|store, url| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let letter = |id: u8| DeadLetter {
            id: [id; 16],
            origin: "q@h:1 5".into(),
            reason: "old".into(),
            bytes: vec![id],
            found_at_ms: 5,
        };
        let dead_letters = (1..=6).map(letter).collect();
        store.fold(Batch { rows: vec![row(&now, 9, 1)], dead_letters }, None).unwrap();
        assert_eq!(store.dead_letters_after(None, 2).unwrap(), [letter(1), letter(2)]);
        assert_eq!(store.dead_letters_after(Some([5; 16]), 2).unwrap(), [letter(6)]);
        assert_eq!(store.dead_letters_after(Some([6; 16]), 2).unwrap(), []);
        let verdicts = [
            ([1; 16], Verdict::Ballot(row(&now, 1, 0b011))),
            ([2; 16], Verdict::Ballot(row(&now, 9, 0b100))),
            ([3; 16], Verdict::Dropped),
            ([4; 16], Verdict::Dropped),
            ([5; 16], Verdict::Kept("new ö".into())),
            ([6; 16], Verdict::Kept("old".into())),
            ([7; 16], Verdict::Ballot(row(&now, 7, 1))),
        ];
        let settled = store.settle_dead_letters(&verdicts).unwrap();
        assert_eq!(settled, Settled { counted: 1, duplicates: 1, dropped: 2, kept: 2 });
        // Another process that had read the same letters comes too late for all but those that stay.
        let again = open(url).settle_dead_letters(&verdicts).unwrap();
        assert_eq!(again, Settled { kept: 2, ..Settled::default() });
        assert_eq!(
            store.dead_letters_after(None, 9).unwrap(),
            [DeadLetter { reason: "new ö".into(), ..letter(5) }, letter(6)]
        );
        assert_eq!(store.dead_letter([1; 16]).unwrap(), None);
        assert_eq!(store.dead_letter([6; 16]).unwrap(), Some(letter(6)));
        let (stored, counted) = store.recount(&now).unwrap();
        assert_eq!((&stored, stored.ballots), (&counted, 2));
        assert_eq!(stored.votes, [2, 1, 0]);
    });
}

#[test]
fn dead_letters_settled_by_several_at_once_count_once() {
    on_every_store(|store, url| {
        const LETTERS: u8 = 200;
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let letter = |id: u8| DeadLetter {
            id: [id; 16],
            origin: "q".into(),
            reason: String::new(),
            bytes: Vec::new(),
            found_at_ms: 1,
        };
        store.fold(Batch { dead_letters: (0..LETTERS).map(letter).collect(), ..Batch::default() }, None).unwrap();
        let settle = || {
            let mut store = open(url);
            let mut settled = Settled::default();
            for ids in (0..LETTERS).collect::<Vec<_>>().chunks(10) {
                let verdict = |id: u8| match id % 2 {
                    0 => Verdict::Dropped,
                    _ => Verdict::Ballot(row(&now, u128::from(id), 1)),
                };
                let verdicts: Vec<_> = ids.iter().map(|id| ([*id; 16], verdict(*id))).collect();
                settled += store.settle_dead_letters(&verdicts).unwrap();
            }
            settled
        };
        let all = std::thread::scope(|scope| {
            let three: Vec<_> = (0..3).map(|_| scope.spawn(settle)).collect();
            three.into_iter().fold(Settled::default(), |mut sum, one| {
                sum += one.join().unwrap();
                sum
            })
        });
        let half = u64::from(LETTERS / 2);
        assert_eq!(all, Settled { counted: half, dropped: half, ..Settled::default() });
        let (stored, counted) = store.recount(&now).unwrap();
        assert_eq!((&stored, stored.ballots), (&counted, half));
        assert_eq!(store.dead_letter_count().unwrap(), 0);
    });
}

#[test]
fn a_full_transaction_and_a_batch_beyond_it_are_written_whole() {
    on_every_store(|store, _| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let rows = |range: std::ops::Range<u128>| range.rev().map(|voter| row(&now, voter, 1 << (voter % 3))).collect();
        let full = TRANSACTION_ROWS_MAX as u128;
        assert_eq!(store.fold(batch(rows(0..full)), None).unwrap(), Folded { counted: full as u64, duplicates: 0 });
        let advance = Some(Advance { from: None, to: &queue(1) });
        let more = store::fold_all(store, batch(rows(0..2 * full + 7)), advance).unwrap();
        assert_eq!(more, Folded { counted: full as u64 + 7, duplicates: full as u64 });
        let (stored, counted) = store.recount(&now).unwrap();
        assert_eq!((&stored, stored.ballots), (&counted, 2 * full as u64 + 7));
    });
}

#[test]
fn a_batch_of_which_some_were_there_already_adds_only_what_is_new() {
    on_every_store(|store, _| {
        let polls = [poll("now"), poll("then")];
        polls.iter().for_each(|poll| store.create_poll(poll).unwrap());
        let mut head = None;
        // All new; some not; again some not; all new again. Of two polls, with every pick there is.
        for (round, (first, counted)) in [(0, 300), (299, 299), (450, 151), (900, 300)].into_iter().enumerate() {
            let voters = first..first + 300;
            let rows = voters.map(|voter| row(&polls[voter as usize % 2], voter, 1 << (voter % 3))).collect();
            let next = round as i64 + 1;
            let folded = fold(store, rows, head, next).unwrap();
            assert_eq!(folded, Folded { counted, duplicates: 300 - counted }, "round {round}");
            head = Some(next);
            assert_eq!(store.queue("q@1").unwrap(), head.map(queue));
        }
        for poll in &polls {
            let (stored, counted) = store.recount(poll).unwrap();
            assert_eq!((&stored, stored.ballots), (&counted, 525));
        }
    });
}

#[test]
fn writers_of_the_same_ballots_at_once_agree_on_the_tally() {
    on_every_store(|store, url| {
        let now = poll("now");
        store.create_poll(&now).unwrap();
        let write = |part: u128| {
            let mut store = open(url);
            let folded = (0..20).map(|round| {
                let voters = (0..50).map(|voter| round * 50 + (voter * (part + 1)) % 50);
                store.fold(batch(voters.map(|voter| row(&now, voter, 1 << (voter % 3))).collect()), None).unwrap()
            });
            folded.map(|folded| folded.counted).sum::<u64>()
        };
        let counted: u64 = std::thread::scope(|scope| {
            let writers: Vec<_> = [0, 2, 6].map(|part| scope.spawn(move || write(part))).into();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        let (stored, recounted) = store.recount(&now).unwrap();
        assert_eq!((counted, stored.ballots), (1000, 1000));
        assert_eq!(stored, recounted);
    });
}

#[test]
fn processes_that_meet_an_empty_database_at_once_all_find_its_tables() {
    let (mariadb, folder) = (MariaDb::start(), tempfile::tempdir().unwrap());
    let sqlite = format!("sqlite:{}", folder.path().join("polls.sqlite").display());
    for url in [sqlite, mariadb.create("polls")] {
        let url = DatabaseUrl::new(&url).unwrap();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| assert!(open(&url).polls().unwrap().is_empty()))));
        });
    }
}

#[test]
fn a_password_and_tls_are_used_when_asked_for_and_a_wrong_one_is_never_shown() {
    let mariadb = MariaDb::start_with_tls();
    let url = mariadb.create("polls");
    let try_open = |url: &str| {
        let url = DatabaseUrl::new(url).unwrap();
        store::open(&url, Duration::from_secs(30)).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(try_open(&url), Ok(()));
    assert_eq!(try_open(&format!("{url}?tls=unverified")), Ok(()));
    let own_root = format!("{url}?tls=on&root_cert_path={}", mariadb.folder().join("cert.pem").display());
    assert_eq!(try_open(&own_root), Ok(()));
    // The public roots know nothing of this certificate.
    assert!(try_open(&format!("{url}?tls=on")).unwrap_err().contains("ertificate"));
    let wrong = try_open(&url.replace("s3cret", "s3crat")).unwrap_err();
    assert!(wrong.contains("Access denied") && !wrong.contains("s3crat"), "{wrong}");

    let plain = MariaDb::start();
    let url = plain.create("polls");
    assert!(try_open(&format!("{url}?tls=unverified")).is_err(), "it must not go on without TLS");
}
