//! Each line with the same chance P, independently (Bernoulli sampling), written as it comes.
//!
//! Algorithm: a coin with the chance P for each line, that is 64 random bits below `P * 2^64`. No gap between winners
//! is computed by a logarithm, so the chance is exact to 2^-64, and a lower rate chooses some of the lines that a
//! higher one does with the same seed.
//!
//! Cost: constant memory, a random number a line. It gives up the size of the sample, which is `P n` only on average.

use std::io::Write;

use super::error::Error;
use super::lines::{Line, Lines};
use super::rng::{Random, Seed, Use};

/// A chance from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

/// The text is no chance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rate: give a number from 0 to 1, or a percentage such as 1%")]
pub struct RateError(String);

impl Rate {
    /// The chance itself.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;
    fn from_str(text: &str) -> Result<Rate, RateError> {
        let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let rate = number.trim().parse::<f64>().ok().map(|number| number / unit);
        rate.filter(|rate| (0.0..=1.0).contains(rate)).map(Rate).ok_or_else(|| RateError(text.to_owned()))
    }
}

/// Writes the lines that win.
pub struct RateWriter<'a> {
    /// `P * 2^64`.
    below: u128,
    random: Random,
    out: &'a mut dyn Write,
    lines: u64,
    written: u64,
}

impl<'a> RateWriter<'a> {
    /// Writes to `out`.
    pub fn new(rate: Rate, seed: Seed, out: &'a mut dyn Write) -> RateWriter<'a> {
        let below = (rate.0 * 2f64.powi(64)) as u128;
        let random = Random::new(seed, Use::Rate, 0);
        RateWriter { below, random, out, lines: 0, written: 0 }
    }

    /// How many lines were seen.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How many lines were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands what is buffered to the output.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Write)
    }
}

impl Lines for RateWriter<'_> {
    fn begin(&mut self, _: &str, header: &[u8]) -> Result<(), Error> {
        self.out.write_all(header).map_err(Error::Write)
    }

    #[inline]
    fn line(&mut self, line: Line<'_>) -> Result<(), Error> {
        self.lines += 1;
        if u128::from(self.random.bits()) < self.below {
            self.written += 1;
            self.out.write_all(line.bytes).map_err(Error::Write)?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Error> {
        self.flush()
    }
}
