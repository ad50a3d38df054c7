//! A site: settings of its own and the binary, run as a script would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::Memcached;

/// Settings under which the binary is run; nothing of the machine's own configuration is seen.
pub(crate) struct Site {
    folder: TempDir,
    settings: BTreeMap<&'static str, String>,
}

impl Site {
    /// A site on these servers and, until told otherwise, a SQLite file. The time-out is long, so that a busy
    /// machine does not look like a dead server.
    pub(crate) fn new(servers: &[&Memcached]) -> Site {
        let folder = tempfile::Builder::new().prefix("weir-site").tempdir().unwrap();
        let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let settings = BTreeMap::from([
            ("WEIR_MEMCACHED", addresses.join(",")),
            ("WEIR_DATABASE", format!("sqlite:{}", path("polls.sqlite"))),
            ("WEIR_SPOOL", path("spool")),
            ("WEIR_TIMEOUT", "10s".into()),
            ("HOME", path("home")),
        ]);
        Site { folder, settings }
    }

    /// The same with another setting.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Site {
        self.set(name, value);
        self
    }

    /// Changes a setting.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.insert(name, value.into());
    }

    /// A path in the site's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with this site's settings, for tests that need more than to run it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_weir")));
        command.args(arguments).env_clear().envs(&self.settings).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!stderr(&output).contains("panicked"), "{arguments:?}: {}", stderr(&output));
        output
    }

    /// Starts it and goes on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it, expects success, and returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {:?}: {}", output.status, stderr(&output));
        stdout(&output)
    }

    /// Runs it, expects this exit code, and returns what it said on stderr.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }

    /// Runs it with `--json` added and returns the one object printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// `poll status --json`, whether or not all of it could be known.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.run(&["poll", "status", "--json"]).stdout).unwrap()
    }

    /// Flushes, expects that only part of it could be done, and returns the one object printed.
    pub(crate) fn flush_partly(&self) -> Value {
        let output = self.run(&["poll", "flush", "--json"]);
        assert_eq!(output.status.code(), Some(4), "{}{}", stdout(&output), stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// Creates the poll `now` with the choices `yes` and `no`.
    pub(crate) fn create_now(&self) {
        self.ok(&["poll", "create", "now", "--question", "Now?", "--choice", "yes=Yes", "--choice", "no=No"]);
    }

    /// Casts a batch given as text, or as what ought to be text.
    pub(crate) fn batch(&self, lines: impl AsRef<[u8]>) -> Output {
        let path = self.path("votes.tsv");
        std::fs::write(&path, lines).unwrap();
        self.run(&["poll", "vote", "--json", "--batch", &path.display().to_string()])
    }

    /// The identities of all counted ballots of a poll, in order; fails when one stands twice.
    pub(crate) fn counted(&self, poll: &str) -> Vec<String> {
        let csv = self.ok(&["poll", "export", poll]);
        let ids: Vec<_> = csv.lines().skip(1).map(|line| line.rsplit(',').nth(1).unwrap().to_string()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "a ballot is stored twice, or out of order");
        ids
    }
}

/// The site as the library's callers have it, with one memcached server.
pub(crate) fn backend(memcached: &Memcached, site: &Site) -> weir::poll::site::Site {
    weir::poll::site::Site {
        memcached: vec![weir::queue::Address::new(&memcached.address()).unwrap()],
        keys: weir::queue::Keys::new(weir::queue::Prefix::new("poll-queue").unwrap()),
        database: weir::store::DatabaseUrl::new(&site.settings["WEIR_DATABASE"]).unwrap(),
        spool: weir::poll::spool::Spool::new(site.path("spool")),
        copies: 1,
        timeout: std::time::Duration::from_secs(10),
        keep: std::time::Duration::from_secs(60),
        identity_key: weir::poll::ballot::IdentityKey::new(None),
    }
}

/// What was printed on stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was printed on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
