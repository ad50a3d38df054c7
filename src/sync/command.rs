//! rsync's arguments and environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::output::FORMAT;
use super::place::Place;
use super::run::Settings;

/// Variables that name a secret or the way to a daemon, and change nothing about what is done.
const KEPT: [&str; 2] = ["RSYNC_PASSWORD", "RSYNC_PROXY"];

/// What one rsync process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Touch nothing, and say what would be done.
    DryRun,
    /// Do it, and delete at most so many entries.
    Run { max_delete: Option<u64> },
}

/// rsync as it will be started; the rules go to its standard input.
pub(super) fn command(source: &Place, to: &Place, settings: &Settings, mode: Mode, progress: bool) -> Command {
    let mut command = Command::new("rsync");
    command.args(["--archive", "--delete-after", "--delete-excluded", "--exclude-from=-", FORMAT]);
    command.args(["--no-human-readable", if progress { "--info=stats2,progress2,flist2" } else { "--info=stats2" }]);
    if source.is_remote() || to.is_remote() {
        // By its old name, which is the only one that rsync before 3.2.6 knows. A daemon's message of the day would
        // come between the lines that are read.
        command.args(["--compress", "--protect-args", "--no-motd"]);
    }
    if let Some(rsh) = &settings.rsh {
        command.arg(with_value("--rsh=", rsh));
    }
    let mode = match mode {
        Mode::DryRun => Some("--dry-run".to_owned()),
        // rsync reads an `int`.
        Mode::Run { max_delete } => max_delete.map(|most| format!("--max-delete={}", most.min(i32::MAX as u64))),
    };
    command.args(mode);
    command.args(settings.options.words()).arg("--").arg(source.argument(true)).arg(to.argument(false));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_overridden(name)) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if owns_its_group(source, to) {
        command.process_group(0);
    }
    command
}

/// Whether rsync and all that it starts get a process group of their own, in which they can be ended together.
/// Not where a remote shell may ask for a password: only the terminal's foreground group may read from it, and
/// Ctrl-C reaches that group by itself.
pub(super) fn owns_its_group(source: &Place, destination: &Place) -> bool {
    let asks = source.needs_shell() || destination.needs_shell();
    !asks || std::fs::File::open("/dev/tty").is_err()
}

/// The variables of the environment that are set and that rsync is not given.
pub fn overridden_environment() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name).filter(|name| is_overridden(name));
    names.map(|name| crate::rules::lint::shown(name.as_bytes())).collect()
}

fn is_overridden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"RSYNC_") && !KEPT.iter().any(|kept| name == *kept)
}

fn with_value(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}
