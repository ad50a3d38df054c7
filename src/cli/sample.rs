//! `weir sample`: lines chosen at random.

mod watch;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use watch::Watch;

use crate::sample::{Error, Field, Fields, Input, LineFormat, Opened, Order, Plan, Rate, Sample, Seed, saved};

const EXAMPLES: &str = "\
Examples:
  weir sample access.log                             20 lines, the file is not read
  weir sample -n 100 --shuffle access.log.*.gz       100 lines of all archives together
  tail -n 0 -f access.log | weir sample --every 30s  what is going on right now
  weir sample -n 5 --by 1 -d ' ' errors.log          5 lines for each value of the first field
  weir sample -H 1 --weight bytes table.tsv          by the number in the field that the header calls bytes";

/// Choose lines at random out of files or standard input, each with exactly the same chance
///
/// Several files are one population; `-` is standard input, and so is no file at all. gzip and Zstandard are
/// recognized and decompressed. Plain files are sampled by random access, without reading them, unless --seed,
/// --scan or a field asks for more. SIGUSR1 prints the sample so far; Ctrl-C prints it and ends with exit code 130.
///
/// A line that is read in order (from a pipe, compressed, or for its fields) may have 8 MiB, in a plain file any
/// length. Memory beside the sample's lines is that of the longest line and some 8 MB; kept lines over 64 KiB wait in an
/// unlinked file in TMPDIR. So 20 lines of whatever input take less than 20 MB (with --by, so many
/// for each value, and the values).
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files; a line of any of them is as likely as a line of another
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How many lines, or with --by how many for each value [default: 20]
    #[arg(short = 'n', long = "count", value_name = "N", allow_negative_numbers = true)]
    count: Option<u64>,

    /// The same seed gives the same sample of the same bytes, from files or pipes, with any number of threads
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<u64>,

    /// Print in random order instead of the order of the input
    #[arg(long)]
    shuffle: bool,

    /// Instead of N lines, each line with this chance (0.01 or 1%), printed as it comes
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
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
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_negative_numbers = true)]
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
        let named =
            |field: &Option<String>| field.as_deref().is_some_and(|text| matches!(Field::parse(text), Field::Name(_)));
        let no_header = self.header_lines == 0 && (named(&self.by) || named(&self.weight));
        let is_standard = |path: &&PathBuf| path.as_os_str() == "-";
        let saved_to_output = self.save.as_ref().is_some_and(|path| is_standard(&path));
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
            (
                self.files.iter().filter(is_standard).count() > 1 || self.merge.iter().filter(is_standard).count() > 1,
                "standard input can be read only once, so `-` may stand only once among the files",
            ),
            (
                self.save.is_some() && self.shuffle,
                "--save keeps the sample and prints no lines, so --shuffle has no say: give it to --merge",
            ),
            (
                saved_to_output && self.every.is_some(),
                "--save - writes to standard output, so the sample so far cannot be printed there --every so often",
            ),
            (
                no_header && !merge,
                "a field is called by its number, from 1; to call it by a name, say with -H 1 that there is a header",
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
        // Not before: to open a pipe that nobody writes to takes for ever, and Ctrl-C must end that.
        watch.catch_interrupts()?;
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
        // The saved sample that goes to standard output must not be mixed with lines.
        let prints = self.save.as_ref().is_none_or(|path| path.as_os_str() != "-");
        let sample = plan.sample(&mut opened, &mut |so_far, bytes| {
            let flow = watch.look(bytes);
            if watch.is_asked() && prints {
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
