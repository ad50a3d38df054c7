//! The only place that prints: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// What a command prints to.
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    stderr: io::Stderr,
    quiet: bool,
}

impl Output {
    /// Output for one command; `quiet` drops what is neither data nor an error.
    pub fn new(quiet: bool) -> Output {
        Output { stdout: BufWriter::with_capacity(64 * 1024, io::stdout().lock()), stderr: io::stderr(), quiet }
    }

    /// Whether what is neither data nor an error is dropped.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a line of data.
    ///
    /// # Errors
    /// What writing to stdout failed with.
    pub fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.stdout, "{line}").map_err(of_stdout)
    }

    /// Prints an object as one line of JSON.
    ///
    /// # Errors
    /// What writing to stdout failed with.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, value).map_err(|error| of_stdout(error.into()))?;
        writeln!(self.stdout).map_err(of_stdout)
    }

    /// Stdout itself, for bytes that are made elsewhere.
    pub fn stdout(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    /// Stdout for data and stderr for all else, for commands that write both themselves.
    pub fn writers(&mut self) -> (&mut dyn Write, &mut dyn Write) {
        (&mut self.stdout, &mut self.stderr)
    }

    /// Makes sure that everything printed so far is on its way.
    ///
    /// # Errors
    /// What writing to stdout failed with.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush().map_err(of_stdout)
    }

    /// Tells something worth knowing, unless quiet.
    pub fn note(&mut self, message: impl fmt::Display) {
        if !self.quiet {
            stderr_line(format_args!("weir: {message}"));
        }
    }

    /// Warns: nothing is lost, but somebody should look. Not silenced by quiet.
    pub fn warning(&mut self, message: impl fmt::Display) {
        stderr_line(format_args!("weir: warning: {message}"));
    }

    /// Passes on what another program said.
    pub fn message(&mut self, message: impl fmt::Display) {
        stderr_line(format_args!("{message}"));
    }

    /// Room for several lines of progress, drawn on a terminal only.
    pub fn bars(&self) -> MultiProgress {
        let hidden = self.quiet || !io::stderr().is_terminal();
        MultiProgress::with_draw_target(if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(8)
        })
    }

    /// A progress bar for work of `total` units (unknown: none), drawn on a terminal only.
    pub fn progress(&self, total: Option<u64>, what: &'static str) -> ProgressBar {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let hidden = self.quiet || !io::stderr().is_terminal();
        bar.set_draw_target(if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(4) });
        let template = match total {
            Some(_) => "{prefix} {bar:30} {human_pos}/{human_len} {per_sec} {eta}",
            None => "{prefix} {human_pos} {per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        bar
    }
}

/// The same error, naming what could not be written to.
fn of_stdout(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("standard output: {error}"))
}

/// The error that ends the process, and those of its causes that it does not tell itself.
pub fn error(error: &anyhow::Error) {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    stderr_line(format_args!("weir: {message}"));
}

/// Whether stdout is a terminal, and how wide.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
    Some(columns.filter(|columns| *columns > 0).unwrap_or(80))
}

/// A stderr that is gone must not end the work that it would have told of.
fn stderr_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Sends the library's trace to stderr: warnings by default, more with each `-v`.
pub fn init_tracing(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level).event_format(Plain);
    // Fails only when a subscriber is set already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
}

/// `weir: level: message`, in the manner of every other line on stderr.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, "weir: {level}: ")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// A duration for people: `420 ms`, `12 s`, `3 min`, `2 h`, `4 d`.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
