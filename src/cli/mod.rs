//! The command line: one file per verb.

pub mod rules;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "weir", version, about)]
struct Arguments {
    /// Tell only errors and warnings
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Rules(rules::RulesArgs),
}

/// Parses the arguments, runs the command and gives the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Command::Rules(args) = arguments.command;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut err = std::io::stderr();
    let result = rules::run(&args, arguments.quiet, &mut out, &mut err);
    let (code, message) = match result.and_then(|outcome| Ok(out.flush().map(|()| outcome)?)) {
        Ok(rules::Outcome::Done) => (0, None),
        Ok(rules::Outcome::Bad(message)) => (1, Some(message)),
        Ok(rules::Outcome::Partly(message)) => (4, Some(message)),
        Err(error) => (1, Some(format!("{error:#}"))),
    };
    if let Some(message) = message {
        let _ = writeln!(err, "weir: {message}");
    }
    ExitCode::from(code)
}
