//! Random keys for the lines of a chunk, without drawing one for each line.
//!
//! Give every line an independent uniform key in [0, 1) and take the N lines with the smallest keys: that is a
//! simple random sample without replacement (Fan, Muller and Rezucha 1962), it merges, and it does not depend
//! on the order in which lines are seen. What is written here is how to find the small keys of a chunk of `m`
//! lines from `m` alone, so that a chunk with no small key is counted and never split into lines:
//!
//! - A key's first binary digit is 0 for about half of the lines: how many is the number of heads among `m`
//!   coins, exactly. Of those, again as many as coins show heads have a second 0, and so on: one random *bit* for
//!   each line and digit, about `m / 32` random words in all.
//! - Walk from the longest run of leading zeros to the shortest, and stop at the first run whose keys cannot be
//!   small enough. Each key takes its further digits at random and its line at random among those not yet taken
//!   (a partial Fisher-Yates shuffle).
//!
//! Everything is done in integers, so it is exact: no logarithm is rounded. What is drawn for a chunk depends on
//! the seed, the chunk's number and `m`, and on nothing else; the limit only decides where the walk stops.
//!
//! Cost: `m / 32` words for a chunk, and for a chunk that holds a small key `m` writes to prepare the shuffle. It
//! gives up nothing. Keys are kept to 57 significant bits: two keys of a sample are equal once in 2^57.

use super::rng::{Random, Seed, Use};

/// The bits of a key after its run of leading zeros.
const FRACTION_BITS: u32 = 57;

/// No key has a longer run of leading zeros; one in 2^127 would.
const ZEROS_MAX: u32 = 127;

/// A line's random key: the smaller, the earlier it is in the sample.
///
/// It stands for a real number in [0, 1): 7 bits that count its leading zeros downwards, then its next 57 digits,
/// so that comparing two keys compares the numbers. A weighted sample puts positive floating-point bits in
/// the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// Not smaller than any key: nothing is refused yet.
    pub const LARGEST: Key = Key(u64::MAX);

    /// A uniform key out of random bits: one line's, where each line draws its own.
    #[inline]
    pub fn draw(random: &mut Random) -> Key {
        let mut zeros = 0;
        loop {
            let bits = random.bits();
            zeros += bits.leading_zeros();
            if bits != 0 || zeros >= ZEROS_MAX {
                return Key::new(zeros.min(ZEROS_MAX), random.bits());
            }
        }
    }

    /// The key of a positive number: comparing two such keys compares the numbers.
    pub fn of_positive(number: f64) -> Key {
        Key(number.abs().to_bits())
    }

    /// The number that [`Key::of_positive`] was given; infinite for a key that no number has.
    pub fn to_positive(self) -> f64 {
        let number = f64::from_bits(self.0);
        if number >= 0.0 { number } else { f64::INFINITY }
    }

    /// The key as a number, for files.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The key out of a file.
    pub const fn from_bits(bits: u64) -> Key {
        Key(bits)
    }

    fn new(zeros: u32, bits: u64) -> Key {
        Key(u64::from(ZEROS_MAX - zeros) << FRACTION_BITS | bits >> (64 - FRACTION_BITS))
    }

    const fn zeros(self) -> u32 {
        ZEROS_MAX - (self.0 >> FRACTION_BITS) as u32
    }
}

/// Draws the small keys of chunk after chunk. It only holds room to work in: one for each thread.
#[derive(Debug, Default)]
pub struct ChunkKeys {
    /// `[z]`: how many lines have at least `z` leading zeros.
    at_least: Vec<u32>,
    /// The lines of the chunk, shuffled as far as they are taken.
    lines: Vec<u32>,
}

