//! What is wanted of a sample, and which way gives it.
//!
//! It refuses wishes that contradict each other; everything else that it is asked for it does in the cheapest way that
//! has the right law.

use std::io::{Read, Write};
use std::ops::ControlFlow;

use super::error::Error;
use super::field::Field;
use super::input::{Input, Source};
use super::joined::{Joined, LineFormat};
use super::keyed::{Chosen, Fields, Keyed};
use super::lines::each_line;
use super::outcome::{Held, Sample, Way};
use super::population::Population;
use super::probe::{BYTES_FOR_A_PROBE, Probing, probe};
use super::rate::{Rate, RateWriter};
use super::replace::Draws;
use super::reservoir::Entry;
use super::rng::Seed;
use super::scan::{Scan, Scanned, Span, find, scan};
use super::stream::{Streamed, scan_stream};

/// The size of a chunk, and part of what a seed means: another size is another sample.
pub const CHUNK_BYTES: usize = 128 << 10;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many lines; for groups, of each.
    pub count: u64,
    /// What all draws are derived from; a fresh one if `None`, and then random access is allowed.
    pub seed: Option<Seed>,
    /// What a line is.
    pub format: LineFormat,
    /// Never random access.
    pub scan: bool,
    /// A line may be drawn more than once.
    pub replace: bool,
    /// Fields that decide.
    pub fields: Fields<Field>,
    /// How many threads may read plain files.
    pub threads: usize,
    /// [`CHUNK_BYTES`], except in tests.
    pub chunk_bytes: usize,
}

/// Inputs that are ready to be sampled.
#[derive(Debug)]
pub enum Opened {
    /// All are plain files.
    Files(Population),
    /// At least one is not.
    Streams(Joined),
}

/// Called now and then with a way to the sample so far and the bytes read so far; see [`scan::Look`](super::scan::Look).
pub type Look<'a> = dyn FnMut(&dyn Fn() -> Result<Sample<'static>, Error>, u64) -> Result<ControlFlow<()>, Error> + 'a;

/// What a sample at a rate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rated {
    /// How many lines were seen.
    pub lines: u64,
    /// How many were written.
    pub written: u64,
    /// What the draws were derived from.
    pub seed: Seed,
}

