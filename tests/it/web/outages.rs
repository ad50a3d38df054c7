//! The service in outages: it takes what the command line takes, reports where, shows what it last read with its time,
//! and is as before when the servers are back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{MariaDb, Memcached, Service, Site, stdout, wait_until};

/// Longer than a definition or a view is good for.
const LONGER_THAN_FRESH: Duration = Duration::from_secs(3);

/// How long a page may take: 300 ms, and what a busy machine adds. Without something older to show it would be 4 s.
const PAGE_LIMIT: Duration = Duration::from_secs(2);

/// A service with its servers, and the receipts of all votes that it or the command line acknowledged.
struct World {
    memcached: Memcached,
    mariadb: MariaDb,
    site: Site,
    service: Service,
    receipts: Vec<String>,
}

const ARGUMENTS: [&str; 4] = ["--flush-every", "200ms", "--rate-limit", "0"];

impl World {
    fn start(memory_mib: u32) -> World {
        let (memcached, mariadb) = (Memcached::start_with_memory(memory_mib), MariaDb::start());
        let site = Site::new(&[&memcached])
            .with("WEIR_DATABASE", mariadb.create("polls"))
            .with("WEIR_TIMEOUT", "300ms")
            .with("WEIR_VOTER_SECRET", "s3cret");
        let choices = ["--choice", "yes=Yes", "--choice", "no=No", "--once", "none", "--question", "Free?"];
        site.ok(&[&["poll", "create", "free"], &choices[..]].concat());
        let service = Service::start(&site, &ARGUMENTS);
        let mut world = World { memcached, mariadb, site, service, receipts: Vec::new() };
        world.recovers("at the start");
        world
    }

    /// Votes by the interface; the status, the word of the receipt or the name of the error.
    fn api_vote(&mut self) -> (u16, String) {
        let answer = self.service.api_vote("free", &["yes"], &[]);
        let body = answer.json();
        self.receipts.extend(body["id"].as_str().map(str::to_string));
        let word = body["status"].as_str().or(body["error"].as_str()).unwrap_or_default();
        (answer.status, word.to_string())
    }

    /// Votes by the command line; the exit code and the word of the receipt.
    fn cli_vote(&mut self) -> (Option<i32>, String) {
        let output = self.site.run(&["poll", "vote", "free", "no", "--json"]);
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        self.receipts.extend(receipt["id"].as_str().map(str::to_string));
        (output.status.code(), receipt["status"].as_str().unwrap_or_default().to_string())
    }

    /// Fails unless votes are taken, all of them, for longer than anything read before is good for, into one of
    /// `places`, by the interface, the form and the command line, while the service says that it is ready and alive.
    fn takes_votes(&mut self, outage: &str, places: &[&str]) {
        let began = Instant::now();
        let mut votes = 0;
        while began.elapsed() < LONGER_THAN_FRESH || votes < 3 {
            let (status, word) = self.api_vote();
            assert!(status == 201 && places.contains(&word.as_str()), "{outage}: vote {votes}: {status} {word}");
            let ready = self.service.get("/readyz");
            assert_eq!(ready.status, 200, "{outage}: {}", ready.body);
            votes += 1;
        }
        let (code, word) = self.cli_vote();
        assert!(code == Some(0) && places.contains(&word.as_str()), "{outage}: the command line: {code:?} {word}");
        // The form's receipt has no identity to compare, so what it voted in is a poll of its own.
        let voted = self.service.form("/polls/form", "choice=yes", &[]);
        assert_eq!(voted.status, 303, "{outage}: {}", voted.body);
        let alive = self.service.get("/healthz");
        assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"), "{outage}");
        assert_eq!(self.service.api_vote("free", &["maybe"], &[]).status, 422, "{outage}");
    }

