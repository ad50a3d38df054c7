//! A sample with replacement out of one without.
//!
//! Algorithm: draw N times out of n lines, each time any of them. When d different ones have been drawn, the next draw
//! repeats one of these with chance d / n, each alike, and else is a new one, each of the others alike. So the draws can
//! be made from the keys' order of a sample without replacement, which is a uniform sequence of different
//! lines: repeat an earlier one with chance d / n, else take the next.
//!
//! Cost: N numbers after the pass; the sample without replacement that it starts from merges and has threads as ever.
//! It gives up nothing.

use super::rng::{Random, Seed, Use};

/// `count` draws out of `lines` lines: for each, which of the different lines, in the order of their keys. Of
/// those there must be `count`, or all.
pub fn with_replacement(different: usize, lines: u64, count: u64, seed: Seed) -> Vec<usize> {
    if different == 0 {
        return Vec::new();
    }
    let mut random = Random::new(seed, Use::Replace, 0);
    let mut drawn = 0;
    (0..count)
        .map(|_| {
            let any = random.below(lines.max(1));
            if any < drawn as u64 {
                return any as usize;
            }
            // `drawn` is below `different` here: if all lines are at hand, `any` is below their number.
            drawn = (drawn + 1).min(different);
            drawn - 1
        })
        .collect()
}
