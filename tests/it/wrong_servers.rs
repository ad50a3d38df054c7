//! Servers that weir cannot use: each is refused with a sentence that says what it is, and nothing is done.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Memcached, Site, program, stderr, stdout};

/// A server that greets, and answers each line by `answer`, until that gives nothing.
fn fake(greeting: &'static [u8], answer: fn(&str) -> Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let talk = move |mut stream: TcpStream| {
        let _ = stream.write_all(greeting);
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Some(answer) = line.ok().and_then(|line| answer(&line)) else { return };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || talk(stream));
        }
    });
    address
}

/// The commands that use memcached do nothing and exit 2, with a sentence that names the server and says so.
fn is_refused(address: &str, says: &str) {
    let good = Memcached::start();
    let mut site = Site::new(&[&good]).with("WEIR_TIMEOUT", "2s");
    site.create_now();
    site.set("WEIR_MEMCACHED", address);
    std::fs::write(site.path("votes.tsv"), "now\tyes\n").unwrap();
    for command in [
        &["poll", "vote", "now", "yes"][..],
        &["poll", "vote", "now", "yes", "--voter", "ann"],
        &["poll", "vote", "--batch", "votes.tsv"],
        &["poll", "create", "more", "--question", "?", "--choice", "a=A", "--choice", "b=B"],
        &["poll", "close", "now"],
        &["poll", "flush"],
        &["poll", "serve", "--listen", "127.0.0.1:0"],
    ] {
        let output = site.run(command);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}{told}", stdout(&output));
        assert!(told.contains(&format!("memcached {address}: ")) && told.contains(says), "{command:?}: {told}");
    }
    let status = site.status();
    assert!(status["servers"][0]["error"].as_str().unwrap().contains(says), "{status}");
    let checked = site.run(&["poll", "status", "--check"]);
    assert!(checked.status.code() == Some(1) && stdout(&checked).contains(says), "{}", stdout(&checked));
    // Nothing was stored anywhere, and the poll is open as before.
    assert!(!site.path("spool").exists() || std::fs::read_dir(site.path("spool")).unwrap().next().is_none());
    site.set("WEIR_MEMCACHED", good.address());
    assert_eq!(site.json(&["poll", "flush"])["ballots"], json!(0));
    assert_eq!(site.counted("now").len(), 0);
    site.ok(&["poll", "vote", "now", "yes"]);
    site.fails(3, &["poll", "vote", "more", "a"]);
}

fn certificate(site: &Site) -> [String; 2] {
    let mut openssl = Command::new(program("openssl", "openssl"));
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(site.path("."));
    assert!(openssl.output().unwrap().status.success());
    ["cert.pem", "key.pem"].map(|name| site.path(name).display().to_string())
}

#[test]
fn a_server_with_tls_is_refused() {
    let site = Site::new(&[]);
    let [chain, key] = certificate(&site);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    // One that waits for a handshake and says nothing to anything else.
    let mut server = Command::new(program("openssl", "openssl"));
    server.args(["s_server", "-quiet", "-cert", &chain, "-key", &key, "-accept", &format!("127.0.0.1:{port}")]);
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    crate::support::wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let site = site.with("WEIR_MEMCACHED", format!("127.0.0.1:{port}")).with("WEIR_TIMEOUT", "2s");
    let told = site.fails(2, &["poll", "flush"]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(told.contains(&format!("memcached 127.0.0.1:{port}: it speaks TLS")), "{told}");
}

#[test]
fn a_memcached_with_tls_is_refused() {
    let site = Site::new(&[]);
    let [chain, key] = certificate(&site);
    // The server reads them as another user.
    for path in [&chain, &key] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    }
    std::fs::set_permissions(site.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let memcached = Memcached::start_with(&["-Z", "-o", &format!("ssl_chain_cert={chain},ssl_key={key}")]);
    is_refused(&memcached.address(), "it speaks TLS");
}

#[test]
fn a_memcached_that_wants_a_login_is_refused() {
    let site = Site::new(&[]);
    std::fs::write(site.path("users"), "ann:secret\n").unwrap();
    std::fs::set_permissions(site.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let memcached = Memcached::start_with(&["-Y", &site.path("users").display().to_string()]);
    is_refused(&memcached.address(), "it wants a login");
}

#[test]
fn a_memcached_of_the_binary_protocol_alone_is_refused() {
    let memcached = Memcached::start_with(&["-B", "binary"]);
    is_refused(&memcached.address(), "it speaks only the binary protocol");
}

#[test]
fn a_memcached_without_the_meta_protocol_is_refused() {
    let address = fake(b"", |line| Some(if line == "version" { "VERSION 1.5.6\r\n" } else { "ERROR\r\n" }));
    is_refused(&address.to_string(), "it is version 1.5.6, which lacks the meta protocol");
}

#[test]
fn what_is_no_memcached_is_refused_with_what_it_said() {
    let address = fake(b"", |_| Some("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
    is_refused(&address.to_string(), "it is no memcached server: it answered \"HTTP/1.1 400 Bad Request\"");
    let address = fake(b"", |_| Some("-ERR unknown command\r\n"));
    is_refused(&address.to_string(), "it is no memcached server: it answered \"-ERR unknown command\"");
    let address = fake(b"J\0\0\0\x0a5.5.5-10.11.6-MariaDB\0", |_| None);
    is_refused(&address.to_string(), "it is no memcached server");
}

#[test]
fn a_server_that_is_down_or_overloaded_is_not_of_a_wrong_kind() {
    let overloaded = fake(b"ERROR Too many open connections\r\n", |_| None);
    let closes = fake(b"", |_| None);
    for address in [overloaded.to_string(), closes.to_string(), "127.0.0.1:1".into()] {
        let site = Site::new(&[]).with("WEIR_MEMCACHED", address.as_str()).with("WEIR_TIMEOUT", "1s");
        site.create_now();
        let output = site.run(&["poll", "vote", "now", "yes"]);
        assert!(stdout(&output).starts_with("stored "), "{address}: {}", stderr(&output));
    }
}

#[test]
fn beside_a_server_that_can_be_used_one_of_a_wrong_kind_loses_no_vote() {
    let memcached = Memcached::start();
    let address = fake(b"", |_| Some("HTTP/1.1 400 Bad Request\r\n\r\n"));
    let mut site = Site::new(&[&memcached]);
    site.create_now();
    let both = format!("{},{address}", memcached.address());
    site.set("WEIR_MEMCACHED", both);
    let mut queued = 0;
    for _ in 0..10 {
        let output = site.run(&["poll", "vote", "now", "yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        queued += usize::from(stdout(&output).starts_with("queued "));
    }
    assert_eq!(queued, 10);
    site.fails(2, &["poll", "flush"]);
    site.set("WEIR_MEMCACHED", memcached.address());
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(10));
}
