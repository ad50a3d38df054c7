//! `weir rules explain`.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::text::note_additions;
use super::{Outcome, counted, read_path};
use crate::rules::lint::shown;
use crate::rules::{Judge, List, Origin, PathError, TreePath, Verdict, expand};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The list
    list: PathBuf,
    /// Paths below the root of the transfer, a directory with a slash at its end; standard input, one to a
    /// line, if none is given
    #[arg(value_name = "PATH")]
    paths: Vec<std::ffi::OsString>,
    /// Judge the list as plain rsync reads it, without the ways that weir opens
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each path
    #[arg(long)]
    json: bool,
    /// Print only the paths that are sent, as they are
    #[arg(long, conflicts_with = "json")]
    only_sent: bool,
    /// Paths on standard input, and those that --only-sent prints, end in a NUL
    #[arg(long, short = '0')]
    null: bool,
}

/// The answer for one path as scripts read it.
#[derive(Serialize)]
struct Answer<'a> {
    path: String,
    sent: bool,
    rule: Option<String>,
    list: &'a str,
    line: Option<usize>,
    blocked_by: Option<String>,
    /// Whether weir added the rule so that the include on that line can be reached.
    added: bool,
    /// The path's bytes in hexadecimal, if it is no UTF-8 and `path` cannot show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

/// With `quiet`, what weir adds to the list is not told, and no path that is sent is printed.
pub(super) fn run(
    args: &ExplainArgs,
    quiet: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let written = List::read(&args.list)?;
    let list = if args.strict {
        written
    } else {
        let expansion = expand(&written);
        if !quiet {
            note_additions(&expansion, err)?;
        }
        expansion.list
    };
    let mut judge = Judge::new(&list);
    let mut refused = 0;
    let mut answer = |text: &[u8], out: &mut dyn Write| -> anyhow::Result<()> {
        let path = match TreePath::new(text) {
            Ok(path) => path,
            Err(PathError::Root(_)) if text.is_empty() => return Ok(()),
            Err(error) => {
                refused += 1;
                writeln!(err, "weir: {error}")?;
                return Ok(());
            }
        };
        let verdict = judge.judge(&path);
        if quiet && !args.only_sent && verdict.sent { Ok(()) } else { print(args, &list, &path, verdict, out) }
    };
    if args.paths.is_empty() {
        let end = if args.null { 0 } else { b'\n' };
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        while let Some(path) = read_path(&mut input, end, &mut line)? {
            answer(path, out)?;
        }
    } else {
        for path in &args.paths {
            answer(path.as_bytes(), out)?;
        }
    }
    Ok(if refused > 0 { Outcome::Partly(format!("{} refused", counted(refused, "path"))) } else { Outcome::Done })
}

fn print(
    args: &ExplainArgs,
    list: &List,
    path: &TreePath,
    verdict: Verdict,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if args.only_sent {
        if verdict.sent {
            out.write_all(path.bytes())?;
            out.write_all(if path.is_dir() { b"/" } else { b"" })?;
            out.write_all(if args.null { b"\0" } else { b"\n" })?;
        }
        return Ok(());
    }
    let rule = verdict.rule.map(|rule| &list.rules[rule]);
    let parent = verdict.blocked_by.map(|length| [&path.bytes()[..length], b"/"].concat());
    let added = rule.is_some_and(|rule| matches!(rule.origin, Origin::Added { .. }));
    let bytes = path.shown();
    if args.json {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = Answer {
            path: text(&bytes),
            sent: verdict.sent,
            rule: rule.map(|rule| text(&rule.text())),
            list: &list.name,
            line: rule.map(|rule| rule.line()),
            blocked_by: parent.as_deref().map(text),
            added,
            path_hex: std::str::from_utf8(&bytes).is_err().then(|| hex(&bytes)),
        };
        serde_json::to_writer(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(());
    }
    write!(out, "{} {}", if verdict.sent { "sent  " } else { "hidden" }, shown(&bytes))?;
    match rule {
        None => write!(out, "  no rule matches")?,
        Some(rule) => {
            let text = shown(&rule.text());
            write!(out, "  {text}  {}:{}", list.name, rule.line())?;
            if added {
                write!(out, " (added for this line)")?;
            }
        }
    }
    if let Some(parent) = parent {
        write!(out, "  blocked by {}", shown(&parent))?;
    }
    Ok(writeln!(out)?)
}
