//! The pages in a real browser, as voters use them: with mouse and keyboard, with JavaScript and without, on wide and
//! narrow screens.

use std::future::Future;
use std::time::{Duration, Instant};

use fantoccini::key::Key;
use fantoccini::{Client, Locator};

use crate::support::{Browser, LIMIT, Memcached, Service, Site, Wish};

/// A site with three polls, a service that counts quickly, and a browser.
struct Stage {
    site: Site,
    service: Service,
    browser: Browser,
    _memcached: Memcached,
}

impl Stage {
    fn new() -> Stage {
        let memcached = Memcached::start();
        let site = Site::new(&[&memcached]);
        site.create_now();
        let dishes = ["--choice", "ham=Ham", "--choice", "leek=Leek", "--choice", "kale=Kale", "--pick", "2"];
        site.ok(&[&["poll", "create", "lunch", "--question", "Which two?"], &dishes[..]].concat());
        let service = Service::start(&site, &["--flush-every", "100ms", "--rate-limit", "0"]);
        Stage { site, service, browser: Browser::start(), _memcached: memcached }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.origin())
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// What the page shows; nothing while another one is being loaded.
async fn body(client: &Client) -> String {
    match client.find(Locator::Css("body")).await {
        Ok(body) => body.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Waits until the page says it.
pub(super) async fn says(client: &Client, text: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let shown = body(client).await;
        if shown.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "the page never said {text:?}: {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn click(client: &Client, selector: &str) {
    client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
}

/// Presses a key where the focus is.
async fn press(client: &Client, key: Key) {
    client.active_element().await.unwrap().send_keys(&char::from(key).to_string()).await.unwrap();
}

async fn is_checked(client: &Client, value: &str) -> bool {
    let input = client.find(Locator::Css(&format!("input[value={value}]"))).await.unwrap();
    input.prop("checked").await.unwrap().as_deref() == Some("true")
}

#[test]
fn a_vote_by_mouse_then_a_second_one_and_results_that_move_while_another_votes() {
    let stage = Stage::new();
    run(async {
        let ann = stage.browser.open(Wish::WIDE).await;
        ann.goto(&stage.url("/")).await.unwrap();
        ann.find(Locator::LinkText("Now?")).await.unwrap().click().await.unwrap();
        // The whole line is the target, not the small circle alone.
        click(&ann, "li:nth-child(1) label span").await;
        click(&ann, "button").await;
        says(&ann, "Thank you").await;
        says(&ann, "1 vote").await;
        says(&ann, "100.0%").await;
        let bob = stage.browser.open(Wish::WIDE).await;
        bob.goto(&stage.url("/polls/now")).await.unwrap();
        click(&bob, "input[value=no]").await;
        click(&bob, "button").await;
        says(&bob, "Thank you").await;
        // Nobody has touched ann's page.
        says(&ann, "50.0%").await;
        says(&ann, "2 ballots").await;
        ann.goto(&stage.url("/polls/now")).await.unwrap();
        says(&ann, "already voted").await;
        // A form that was left open in another tab: the page says so too.
        bob.delete_cookie("weir-voted").await.unwrap();
        bob.goto(&stage.url("/polls/now")).await.unwrap();
        click(&bob, "input[value=yes]").await;
        click(&bob, "button").await;
        says(&bob, "already voted").await;
        ann.close().await.unwrap();
        bob.close().await.unwrap();
    });
    assert_eq!(stage.site.counted("now").len(), 2);
}

#[test]
fn a_vote_by_keyboard_alone() {
    let stage = Stage::new();
    run(async {
        let client = stage.browser.open(Wish::WIDE).await;
        client.goto(&stage.url("/polls/now")).await.unwrap();
        // Over the link past the head and the head itself to the choices; with the arrow to the second.
        client.find(Locator::Css("body")).await.unwrap().send_keys(&char::from(Key::Tab).to_string()).await.unwrap();
        assert_eq!(client.active_element().await.unwrap().text().await.unwrap(), "Skip to content");
        press(&client, Key::Tab).await;
        press(&client, Key::Tab).await;
        client.active_element().await.unwrap().send_keys(" ").await.unwrap();
        press(&client, Key::Down).await;
        assert!(is_checked(&client, "no").await);
        press(&client, Key::Enter).await;
        says(&client, "Thank you").await;
        client.close().await.unwrap();
    });
    let exported = stage.site.ok(&["poll", "export", "now"]);
    assert!(exported.contains("now,no,"), "{exported}");
}

#[test]
fn a_vote_with_javascript_off() {
    let stage = Stage::new();
    run(async {
        let client = stage.browser.open(Wish { without_javascript: true, ..Wish::WIDE }).await;
        client.goto(&stage.url("/polls/lunch")).await.unwrap();
        for choice in ["ham", "leek", "kale"] {
            click(&client, &format!("input[value={choice}]")).await;
        }
        click(&client, "button").await;
        // With JavaScript the third could not have been chosen.
        says(&client, "takes at most 2").await;
        click(&client, "input[value=ham]").await;
        click(&client, "button").await;
        says(&client, "Thank you").await;
        client.goto(&stage.url("/polls/lunch/results")).await.unwrap();
        says(&client, "Results so far".to_uppercase().as_str()).await;
        client.close().await.unwrap();
    });
    assert_eq!(stage.site.counted("lunch").len(), 1);
}

#[test]
fn several_picks_are_counted_off_and_a_closed_poll_shows_its_results() {
    let stage = Stage::new();
    run(async {
        let client = stage.browser.open(Wish::WIDE).await;
        client.goto(&stage.url("/polls/lunch")).await.unwrap();
        click(&client, "input[value=ham]").await;
        click(&client, "input[value=kale]").await;
        says(&client, "2 of 2 chosen").await;
        let third = client.find(Locator::Css("input[value=leek]")).await.unwrap();
        assert!(!third.is_enabled().await.unwrap());
        click(&client, "button").await;
        says(&client, "add up to more than 100%").await;
        stage.site.ok(&["poll", "close", "now"]);
        client.goto(&stage.url("/polls/now/results")).await.unwrap();
        let deadline = Instant::now() + LIMIT;
        while !body(&client).await.contains("FINAL RESULTS") {
            assert!(Instant::now() < deadline);
            client.goto(&stage.url("/polls/now")).await.unwrap();
        }
        client.close().await.unwrap();
    });
}

#[test]
fn nothing_is_wider_than_a_narrow_screen_in_light_and_dark() {
    let stage = Stage::new();
    let word = "Donaudampfschifffahrtsgesellschaft".repeat(3);
    let (yes, no) = (format!("yes={word}"), format!("no={word} & more"));
    stage.site.ok(&["poll", "create", "long", "--question", &word, "--choice", &yes, "--choice", &no]);
    run(async {
        let mut papers = Vec::new();
        for dark in [false, true] {
            let client = stage.browser.open(Wish { width: 500, height: 800, dark, ..Wish::WIDE }).await;
            for path in ["/", "/polls/long", "/polls/long/results", "/polls/now?embed=1", "/nothing"] {
                client.goto(&stage.url(path)).await.unwrap();
                let script = "return [document.documentElement.scrollWidth, window.innerWidth]";
                let widths = client.execute(script, Vec::new()).await.unwrap();
                assert!(widths[0].as_u64().unwrap() <= widths[1].as_u64().unwrap(), "{path}: {widths}");
            }
            let script = "return getComputedStyle(document.body).backgroundColor";
            papers.push(client.execute(script, Vec::new()).await.unwrap());
            client.close().await.unwrap();
        }
        assert_ne!(papers[0], papers[1]);
    });
}