    fn shows_pages(&self, outage: &str) {
        for path in ["/", "/polls/free", "/polls/free/results", "/api/v1/polls/free/results"] {
            let began = Instant::now();
            let page = self.service.get(path);
            assert_eq!(page.status, 200, "{outage}: {path}: {}", page.body);
            assert!(began.elapsed() < PAGE_LIMIT, "{outage}: {path} took {:?}", began.elapsed());
        }
    }

    /// Waits until every page says of which time it is.
    fn tells_the_time(&self, outage: &str) {
        for path in ["/", "/polls/free", "/polls/free/results"] {
            wait_until(&format!("{path} tells its time ({outage})"), || has_time(&self.service.get(path).body));
        }
    }

    fn says_ready(&self, outage: &str, parts: &[&str]) {
        let mut last = String::new();
        let what = format!("/readyz says {parts:?} ({outage})");
        wait_until(&what, || {
            last = self.service.get("/readyz").body;
            parts.iter().all(|part| last.contains(part))
        });
    }

    /// Waits until all is as before the outage, and everything acknowledged is counted.
    fn recovers(&mut self, outage: &str) {
        self.says_ready(outage, &["ready: memcached\n"]);
        let mut word = String::new();
        wait_until(&format!("votes are queued ({outage})"), || {
            let (status, place) = self.api_vote();
            assert_eq!(status, 201, "{outage}: {place}");
            word = place;
            word == "queued"
        });
        self.shows_all_votes(outage);
        for path in ["/", "/polls/free", "/polls/free/results"] {
            wait_until(&format!("{path} is fresh ({outage})"), || !has_time(&self.service.get(path).body));
        }
    }

    /// Waits until everything acknowledged is counted, so that no memcached holds anything more.
    fn shows_all_votes(&self, outage: &str) {
        let votes = json!(self.receipts.len());
        wait_until(&format!("all votes are shown ({outage})"), || {
            self.service.get("/api/v1/polls/free/results").json()["total"] == votes
        });
    }

    fn assert_counted(mut self) {
        assert_eq!(self.service.end(), Some(0));
        self.receipts.sort();
        assert_eq!(self.site.counted("free"), self.receipts);
        self.site.ok(&["poll", "verify"]);
    }
}

/// Whether a page says "As of HH:MM:SS UTC".
fn has_time(page: &str) -> bool {
    page.split("As of ").skip(1).any(|rest| {
        let text: String = rest.chars().skip_while(|c| *c != '>').skip(1).take(12).collect();
        text.ends_with(" UTC") && text.chars().filter(|c| *c == ':').count() == 2
    })
}

fn with_form(mut world: World) -> World {
    let choices = ["--choice", "yes=Yes", "--choice", "no=No", "--once", "none", "--question", "Form?"];
    world.site.ok(&[&["poll", "create", "form"], &choices[..]].concat());
    wait_until("the poll of the form is known", || world.service.get("/polls/form").status == 200);
    world.recovers("with both polls");
    world
}

#[test]
fn with_servers_killed_votes_are_taken_where_the_command_line_puts_them_and_all_is_as_before_when_they_are_back() {
    let mut world = with_form(World::start(64));
    world.memcached.kill();
    world.takes_votes("memcached killed", &["stored"]);
    world.shows_pages("memcached killed");
    world.says_ready("memcached killed", &["ready: database (memcached ", "cannot connect"]);
    world.memcached.restart();
    world.recovers("memcached killed");

    world.mariadb.kill();
    world.takes_votes("database killed", &["queued"]);
    world.shows_pages("database killed");
    world.says_ready("database killed", &["ready: memcached\n"]);
    world.mariadb.restart();
    world.recovers("database killed");

    world.memcached.kill();
    world.mariadb.kill();
    world.takes_votes("both killed", &["spooled"]);
    world.shows_pages("both killed");
    world.tells_the_time("both killed");
    world.says_ready("both killed", &["ready: spool (memcached ", "database mysql://weir:***@"]);
    world.mariadb.restart();
    world.memcached.restart();
    world.recovers("both killed");
    world.assert_counted();
}

