//! `weir rules`: what an rsync list really says.

mod check;
mod explain;
mod render;
mod text;

pub(super) use text::note_additions;

use std::io::{BufRead, Read, Write};

use anyhow::bail;
use clap::{Args, Subcommand};

/// Longer than any system's longest path; a stream without ends of lines would fill the memory.
const PATH_MAX_BYTES: u64 = 64 * 1024;

/// Check, explain and repair rsync include/exclude lists.
#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Tell what in a list does not do what it seems to say; exit 1 on an error
    Check(check::CheckArgs),
    /// Tell of each path whether it is sent, by which rule, and which parent blocks it
    Explain(explain::ExplainArgs),
    /// Print the rules that rsync is given
    Expand(text::ExpandArgs),
    /// Print a correct list out of the paths that are wanted
    FromPaths(text::FromPathsArgs),
}

/// How a command ended that did its work.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well: exit code 0.
    Done,
    /// The work is done and what it found is bad, in a sentence: exit code 1.
    Bad(String),
    /// Some of the input was refused, in a sentence: exit code 4.
    Partly(String),
}

/// Runs the command; data goes to `out`, all else to `err`. `quiet` is the global flag.
///
/// # Errors
/// When a list cannot be used, or writing fails.
pub fn run(args: &RulesArgs, quiet: bool, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        RulesCommand::Check(args) => check::run(args, quiet, out, err),
        RulesCommand::Explain(args) => explain::run(args, quiet, out, err),
        RulesCommand::Expand(args) => text::expand(args, quiet, out, err),
        RulesCommand::FromPaths(args) => text::from_paths(args, out),
    }
}

/// Reads the next path of standard input, without the byte that ends it.
fn read_path<'l>(input: &mut impl BufRead, end: u8, line: &'l mut Vec<u8>) -> anyhow::Result<Option<&'l [u8]>> {
    line.clear();
    if input.take(PATH_MAX_BYTES).read_until(end, line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == PATH_MAX_BYTES {
        bail!("standard input: a path of over {PATH_MAX_BYTES} bytes; are these paths, one to a line?");
    }
    Ok(Some(line.strip_suffix(&[end]).unwrap_or(line)))
}

/// `1 error`, `2 errors`.
fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
