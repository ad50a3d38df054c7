//! A sample that was taken: its lines, in memory or still in their files, and how it came about.
//!
//! Lines of plain files are not read before they are written, so a sample of a million lines needs memory for their
//! places only, and a line may have any length. They are written as blocks of the file while they lie close together.

use std::io::Write;

use super::error::Error;
use super::kept::KeptLine;
use super::keyed::Fields;
use super::population::Population;
use super::replace::Draws;
use super::reservoir::Entry;
use super::rng::{Random, Seed, Use};
use super::scan::Span;

/// How much of a file is read at once to write lines.
const WINDOW_BYTES: u64 = 256 << 10;

/// How a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By random offsets; the files were not read.
    RandomAccess,
    /// The files were read once, by so many threads.
    Scan {
        /// How many.
        threads: usize,
    },
    /// As a stream.
    Stream,
    /// Out of saved samples.
    Merge,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::RandomAccess => f.write_str("random access"),
            Way::Scan { threads } => write!(f, "scan, threads: {threads}"),
            Way::Stream => f.write_str("stream"),
            Way::Merge => f.write_str("merge"),
        }
    }
}

/// The order in which lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in the input.
    Input,
    /// Every order equally likely.
    Shuffled,
}

/// Takes a line's bytes, in pieces if it is long; the flag is set with the first.
type Piece<'a> = dyn FnMut(bool, &[u8]) -> Result<(), Error> + 'a;

/// Where the lines are.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    Memory(Vec<Entry<KeptLine>>),
    Files(&'a Population, Vec<Entry<Span>>),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Sample<'a> {
    pub(crate) header: Vec<u8>,
    pub(crate) delimiter: u8,
    pub(crate) held: Held<'a>,
    /// With replacement: which of the held lines, by their keys.
    pub(crate) draws: Option<Draws>,
    pub(crate) fields: Fields<usize>,
    pub(crate) count: u64,
    pub(crate) lines: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) way: Way,
}

