//! Poll definitions in memcached while somebody changes them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::{Memcached, Site, stdout};

/// Passes one connection on to a server, but holds back the first write of a definition: says that it came, and
/// waits for the word to let it go.
fn hold_definition(listener: &TcpListener, server: &str, came: &Sender<()>, go: &Receiver<()>) {
    let (mut client, _) = listener.accept().unwrap();
    let mut server = TcpStream::connect(server).unwrap();
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        if buffer.starts_with(b"ms poll-queue-poll-now ") {
            came.send(()).unwrap();
            go.recv().unwrap();
        }
        server.write_all(&buffer[..length]).unwrap();
    }
}

#[test]
fn a_poll_that_was_closed_stayed_open_for_voters_because_one_had_read_it_before() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    memcached.talk().delete("poll-queue-poll-now");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    let ((came, comes), (go, goes)) = (channel(), channel());
    let address = memcached.address();
    let passing = std::thread::spawn(move || hold_definition(&listener, &address, &came, &goes));
    let mut slow = site.command(&["poll", "vote", "now", "yes", "--memcached", &proxy]);
    let slow = std::thread::spawn(move || slow.output().unwrap());
    comes.recv().unwrap();
    site.ok(&["poll", "close", "now"]);
    go.send(()).unwrap();
    let voted = slow.join().unwrap();
    passing.join().unwrap();
    assert!(stdout(&voted).starts_with("queued "), "{voted:?}");
    site.fails(3, &["poll", "vote", "now", "yes"]);
}
