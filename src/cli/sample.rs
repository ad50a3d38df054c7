//! `weir sample`: lines chosen at random.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGUSR1};

use crate::sample::{Error, Field, Fields, Input, LineFormat, Opened, Order, Plan, Rate, Sample, Seed, saved};

/// Choose lines at random out of files or standard input, each with exactly the same chance
///
/// Several files are one population; `-` is standard input, and so is no file at all. gzip and Zstandard are
/// recognized and decompressed. Plain files are sampled by random access, without reading them, unless --seed,
/// --scan or a field asks for more. SIGUSR1 prints the sample so far; Ctrl-C prints it and ends with exit code 130.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The files; a line of any of them is as likely as a line of another
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How many lines, or with --by how many for each value [default: 20]
    #[arg(short = 'n', long = "count", value_name = "N")]
    count: Option<u64>,

    /// The same seed gives the same sample of the same bytes, from files or pipes, with any number of threads
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// Print in random order instead of the order of the input
    #[arg(long)]
    shuffle: bool,

    /// Instead of N lines, each line with this chance (0.01 or 1%), printed as it comes
    #[arg(long, value_name = "P")]
    rate: Option<Rate>,

    /// Prefer lines in proportion to the number in this field (its number, or its name in the header)
    #[arg(long, value_name = "FIELD")]
    weight: Option<String>,

    /// N lines for each value of this field (its number, or its name in the header)
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,

    /// Draw with replacement: a line may be chosen several times
    #[arg(long)]
    replace: bool,

    /// The first H lines of each file are a header: the first file's is printed, the others' are dropped
    #[arg(short = 'H', long = "header", value_name = "H", default_value_t = 0)]
    header_lines: u64,

    /// Lines end in NUL, not in a line feed
    #[arg(short = 'z', long = "zero-terminated")]
    zero_terminated: bool,

    /// What separates fields: one byte, or \t [default: \t]
    #[arg(short = 'd', long = "delimiter", value_name = "DELIM", value_parser = parse_separator)]
    separator: Option<u8>,

    /// Read everything instead of random access: the number of lines is then known
    #[arg(long)]
    scan: bool,

    /// How many threads read plain files [default: one for each processor, up to 4]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Tell on standard error how many lines were seen, each line's chance, the seed and the way
    #[arg(long)]
    stats: bool,

    /// Print the sample so far again and again (10s, 5m; a plain number is seconds)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,

    /// Write the sample to a file (`-`: standard output) for --merge, instead of printing its lines
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Make one sample of saved ones, as if all their inputs had been sampled together
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,
}

/// Options that contradict each other: a usage error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(&'static str);

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At the end of the input, or when nobody wanted to read more.
    Whole,
    /// By Ctrl-C: what was printed is the sample up to there.
    Interrupted,
}

/// Samples, prints to `out`, and tells what was asked for on `notes`.
///
/// # Errors
/// [`Refused`] for options that contradict each other, else what went wrong with an input or the output.
pub fn run(args: &Args, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<Ending> {
    args.refuse_nonsense()?;
    match args.sample(out, notes) {
        // Whoever read our output has seen enough (`| head -1`).
        Err(error) if is_broken_pipe(&error) => Ok(Ending::Whole),
        ended => ended,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Write(source)) if source.kind() == io::ErrorKind::BrokenPipe)
}

