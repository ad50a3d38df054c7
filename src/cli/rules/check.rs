//! `weir rules check`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::render::render;
use super::{Outcome, counted};
use crate::cli::sync::settings::ListsArgs;
use crate::rules::lint::{CheckError, Finding, Options, Report, Severity, check_file};

/// What the files of a directory are called that are lists.
const LIST_SUFFIX: &str = "-exclude-list.txt";

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The lists to check; every *-exclude-list.txt in --lists if none is given
    #[arg(id = "checked", value_name = "LIST")]
    lists: Vec<PathBuf>,
    /// Hold the rules against this source, given as to rsync (with or without a slash at its end)
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Judge the lists as plain rsync reads them, without the ways that weir opens
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each finding
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: ListsArgs,
}

/// A finding as scripts read it.
#[derive(Serialize)]
struct Line<'f> {
    list: &'f str,
    #[serde(flatten)]
    finding: &'f Finding,
}

/// With `quiet`, only errors are printed. One list that cannot be read keeps no other from being checked.
pub(super) fn run(args: &CheckArgs, quiet: bool, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Outcome> {
    let lists = if args.lists.is_empty() { lists_in(&args.directory.directory()?)? } else { args.lists.clone() };
    let options = Options { strict: args.strict, source: args.source.as_deref() };
    let (mut errors, mut warnings, mut unread) = (0, 0, 0);
    for path in &lists {
        let mut report = match check_file(path, options) {
            Err(CheckError::List(error)) if lists.len() > 1 => {
                unread += 1;
                writeln!(err, "weir: {error}")?;
                continue;
            }
            read => read?,
        };
        errors += report.count(Severity::Error);
        warnings += report.count(Severity::Warning);
        if quiet {
            report.findings.retain(|finding| finding.severity == Severity::Error);
        }
        print(&report, args.json, out)?;
    }
    if errors + unread == 0 {
        return Ok(Outcome::Done);
    }
    let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    let not_read = if unread > 0 { format!("; {} not read", counted(unread, "list")) } else { String::new() };
    Ok(Outcome::Bad(format!("{errors} and {warnings} in {}{not_read}", counted(lists.len() - unread, "list"))))
}

fn print(report: &Report, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for finding in &report.findings {
        if json {
            serde_json::to_writer(&mut *out, &Line { list: &report.name, finding })?;
            writeln!(out)?;
        } else {
            render(report, finding, out)?;
        }
    }
    Ok(())
}

fn lists_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = directory.display();
    let mut lists = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("{shown}: cannot look for lists here"))? {
        let path = entry.with_context(|| format!("{shown}: cannot look for lists here"))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(LIST_SUFFIX)) {
            lists.push(path);
        }
    }
    if lists.is_empty() {
        bail!("{shown}: there is no *{LIST_SUFFIX} here; name the lists to check, or their directory with --lists");
    }
    lists.sort();
    Ok(lists)
}
