//! Processes that are ended with the test, also when it panics.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::support::{LIMIT, signal, wait_until};

/// A child that is killed when dropped.
pub(crate) struct Running {
    child: Child,
}

/// What a child left behind.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The signal it died by, if it did.
    pub(crate) fn died_by(&self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.status)
    }
}

impl Running {
    /// Starts `command` with pipes for what it prints. It must print little: nobody reads before it has ended.
    pub(crate) fn start(command: &mut Command) -> Running {
        Running { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    /// Starts `command`, which has been told where it prints to.
    pub(crate) fn start_with(command: &mut Command) -> Running {
        Running { child: command.spawn().unwrap() }
    }

    /// Sends it a signal; one that has ended does not mind.
    pub(crate) fn signal(&mut self, which: Signal) {
        // What has been collected is nobody any more, or somebody else.
        if !self.has_ended() {
            signal(&self.child, which);
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether it has stopped itself.
    pub(crate) fn has_stopped(&self) -> bool {
        // Only a stop is asked for: the end of the child stays to be collected. One that has ended can stop no more, which
        // is an error here.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        waitid(WaitId::Pid(Pid::from_child(&self.child)), options).is_ok_and(|status| status.is_some())
    }

    /// Waits until it has stopped itself; `false` when it ended instead.
    pub(crate) fn wait_until_stopped(&mut self) -> bool {
        let mut stopped = false;
        wait_until("a process stops or ends", || {
            stopped = self.has_stopped();
            stopped || self.has_ended()
        });
        stopped
    }

    /// Waits at most `limit` for its end.
    pub(crate) fn wait_for(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it ends by itself, which it must before long.
    pub(crate) fn end_within_limit(mut self) -> Ended {
        self.wait_for(LIMIT);
        assert!(self.has_ended(), "a process goes on and on");
        self.end()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).unwrap();
        }
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr).unwrap();
        }
        let status = self.child.wait().unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
