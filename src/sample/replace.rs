//! A sample with replacement out of one without.
//!
//! Algorithm: draw N times out of n lines, each time any of them. When d different ones have been drawn, the next draw
//! repeats one of these with chance d / n, each alike, and else is a new one, each of the others alike. So the draws can
//! be made from the keys' order of a sample without replacement, which is a uniform sequence of different
//! lines: repeat an earlier one with chance d / n, else take the next.
//!
//! Cost: N numbers after the pass, made one by one and not kept, so N may be larger than memory; the sample without
//! replacement that it starts from merges and has threads as ever. It gives up nothing.

use super::rng::{Random, Seed, Use};

/// N draws with replacement, which can be made again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// How many different lines there are to draw from, in the order of their keys: N, or all.
    pub different: usize,
    /// Out of how many lines.
    pub lines: u64,
    /// N.
    pub count: u64,
    /// What the draws are derived from.
    pub seed: Seed,
}

impl Draws {
    /// How many draws there are: N, or none when there is no line.
    pub fn len(&self) -> u64 {
        if self.different == 0 { 0 } else { self.count }
    }

    /// Whether there is no draw.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For each draw, which of the different lines.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let Draws { different, lines, seed, .. } = *self;
        let mut random = Random::new(seed, Use::Replace, 0);
        let mut drawn = 0;
        (0..self.len()).map(move |_| {
            let any = random.below(lines.max(1));
            if any < drawn as u64 {
                return any as usize;
            }
            // `drawn` is below `different` here: if all lines are at hand, `any` is below their number.
            drawn = (drawn + 1).min(different);
            drawn - 1
        })
    }
}
