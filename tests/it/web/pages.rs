//! The pages as plain HTML: what a browser without JavaScript sees.

use serde_json::json;

use crate::support::{Memcached, Service, Site, wait_until};

fn start(memcached: &Memcached, arguments: &[&str]) -> (Site, Service) {
    let site = Site::new(&[memcached]);
    site.create_now();
    let choices = ["--choice", "ham=Ham & <b>egg</b>", "--choice", "leek=Leek", "--choice", "kale=Kale"];
    let question = ["--question", "Which <i>two</i>?", "--pick", "2"];
    site.ok(&[&["poll", "create", "lunch"], &question[..], &choices[..]].concat());
    let service = Service::start(&site, arguments);
    (site, service)
}

#[test]
fn a_vote_by_the_form_is_counted_and_shown_and_a_second_is_told_so() {
    let memcached = Memcached::start();
    let (site, service) = start(&memcached, &["--flush-every", "100ms"]);
    let list = service.get("/").body;
    assert!(list.contains("href=\"/polls/now\"") && list.contains("Which &lt;i&gt;two&lt;/i&gt;?"), "{list}");
    let page = service.get("/polls/lunch");
    assert!(page.body.contains("Ham &amp; &lt;b&gt;egg&lt;/b&gt;") && page.body.contains("type=\"checkbox\""));
    assert!(service.get("/polls/now").body.contains("type=\"radio\""));
    let voted = service.form("/polls/now", "choice=yes", &[]);
    assert_eq!((voted.status, voted.headers["location"].as_str()), (303, "/polls/now/results?voted=1"));
    assert!(voted.headers["set-cookie"].contains("HttpOnly; SameSite=Lax"));
    let cookies = [("Cookie", voted.cookies.as_str())];
    let again = service.form("/polls/now", "choice=no", &cookies);
    assert_eq!(again.status, 409);
    assert!(again.body.contains("already voted") && again.body.contains("class=\"bars\""), "{}", again.body);
    let shown = service.request("GET", "/polls/now", &cookies, "").body;
    assert!(shown.contains("already voted") && !shown.contains("<form"));
    assert!(service.get("/polls/now/results?voted=1").body.contains("Thank you"));
    wait_until("the vote is shown", || service.get("/polls/now/results").body.contains("100.0%"));
    assert!(service.get("/polls/now/results").body.contains("1 vote<"));
    assert_eq!(service.form("/polls/lunch", "choice=ham&choice=kale", &[]).status, 303);
    for (body, says) in [
        ("", "Nothing was chosen"),
        ("choice=ham&choice=leek&choice=kale", "at most 2"),
        ("choice=%00", "not a choice"),
    ] {
        let refused = service.form("/polls/lunch", body, &[]);
        assert_eq!(refused.status, 422, "{body}");
        assert!(refused.body.contains(says) && refused.body.contains("<form"), "{}", refused.body);
    }
    site.ok(&["poll", "close", "now"]);
    wait_until("the poll is shown as closed", || !service.get("/polls/now").body.contains("<form"));
    assert!(service.get("/polls/now").body.contains("The last votes are being counted"));
    assert_eq!(service.form("/polls/now", "choice=no", &[]).status, 410);
    assert_eq!(service.end(), Some(0));
    assert_eq!((site.counted("now").len(), site.counted("lunch").len()), (1, 1));
}

