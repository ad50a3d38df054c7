//! A stand-in for the command line, enough to run `weir sample`.

pub mod sample;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

/// The stand-in's arguments.
#[derive(Debug, clap::Parser)]
#[command(name = "weir", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Sample(sample::Args),
}

/// Parse, run, exit code.
pub fn main() -> ExitCode {
    let Command::Sample(args) = Cli::parse().command;
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    match sample::run(&args, &mut out, &mut std::io::stderr()) {
        Ok(sample::Ending::Whole) => ExitCode::SUCCESS,
        Ok(sample::Ending::Interrupted) => ExitCode::from(130),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "weir: {error:#}");
            ExitCode::from(if error.is::<sample::Refused>() { 2 } else { 1 })
        }
    }
}
