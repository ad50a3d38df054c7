//! The command line: one file per command, its arguments beside the few lines that call the library.
//!
//! | file | what it does |
//! |---|---|
//! | `poll/` | `weir poll ...`, a file per command |
//! | `rules/` | `weir rules ...` |
//! | `sample.rs` | `weir sample` |
//! | `sync/` | `weir sync` |
//! | `show_config.rs` | `weir config` |
//! | `docs.rs` | `weir completions`, `weir man` |
//! | `settings.rs` | flags, environment and file made into what the rooms take |
//! | `output.rs` | everything that is printed |
//! | `signals.rs` | the first signal and the second |
//! | `exit.rs` | every exit code |

use std::process::ExitCode;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

mod docs;
mod exit;
mod output;
mod poll;
mod rules;
mod sample;
mod settings;
mod show_config;
mod signals;
mod sync;

use output::Output;

/// Tools for the people who keep busy web sites running.
#[derive(Parser, Debug)]
#[command(name = "weir", version, max_term_width = 110, after_help = exit::HELP)]
#[command(propagate_version = true, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    /// Tell more on stderr; twice or three times for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Tell only errors and warnings
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Polls that survive a spike: votes through memcached into SQL, each counted once
    Poll(Box<poll::Args>),
    /// Read rsync include/exclude lists: check them, explain them, make them do what they say
    Rules(rules::RulesArgs),
    /// Copy to a host what its list says, with rsync, and refuse what would be a surprise
    Sync(Box<sync::Args>),
    /// Choose lines at random, each as likely as any other, out of files and streams of any length
    Sample(sample::Args),
    /// Show every setting, its value and where it came from
    Config(show_config::Args),
    /// Print a completion script for a shell
    Completions(docs::CompletionsArgs),
    /// Write the manual pages into a folder
    Man(docs::ManArgs),
}

/// Runs the process's command line and tells how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            escape_what_was_typed(&mut error);
            // Help and version come this way too, with code 0. A closed stdout is not worth a word here.
            let _ = error.print();
            return exit::exit(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    output::init_tracing(cli.verbose, cli.quiet);
    let mut out = Output::new(cli.quiet);
    // Past a file size limit a write should fail like any other, not end the process without a word.
    let heeded = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map_err(anyhow::Error::from);
    let done = heeded.and_then(|_| match cli.command {
        Command::Poll(args) => args.run(&mut out),
        Command::Rules(args) => run_rules(&args, cli.quiet, &mut out),
        Command::Sync(args) => args.run(cli.verbose, cli.quiet, &mut out),
        Command::Sample(args) => run_sample(&args, &mut out),
        Command::Config(args) => args.run(&mut out),
        Command::Completions(args) => args.run(Cli::command(), &mut out),
        Command::Man(args) => args.run(Cli::command(), &mut out),
    });
    let flushed = out.flush().map_err(anyhow::Error::from);
    let code = match done.and(flushed) {
        Ok(()) => exit::DONE,
        Err(error) if exit::is_broken_pipe(&error) => exit::DONE,
        Err(error) if error.is::<exit::Interrupted>() => exit::INTERRUPTED,
        Err(error) if error.is::<exit::Told>() => exit::FAILED,
        Err(error) => {
            output::error(&error);
            exit::code_of(&error)
        }
    };
    exit::exit(code)
}

fn run_rules(args: &rules::RulesArgs, quiet: bool, out: &mut Output) -> anyhow::Result<()> {
    let (data, notes) = out.writers();
    match rules::run(args, quiet, data, notes)? {
        rules::Outcome::Done => Ok(()),
        rules::Outcome::Bad(what) => Err(anyhow::Error::msg(what)),
        rules::Outcome::Partly(what) => Err(exit::Partly(what).into()),
    }
}

fn run_sample(args: &sample::Args, out: &mut Output) -> anyhow::Result<()> {
    let (data, notes) = out.writers();
    match sample::run(args, data, notes)? {
        sample::Ending::Whole => Ok(()),
        sample::Ending::Interrupted => Err(exit::Interrupted.into()),
    }
}

/// clap repeats a wrong argument as it is, which may move the cursor or fill the screen.
fn escape_what_was_typed(error: &mut clap::Error) {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(typed)) = error.get(kind) {
            let quoted = crate::slug::shown(typed);
            if quoted.len() != typed.len() + 2 {
                error.insert(kind, ContextValue::String(quoted));
                error.remove(ContextKind::Suggested);
            }
        }
    }
}
