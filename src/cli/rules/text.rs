//! `weir rules expand` and `weir rules from-paths`: the commands that print a list.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{Outcome, counted, read_path};
use crate::rules::lint::shown;
use crate::rules::{Expansion, List, TreePath, expand as expand_list, from_paths as list_from_paths};

#[derive(Debug, Args)]
pub(super) struct ExpandArgs {
    /// The list
    list: PathBuf,
    /// Add nothing; exit 1 if something would have to be added
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
pub(super) struct FromPathsArgs {
    /// The wanted paths below the root of the transfer, a directory with a slash at its end; standard input,
    /// one to a line, if none is given
    #[arg(value_name = "PATH")]
    paths: Vec<std::ffi::OsString>,
    /// Paths on standard input end in a NUL
    #[arg(long, short = '0')]
    null: bool,
}

/// With `quiet`, what was added is not told.
pub(super) fn expand(
    args: &ExpandArgs,
    quiet: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let list = List::read(&args.list)?;
    let expansion = expand_list(&list);
    if args.strict {
        out.write_all(&list.to_bytes())?;
        for addition in &expansion.additions {
            let (line, hider) = (addition.include_line, addition.hidden_by_line);
            let (include, directory) = (shown(&addition.include), shown(&addition.directory));
            writeln!(
                err,
                "weir: {}:{line}: `{include}` is never reached: line {hider} hides `/{directory}/`",
                list.name
            )?;
        }
        let dead = expansion.additions.iter().map(|addition| addition.include_line).collect::<BTreeSet<_>>().len();
        let bad = || Outcome::Bad(format!("{} never reached", counted(dead, "include")));
        return Ok(if dead == 0 { Outcome::Done } else { bad() });
    }
    if !quiet {
        note_additions(&expansion, err)?;
    }
    out.write_all(&expansion.list.to_bytes())?;
    Ok(Outcome::Done)
}

/// Tells what was added to a list, and why: nobody should wonder where a rule comes from.
pub(in crate::cli) fn note_additions(expansion: &Expansion, err: &mut dyn Write) -> io::Result<()> {
    for addition in &expansion.additions {
        let rules: Vec<String> = addition.rules.iter().map(|rule| format!("`{}`", shown(rule))).collect();
        let (line, hider) = (addition.include_line, addition.hidden_by_line);
        let (name, include) = (&expansion.list.name, shown(&addition.include));
        let rules = rules.join(" and ");
        writeln!(err, "weir: {name}:{line}: added {rules} before line {hider}, for `{include}` to be reached")?;
    }
    Ok(())
}

pub(super) fn from_paths(args: &FromPathsArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut paths = Vec::new();
    if args.paths.is_empty() {
        let end = if args.null { 0 } else { b'\n' };
        let (mut input, mut line) = (io::stdin().lock(), Vec::new());
        while let Some(path) = read_path(&mut input, end, &mut line)? {
            if !path.is_empty() {
                paths.push(TreePath::new(path)?);
            }
        }
    } else {
        for path in &args.paths {
            paths.push(TreePath::new(path.as_bytes())?);
        }
    }
    if paths.is_empty() {
        bail!("no path is wanted: a list that sends nothing is not made");
    }
    let list = list_from_paths("from-paths", &paths);
    out.write_all(&list.to_bytes())?;
    Ok(Outcome::Done)
}
