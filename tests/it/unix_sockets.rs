//! memcached on a Unix socket: everything that works over TCP works there, and what cannot work says why.

use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::{Memcached, Service, Site, is_root};

#[test]
fn polls_work_over_a_unix_socket_from_the_vote_to_the_results() {
    let memcached = Memcached::start_on_socket();
    let site = Site::new(&[&memcached]);
    site.create_now();
    assert!(site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]).starts_with("queued "));
    site.fails(3, &["poll", "vote", "now", "no", "--voter", "ann"]);
    assert!(site.ok(&["poll", "vote", "now", "no", "--locked"]).starts_with("queued "));
    let lines: String = (0..3000).map(|_| "now\tyes\n").collect();
    assert!(site.batch(lines).status.success());
    let status = site.status();
    assert_eq!(status["servers"][0]["server"], json!(memcached.address()));
    assert_eq!((&status["servers"][0]["error"], &status["servers"][0]["may_evict"]), (&json!(null), &json!(false)));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(3002));
    assert_eq!(site.json(&["poll", "results", "now"])["total"], json!(3002));
    site.ok(&["poll", "status", "--check"]);
}

#[test]
fn the_service_votes_and_flushes_over_a_unix_socket_beside_a_port() {
    let servers = [Memcached::start_on_socket(), Memcached::start()];
    let site = Site::new(&servers.each_ref()).with("WEIR_COPIES", "2");
    site.create_now();
    let service = Service::start(&site, &["--flush-every", "50ms"]);
    for _ in 0..10 {
        let answer = service.api_vote("now", &["yes"], &[]);
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
    let metrics = service.get("/metrics").body;
    assert!(metrics.contains(&format!("weir_server_up{{server=\"{}\"}} 1", servers[0].address())), "{metrics}");
    assert_eq!(service.end(), Some(0));
    assert_eq!(site.counted("now").len(), 10);
}

#[test]
fn a_socket_that_cannot_be_used_is_named_and_the_vote_goes_to_the_database() {
    let mut site = Site::new(&[]);
    let (missing, file) = (site.path("missing.sock"), site.path("file"));
    std::fs::write(&file, "no socket").unwrap();
    site.set("WEIR_MEMCACHED", format!("unix:{}", missing.display()));
    site.create_now();
    for (path, says) in [(&missing, "No such file"), (&file, "Connection refused")] {
        site.set("WEIR_MEMCACHED", format!("unix:{}", path.display()));
        let output = site.run(&["poll", "vote", "now", "yes"]);
        let (said, told) = (crate::support::stdout(&output), crate::support::stderr(&output));
        assert!(output.status.success() && said.starts_with("stored "), "{said}{told}");
        assert!(told.contains(&format!("memcached unix:{}: cannot connect: ", path.display())), "{told}");
        assert!(told.contains(says), "{told}");
    }
    if !is_root() {
        let closed = site.path("closed.sock");
        let _listener = UnixListener::bind(&closed).unwrap();
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        site.set("WEIR_MEMCACHED", format!("unix:{}", closed.display()));
        let output = site.run(&["poll", "vote", "now", "yes"]);
        assert!(crate::support::stderr(&output).contains("Permission denied"), "{output:?}");
    }
}

#[test]
fn a_path_that_is_none_is_refused_with_what_is_expected() {
    for bad in ["unix:memcached.sock", "unix:", "unix:/"] {
        let site = Site::new(&[]).with("WEIR_MEMCACHED", bad);
        let told = site.fails(2, &["poll", "list"]);
        assert!(told.contains("WEIR_MEMCACHED") && told.contains("absolute path"), "{told}");
    }
    // A comma separates addresses, also in the middle of a path.
    let site = Site::new(&[]).with("WEIR_MEMCACHED", "unix:/run/a,/b.sock");
    let told = site.fails(2, &["poll", "list"]);
    assert!(told.contains("\"/b.sock\"") && told.contains("comma"), "{told}");
}

#[test]
fn a_socket_whose_backlog_is_full_costs_its_time_out_and_no_more() {
    let site = Site::new(&[]);
    let path = site.path("busy.sock");
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    // Nobody accepts: what the backlog takes is connected, and whoever comes later waits.
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let site = site.with("WEIR_MEMCACHED", format!("unix:{}", path.display())).with("WEIR_TIMEOUT", "300ms");
    let before = std::time::Instant::now();
    site.create_now();
    let output = site.run(&["poll", "vote", "now", "yes"]);
    let told = crate::support::stderr(&output);
    assert!(output.status.success() && told.contains("no answer in time"), "{told}");
    assert!(before.elapsed() < std::time::Duration::from_secs(20), "{:?}", before.elapsed());
}
