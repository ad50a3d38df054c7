//! Servers, sites and the binary under test.

mod browser;
mod http;
mod manager;
mod mariadb;
mod memcached;
mod mysql_proxy;
mod site;

pub(crate) use browser::{Browser, Wish};
pub(crate) use http::{Answer, Service, ask};
pub(crate) use manager::Manager;
pub(crate) use mariadb::MariaDb;
pub(crate) use memcached::{Memcached, Talk};
pub(crate) use mysql_proxy::{Fate, MysqlProxy};
#[allow(unused_imports, reason = "tests/faults has no use for a backend")]
pub(crate) use site::backend;
pub(crate) use site::{Site, stderr, stdout};

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take to come about before a test fails: a limit, never a measurement.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A port of loopback that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `done`, and fails after [`LIMIT`].
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The path of a server program, or a failure that names its Debian package.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder: PathBuf| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: apt-get install {package}"))
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Whether the process is root, for whom servers want to be told which user to become.
pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
