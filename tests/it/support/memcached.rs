//! A real memcached on a free port.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{free_port, is_root, program, signal, wait_until};

/// A running memcached, killed when dropped.
pub(crate) struct Memcached {
    port: u16,
    memory_mib: u32,
    child: Option<Child>,
    /// Further options of its command line.
    options: Vec<String>,
    /// Where its Unix socket is, if it listens on one instead of a port.
    folder: Option<TempDir>,
}

impl Memcached {
    /// Starts one with `-M` and 256 MiB.
    pub(crate) fn start() -> Memcached {
        Memcached::start_with_memory(256)
    }

    /// Starts one with `-M` and so much memory.
    pub(crate) fn start_with_memory(memory_mib: u32) -> Memcached {
        Memcached::start_as(memory_mib, &[], None)
    }

    /// Starts one with these options as well.
    #[allow(dead_code, reason = "tests/it starts servers that weir cannot use")]
    pub(crate) fn start_with(options: &[&str]) -> Memcached {
        Memcached::start_as(256, options, None)
    }

    /// Starts one on a Unix socket.
    #[allow(dead_code, reason = "tests/it")]
    pub(crate) fn start_on_socket() -> Memcached {
        let folder = tempfile::Builder::new().prefix("weir-socket").tempdir().unwrap();
        // The server is another user when it makes its socket.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Memcached::start_as(256, &[], Some(folder))
    }

    fn start_as(memory_mib: u32, options: &[&str], folder: Option<TempDir>) -> Memcached {
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Memcached { port: free_port(), memory_mib, child: None, options, folder };
        server.restart();
        server
    }

    /// `host:port` or `unix:/path`.
    pub(crate) fn address(&self) -> String {
        match self.socket() {
            Some(path) => format!("unix:{}", path.display()),
            None => format!("127.0.0.1:{}", self.port),
        }
    }

    /// Its port.
    #[allow(dead_code, reason = "tests/it")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn socket(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path().join("memcached.sock"))
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
        command.args(["-M", "-m", &self.memory_mib.to_string()]).args(&self.options);
        let socket = self.socket();
        match &socket {
            Some(path) => command.arg("-s").arg(path),
            None => command.args(["-l", "127.0.0.1", "-p", &self.port.to_string()]),
        };
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("memcached answers", || match &socket {
            Some(path) => UnixStream::connect(path).is_ok(),
            None => TcpStream::connect(self.address()).is_ok(),
        });
    }

    /// Starts it again, empty, with so much memory.
    #[allow(dead_code, reason = "tests/faults does")]
    pub(crate) fn restart_with_memory(&mut self, memory_mib: u32) {
        self.memory_mib = memory_mib;
        self.restart();
    }

    /// Fills it up with items of the sizes of votes, marks and small entries, and then deletes `free` of each size.
    pub(crate) fn fill_up(&self, free: usize) {
        const AT_ONCE: usize = 500;
        let mut talk = self.talk();
        for length in [1, 20, 45, 75, 115, 160, 220, 300, 400, 520, 700, 900] {
            let (value, mut stored) = ("x".repeat(length), 0);
            loop {
                let sets = (stored..stored + AT_ONCE)
                    .map(|number| format!("set ballast-{length}-{number:05} 0 0 {length}\r\n{value}\r\n"));
                talk.say(&sets.collect::<String>());
                let refused = (0..AT_ONCE).filter(|_| talk.line() != "STORED").count();
                stored += AT_ONCE - refused;
                if refused > 0 {
                    break;
                }
            }
            (0..stored.min(free)).for_each(|number| talk.delete(&format!("ballast-{length}-{number:05}")));
        }
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

/// By how much the sizes differ that a server is filled with: less than those of two of its classes do.
const FILL_STEP: usize = 16;

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

    /// Stores items of every size up to 1 KiB until the server refuses more of them; how many of each.
    pub(crate) fn fill(&mut self) -> Vec<usize> {
        const AT_ONCE: usize = 500;
        let fill_with = |size: usize| {
            let value = "x".repeat(size * FILL_STEP + 1);
            let mut stored = 0;
            loop {
                let sets = (stored..stored + AT_ONCE)
                    .map(|number| format!("set fill-{size}-{number} 0 0 {}\r\n{value}\r\n", value.len()));
                self.say(&sets.collect::<String>());
                let taken = (0..AT_ONCE).filter(|_| self.line() == "STORED").count();
                stored += AT_ONCE;
                if taken == 0 {
                    return stored;
                }
            }
        };
        (0..1024 / FILL_STEP).map(fill_with).collect()
    }

    /// Deletes what [`Talk::fill`] stored.
    pub(crate) fn empty(&mut self, filled: Vec<usize>) {
        for (size, stored) in filled.into_iter().enumerate() {
            let deletes = (0..stored).map(|number| format!("delete fill-{size}-{number}\r\n"));
            self.say(&deletes.collect::<String>());
            (0..stored).for_each(|_| drop(self.line()));
        }
    }

    /// Seconds until a key lapses, or nothing for a missing key.
    pub(crate) fn ttl(&mut self, key: &str) -> Option<u64> {
        self.say(&format!("mg {key} t\r\n"));
        self.line().strip_prefix("HD t")?.split(' ').next()?.parse().ok()
    }

    /// `flush_all`: everything is gone at once.
    #[allow(dead_code, reason = "tests/it")]
    pub(crate) fn flush_all(&mut self) {
        self.say("flush_all\r\n");
        assert_eq!(self.line(), "OK");
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
