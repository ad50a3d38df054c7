//! `weir rules`: what an rsync list really says.

mod check;
mod explain;
mod render;
mod text;

pub(super) use text::note_additions;

use std::io::Write;

use clap::{Args, Subcommand};

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
        RulesCommand::Check(args) => check::run(args, quiet, out),
        RulesCommand::Explain(args) => explain::run(args, quiet, out, err),
        RulesCommand::Expand(args) => text::expand(args, quiet, out, err),
        RulesCommand::FromPaths(args) => text::from_paths(args, out),
    }
}

/// `1 error`, `2 errors`.
fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