impl Args {
    /// Says in a sentence why two options do not go together.
    fn refuse_nonsense(&self) -> Result<(), Refused> {
        let fields = self.by.is_some() || self.weight.is_some();
        let rate = self.rate.is_some();
        let merge = !self.merge.is_empty();
        let own_merge = merge && (rate || fields || self.replace || self.scan || self.seed.is_some());
        let nonsense = [
            (rate && self.count.is_some(), "--rate decides how many lines there are, so -n has no say"),
            (rate && fields, "--rate gives every line the same chance, so it goes with neither --weight nor --by"),
            (rate && self.replace, "--rate looks at each line once, so nothing can be drawn again by --replace"),
            (rate && self.shuffle, "--rate prints lines as they come, so there is no end at which to --shuffle them"),
            (rate && self.save.is_some(), "--rate keeps no sample that could be saved by --save"),
            (
                rate && self.every.is_some(),
                "--rate prints each line at once, so there is nothing to print --every so often",
            ),
            (self.replace && fields, "--replace is for equal chances, so it goes with neither --weight nor --by"),
            (
                self.replace && self.save.is_some(),
                "a sample drawn with --replace does not merge, so --save is of no use",
            ),
            (self.separator.is_some() && !fields, "-d separates fields, and neither --by nor --weight asks for one"),
            (
                merge && !self.files.is_empty(),
                "--merge takes saved samples only: sample the other files with --save first",
            ),
            (own_merge, "--merge goes on from samples that were taken: how they were taken cannot be changed"),
            (merge && self.every.is_some(), "--merge is done at once, so there is nothing to print --every so often"),
            (
                merge && self.header_lines > 0,
                "--merge prints the header that the first saved sample has, so -H has no say",
            ),
            (merge && self.zero_terminated, "--merge keeps the line ends of the saved samples, so -z has no say"),
        ];
        nonsense.iter().find(|(found, _)| *found).map_or(Ok(()), |(_, sentence)| Err(Refused(sentence)))
    }

    fn plan(&self) -> Plan {
        let count = self.count.unwrap_or(20);
        let delimiter = if self.zero_terminated { 0 } else { b'\n' };
        let field = |text: &Option<String>| text.as_deref().map(Field::parse);
        let (by, weight) = (field(&self.by), field(&self.weight));
        let plan = Plan::new(count);
        Plan {
            seed: self.seed.map(Seed),
            format: LineFormat { delimiter, header_lines: self.header_lines, ..plan.format },
            // A saved sample must know how many lines there were.
            scan: self.scan || self.save.is_some() || self.every.is_some(),
            replace: self.replace,
            fields: Fields { by, weight, separator: self.separator.unwrap_or(b'\t') },
            threads: self.threads.map_or(plan.threads, usize::from),
            ..plan
        }
    }

    fn sample(&self, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<Ending> {
        if !self.merge.is_empty() {
            let parts = self.merge.iter().map(|path| read_saved(path)).collect::<Result<_, Error>>()?;
            self.print(saved::merge(parts, self.count)?, out, notes)?;
            return Ok(Ending::Whole);
        }
        let plan = self.plan();
        let mut watch = Watch::new(self.every)?;
        let standard_input = [PathBuf::from("-")];
        let files = if self.files.is_empty() { &standard_input[..] } else { &self.files };
        let open = |path: &PathBuf| if path.as_os_str() == "-" { Input::stdin() } else { Input::open(path) };
        let inputs = files.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
        if let Some(rate) = self.rate {
            let rated = plan.write_at_rate(rate, inputs, out, &mut |bytes| Ok(watch.look(bytes)))?;
            if self.stats {
                let chance = rate.value();
                write_stats(
                    notes,
                    &[
                        ("lines seen", rated.lines.to_string()),
                        ("lines chosen", rated.written.to_string()),
                        ("chance of inclusion", chance.to_string()),
                        ("seed", rated.seed.0.to_string()),
                        ("way", "rate".into()),
                    ],
                )?;
            }
            return Ok(watch.ending());
        }
        let mut opened = plan.open(inputs)?;
        if let Opened::Files(population) = &opened {
            watch.bytes_total = Some(population.len());
        }
        let order = self.order();
        let sample = plan.sample(&mut opened, &mut |so_far, bytes| {
            let flow = watch.look(bytes);
            if watch.is_asked() {
                so_far()?.write(order, out)?;
            }
            Ok(flow)
        })?;
        watch.finish();
        self.print(sample, out, notes)?;
        Ok(watch.ending())
    }

    fn order(&self) -> Order {
        if self.shuffle { Order::Shuffled } else { Order::Input }
    }

    fn print(&self, sample: Sample<'_>, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<()> {
        let sample = match &self.save {
            None => {
                sample.write(self.order(), out)?;
                sample
            }
            Some(path) => save(sample, path, out)?,
        };
        if self.stats {
            let seen = sample.lines_seen().map_or("not counted".to_owned(), |lines| lines.to_string());
            let chance = sample.inclusion().map_or("not one number".to_owned(), |chance| chance.to_string());
            let seeds: Vec<String> = sample.seeds().iter().map(|Seed(seed)| seed.to_string()).collect();
            write_stats(
                notes,
                &[
                    ("lines seen", seen),
                    ("lines chosen", sample.len().to_string()),
                    ("chance of inclusion", chance),
                    ("seed", seeds.join(", ")),
                    ("way", sample.way().to_string()),
                ],
            )?;
        }
        Ok(())
    }
}

fn write_stats(notes: &mut dyn Write, stats: &[(&str, String)]) -> io::Result<()> {
    stats.iter().try_for_each(|(name, value)| writeln!(notes, "{name}: {value}"))
}

fn read_saved(path: &Path) -> Result<(String, Sample<'static>), Error> {
    let mut bytes = Vec::new();
    let name = path.display().to_string();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    match read {
        Ok(()) => saved::read(&name, &bytes).map(|sample| (name, sample)),
        Err(source) => Err(Error::Open { name, source }),
    }
}

/// Writes a saved sample. A file takes its name only when it is whole.
fn save<'a>(sample: Sample<'a>, path: &Path, out: &mut dyn Write) -> anyhow::Result<Sample<'a>> {
    if path.as_os_str() == "-" {
        return Ok(saved::write(sample, out)?);
    }
    let named = || format!("{}: cannot save", path.display());
    if path.exists() && !path.is_file() {
        let mut file = std::fs::File::create(path).with_context(named)?;
        return saved::write(sample, &mut file).with_context(named);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = io::BufWriter::new(std::fs::File::create(&partial).with_context(named)?);
    let sample = saved::write(sample, &mut file).with_context(named)?;
    std::fs::rename(&partial, path).with_context(named)?;
    Ok(sample)
}

