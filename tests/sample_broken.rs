//! The tests of uniformity are sharp: samplers with the mistakes that are commonly made do not pass them.
#![allow(clippy::unwrap_used)]

mod sample_support;

use sample_support::*;
use weir::sample::rng::{Random, Seed, Use};

const TRIALS: u64 = 14_000;

fn random(seed: u64) -> Random {
    Random::new(Seed(seed), Use::Probe, 0)
}

fn assert_caught(what: &str, draw: impl FnMut(u64) -> Vec<usize>) {
    let chance = fit_uniform(&count_subsets(7, 3, TRIALS, draw));
    assert!(chance < IMPOSSIBLE, "{what} went unnoticed: {chance:e}");
}

/// The sampler of the notes, where line `k` (from 1) replaces one with chance N / `denominator(k)`.
fn reservoir(seed: u64, denominator: impl Fn(u64) -> u64) -> Vec<usize> {
    let mut random = random(seed);
    let mut kept: Vec<usize> = (0..3).collect();
    for line in 3..7 {
        if random.below(denominator(line as u64 + 1)) < 3 {
            kept[random.below(3) as usize] = line;
        }
    }
    kept
}

#[test]
fn the_right_reservoir_passes_the_same_test() {
    let chance = fit_uniform(&count_subsets(7, 3, TRIALS, |seed| reservoir(seed, |k| k)));
    assert!(chance > UNLIKELY, "{chance:e}");
}

#[test]
fn a_count_that_is_off_by_one_is_caught() {
    assert_caught("one too few", |seed| reservoir(seed, |k| k - 1));
    assert_caught("one too many", |seed| reservoir(seed, |k| k + 1));
}

#[test]
fn a_skip_that_is_off_by_one_is_caught() {
    // Algorithm R by gaps: the gap after a replacement is counted from the wrong line.
    assert_caught("skip", |seed| {
        let mut random = random(seed);
        let mut kept: Vec<usize> = (0..3).collect();
        let mut line = 3;
        while line < 7 {
            if random.below(line as u64 + 1) < 3 {
                kept[random.below(3) as usize] = line;
                line += 1;
            }
            line += 1;
        }
        kept
    });
}

#[test]
fn a_modulo_bias_is_caught() {
    // Four random bits modulo 7: 0 and 1 come three times where the others come twice.
    assert_caught("modulo", |seed| {
        let mut random = random(seed);
        let mut kept = Vec::new();
        while kept.len() < 3 {
            let line = (random.bits() & 15) as usize % 7;
            if !kept.contains(&line) {
                kept.push(line);
            }
        }
        kept
    });
}

#[test]
fn a_merge_that_does_not_count_down_is_caught() {
    // Samples of 3 out of 3 and of 3 out of 4 lines: how many to take from the first is decided by its share, which must
    // shrink with every line taken.
    let merge = |seed: u64, count_down: bool| {
        let mut random = random(seed);
        let mut parts = [vec![0, 1, 2], {
            let mut four = vec![3, 4, 5, 6];
            four.remove(random.below(4) as usize);
            four
        }];
        let mut left = [3u64, 4];
        (0..3)
            .map(|_| {
                let part = usize::from(random.below(left[0] + left[1]) >= left[0]);
                left[part] -= u64::from(count_down);
                let at = random.below(parts[part].len() as u64) as usize;
                parts[part].remove(at)
            })
            .collect()
    };
    let chance = fit_uniform(&count_subsets(7, 3, TRIALS, |seed| merge(seed, true)));
    assert!(chance > UNLIKELY, "{chance:e}");
    assert_caught("merge", |seed| merge(seed, false));
}

#[test]
fn random_access_that_prefers_long_lines_is_caught() {
    let lengths = [1u64, 4, 61, 18, 1, 30, 2];
    assert_caught("line that holds the byte", |seed| {
        let mut random = random(seed);
        let mut kept = Vec::new();
        while kept.len() < 3 {
            let mut offset = random.below(lengths.iter().sum());
            let line = lengths.iter().position(|length| {
                let here = offset < *length;
                offset = offset.wrapping_sub(*length);
                here
            });
            let line = line.unwrap();
            if !kept.contains(&line) {
                kept.push(line);
            }
        }
        kept
    });
}

#[test]
fn keys_that_two_parts_share_are_caught() {
    // What merging two samples of one seed would do: line i of both has the same key.
    assert_caught("shared keys", |seed| {
        let mut random = random(seed);
        let keys: Vec<u64> = (0..4).map(|_| random.bits()).collect();
        let mut lines: Vec<usize> = (0..7).collect();
        lines.sort_by_key(|line| (keys[line % 4], *line));
        lines.truncate(3);
        lines
    });
}

#[test]
fn an_order_by_a_biased_shuffle_is_caught() {
    // Swapping each with any, not with any of the rest.
    let mut counts = vec![0; 6];
    for seed in 0..TRIALS {
        let mut random = random(seed);
        let mut order = [0, 1, 2];
        (0..3).for_each(|at| order.swap(at, random.below(3) as usize));
        counts[match order {
            [0, 1, 2] => 0,
            [0, 2, 1] => 1,
            [1, 0, 2] => 2,
            [1, 2, 0] => 3,
            [2, 0, 1] => 4,
            _ => 5,
        }] += 1;
    }
    assert!(fit_uniform(&counts) < IMPOSSIBLE, "{counts:?}");
}

#[test]
fn the_chi_square_tail_is_right() {
    // Values of the usual tables.
    for (x, degrees, tail) in
        [(3.841_459, 1.0, 0.05), (18.307_038, 10.0, 0.05), (56.060_909, 34.0, 0.01), (149.448_97, 100.0, 0.001)]
    {
        assert!((chi_square_tail(x, degrees) / tail - 1.0).abs() < 1e-4, "{x} {degrees}");
    }
}
