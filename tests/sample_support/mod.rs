//! What the tests of sampling share: exact tails of the chi-square law, subsets as numbers, lines to sample.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use weir::sample::input::PlainFile;
use weir::sample::population::Population;
use weir::sample::{Input, LineFormat};

/// A right sampler passes when chance alone gives so uneven a result more often than this. Seeds are fixed, so a
/// test that passes once passes always.
pub const UNLIKELY: f64 = 1e-4;

/// A broken sampler is caught when chance gives so uneven a result less often than this.
pub const IMPOSSIBLE: f64 = 1e-9;

/// The chance that a chi-square variable with so many degrees of freedom is at least `x`: the upper regularized
/// incomplete gamma function (Abramowitz and Stegun 6.5: series below the mean, continued fraction above).
pub fn chi_square_tail(x: f64, degrees: f64) -> f64 {
    let (a, x) = (degrees / 2.0, x / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        let mut n = a;
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..10_000 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * h
}

/// Lanczos's approximation, to about 1e-14.
fn ln_gamma(z: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let z = z - 1.0;
    let sum = TERMS[1..].iter().zip(1..).fold(TERMS[0], |sum, (term, i)| sum + term / (z + f64::from(i)));
    let t = z + 7.5;
    (2.0 * std::f64::consts::PI).sqrt().ln() + (z + 0.5) * t.ln() - t + sum.ln()
}

/// How likely it is to be at least as far as `counts` from what `expected` says, which are chances that add up to 1.
pub fn fit(counts: &[u64], expected: &[f64]) -> f64 {
    assert_eq!(counts.len(), expected.len());
    let total = counts.iter().sum::<u64>() as f64;
    assert!(expected.iter().all(|chance| chance * total >= 5.0), "too few trials for the chi-square law");
    assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let x =
        counts.iter().zip(expected).map(|(count, chance)| (*count as f64 - chance * total).powi(2) / (chance * total));
    chi_square_tail(x.sum(), counts.len() as f64 - 1.0)
}

/// [`fit`] where every cell has the same chance.
pub fn fit_uniform(counts: &[u64]) -> f64 {
    fit(counts, &vec![1.0 / counts.len() as f64; counts.len()])
}

/// All ways to choose `k` of `0..n`, each ascending, in lexicographic order.
pub fn subsets(n: usize, k: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut current = Vec::new();
    fn extend(from: usize, n: usize, k: usize, current: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if current.len() == k {
            all.push(current.clone());
            return;
        }
        for next in from..n {
            current.push(next);
            extend(next + 1, n, k, current, all);
            current.pop();
        }
    }
    extend(0, n, k, &mut current, &mut all);
    all
}

/// How often each subset came, over `trials` seeds.
pub fn count_subsets(n: usize, k: usize, trials: u64, mut draw: impl FnMut(u64) -> Vec<usize>) -> Vec<u64> {
    let all = subsets(n, k);
    let mut counts = vec![0; all.len()];
    for seed in 0..trials {
        let mut drawn = draw(seed);
        drawn.sort_unstable();
        let at = all.binary_search(&drawn).unwrap_or_else(|_| panic!("{drawn:?} is no {k} of {n}"));
        counts[at] += 1;
    }
    counts
}

/// `n` lines of very unequal length, each beginning with its number: `0aaa...\n`. Line `i` has `lengths[i % len]` bytes
/// after it.
pub fn unequal_lines(n: usize, lengths: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..n {
        bytes.extend_from_slice(i.to_string().as_bytes());
        bytes.resize(bytes.len() + lengths[i % lengths.len()], b'a');
        bytes.push(b'\n');
    }
    bytes
}

/// The number that a line begins with.
pub fn number_of(line: &[u8]) -> usize {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&line[..digits]).unwrap().parse().unwrap()
}

/// The numbers that lines begin with.
pub fn numbers_of(lines: &[Vec<u8>]) -> Vec<usize> {
    lines.iter().map(|line| number_of(line)).collect()
}

/// A file with these bytes.
pub fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

/// The files as inputs.
pub fn inputs(paths: &[PathBuf]) -> Vec<Input> {
    paths.iter().map(|path| Input::open(path).unwrap()).collect()
}

/// The files as one row of bytes.
pub fn population(paths: &[PathBuf], format: LineFormat) -> Population {
    let plain = |path: &PathBuf| match Input::open(path).unwrap() {
        Input::File(file) => file,
        Input::Stream(_) => panic!("{} is not plain", path.display()),
    };
    Population::new(paths.iter().map(plain).collect::<Vec<PlainFile>>(), format).unwrap()
}

/// A reader that gives its bytes in pieces of these lengths, over and over, and is interrupted in between.
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    lengths: Vec<usize>,
    reads: usize,
}

impl Pieces {
    /// The bytes in such pieces; a length of 0 is an interruption.
    pub fn new(bytes: &[u8], lengths: &[usize]) -> Pieces {
        Pieces { bytes: bytes.to_vec(), at: 0, lengths: lengths.to_vec(), reads: 0 }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.reads % self.lengths.len()];
        self.reads += 1;
        if length == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = length.min(into.len()).min(self.bytes.len() - self.at);
        into[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