/// Signals, timer and progress bar, looked at between two reads.
struct Watch {
    interrupted: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
    every: Option<Duration>,
    next_print: Option<Instant>,
    started: Instant,
    bytes_total: Option<u64>,
    bar: Option<indicatif::ProgressBar>,
}

/// A run that is over sooner has no progress bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

impl Watch {
    fn new(every: Option<Duration>) -> anyhow::Result<Watch> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicBool::new(false));
        // A second Ctrl-C ends the process where it stands, whatever it waits for.
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
        signal_hook::flag::register(SIGUSR1, Arc::clone(&asked))?;
        let started = Instant::now();
        let next_print = every.and_then(|every| started.checked_add(every));
        Ok(Watch { interrupted, asked, every, next_print, started, bytes_total: None, bar: None })
    }

    fn look(&mut self, bytes: u64) -> ControlFlow<()> {
        let now = Instant::now();
        if self.next_print.is_some_and(|next| next <= now) {
            self.next_print = self.every.and_then(|every| now.checked_add(every));
            self.asked.store(true, Ordering::Relaxed);
        }
        match &self.bar {
            Some(bar) => bar.set_position(bytes),
            None if now.duration_since(self.started) >= BAR_AFTER => self.bar = Some(progress_bar(self.bytes_total)),
            None => {}
        }
        if self.interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the sample so far is to be printed now.
    fn is_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn ending(&self) -> Ending {
        if self.interrupted.load(Ordering::Relaxed) { Ending::Interrupted } else { Ending::Whole }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finish();
    }
}

/// On standard error, and hidden when that is no terminal.
fn progress_bar(bytes_total: Option<u64>) -> indicatif::ProgressBar {
    let (bar, template) = match bytes_total {
        Some(total) => (indicatif::ProgressBar::new(total), "{bar:40} {bytes} of {total_bytes} {bytes_per_sec} {eta}"),
        None => (indicatif::ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match indicatif::ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn parse_separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        b"\\0" => Ok(0),
        _ => Err("a separator is one byte, \\t or \\0".to_owned()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration above zero: give 500ms, 10s, 5m or a number of seconds");
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|it| it.try_into().ok()).ok_or_else(wrong)?,
    };
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}
