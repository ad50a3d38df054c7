//! A real MariaDB in a temporary folder on a free port.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mysql::prelude::Queryable;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{free_port, is_root, program, signal, wait_until};

/// A running server with one user, killed when dropped.
pub(crate) struct MariaDb {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    tls: bool,
    /// Options of its own, for the making of its data too.
    options: Vec<String>,
}

const USER: &str = "weir";
const PASSWORD: &str = "s3cret/@:pass";
const PASSWORD_IN_URL: &str = "s3cret%2F%40%3Apass";

impl MariaDb {
    /// Starts one without TLS.
    pub(crate) fn start() -> MariaDb {
        MariaDb::start_with(false, &[])
    }

    /// Starts one that offers TLS with a certificate of its own making.
    pub(crate) fn start_with_tls() -> MariaDb {
        MariaDb::start_with(true, &[])
    }

    /// Starts one whose tables have so many MiB in all, so that it can be filled.
    #[allow(dead_code, reason = "tests/faults fills one")]
    pub(crate) fn start_with_space(mib: u32) -> MariaDb {
        // What undoes a transaction stands elsewhere, for a server that cannot undo for lack of space ends itself.
        MariaDb::start_with(
            false,
            &[
                "--innodb-undo-tablespaces=3".into(),
                "--innodb-file-per-table=0".into(),
                format!("--innodb-data-file-path=ibdata1:12M:autoextend:max:{mib}M"),
            ],
        )
    }

    fn start_with(tls: bool, options: &[String]) -> MariaDb {
        let folder = tempfile::Builder::new().prefix("weir-db").tempdir().unwrap();
        let mut install = Command::new(program("mariadb-install-db", "mariadb-server"));
        install.arg(format!("--datadir={}", data(folder.path()).display())).args(["--no-defaults", "--skip-test-db"]);
        install.arg(format!("--tmpdir={}", folder.path().display()));
        install.arg("--auth-root-authentication-method=normal").args(options);
        if is_root() {
            install.arg("--user=root");
        }
        let installed = install.stdin(Stdio::null()).output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        if tls {
            let mut openssl = Command::new(program("openssl", "openssl"));
            openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
            openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).args(["-addext", "subjectAltName=IP:127.0.0.1"]);
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            assert!(openssl.current_dir(folder.path()).output().unwrap().status.success());
        }
        let mut server = MariaDb { folder, port: free_port(), child: None, tls, options: options.to_vec() };
        server.restart();
        let mut root = mysql::Conn::new(server.opts("root", None, None)).unwrap();
        root.query_drop(format!("CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")).unwrap();
        root.query_drop(format!("GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION")).unwrap();
        server
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder it lives in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn opts(&self, user: &str, password: Option<&str>, database: Option<&str>) -> mysql::OptsBuilder {
        mysql::OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(user))
            .pass(password)
            .db_name(database)
    }

    /// Makes an empty database and returns its URL.
    pub(crate) fn create(&self, database: &str) -> String {
        self.connect(None).query_drop(format!("CREATE DATABASE {database}")).unwrap();
        format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self, database: Option<&str>) -> mysql::Conn {
        mysql::Conn::new(self.opts(USER, Some(PASSWORD), database)).unwrap()
    }

    /// Starts the server, again if it ran, with the data it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let folder = self.folder.path().display();
        let mut command = Command::new(program("mariadbd", "mariadb-server"));
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.arg("--innodb-buffer-pool-size=64M").arg("--innodb-log-file-size=64M");
        command.arg(format!("--port={}", self.port)).arg(format!("--datadir={}", data(self.folder.path()).display()));
        command.arg(format!("--tmpdir={folder}"));
        command.arg(format!("--socket={folder}/s")).arg(format!("--pid-file={folder}/pid"));
        command.args(&self.options);
        if self.tls {
            command.arg(format!("--ssl-cert={folder}/cert.pem")).arg(format!("--ssl-key={folder}/key.pem"));
        }
        if is_root() {
            command.arg("--user=root");
        }
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let address = format!("127.0.0.1:{}", self.port);
        wait_until("MariaDB answers", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "mariadbd ended: {}", log());
            TcpStream::connect(&address).is_ok()
        });
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it without closing anything: it accepts and never answers.
    pub(crate) fn black_hole(&self) {
        signal(self.child.as_ref().unwrap(), Signal::STOP);
    }

    /// Lets it go on.
    #[allow(dead_code, reason = "tests/faults does")]
    pub(crate) fn revive(&self) {
        signal(self.child.as_ref().unwrap(), Signal::CONT);
    }

    /// Whether it was started and not killed since.
    #[allow(dead_code, reason = "tests/faults asks")]
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

fn data(folder: &Path) -> std::path::PathBuf {
    folder.join("data")
}
