//! MariaDB servers that start from a copy of one data directory, which is made once.
//!
//! As root they run as the user `nobody`: the rsync daemon of a state transfer gives up root's rights and must still be
//! able to write into the data directory.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::galera;
use crate::support::{is_root, program, signal, wait_until};

/// The account of weir: everything on its tables, nothing that would let it write to a read-only server.
pub(crate) const ACCOUNT: &str = "weir:weir";

const GRANTS: &[&str] = &[
    "CREATE USER weir@'127.0.0.1' IDENTIFIED BY 'weir'",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, REFERENCES, LOCK TABLES ON *.* TO weir@'127.0.0.1'",
    "CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl'",
    "GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'",
    "CREATE DATABASE lag",
    "CREATE TABLE lag.t (id BIGINT PRIMARY KEY AUTO_INCREMENT) ENGINE=InnoDB",
];

/// A port of loopback below those that the system gives to connections, so that it is still free when a server starts
/// again on it.
pub(crate) fn port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(10_000..32_000)).find(free).unwrap()
}

/// A data directory with the accounts, which was a node of a cluster and was shut down cleanly.
pub(crate) struct Template(TempDir);

static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());

impl Template {
    /// The one of this process: made when first needed, removed with its last user.
    pub(crate) fn get() -> Arc<Template> {
        let mut known = TEMPLATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Template::make());
            *known = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Template {
        let template = Template(folder("weir-template"));
        let mut install = Command::new(program("mariadb-install-db", "mariadb-server"));
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg(format!("--datadir={}", template.data().display()));
        install.arg(format!("--tmpdir={}", template.0.path().display())).arg(LOG_SIZE).args(user());
        let installed = install.stdin(Stdio::null()).output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let mut server = Server::on(template.data(), template.0.path());
        server.spawn(galera::options(&galera::Ports::choose(), "template", "gcomm://").arg("--wsrep-new-cluster"));
        wait_until("the first node is ready", || server.status("wsrep_ready").as_deref() == Some("ON"));
        let mut root = server.root();
        GRANTS.iter().for_each(|statement| root.query_drop(statement).unwrap());
        drop(root);
        server.shut_down();
        for left in ["galera.cache", "gvwstate.dat"] {
            let _ = std::fs::remove_file(template.data().join(left));
        }
        template
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

const LOG_SIZE: &str = "--innodb-log-file-size=16M";

fn user() -> Option<&'static str> {
    is_root().then_some("--user=nobody")
}

/// A folder that the servers' user can write to.
pub(crate) fn folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    if is_root() {
        run(Command::new("chmod").arg("755").arg(folder.path()));
        run(Command::new("chown").arg("nobody").arg(folder.path()));
    }
    folder
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A server, killed when dropped.
pub(crate) struct Server {
    data: PathBuf,
    folder: PathBuf,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server that was not started yet, on a copy of the template.
    pub(crate) fn new(template: &Template, folder: &Path) -> Server {
        let data = folder.join("data");
        std::fs::create_dir_all(folder).unwrap();
        run(Command::new("cp").arg("-a").arg(template.data()).arg(&data));
        if is_root() {
            run(Command::new("chown").arg("nobody").arg(folder));
        }
        Server::on(data, folder)
    }

    fn on(data: PathBuf, folder: &Path) -> Server {
        Server { data, folder: folder.into(), port: port(), child: None }
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The server with its own options and these.
    fn command(&self, options: &Command) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new(program("mariadbd", "mariadb-server"));
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]).args(user());
        command.args(["--innodb-buffer-pool-size=32M", LOG_SIZE]);
        command.arg(format!("--port={}", self.port)).arg(format!("--datadir={}", self.data.display()));
        command.arg(format!("--tmpdir={folder}")).arg(format!("--socket={folder}/s"));
        command.arg(format!("--pid-file={folder}/pid")).args(options.get_args());
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts it; whether it answers is the caller's to watch.
    pub(crate) fn spawn(&mut self, options: &Command) {
        self.kill();
        self.child = Some(self.command(options).spawn().unwrap());
    }

    /// Runs it to its end, which it comes to by itself.
    pub(crate) fn run(&mut self, options: &Command) {
        self.kill();
        self.command(options).status().unwrap();
    }

    /// Whether it was started and has not ended since.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&mut self, which: Signal) {
        if self.is_running() {
            signal(self.child.as_ref().unwrap(), which);
        }
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn shut_down(&mut self) {
        self.signal(Signal::TERM);
        wait_until("the server has shut down", || !self.is_running());
        self.child = None;
    }

    /// A connection of the administrator, if the server takes one. It asks nothing when it comes up, for a node that is not
    /// ready refuses to be asked.
    pub(crate) fn try_root(&self) -> Result<Conn, mysql::Error> {
        let limit = Some(Duration::from_secs(10));
        let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(self.port).prefer_socket(false);
        let opts = opts.user(Some("root")).max_allowed_packet(Some(1 << 24));
        Conn::new(opts.tcp_connect_timeout(Some(Duration::from_secs(2))).read_timeout(limit).write_timeout(limit))
    }

    /// A connection of the administrator.
    pub(crate) fn root(&self) -> Conn {
        self.try_root().unwrap_or_else(|error| panic!("{}: {error}\n{}", self.address(), self.log()))
    }

    /// One of its status variables, if it answers.
    pub(crate) fn status(&self, name: &str) -> Option<String> {
        let row: Option<(String, String)> =
            self.try_root().ok()?.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).ok()?;
        row.map(|(_, value)| value)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
