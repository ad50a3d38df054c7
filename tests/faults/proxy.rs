//! A TCP proxy before one server, which can delay, hold back, cut off in the middle of an answer, or refuse.
//!
//! Each client has a connection of its own to the server, so a connection breaks when its server dies, as it does
//! without a proxy. What is held back is delivered late when the fault is lifted: a request may take effect long after
//! its sender has given up.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a connection on which nothing comes looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// What the proxy does with what comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Pass,
    /// Every piece waits so long.
    Delay(Duration),
    /// Nothing moves in either direction.
    Hold,
    /// Of the next answer on each connection so many bytes pass, and the connection is cut.
    CutAnswers(usize),
    /// Connections are closed as soon as they are made.
    Refuse,
}

struct Shared {
    target: SocketAddr,
    mode: Mutex<Mode>,
    ends: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// A running proxy, ended when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one before the server at `target` (`host:port`), which need not be there yet.
    pub(crate) fn start(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.parse().unwrap(),
            mode: Mutex::new(Mode::Pass),
            ends: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let own = shared.clone();
        let listener = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.ends.load(Ordering::Relaxed) {
                    return;
                }
                own.clone().serve(client);
            }
        });
        Proxy { address, shared, listener: Some(listener) }
    }

    /// `host:port` for clients.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// What to do from now on.
    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        if mode == Mode::Refuse {
            self.shared.cut_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.shared.cut_all();
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn cut_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(self: Arc<Shared>, client: TcpStream) {
        // Looked at and noted under one lock: no connection slips past a refusal that begins now.
        let mode = self.mode.lock().unwrap();
        if *mode == Mode::Refuse {
            return;
        }
        let Ok(server) = TcpStream::connect_timeout(&self.target, Duration::from_secs(1)) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LOOK)).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        drop(mode);
        let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        let (here, there) = (self.clone(), self);
        std::thread::spawn(move || here.pump(client, server, false));
        let [client, server] = ends;
        std::thread::spawn(move || there.pump(server, client, true));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while !self.ends.load(Ordering::Relaxed) {
            let length = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            while self.mode() == Mode::Hold && !self.ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let (bytes, cut) = match self.mode() {
                Mode::CutAnswers(after) if answers => (&buffer[..length.min(after)], true),
                mode => {
                    if let Mode::Delay(time) = mode {
                        std::thread::sleep(time);
                    }
                    (&buffer[..length], false)
                }
            };
            if to.write_all(bytes).is_err() || cut {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