#[test]
fn every_answer_has_the_headers_of_safety_and_frames_are_for_whom_they_were_granted() {
    let memcached = Memcached::start();
    let (site, service) = start(&memcached, &[]);
    for path in ["/", "/polls/now", "/polls/none", "/nothing", "/api/v1/polls", "/metrics", "/assets/x"] {
        let headers = service.get(path).headers;
        let policy = &headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (headers["x-frame-options"].as_str(), headers["x-content-type-options"].as_str()),
            ("DENY", "nosniff")
        );
    }
    let service = Service::start(&site, &["--embed-origin", "https://news.example", "--trusted-proxy", "127.0.0.1"]);
    let framed = service.get("/polls/now?embed=1");
    assert!(framed.headers["content-security-policy"].ends_with("frame-ancestors 'self' https://news.example"));
    assert!(!framed.headers.contains_key("x-frame-options") && !framed.body.contains("masthead"));
    assert!(framed.body.contains("action=\"/polls/now?embed=1\""));
    let voted = service.form("/polls/now?embed=1", "choice=yes", &[("X-Forwarded-Proto", "https")]);
    assert_eq!(voted.headers["location"], "/polls/now/results?voted=1&embed=1");
    assert!(voted.headers["set-cookie"].ends_with("SameSite=None; Secure; Partitioned"));
}

#[test]
fn a_vote_from_a_page_of_another_site_is_not_taken() {
    let memcached = Memcached::start();
    let (site, service) = start(&memcached, &["--flush-every", "0"]);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for headers in [
        &[form][..],
        &[form, ("Origin", "https://evil.example")],
        &[form, ("Origin", "null")],
        &[form, ("Sec-Fetch-Site", "cross-site")],
        &[form, ("Sec-Fetch-Site", "same-site"), ("Origin", &service.origin())],
    ] {
        assert_eq!(service.request("POST", "/polls/now", headers, "choice=yes").status, 403, "{headers:?}");
    }
    assert_eq!(service.api_vote("now", &["yes"], &[("Origin", "https://evil.example")]).status, 403);
    let plain = service.request("POST", "/api/v1/polls/now/votes", &[("Content-Type", "text/plain")], "{}");
    assert_eq!(plain.status, 415);
    let asked = service.request("OPTIONS", "/api/v1/polls/now/votes", &[("Origin", "https://evil.example")], "");
    assert!(!asked.headers.keys().any(|name| name.starts_with("access-control")), "{asked:?}");
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
}

#[test]
fn turnout_was_drawn_only_where_a_service_flushes_and_is_now_fed_by_a_flush_of_cron() {
    let memcached = Memcached::start();
    let (site, service) = start(&memcached, &["--flush-every", "0"]);
    site.ok(&["poll", "vote", "now", "yes"]);
    let turnout = |poll: &str| memcached.talk().get(&format!("poll-queue-turnout-{poll}"));
    wait_until("there is a chart", || {
        let page = service.get("/polls/now/results").body;
        site.ok(&["poll", "flush"]);
        page.contains("class=\"chart\"") && page.contains("1 ballot from")
    });
    // Nobody has looked at the other poll, so its ballots need not be read.
    assert_eq!(turnout("lunch"), None);
    // What is no turnout is none, and is counted anew.
    memcached.talk().set("poll-queue-turnout-now", "{\"from_ms\":9223372036854775807}");
    assert_eq!(service.get("/polls/now/results").status, 200);
    site.ok(&["poll", "flush"]);
    wait_until("there is a chart again", || service.get("/polls/now/results").body.contains("class=\"chart\""));
}

#[test]
fn results_need_no_database_while_memcached_answers() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    site.ok(&["poll", "flush"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let site = site.with("WEIR_DATABASE", format!("mysql://weir@{}/polls", listener.local_addr().unwrap()));
    let service = Service::start(&site, &["--flush-every", "0"]);
    // The start compares the voter secret with the database's.
    listener.set_nonblocking(true).unwrap();
    while listener.accept().is_ok() {}
    assert!(service.get("/polls/now/results").body.contains("100.0%"));
    assert_eq!(service.api_vote("now", &["no"], &[]).status, 201);
    assert_eq!(service.get("/api/v1/polls/now/results").json()["total"], 1);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    // The listener would have seen it: the list of polls is the database's. Meanwhile the polls are shown that were read.
    let list = service.get("/").body;
    assert!(list.contains("href=\"/polls/now\"") && list.contains("further polls may be open"), "{list}");
    wait_until("the database is asked", || listener.accept().is_ok());
}
