//! `weir sync`: rsync with each host's list.

mod json;
mod log;
pub(super) mod settings;
mod show;
mod watch;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::exit::{Interrupted, Partly, Usage};
use super::output::Output;
use crate::rules::lint::{self, Severity};
use crate::sync::{
    Error, HostName, Job, LIST_SUFFIX, Place, Report, RsyncOptions, Settings, overridden_environment, run_each,
};
use settings::{Resolved, SettingsArgs};
use show::Screen;
use watch::Watcher;

/// What in DEST stands for the host's name.
const HOST_MARK: &[u8] = b"{host}";

/// The largest file of hosts that is read.
const HOSTS_MAX_BYTES: u64 = 1 << 20;

/// Arguments of `weir sync`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The list of a host is HOST-exclude-list.txt in --lists, and no other is ever used by itself. What runs \
is rsync --archive --delete-excluded with the list's rules: what the list does not send is deleted from the destination, \
after it has been counted.\n\n\
SRC without a slash at its end copies the directory itself: /export/apps goes to DEST/apps, and the rules begin with \
/apps/. One end may be remote: host:path, host::module/path or rsync://host/module/path.\n\n\
Exit codes: 0 done; 2 wrong command line; 3 refused, nothing was touched; 4 some of several hosts failed; 130 Ctrl-C; \
else rsync's own, such as 23 (some files failed) or 255 (no connection). Its 24 (files vanished) is only a warning.\n\n\
Examples:
  weir sync /export/apps /local
  weir sync --dry-run files1:/export/apps /export
  weir sync --max-delete 5% /export/apps /local -- --bwlimit=10M
  weir sync --hosts web1,web2,@more --log-dir logs /export/apps {host}:/local"
)]
pub struct Args {
    /// The tree; with a slash at its end only its content
    src: OsString,
    /// Where it goes; {host} stands for the host's name
    dest: OsString,
    /// The host whose list is used, instead of this machine's
    #[arg(long, value_name = "NAME", conflicts_with_all = ["hosts", "list"])]
    host: Option<String>,
    /// Several hosts, separated by commas, each with its own list; @FILE has one a line
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', conflicts_with = "list")]
    hosts: Vec<String>,
    /// This list, whatever the host
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Touch nothing; tell what would be done, deletions first
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Delete however much it is; the other guards hold
    #[arg(long)]
    force: bool,
    /// Do not count deletions beforehand: rsync alone decides
    #[arg(long, conflicts_with_all = ["max_delete", "force", "dry_run"])]
    no_guard: bool,
    /// Refuse a list that plain rsync reads otherwise than weir, instead of opening its ways
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each host; with -v or --dry-run also every change
    #[arg(long)]
    json: bool,
    /// Further options for rsync, a value behind a `=`
    #[arg(last = true, value_name = "RSYNC-OPTIONS")]
    rsync_options: Vec<OsString>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// How the run of one job ended, and how long it took.
struct Ending {
    result: Result<Report, Error>,
    elapsed: Duration,
    /// How many times rsync was started again, whatever came of it.
    retried: u32,
}

impl Args {
    pub(super) fn run(self, verbose: u8, quiet: bool, out: &mut Output) -> Result<()> {
        let resolved = self.settings.resolve()?;
        let jobs = self.jobs(&resolved.lists)?;
        let settings = self.run_settings(&resolved)?;
        for name in overridden_environment() {
            out.warning(format_args!("{name} is set and not passed on to rsync; use an option instead"));
        }
        for job in &jobs {
            warn_of_list(&job.list, out);
        }
        if let Some(directory) = &resolved.log_dir {
            std::fs::create_dir_all(directory).with_context(|| format!("--log-dir {}", directory.display()))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let labels: Vec<String> = jobs.iter().map(label).collect();
        let mut screen = Screen::new(&labels, verbose > 0, quiet, self.json, self.dry_run, out.bars());
        let endings = Args::run_jobs(&jobs, &labels, &settings, &resolved, &stop, &mut screen, out)?;
        screen.end();
        for (place, ending) in endings.iter().enumerate() {
            screen.show_ending(place, &jobs, ending.as_ref(), out)?;
        }
        if jobs.len() > 1 && !quiet && !self.json {
            out.line(show::table(&labels, &endings))?;
        }
        end(&labels, endings, jobs.len() > 1)
    }

    /// Runs the jobs beside this thread, which alone prints.
    fn run_jobs(
        jobs: &[Job],
        labels: &[String],
        settings: &Settings,
        resolved: &Resolved,
        stop: &AtomicBool,
        screen: &mut Screen,
        out: &mut Output,
    ) -> Result<Vec<Option<Ending>>> {
        let (sender, told) = sync_channel(1024);
        let bars = screen.bars.clone();
        let wants_changes = screen.wants_changes();
        let work = move |place: usize, job: &Job| {
            let begun = Instant::now();
            let log = resolved
                .log_dir
                .as_deref()
                .zip(labels.get(place))
                .map(|(directory, label)| log::Log::open(directory, label));
            let bar = bars.get(place).cloned();
            let mut watcher = Watcher::new(place, sender.clone(), bar, wants_changes, log);
            let result = job.run(settings, &mut watcher, stop);
            watcher.end(&result);
            Ending { result, elapsed: begun.elapsed(), retried: watcher.retried }
        };
        std::thread::scope(|scope| {
            let runs = scope.spawn(move || run_each(jobs, resolved.parallel, stop, work));
            let mut shown = Ok(());
            for (place, told) in told {
                // When nobody reads our output any more the runs still go to their end.
                shown = shown.and_then(|()| screen.show(place, told, out));
            }
            let endings = runs.join().map_err(|_| anyhow::anyhow!("a run ended in a way that it never should"))?;
            shown.map(|()| endings)
        })
    }

    fn run_settings(&self, resolved: &Resolved) -> Result<Settings> {
        Ok(Settings {
            rsh: resolved.rsh.clone(),
            options: RsyncOptions::new(&self.rsync_options)?,
            limit: resolved.limit,
            force: self.force,
            guard: !self.no_guard,
            dry_run: self.dry_run,
            strict: self.strict,
            retries: resolved.retries,
            retry_wait: resolved.retry_wait,
        })
    }

    fn jobs(&self, lists: &Path) -> Result<Vec<Job>> {
        let has_mark = self.dest.as_bytes().windows(HOST_MARK.len()).any(|part| part == HOST_MARK);
        let source = Place::parse(&self.src).context("source")?;
        let job = |host: Option<HostName>, list: PathBuf| -> Result<Job> {
            let name = host.as_ref().map(HostName::as_str).unwrap_or_default();
            let destination = Place::parse(&filled(&self.dest, name)).context("destination")?;
            Ok(Job { host, list, source: source.clone(), destination })
        };
        if let Some(list) = &self.list {
            if has_mark {
                return Err(Usage("{host} in the destination needs --host or --hosts".into()).into());
            }
            return Ok(vec![job(None, list.clone())?]);
        }
        let hosts = self.host_names()?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = hosts.iter().find(|host| !seen.insert(host.as_str())) {
            return Err(Usage(format!("--hosts: {twice} is named twice")).into());
        }
        if hosts.len() > 1 && !has_mark {
            let message = "several hosts need several destinations: write {host} where the name belongs";
            return Err(Usage(message.into()).into());
        }
        // One host's missing list does not stop the others: its run will say that it is missing.
        let lists = hosts.iter().map(|host| (host, lists.join(format!("{host}{}", LIST_SUFFIX))));
        lists.map(|(host, list)| job(Some(host.clone()), list)).collect()
    }

    fn host_names(&self) -> Result<Vec<HostName>> {
        if self.hosts.is_empty() {
            let own = || gethostname::gethostname().to_string_lossy().into_owned();
            return Ok(vec![self.host.clone().unwrap_or_else(own).parse()?]);
        }
        let mut names = Vec::new();
        for given in &self.hosts {
            match given.strip_prefix('@') {
                None => names.push(given.parse()?),
                Some(file) => {
                    let text = read_hosts(file).with_context(|| format!("--hosts @{file}"))?;
                    for (line, name) in text.lines().map(str::trim).enumerate() {
                        if !name.is_empty() && !name.starts_with('#') {
                            names.push(name.parse::<HostName>().with_context(|| format!("{file}:{}", line + 1))?);
                        }
                    }
                }
            }
        }
        if names.is_empty() {
            return Err(Usage("--hosts names no host".into()).into());
        }
        Ok(names)
    }
}

/// The text of a file of hosts, as far as such a file can reach: a device has no end.
fn read_hosts(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(HOSTS_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > HOSTS_MAX_BYTES {
        return Err(std::io::Error::other("larger than any file of hosts; is it one?"));
    }
    Ok(text)
}

/// The destination with the host's name in it.
fn filled(dest: &OsStr, host: &str) -> OsString {
    let mut filled = Vec::new();
    let mut rest = dest.as_bytes();
    while let Some(at) = rest.windows(HOST_MARK.len()).position(|part| part == HOST_MARK) {
        let (before, after) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(host.as_bytes());
        rest = after.get(HOST_MARK.len()..).unwrap_or_default();
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

/// What a job is called: its host, or its list.
fn label(job: &Job) -> String {
    match &job.host {
        Some(host) => host.to_string(),
        None => lint::shown(job.list.file_stem().unwrap_or_default().as_bytes()),
    }
}

/// A list with an error in it is not refused, for it may have served for years; but somebody should look.
fn warn_of_list(path: &Path, out: &mut Output) {
    // Of one that cannot be read the run itself will tell.
    let Ok(report) = lint::check_file(path, lint::Options::default()) else { return };
    let errors = report.count(Severity::Error);
    if let Some(first) = report.findings.iter().find(|finding| finding.severity == Severity::Error) {
        let more = if errors > 1 { format!(" (and {} more)", errors - 1) } else { String::new() };
        let name = &report.name;
        out.warning(format_args!("{name}:{}: {}{more}; see: weir rules check {name}", first.line, first.message));
    }
}

/// The process's end: one job's error is its own; of several, the names of those that failed are told.
fn end(labels: &[String], endings: Vec<Option<Ending>>, fleet: bool) -> Result<()> {
    let stopped = |ending: &Option<Ending>| ending.as_ref().is_none_or(|one| matches!(one.result, Err(Error::Stopped)));
    if endings.iter().any(stopped) {
        return Err(Interrupted.into());
    }
    if fleet {
        let bad =
            |ending: &Ending| ending.result.as_ref().map_or(true, |report| report.refusal.is_some() || report.partial);
        let failed = labels.iter().zip(&endings).filter(|(_, ending)| ending.as_ref().is_some_and(bad));
        let names: Vec<&str> = failed.map(|(label, _)| label.as_str()).collect();
        return match names.len() {
            0 => Ok(()),
            some => Err(Partly(format!("{some} of {} hosts failed: {}", labels.len(), names.join(", "))).into()),
        };
    }
    match endings.into_iter().flatten().next().map(|ending| ending.result) {
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Report { refusal: Some(refusal), .. })) => {
            Err(anyhow::Error::from(refusal).context("the run itself would be refused"))
        }
        Some(Ok(report)) => report.trouble().map_or(Ok(()), |error| Err(error.into())),
        None => Ok(()),
    }
}
