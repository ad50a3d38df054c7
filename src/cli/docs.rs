//! `weir completions SHELL` and `weir man DIR`: documents made from the command line's own definition.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

use super::output::Output;

/// Arguments of `weir completions`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  weir completions bash > /etc/bash_completion.d/weir")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    pub fn run(self, mut command: Command, out: &mut Output) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "weir", &mut script);
        std::io::Write::write_all(out.stdout(), &script)?;
        Ok(())
    }
}

/// Arguments of `weir man`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  weir man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The folder; it is made if missing
    dir: PathBuf,
}

impl ManArgs {
    /// Writes `weir.1` and a page for every command.
    pub fn run(self, command: Command, out: &mut Output) -> Result<()> {
        let dir = &self.dir;
        std::fs::create_dir_all(dir).with_context(|| format!("making folder {}", dir.display()))?;
        clap_mangen::generate_to(command, dir).with_context(|| format!("writing into {}", dir.display()))?;
        out.note(format_args!("wrote the manual pages into {}", dir.display()));
        Ok(())
    }
}