#[test]
fn with_servers_stopped_votes_are_taken_where_the_command_line_puts_them_and_all_is_as_before_when_they_go_on() {
    let mut world = with_form(World::start(64));
    world.memcached.black_hole();
    world.takes_votes("memcached stopped", &["stored"]);
    world.shows_pages("memcached stopped");
    world.says_ready("memcached stopped", &["ready: database (memcached ", "no answer in time"]);
    world.memcached.revive();
    world.recovers("memcached stopped");

    world.mariadb.black_hole();
    world.takes_votes("database stopped", &["queued"]);
    world.shows_pages("database stopped");
    world.mariadb.revive();
    world.recovers("database stopped");

    world.memcached.black_hole();
    world.mariadb.black_hole();
    world.takes_votes("both stopped", &["spooled"]);
    world.shows_pages("both stopped");
    world.tells_the_time("both stopped");
    world.says_ready("both stopped", &["ready: spool (memcached "]);
    world.mariadb.revive();
    world.memcached.revive();
    world.recovers("both stopped");
    world.assert_counted();
}

#[test]
fn with_memcached_full_votes_go_to_the_database_and_back_to_memcached_when_it_has_room() {
    let mut world = with_form(World::start(4));
    let filled = world.memcached.talk().fill();
    // What lapses meanwhile may make room for one vote or another.
    world.takes_votes("memcached full", &["stored", "queued"]);
    world.shows_pages("memcached full");
    world.says_ready("memcached full", &["ready: database (memcached ", "out of memory"]);
    world.memcached.talk().empty(filled);
    world.recovers("memcached full");
    world.assert_counted();
}

#[test]
fn with_nothing_that_takes_votes_none_is_acknowledged_and_the_service_says_that_it_is_not_ready() {
    let mut world = with_form(World::start(64));
    let (spool, aside) = (world.site.path("spool"), world.site.path("spool.aside"));
    std::fs::rename(&spool, &aside).unwrap();
    std::fs::write(&spool, "").unwrap();
    world.takes_votes("no spool", &["queued"]);
    world.says_ready("no spool", &["ready: memcached\n"]);
    world.shows_all_votes("no spool");
    world.memcached.kill();
    world.mariadb.kill();
    world.says_ready("nothing", &["not ready: memcached ", "; database mysql://", "; spool "]);
    assert_eq!(world.service.get("/readyz").status, 503);
    assert_eq!(world.api_vote(), (503, "not_taken".into()));
    assert_eq!(world.service.form("/polls/form", "choice=yes", &[]).status, 503);
    assert_eq!(world.cli_vote(), (Some(1), String::new()));
    assert_eq!(world.service.get("/healthz").status, 200);
    world.shows_pages("nothing");
    std::fs::remove_file(&spool).unwrap();
    std::fs::rename(&aside, &spool).unwrap();
    world.says_ready("a spool again", &["ready: spool (memcached "]);
    assert_eq!(world.api_vote(), (201, "spooled".into()));
    world.mariadb.restart();
    world.memcached.restart();
    world.recovers("nothing");
    world.assert_counted();
}