impl Sample<'_> {
    /// How many lines it has.
    pub fn len(&self) -> u64 {
        self.draws.as_ref().map_or(self.held.len() as u64, Draws::len)
    }

    /// Whether there was no line to choose.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many lines were seen; `None` when nobody counted them (random access).
    pub fn lines_seen(&self) -> Option<u64> {
        self.lines
    }

    /// How many bytes of lines there were.
    pub fn bytes_seen(&self) -> u64 {
        self.bytes
    }

    /// How it was taken.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The seed; several if samples were merged.
    pub fn seeds(&self) -> &[Seed] {
        &self.seeds
    }

    /// The chance that each line had, where it is one number: the lines were counted and no field decided.
    pub fn inclusion(&self) -> Option<f64> {
        let plain = self.fields.by.is_none() && self.fields.weight.is_none() && self.draws.is_none();
        let lines = self.lines.filter(|lines| plain && *lines > 0)?;
        Some(self.held.len() as f64 / lines as f64)
    }

    /// The first input's header, each line ended.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The lines with their terminators, in memory.
    ///
    /// # Errors
    /// A file can no longer be read.
    pub fn to_lines(&self, order: Order) -> Result<Vec<Vec<u8>>, Error> {
        let mut lines = Vec::with_capacity(self.held.len());
        self.each(order, &mut |first, piece| {
            if first {
                lines.push(Vec::new());
            }
            if let Some(line) = lines.last_mut() {
                line.extend_from_slice(piece);
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// Writes header and lines.
    ///
    /// # Errors
    /// A file can no longer be read, or the output cannot be written.
    pub fn write(&self, order: Order, out: &mut dyn Write) -> Result<(), Error> {
        out.write_all(&self.header).map_err(Error::Write)?;
        self.each(order, &mut |_, piece| out.write_all(piece).map_err(Error::Write))?;
        out.flush().map_err(Error::Write)
    }

    /// The same sample with its lines in memory.
    ///
    /// # Errors
    /// A file can no longer be read.
    pub fn into_memory(self) -> Result<Sample<'static>, Error> {
        let memory = match self.held {
            Held::Memory(entries) => entries,
            Held::Files(population, entries) => {
                let read = |Entry { key, position, item: span }: Entry<Span>| {
                    let mut line = vec![0; span.len as usize];
                    population.read(span.start, &mut line)?;
                    Ok(Entry { key, position, item: line.into() })
                };
                entries.into_iter().map(read).collect::<Result<_, Error>>()?
            }
        };
        Ok(Sample { held: Held::Memory(memory), ..self })
    }

    /// Hands on all lines.
    fn each(&self, order: Order, piece: &mut Piece<'_>) -> Result<(), Error> {
        let mut picks = self.picks(order);
        match &self.held {
            Held::Memory(entries) => {
                picks.try_for_each(|pick| entries.get(pick).map_or(Ok(()), |entry| piece(true, &entry.item.bytes()?)))
            }
            Held::Files(population, entries) => {
                let mut window = Window { population, start: 0, bytes: Vec::new() };
                let mut spans = picks.filter_map(|pick| entries.get(pick)).map(|entry| entry.item).peekable();
                while let Some(span) = spans.next() {
                    window.hand_on(span, spans.peek().copied(), piece)?;
                }
                Ok(())
            }
        }
    }

    /// Which of the held lines, which are in input order, in the wanted order.
    fn picks(&self, order: Order) -> Box<dyn Iterator<Item = usize>> {
        let keys = |pick: &usize| match &self.held {
            Held::Memory(entries) => entries.get(*pick).map(|entry| (entry.key, entry.position)),
            Held::Files(_, entries) => entries.get(*pick).map(|entry| (entry.key, entry.position)),
        };
        let mut picks: Vec<usize> = (0..self.held.len()).collect();
        if let Some(draws) = &self.draws {
            picks.sort_unstable_by_key(keys);
            let drawn = draws.iter().filter_map(move |draw| picks.get(draw).copied());
            if order == Order::Shuffled {
                return Box::new(drawn);
            }
            // The draws are counted and not kept: there may be more of them than memory holds.
            let mut times = vec![0usize; self.held.len()];
            drawn.for_each(|pick| times[pick] += 1);
            return Box::new(times.into_iter().enumerate().flat_map(|(pick, times)| std::iter::repeat_n(pick, times)));
        } else if order == Order::Shuffled {
            picks.sort_unstable_by_key(keys);
            // Keys that depend on a weight or a group say something about their lines: such an order is no shuffle.
            if self.fields.by.is_some() || self.fields.weight.is_some() {
                let seed = Seed(self.seeds.iter().fold(0, |mixed, seed| mixed ^ seed.0));
                let mut random = Random::new(seed, Use::Shuffle, 0);
                for end in (1..picks.len()).rev() {
                    picks.swap(end, random.below(end as u64 + 1) as usize);
                }
            }
        }
        Box::new(picks.into_iter())
    }
}

impl Held<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Held::Memory(entries) => entries.len(),
            Held::Files(_, entries) => entries.len(),
        }
    }
}

/// A block of the row that lines are written from.
struct Window<'a> {
    population: &'a Population,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn hand_on(&mut self, span: Span, next: Option<Span>, piece: &mut Piece<'_>) -> Result<(), Error> {
        let end = span.start + span.len;
        let mut at = span.start;
        while at < end {
            let held = self.start..self.start + self.bytes.len() as u64;
            if !held.contains(&at) {
                // More than this line only if the next one is near.
                let near = next.is_some_and(|next| next.start >= at && next.start + next.len - at <= WINDOW_BYTES);
                let wanted = if near { WINDOW_BYTES } else { (end - at).min(WINDOW_BYTES) };
                self.bytes.resize(wanted.min(self.population.len() - at) as usize, 0);
                self.start = at;
                self.population.read(at, &mut self.bytes)?;
                continue;
            }
            let rest = &self.bytes[(at - self.start) as usize..];
            let part = &rest[..rest.len().min((end - at) as usize)];
            piece(at == span.start, part)?;
            at += part.len() as u64;
            if at == end && part.last() != Some(&self.population.delimiter()) {
                let name = self.population.name_at(span.start).to_owned();
                return Err(Error::Changed { name, what: "its lines are no longer where they were".to_owned() });
            }
        }
        Ok(())
    }
}
