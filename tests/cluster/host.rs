//! A host: the settings under which weir runs there, its spool, and its flush service.

use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Running;
use crate::support::{LIMIT, Memcached, Site};

/// What went wrong besides the count, for all who find it.
#[derive(Default)]
pub(crate) struct Problems(Mutex<Vec<String>>);

impl Problems {
    pub(crate) fn note(&self, problem: impl Into<String>) {
        let (mut problems, problem) = (self.0.lock().unwrap(), problem.into());
        eprintln!("PROBLEM: {problem}");
        problems.push(problem);
    }

    pub(crate) fn into_inner(self) -> Vec<String> {
        self.0.into_inner().unwrap()
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The documented exit codes.
pub(crate) const CODES: [i32; 5] = [0, 1, 2, 3, 4];

/// One host.
pub(crate) struct Host {
    pub(crate) site: Site,
    files: AtomicU64,
}

impl Host {
    pub(crate) fn new(memcached: &Memcached, database: &str) -> Host {
        Host { site: Site::new(&[memcached]).with("WEIR_DATABASE", database), files: AtomicU64::new(0) }
    }

    /// Runs a command to its end, which must come within the limit, with a documented exit code.
    pub(crate) fn end(&self, command: &mut Command, problems: &Problems) -> Option<Ended> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = |name: &str| self.site.path(&format!("{number}.{name}"));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let (mut child, begun) = (command.spawn().unwrap(), Instant::now());
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                problems.note(format!("{:?} does not end", command.get_args()));
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let ended = Ended { status, stdout: text(&stdout), stderr: text(&stderr) };
        let _ = (std::fs::remove_file(&stdout), std::fs::remove_file(&stderr));
        let documented = ended.code().is_none_or(|code| CODES.contains(&code));
        if !documented || ended.stderr.contains("panicked") {
            problems.note(format!("{:?} ended with {status}: {}", command.get_args(), ended.stderr));
        }
        Some(ended)
    }

    /// Runs weir.
    pub(crate) fn weir(&self, arguments: &[&str], problems: &Problems) -> Option<Ended> {
        self.end(&mut self.site.command(arguments), problems)
    }
}

/// A `poll flush --every` on a host, killed when dropped.
pub(crate) struct Service {
    running: Option<Running>,
    log: std::path::PathBuf,
}

impl Service {
    /// Starts one, with more environment.
    pub(crate) fn start(host: &Host, every: Duration, environment: &[(&str, &str)]) -> Service {
        let log = host.site.path("service.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = host.site.command(&["poll", "flush", "--every", &format!("{}ms", every.as_millis())]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(file);
        Service { running: Some(Running::start_with(&mut command)), log }
    }

    /// What it and those before it have printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something has come about that it is to do.
    pub(crate) fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < LIMIT, "waited too long until {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&mut self, which: Signal) {
        self.running.iter_mut().for_each(|running| running.signal(which));
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Whether it has ended by itself, which it never should.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_some_and(Running::has_ended)
    }

    /// Asks it to end, which it must do within the limit and well.
    pub(crate) fn end(mut self, problems: &Problems) {
        if self.has_ended() {
            problems.note(format!("poll flush --every has ended by itself: {}", self.log()));
            return;
        }
        let Some(mut running) = self.running.take() else { return };
        running.signal(Signal::CONT);
        running.signal(Signal::TERM);
        running.wait_for(LIMIT);
        if !running.has_ended() {
            problems.note(format!("poll flush --every does not end after SIGTERM: {}", self.log()));
            return;
        }
        let status = running.end().status;
        // One that has just been started may not listen to the signal yet.
        let unready = std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::TERM.as_raw());
        if status.code() != Some(0) && !unready {
            problems.note(format!("poll flush --every ended with {status} after SIGTERM: {}", self.log()));
        }
        if self.log().contains("panicked") {
            problems.note(format!("poll flush --every panicked: {}", self.log()));
        }
    }
}
