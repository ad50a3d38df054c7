//! A proxy that speaks MySQL's framing: it answers commands itself, or does something to them, as a rule of the test says.
//!
//! What stands between it and the server is real, and so is all that the rule lets pass.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server answers it.
    Pass,
    /// The server never sees it; the answer is this error.
    Fail(u16),
    /// The server ends the transaction first, without a word to the client, and then answers the command.
    RollBackBefore,
    /// The connection breaks.
    HangUp,
    /// The answer is an empty packet, which no server sends.
    Garbage,
}

type Rule = Box<dyn FnMut(&str) -> Fate + Send>;

struct Shared {
    server: String,
    rule: Mutex<Rule>,
    open: Mutex<Option<Vec<TcpStream>>>,
}

/// A proxy before one server. All connections end when it is dropped.
pub(crate) struct MysqlProxy {
    address: String,
    shared: Arc<Shared>,
}

const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
/// Commands that nobody answers: quit, long data, close a statement.
const UNANSWERED: [u8; 3] = [0x01, 0x18, 0x19];

impl MysqlProxy {
    /// Starts one that lets everything pass.
    pub(crate) fn start(server: &str) -> MysqlProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            server: server.into(),
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            open: Mutex::new(Some(Vec::new())),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.open.lock().unwrap().is_none() {
                    return;
                }
                // A server that is away: the client is hung up on.
                let _ = serve(&accepting, &client);
            }
        });
        MysqlProxy { address, shared }
    }

    /// Its URL, given the server's.
    pub(crate) fn url(&self, server_url: &str) -> String {
        server_url.replace(&self.shared.server, &self.address)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// From now on every command has the fate that `rule` gives it. It is given the text of a query or of a statement that is
    /// prepared, and nothing for what carries no text.
    pub(crate) fn set(&self, rule: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Commands with this text in them have this fate.
    pub(crate) fn set_for(&self, text: &'static str, fate: Fate) {
        self.set(move |sql| if sql.contains(text) { fate } else { Fate::Pass });
    }

    /// Only the first such command has.
    pub(crate) fn set_once(&self, text: &'static str, fate: Fate) -> Arc<AtomicBool> {
        let met = Arc::new(AtomicBool::new(false));
        let flag = met.clone();
        self.set(move |sql| match sql.contains(text) && !flag.swap(true, Ordering::SeqCst) {
            true => fate,
            false => Fate::Pass,
        });
        met
    }

    /// Lets everything pass again.
    pub(crate) fn lift(&self) {
        self.set(|_| Fate::Pass);
    }

    /// Breaks every connection and refuses new ones, as a server that was killed does.
    pub(crate) fn kill(&self) {
        for stream in self.shared.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts, which then closes the port.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Drop for MysqlProxy {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(shared: &Arc<Shared>, client: &TcpStream) -> io::Result<()> {
    let server = TcpStream::connect(&shared.server)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
        if let Some(open) = shared.open.lock().unwrap().as_mut() {
            open.push(stream.try_clone()?);
        }
    }
    let swallow = Arc::new(AtomicBool::new(false));
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let swallowing = swallow.clone();
    std::thread::spawn(move || {
        while let Ok(packet) = read_packet(&mut from_server) {
            if swallowing.load(Ordering::SeqCst) {
                swallowing.store(false, Ordering::SeqCst);
            } else if to_client.write_all(&packet).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server) = (client.try_clone()?, server);
    let shared = shared.clone();
    std::thread::spawn(move || {
        let _ = pass_commands(&shared, &mut from_client, &mut to_server, &swallow);
        let _ = from_client.shutdown(Shutdown::Both);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn pass_commands(
    shared: &Shared,
    client: &mut TcpStream,
    server: &mut TcpStream,
    swallow: &AtomicBool,
) -> io::Result<()> {
    loop {
        let packet = read_packet(client)?;
        // The client's packets of the handshake have higher numbers.
        let is_command = packet[3] == 0 && packet.get(4).is_some_and(|command| !UNANSWERED.contains(command));
        let text = match packet.get(4) {
            Some(&(QUERY | PREPARE)) => String::from_utf8_lossy(&packet[5..]).into_owned(),
            _ => String::new(),
        };
        let fate = if is_command { (shared.rule.lock().unwrap())(&text) } else { Fate::Pass };
        match fate {
            Fate::Pass => server.write_all(&packet)?,
            Fate::Fail(code) => client.write_all(&error_packet(code))?,
            Fate::RollBackBefore => {
                swallow.store(true, Ordering::SeqCst);
                server.write_all(b"\x09\0\0\0\x03ROLLBACK")?;
                while swallow.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                server.write_all(&packet)?;
            }
            Fate::HangUp => return Ok(()),
            Fate::Garbage => client.write_all(b"\0\0\0\x01")?,
        }
    }
}

fn read_packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet)?;
    let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
    packet.resize(4 + length, 0);
    stream.read_exact(&mut packet[4..])?;
    Ok(packet)
}

fn error_packet(code: u16) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 1, 0xff];
    packet.extend(code.to_le_bytes());
    packet.extend(b"#HY000made by the test");
    packet[0] = u8::try_from(packet.len() - 4).unwrap();
    packet
}