impl ChunkKeys {
    /// Every line of chunk number `chunk`, which has `line_count` lines, whose key is at most `limit`: its key and
    /// its place in the chunk, from 0. Those of a lower limit are the first of those of a higher one, so that
    /// a limit changes no draw.
    pub fn draw(&mut self, seed: Seed, chunk: u64, line_count: u32, limit: Key, found: &mut Vec<(Key, u32)>) {
        found.clear();
        if line_count == 0 {
            return;
        }
        let mut random = Random::new(seed, Use::Chunk, chunk);
        self.at_least.clear();
        let mut left = line_count;
        while left > 0 && self.at_least.len() <= ZEROS_MAX as usize {
            self.at_least.push(left);
            left = random.heads(left);
        }
        let zeros_wanted = limit.zeros() as usize;
        if self.at_least.len() <= zeros_wanted {
            return;
        }
        self.lines.clear();
        self.lines.extend(0..line_count);
        let mut taken = 0;
        for (zeros, at_least) in self.at_least.iter().enumerate().skip(zeros_wanted).rev() {
            while taken < *at_least {
                let other = taken + random.below(u64::from(line_count - taken)) as u32;
                self.lines.swap(taken as usize, other as usize);
                let key = Key::new(zeros as u32, random.bits());
                if key <= limit {
                    found.push((key, self.lines[taken as usize]));
                }
                taken += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_keys(seed: u64, chunk: u64, line_count: u32, limit: Key) -> Vec<(Key, u32)> {
        let mut found = Vec::new();
        ChunkKeys::default().draw(Seed(seed), chunk, line_count, limit, &mut found);
        found
    }

    #[test]
    fn without_a_limit_every_line_has_one_key() {
        for line_count in [0, 1, 2, 63, 64, 65, 1000] {
            let mut lines: Vec<u32> =
                all_keys(5, 3, line_count, Key::LARGEST).into_iter().map(|(_, line)| line).collect();
            lines.sort_unstable();
            assert_eq!(lines, (0..line_count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_limit_changes_no_draw() {
        for seed in 0..50 {
            let all = all_keys(seed, 9, 300, Key::LARGEST);
            for limit in all.iter().map(|(key, _)| *key).chain([Key(0), Key(1 << 60)]) {
                let under: Vec<_> = all.iter().copied().filter(|(key, _)| *key <= limit).collect();
                assert_eq!(all_keys(seed, 9, 300, limit), under);
            }
        }
    }

    #[test]
    fn the_keys_of_a_chunk_are_uniform() {
        // Key as a number: under 1/2, 1/4, ... for a half, a quarter, ... of the lines.
        let keys: Vec<Key> =
            (0..200).flat_map(|chunk| all_keys(8, chunk, 1000, Key::LARGEST)).map(|(key, _)| key).collect();
        for zeros in 0..8u32 {
            let share = keys.iter().filter(|key| key.zeros() >= zeros).count() as f64 / keys.len() as f64;
            let expected = 0.5f64.powi(zeros as i32);
            assert!((share - expected).abs() < 0.005, "{zeros}: {share}");
            // Within one run of zeros the next digit is a fair coin.
            let run: Vec<_> = keys.iter().filter(|key| key.zeros() == zeros).collect();
            let ones = run.iter().filter(|key| key.0 >> (FRACTION_BITS - 1) & 1 == 1).count() as f64;
            assert!((ones / run.len() as f64 - 0.5).abs() < 0.05, "{zeros}");
        }
    }

    #[test]
    fn a_single_draw_has_the_same_law() {
        let mut random = Random::new(Seed(6), Use::Line, 0);
        let keys: Vec<Key> = (0..100_000).map(|_| Key::draw(&mut random)).collect();
        for zeros in 0..8u32 {
            let share = keys.iter().filter(|key| key.zeros() >= zeros).count() as f64 / keys.len() as f64;
            assert!((share - 0.5f64.powi(zeros as i32)).abs() < 0.007, "{zeros}: {share}");
        }
    }

    #[test]
    fn keys_of_numbers_compare_as_the_numbers() {
        assert_eq!(Key::of_positive(0.25).to_positive(), 0.25);
        assert_eq!(Key::LARGEST.to_positive(), f64::INFINITY);
        let numbers = [0.0, 1e-300, 0.5, 1.0, 1.5, 1e300, f64::INFINITY];
        assert!(numbers.windows(2).all(|pair| Key::of_positive(pair[0]) < Key::of_positive(pair[1])));
    }
}
