//! One address, several servers behind it in turn, as behind a balancer or round-robin DNS.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Memcached, Site, stdout};

/// Passes each new connection to the next of the servers.
fn balancer(servers: [String; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let turn = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = &servers[turn.fetch_add(1, Ordering::Relaxed) % servers.len()];
            let Ok(server) = TcpStream::connect(server) else { continue };
            pass(&client, &server);
            pass(&server, &client);
        }
    });
    address
}

/// Copies what comes from one to the other, until one of them closes.
fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn check(site: &Site) -> Value {
    serde_json::from_slice(&site.run(&["poll", "status", "--check", "--json"]).stdout).unwrap()
}

#[test]
fn several_servers_at_one_address_are_reported() {
    let servers = [Memcached::start(), Memcached::start()];
    let address = balancer(servers.each_ref().map(Memcached::address)).to_string();
    let site = Site::new(&[]).with("WEIR_MEMCACHED", address.as_str());
    site.create_now();
    let checked = check(&site);
    assert_eq!(checked["problems"][0]["kind"], json!("several_servers"), "{checked}");
    assert!(checked["problems"][0]["message"].as_str().unwrap().contains(&address), "{checked}");
    assert_eq!(checked["servers"][0]["further_ids"].as_array().unwrap().len(), 1, "{checked}");
}

#[test]
fn votes_behind_one_address_of_two_servers_are_all_counted() {
    let servers = [Memcached::start(), Memcached::start()];
    let address = balancer(servers.each_ref().map(Memcached::address)).to_string();
    let site = Site::new(&[]).with("WEIR_MEMCACHED", address.as_str());
    site.create_now();
    for _ in 0..40 {
        assert!(site.ok(&["poll", "vote", "now", "yes"]).starts_with("queued "));
    }
    // A flush may find that its connections lead to different servers, and say so; the next one goes on.
    let mut quiet = 0;
    for _ in 0..100 {
        let output = site.run(&["poll", "flush", "--json"]);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
        let counted = serde_json::from_str::<Value>(&stdout(&output)).unwrap()["counted"].as_u64().unwrap();
        quiet = if counted == 0 && output.status.success() { quiet + 1 } else { 0 };
        if quiet == 4 {
            break;
        }
    }
    assert_eq!(site.counted("now").len(), 40);
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    assert_eq!(check(&site)["problems"][0]["kind"], json!("several_servers"));
}
