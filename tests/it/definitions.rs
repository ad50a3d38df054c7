//! Poll definitions in memcached while somebody changes them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::support::{Memcached, Site, stderr};

/// Passes connections on to a server, but holds back each write of a definition: says that it came, and waits for
/// the word to let it go.
fn hold_definitions(server: String) -> (String, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ((came, comes), (go, goes)) = (channel(), channel());
    let goes = Arc::new(Mutex::new(goes));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (came, goes, mut server) = (came.clone(), goes.clone(), TcpStream::connect(&server).unwrap());
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    if buffer.starts_with(b"ms poll-queue-poll-now ") {
                        let _ = came.send(()).is_ok() && goes.lock().unwrap().recv().is_ok();
                    }
                    server.write_all(&buffer[..length]).unwrap();
                }
                // The server's end is what the copier waits for.
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, comes, go)
}

#[test]
fn a_poll_that_was_closed_stayed_open_for_voters_because_one_had_read_it_before() {
    closed_meanwhile(&["poll", "vote", "now", "yes"]);
}

#[test]
fn a_poll_that_was_closed_stayed_open_for_voters_because_a_flush_had_read_it_before() {
    closed_meanwhile(&["poll", "flush"]);
}

/// Closes a poll while a command is about to write its definition, and expects it to be closed for voters.
fn closed_meanwhile(command: &[&str]) {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    memcached.talk().delete("poll-queue-poll-now");
    let (proxy, comes, go) = hold_definitions(memcached.address());
    let mut slow = site.command(&[command, &["--memcached", &proxy]].concat());
    let slow = std::thread::spawn(move || slow.output().unwrap());
    comes.recv().unwrap();
    site.ok(&["poll", "close", "now"]);
    drop((go, comes));
    let done = slow.join().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    site.fails(3, &["poll", "vote", "now", "yes"]);
}