#[test]
fn a_service_started_in_an_outage_takes_votes_in_the_polls_that_it_knew_and_in_no_others() {
    let mut world = with_form(World::start(64));
    world.site.ok(&["poll", "close", "form"]);
    wait_until("the poll is shown as closed", || !world.service.get("/polls/form").body.contains("<form"));
    world.memcached.kill();
    world.mariadb.kill();
    let World { memcached, mariadb, site, service, receipts } = world;
    assert_eq!(service.end(), Some(0));
    let service = Service::start(&site, &ARGUMENTS);
    let mut world = World { memcached, mariadb, site, service, receipts };
    assert_eq!(world.api_vote(), (201, "spooled".into()));
    assert_eq!(world.cli_vote(), (Some(0), "spooled".into()));
    assert_eq!(world.service.get("/readyz").status, 200);
    assert_eq!(world.service.api_vote("free", &["maybe"], &[]).status, 422);
    assert_eq!(world.service.api_vote("form", &["yes"], &[]).status, 410);
    assert_eq!(world.service.api_vote("made-up", &["yes"], &[]).status, 503);
    for path in ["/", "/polls/free"] {
        let page = world.service.get(path);
        assert!(page.status == 200 && page.body.contains("Free?"), "{path}: {}", page.body);
    }
    world.tells_the_time("started in an outage");
    let spooled = stdout(&world.site.run(&["poll", "status", "--json"]));
    assert!(!spooled.contains("made-up"), "{spooled}");
    world.mariadb.restart();
    world.memcached.restart();
    world.recovers("started in an outage");
    world.assert_counted();
}

/// A service in which one thread fails at one step, once.
fn failing(memcached: &Memcached, plan: &str, flush_every: &str) -> (Site, Service) {
    let site = Site::new(&[memcached]).with("WEIR_FAILPOINT", plan);
    let choices = ["--choice", "yes=Yes", "--choice", "no=No", "--once", "none", "--question", "Free?"];
    site.ok(&[&["poll", "create", "free"], &choices[..]].concat());
    let service = Service::start(&site, &["--flush-every", flush_every]);
    (site, service)
}

#[test]
fn a_writer_that_panicked_leaves_its_votes_unknown_and_takes_the_next() {
    let memcached = Memcached::start();
    let (site, service) = failing(&memcached, "batch.cast=panic@2", "1h");
    assert_eq!(service.api_vote("free", &["yes"], &[]).json()["status"], "queued");
    assert_eq!(service.get("/healthz").status, 200);
    let unknown = service.api_vote("free", &["yes"], &[]);
    assert_eq!((unknown.status, &unknown.json()["error"]), (503, &json!("unknown_outcome")));
    assert!(unknown.headers.contains_key("retry-after"));
    let troubled = service.get("/healthz");
    assert!(troubled.status == 503 && troubled.body.contains("panicked"), "{troubled:?}");
    assert_eq!(service.get("/readyz").status, 503);
    for _ in 0..3 {
        assert_eq!(service.api_vote("free", &["yes"], &[]).json()["status"], "queued");
    }
    assert_eq!((service.get("/healthz").status, service.get("/readyz").status), (200, 200));
    assert_eq!(service.end(), Some(0));
    // It was cast before the thread failed: unknown, and counted.
    assert_eq!(site.counted("free").len(), 5);
}

#[test]
fn a_reader_that_panicked_is_asked_again_and_answers() {
    let memcached = Memcached::start();
    let (site, service) = failing(&memcached, "definition.leased=panic", "1h");
    memcached.talk().delete("poll-queue-poll-free");
    assert_eq!(service.get("/polls/free").status, 503);
    let troubled = service.get("/healthz");
    assert!(troubled.status == 503 && troubled.body.contains("panicked"), "{troubled:?}");
    wait_until("the page is shown", || service.get("/polls/free").status == 200);
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(service.api_vote("free", &["yes"], &[]).status, 201);
    assert_eq!(service.end(), Some(0));
    assert_eq!(site.counted("free").len(), 1);
}

#[test]
fn a_flusher_that_panicked_flushes_again_and_reports_it_once() {
    let memcached = Memcached::start();
    let (site, service) = failing(&memcached, "flush.head-read=panic@2", "100ms");
    assert_eq!(service.api_vote("free", &["yes"], &[]).status, 201);
    wait_until("the vote is counted", || site.counted("free").len() == 1);
    let log = || std::fs::read_to_string(site.path("serve.log")).unwrap();
    wait_until("the end of the trouble is told", || log().contains("no longer so: the flush panicked"));
    assert_eq!(log().matches("the flush panicked").count(), 2, "{}", log());
    assert_eq!(service.end(), Some(0));
}