impl Plan {
    /// `count` lines, each equally likely, without replacement.
    pub fn new(count: u64) -> Plan {
        Plan {
            count,
            seed: None,
            format: LineFormat::default(),
            scan: false,
            replace: false,
            fields: Fields { by: None, weight: None, separator: b'\t' },
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// Takes the sample out of a reader.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is not as the plan wants it.
    pub fn sample_reader(&self, name: &str, reader: impl Read + Send + 'static) -> Result<Sample<'static>, Error> {
        let mut joined = Joined::new(vec![Source::new(name, reader)], self.format);
        self.sample_streams(&mut joined, &mut |_, _| Ok(ControlFlow::Continue(())))
    }

    /// Gets the inputs ready, several as one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn open(&self, inputs: Vec<Input>) -> Result<Opened, Error> {
        let looks_at_lines = self.fields.by.is_some() || self.fields.weight.is_some();
        if looks_at_lines || inputs.iter().any(|input| matches!(input, Input::Stream(_))) {
            let sources = inputs.into_iter().map(Input::into_source).collect();
            return Ok(Opened::Streams(Joined::new(sources, self.format)));
        }
        let files = inputs.into_iter().filter_map(|input| match input {
            Input::File(file) => Some(file),
            Input::Stream(_) => None,
        });
        Ok(Opened::Files(Population::new(files.collect(), self.format)?))
    }

    /// Takes the sample.
    ///
    /// # Errors
    /// An input cannot be read or has changed, a line is not as the plan wants it, or `look` failed.
    pub fn sample<'a>(&self, opened: &'a mut Opened, look: &mut Look<'_>) -> Result<Sample<'a>, Error> {
        if self.replace && (self.fields.by.is_some() || self.fields.weight.is_some()) {
            return Err(Error::Options("with replacement there are no groups and no weights"));
        }
        match opened {
            Opened::Files(population) => self.sample_files(population, look),
            Opened::Streams(joined) => self.sample_streams(joined, look),
        }
    }

    /// Writes each line with the same chance, as it comes.
    ///
    /// # Errors
    /// An input cannot be read, the output cannot be written, or `look` failed.
    pub fn write_at_rate(
        &self,
        rate: Rate,
        inputs: Vec<Input>,
        out: &mut dyn Write,
        look: &mut dyn FnMut(u64) -> Result<ControlFlow<()>, Error>,
    ) -> Result<Rated, Error> {
        let sources = inputs.into_iter().map(Input::into_source).collect();
        let seed = self.seed.unwrap_or_else(Seed::fresh);
        let mut writer = RateWriter::new(rate, seed, out);
        each_line(&mut Joined::new(sources, self.format), &mut writer, &mut |_, bytes| look(bytes))?;
        writer.flush()?;
        Ok(Rated { lines: writer.lines(), written: writer.written(), seed })
    }

    fn sample_files<'a>(&self, population: &'a Population, look: &mut Look<'_>) -> Result<Sample<'a>, Error> {
        let seed = self.seed.unwrap_or_else(Seed::fresh);
        if self.seed.is_none() && !self.scan {
            let budget = population.len() / BYTES_FOR_A_PROBE;
            let probing = Probing { count: self.count, seed, replace: self.replace, budget };
            let outcome = |drawn| {
                let held = Held::Files(population, drawn);
                self.outcome(seed, Way::RandomAccess, population.header(), held, None, population.len())
            };
            let look =
                &mut |so_far: &dyn Fn() -> Vec<Entry<Span>>, bytes| look(&|| outcome(so_far()).into_memory(), bytes);
            if let Some(drawn) = probe(population, probing, look)? {
                return Ok(outcome(drawn));
            }
        }
        let scanning = self.scanning(seed);
        let outcome = |scanned: Scanned| {
            let spans = find(population, self.chunk_bytes, scanned.places)?;
            let way = Way::Scan { threads: self.threads };
            let held = Held::Files(population, spans);
            Ok(self.outcome(seed, way, population.header(), held, Some(scanned.lines), scanned.bytes))
        };
        let scanned = scan(population, scanning, &mut |so_far, bytes| {
            look(&|| outcome(so_far()).and_then(Sample::into_memory), bytes)
        })?;
        outcome(scanned)
    }

    fn sample_streams(&self, joined: &mut Joined, look: &mut Look<'_>) -> Result<Sample<'static>, Error> {
        let seed = self.seed.unwrap_or_else(Seed::fresh);
        if self.fields.by.is_some() || self.fields.weight.is_some() {
            return self.sample_keyed(seed, joined, look);
        }
        let outcome = |streamed: Streamed| {
            let held = Held::Memory(streamed.kept.into_entries());
            self.outcome(seed, Way::Stream, &streamed.header, held, Some(streamed.lines), streamed.bytes)
        };
        let mut look = |so_far: &dyn Fn() -> Result<Streamed, Error>, bytes| look(&|| so_far().map(outcome), bytes);
        Ok(outcome(scan_stream(joined, self.scanning(seed), &mut look)?))
    }

    fn sample_keyed(&self, seed: Seed, joined: &mut Joined, look: &mut Look<'_>) -> Result<Sample<'static>, Error> {
        let outcome = |chosen: Chosen, bytes| {
            let Chosen { header, fields, groups, lines } = chosen;
            let held = Held::Memory(groups.into_entries());
            Sample { fields, ..self.outcome(seed, Way::Stream, &header, held, Some(lines), bytes) }
        };
        let mut keyed = Keyed::new(self.count, seed, self.fields.clone(), self.format.delimiter);
        let mut total_bytes = 0;
        each_line(joined, &mut keyed, &mut |keyed, bytes| {
            total_bytes = bytes;
            look(&|| Ok(outcome(keyed.chosen().clone(), bytes)), bytes)
        })?;
        Ok(outcome(keyed.into_chosen(), total_bytes))
    }

    fn scanning(&self, seed: Seed) -> Scan {
        Scan { count: self.count, seed, chunk_bytes: self.chunk_bytes, threads: self.threads }
    }

    fn outcome<'a>(
        &self,
        seed: Seed,
        way: Way,
        header: &[u8],
        held: Held<'a>,
        lines: Option<u64>,
        bytes: u64,
    ) -> Sample<'a> {
        let draws = match lines {
            Some(lines) if self.replace => Some(Draws { different: held.len(), lines, count: self.count, seed }),
            _ => None,
        };
        let fields = Fields { by: None, weight: None, separator: self.fields.separator };
        let (header, delimiter, seeds) = (header.to_vec(), self.format.delimiter, vec![seed]);
        Sample { header, delimiter, held, draws, fields, count: self.count, lines, bytes, seeds, way }
    }
}
