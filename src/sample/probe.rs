//! A uniform sample of plain files without reading them: random access.
//!
//! Algorithm: rejection sampling. Every line of the row is ended by exactly one byte. Draw a byte of the row, each
//! equally likely; if it ends a line, that line is chosen, else draw again. Each line has one winning byte whatever its
//! length, so each is equally likely. (Taking the line that *holds* a random byte, as is often done, prefers
//! long lines.) A line that was chosen before is drawn again, or counted again when sampling with replacement.
//!
//! Cost: on average N times the mean line length reads of a few bytes, whatever the size of the files: N = 20 of a
//! web log takes some 2000 reads, a millisecond or two from memory. A budget of one read for each
//! [`BYTES_FOR_A_PROBE`] bytes bounds it: past that, reading everything is cheaper, and the caller scans. Giving up
//! does not bias the result: how long it takes to find N lines says nothing about which lines they are.
//!
//! It gives up the number of lines, which it never learns, and "one seed, one sample" with the other ways.

use std::collections::HashSet;

use super::error::Error;
use super::key::Key;
use super::population::Population;
use super::reservoir::Entry;
use super::rng::{Random, Seed, Use};
use super::scan::{Look, Span};

/// One probe takes about as long as scanning so many bytes.
pub const BYTES_FOR_A_PROBE: u64 = 8192;

/// How many bytes are read at once: mostly the byte's whole line comes along.
const WINDOW_BYTES: usize = 256;

/// What random access needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Probing {
    /// How many lines to draw.
    pub count: u64,
    /// What the offsets are derived from.
    pub seed: Seed,
    /// Whether a line may be drawn more than once.
    pub replace: bool,
    /// How many probes may be made.
    pub budget: u64,
}

/// After so many probes `look` is called: on a slow disk they take seconds.
const PROBES_A_LOOK: u64 = 256;

/// The lines drawn, keyed in the order of drawing and sorted as the input is; `None` when the budget did not
/// suffice. Now and then `look` is called with a way to the lines drawn so far, which are a sample of as many lines,
/// and 0 bytes read; when it breaks off, they are the result.
///
/// # Errors
/// A file cannot be read or has become shorter; `look` failed.
pub fn probe(
    population: &Population,
    probing: Probing,
    look: &mut Look<'_, Vec<Entry<Span>>>,
) -> Result<Option<Vec<Entry<Span>>>, Error> {
    // A hit takes two probes at least, for no line is shorter than its terminator and few are that short.
    if population.is_empty() || probing.count.saturating_mul(2) > probing.budget {
        return Ok(None);
    }
    population.advise_random(true);
    let drawn = draw(population, probing, look);
    population.advise_random(false);
    let Some(drawn) = drawn? else { return Ok(None) };
    population.check_lengths()?;
    Ok(Some(in_input_order(drawn)))
}

fn in_input_order(mut drawn: Vec<Entry<Span>>) -> Vec<Entry<Span>> {
    drawn.sort_unstable_by_key(|entry| (entry.position, entry.key));
    drawn
}

fn draw(
    population: &Population,
    probing: Probing,
    look: &mut Look<'_, Vec<Entry<Span>>>,
) -> Result<Option<Vec<Entry<Span>>>, Error> {
    let mut random = Random::new(probing.seed, Use::Probe, 0);
    let mut window = [0; WINDOW_BYTES];
    let mut chosen = HashSet::new();
    let mut drawn = Vec::new();
    for probe in 0..probing.budget {
        if probe % PROBES_A_LOOK == PROBES_A_LOOK - 1 && look(&|| in_input_order(drawn.clone()), 0)?.is_break() {
            return Ok(Some(drawn));
        }
        if drawn.len() as u64 == probing.count {
            return Ok(Some(drawn));
        }
        let offset = random.below(population.len());
        let window_start = (offset + 1).saturating_sub(WINDOW_BYTES as u64);
        let window = &mut window[..(offset + 1 - window_start) as usize];
        population.read(window_start, window)?;
        let hit = window.split_last().filter(|(last, _)| **last == population.delimiter());
        if let Some((_, before)) = hit
            && (chosen.insert(offset) || probing.replace)
        {
            let start = match memchr::memrchr(population.delimiter(), before) {
                Some(at) => window_start + at as u64 + 1,
                None => population.line_start(window_start)?,
            };
            let span = Span { start, len: offset + 1 - start };
            drawn.push(Entry { key: Key::from_bits(drawn.len() as u64), position: start, item: span });
        }
    }
    Ok((drawn.len() as u64 == probing.count).then_some(drawn))
}
