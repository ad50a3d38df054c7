//! A real memcached on a free port.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{free_port, is_root, program, signal, wait_until};

/// A running memcached, killed when dropped.
pub(crate) struct Memcached {
    port: u16,
    memory_mib: u32,
    child: Option<Child>,
}

impl Memcached {
    /// Starts one with `-M` and 256 MiB.
    pub(crate) fn start() -> Memcached {
        Memcached::start_with_memory(256)
    }

    /// Starts one with `-M` and so much memory.
    pub(crate) fn start_with_memory(memory_mib: u32) -> Memcached {
        let mut server = Memcached { port: free_port(), memory_mib, child: None };
        server.restart();
        server
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it with -9: everything it held is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(program("memcached", "memcached"));
        command.args(["-l", "127.0.0.1", "-M", "-m", &self.memory_mib.to_string(), "-p", &self.port.to_string()]);
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("memcached answers", || TcpStream::connect(self.address()).is_ok());
    }

    /// Whether it was started and not killed since.
    #[allow(dead_code, reason = "tests/faults asks")]
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Stops it without closing anything: it accepts and never answers.
    pub(crate) fn black_hole(&self) {
        signal(self.child.as_ref().unwrap(), Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn revive(&self) {
        signal(self.child.as_ref().unwrap(), Signal::CONT);
    }

    /// A plain connection, for what a script of the old days would say.
    pub(crate) fn talk(&self) -> Talk {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        Talk { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The classic text protocol, by hand.
pub(crate) struct Talk {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Talk {
    /// In one write: a command in pieces would wait for the other side's delayed acknowledgement.
    fn say(&mut self, command: &str) {
        self.stream.write_all(command.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    /// `incr`: the new value, or nothing for a missing key.
    pub(crate) fn incr(&mut self, key: &str) -> Option<u64> {
        self.incr_by(key, 1)
    }

    /// `incr` by so much.
    pub(crate) fn incr_by(&mut self, key: &str, delta: u64) -> Option<u64> {
        self.say(&format!("incr {key} {delta}\r\n"));
        self.line().parse().ok()
    }

    /// One of the server's statistics.
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        self.say("stats\r\n");
        let lines: Vec<_> = std::iter::from_fn(|| Some(self.line()).filter(|line| line != "END")).collect();
        let value = lines.iter().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    /// `set`.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.say(&format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
        assert_eq!(self.line(), "STORED");
    }

    /// Stores items of a length until the server has no memory for more.
    #[allow(dead_code, reason = "tests/faults does not")]
    pub(crate) fn fill(&mut self, length: usize) {
        let value = "x".repeat(length);
        // The first refusals may come while the server is moving memory about.
        let (mut number, mut refused) = (0, 0);
        while refused < 20 {
            self.say(&format!("set fill-{length}-{number} 0 0 {length}\r\n{value}\r\n"));
            refused += usize::from(self.line() != "STORED");
            number += 1;
        }
    }

    /// Seconds until a key lapses, or nothing for a missing key.
    pub(crate) fn ttl(&mut self, key: &str) -> Option<u64> {
        self.say(&format!("mg {key} t\r\n"));
        self.line().strip_prefix("HD t")?.parse().ok()
    }

    /// `delete`.
    pub(crate) fn delete(&mut self, key: &str) {
        self.say(&format!("delete {key}\r\n"));
        self.line();
    }

    /// Every key that the server holds.
    #[allow(dead_code, reason = "tests/faults asks")]
    pub(crate) fn keys(&mut self) -> Vec<String> {
        loop {
            self.say("lru_crawler metadump all\r\n");
            let mut keys = Vec::new();
            loop {
                let line = self.line();
                if line == "END" {
                    return keys;
                }
                // The server is walking its memory for its own purposes.
                if line.starts_with("BUSY") {
                    break;
                }
                keys.extend(line.split(' ').find_map(|word| word.strip_prefix("key=")).map(str::to_string));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// `get`: the value, or nothing.
    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        self.say(&format!("get {key}\r\n"));
        let header = self.line();
        if header == "END" {
            return None;
        }
        let length: usize = header.rsplit(' ').next().unwrap().parse().unwrap();
        let mut value = vec![0; length + 2];
        std::io::Read::read_exact(&mut self.reader, &mut value).unwrap();
        assert_eq!(self.line(), "END");
        value.truncate(length);
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}
