//! The service under a manager such as systemd, its settings, and signals that find it at work.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Manager, Memcached, Service, Site, signal, stderr, wait_until};

/// A database that takes connections and never says a word.
fn mute_database() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://weir@{}/polls", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_service_manager_is_told_of_readiness_life_and_end() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    let manager = Manager::listen(&site);
    let service = Service::start_as(&site, &["--flush-every", "1h"], |command| Manager::watch(&site, command));
    manager.hear("READY=1");
    assert_eq!(manager.hear("STATUS="), format!("listening on {}", service.origin()));
    // Its flusher rests for an hour, and that is no reason to be taken for dead.
    (0..3).for_each(|_| drop(manager.hear("WATCHDOG=1")));
    signal(service.child(), Signal::TERM);
    manager.hear("STOPPING=1");
    let address = service.address;
    wait_until("it has ended", || TcpStream::connect(address).is_err());
}

#[test]
fn the_watchdog_is_not_fed_while_the_flusher_hangs() {
    let memcached = Memcached::start();
    let (database, url) = mute_database();
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", url);
    let manager = Manager::listen(&site);
    let _service = Service::start_as(&site, &["--flush-every", "10ms"], |command| Manager::watch(&site, command));
    let (_hangs, _) = database.accept().unwrap();
    // What moved before it hung may be told of once or twice; fed by the clock alone it would be told for ever.
    assert!(manager.count("WATCHDOG=1", Duration::from_secs(3), 10) < 10);
}

#[test]
fn a_second_signal_did_not_end_a_service_whose_last_flush_hung() {
    let memcached = Memcached::start();
    let (database, url) = mute_database();
    let site = Site::new(&[&memcached]).with("WEIR_DATABASE", url);
    let service = Service::start(&site, &["--flush-every", "10ms"]);
    let (_hangs, _) = database.accept().unwrap();
    signal(service.child(), Signal::TERM);
    wait_until("nothing is accepted any more", || TcpStream::connect(service.address).is_err());
    assert_eq!(service.end(), Some(130));
}

#[test]
fn options_of_the_service_are_lines_of_the_file_and_variables_too() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]).with("WEIR_RATE_LIMIT", "7");
    let file = site.path("weir.toml");
    let text = "[serve]\ntitle = 'The Gazette, daily'\nrate-limit = 9\ntrusted-proxy = ['127.0.0.1', '::1']\n\
                embed-origin = 'https://news.example'\nflush-every = '0s'\n";
    std::fs::write(&file, text).unwrap();
    let site = site.with("WEIR_CONFIG", file.display().to_string());
    let shown = site.ok(&["config", "--json"]);
    let of = |name: &str| {
        let all = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = all.into_iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(found["table"], "serve");
        (found["value"].as_str().unwrap_or_default().to_string(), found["origin"].as_str().unwrap().to_string())
    };
    assert_eq!(of("title"), ("The Gazette, daily".into(), format!("{}:2", file.display())));
    assert_eq!(of("rate-limit"), ("7".into(), "environment WEIR_RATE_LIMIT".into()));
    assert_eq!(of("trusted-proxy").0, "127.0.0.1,::1");
    assert_eq!(of("listen"), ("127.0.0.1:8080".into(), "default".into()));
    let service =
        Service::start(&site, &["--embed-origin", "https://a.example", "--embed-origin", "https://b.example"]);
    let page = service.get("/");
    assert!(page.body.contains("The Gazette, daily"));
    // A flag stands for the whole list.
    assert!(
        page.headers["content-security-policy"].ends_with("frame-ancestors 'self' https://a.example https://b.example")
    );
    for (arguments, says) in [
        (["--listen", "8080"], "flag --listen: listen: \"8080\": expected an address and a port"),
        (["--rate-limit", "1.5"], "rate-limit: \"1.5\": expected a number"),
        (["--trusted-proxy", "10.0.0.0/8,nobody"], "trusted-proxy: \"nobody\": expected an address or a network"),
        (["--waiting-max", "0"], "waiting-max: \"0\": expected a number from 1"),
        (["--title", "a\nb"], "title"),
    ] {
        let refused = site.run(&[&["poll", "serve"], &arguments[..]].concat());
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains(says), "{}", stderr(&refused));
    }
    std::fs::write(&file, "[serve]\nconnections-max = 'many'\n").unwrap();
    let refused = site.fails(2, &["config"]);
    assert!(refused.contains("weir.toml:2: connections-max: \"many\""), "{refused}");
}
