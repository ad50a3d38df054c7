//! N lines for each value of a field (`--by`), with or without weights.
//!
//! Algorithm: a bottom-N reservoir ([`reservoir`](super::reservoir)) for each value, each line with a key of its own:
//! uniform, or by its weight ([`weighted`](super::weighted)). Without a field there is one reservoir.
//!
//! Cost: for each line a search for the field, a hash look-up and a random number; memory for N lines for each value
//! there is, so a field with millions of values is a sample of millions of lines. It gives up threads. A line that
//! lacks the field belongs to the empty value: odd lines of a log show up instead of stopping everything.

use std::collections::HashMap;

use super::error::Error;
use super::field::{Field, field_of};
use super::kept::{KeptLine, Spill};
use super::key::Key;
use super::lines::{Line, Lines};
use super::reservoir::{Entry, Reservoir};
use super::rng::{Random, Seed, Use};
use super::weighted::{weight_of, weighted_key};

/// Which fields decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<F> {
    /// N lines for each value of this one.
    pub by: Option<F>,
    /// The weight.
    pub weight: Option<F>,
    /// The byte between fields.
    pub separator: u8,
}

/// Reservoirs by value.
#[derive(Debug, Clone)]
pub struct Groups {
    count: u64,
    by: HashMap<Box<[u8]>, Reservoir<KeptLine>>,
    /// The lines of the empty value; without groups all have it, and nothing is looked up.
    empty: Reservoir<KeptLine>,
}

impl Groups {
    /// No line yet, `count` lines for each value.
    pub fn new(count: u64) -> Groups {
        Groups { count, by: HashMap::new(), empty: Reservoir::new(count) }
    }

    /// Shows the lines kept for a value.
    #[inline]
    pub fn with<R>(&mut self, value: &[u8], show: impl FnOnce(&mut Reservoir<KeptLine>) -> R) -> R {
        if value.is_empty() {
            return show(&mut self.empty);
        }
        match self.by.get_mut(value) {
            Some(kept) => show(kept),
            None => show(self.by.entry(value.into()).or_insert_with(|| Reservoir::new(self.count))),
        }
    }

    /// What all groups kept, in input order.
    pub fn into_entries(self) -> Vec<Entry<KeptLine>> {
        let mut entries: Vec<_> = self.by.into_values().chain([self.empty]).flat_map(Reservoir::into_entries).collect();
        entries.sort_unstable_by_key(|entry| entry.position);
        entries
    }
}

/// What was chosen so far.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The first input's header.
    pub header: Vec<u8>,
    /// The fields by number.
    pub fields: Fields<usize>,
    /// The lines.
    pub groups: Groups,
    /// How many lines were seen.
    pub lines: u64,
}

/// Samples lines that each have a key of their own.
#[derive(Debug)]
pub struct Keyed {
    wanted: Fields<Field>,
    line_end: u8,
    random: Random,
    spill: Spill,
    chosen: Chosen,
}

impl Keyed {
    /// `count` lines, or as many for each value of the field.
    pub fn new(count: u64, seed: Seed, wanted: Fields<Field>, line_end: u8) -> Keyed {
        let fields = Fields { by: None, weight: None, separator: wanted.separator };
        let chosen = Chosen { header: Vec::new(), fields, groups: Groups::new(count), lines: 0 };
        Keyed { wanted, line_end, random: Random::new(seed, Use::Line, 0), spill: Spill::default(), chosen }
    }

    /// What was chosen so far.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// What was chosen.
    pub fn into_chosen(self) -> Chosen {
        self.chosen
    }
}

impl Lines for Keyed {
    fn begin(&mut self, name: &str, header: &[u8]) -> Result<(), Error> {
        self.chosen.header = header.to_vec();
        let (line_end, separator) = (self.line_end, self.wanted.separator);
        let resolve = |field: &Field| field.resolve(name, header, line_end, separator);
        self.chosen.fields.by = self.wanted.by.as_ref().map(resolve).transpose()?;
        self.chosen.fields.weight = self.wanted.weight.as_ref().map(resolve).transpose()?;
        Ok(())
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Error> {
        let Chosen { fields, groups, lines, .. } = &mut self.chosen;
        *lines += 1;
        let separator = fields.separator;
        let value = fields.by.and_then(|number| field_of(line.bytes, number, separator)).unwrap_or_default();
        let weight = fields.weight.map(|number| weight_of(&line, number, separator)).transpose()?;
        let (random, spill) = (&mut self.random, &self.spill);
        groups.with(value, |kept| {
            let key = match weight {
                Some(weight) => weighted_key(weight, kept.limit(), random),
                None => Some(Key::draw(random)),
            };
            if let Some(key) = key.filter(|key| kept.wants(*key)) {
                kept.offer(key, line.ordinal, spill.keep(line.bytes)?);
            }
            Ok(())
        })
    }

    fn pause(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
