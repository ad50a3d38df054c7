//! Weights: a line is the more likely to be chosen the greater its weight.
//!
//! Algorithm: A-ES (Efraimidis and Spirakis, *Weighted random sampling with a reservoir*, 2006) in its logarithmic
//! form: each line draws an exponential number of mean 1 and divides it by its weight, and the N smallest
//! quotients are the sample. The sample has the law of drawing N times without replacement, each time one of the
//! lines left with a chance in proportion to its weight. In the logarithmic form small weights do not underflow.
//!
//! Cost: one exponential number a line, and finding and reading the field. It gives up chances of inclusion in exact
//! proportion to the weight (no sampling without replacement of fixed size has those beside this law).
//!
//! It refuses weights that are negative, infinite or no number, and a line that lacks the field. A line of weight
//! zero is never chosen.

use super::error::Error;
use super::field::field_of;
use super::key::Key;
use super::lines::Line;
use super::rng::Random;

/// The weight in field `number` of a line.
///
/// # Errors
/// There is no such field, or it is no weight.
pub fn weight_of(line: &Line<'_>, number: usize, separator: u8) -> Result<f64, Error> {
    let Some(text) = field_of(line.bytes, number, separator) else {
        return Err(Error::NoField { name: line.name.to_owned(), line: line.number, field: number });
    };
    let weight = whole_number(text).or_else(|| std::str::from_utf8(text.trim_ascii()).ok()?.parse::<f64>().ok());
    weight.filter(|weight| weight.is_finite() && *weight >= 0.0).ok_or_else(|| Error::BadWeight {
        name: line.name.to_owned(),
        line: line.number,
        text: String::from_utf8_lossy(text).chars().take(40).collect(),
    })
}

/// Most weights are whole numbers, which take less than reading any number does; up to 15 digits are exact.
fn whole_number(text: &[u8]) -> Option<f64> {
    let digits_only = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits_only.then(|| text.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0')) as f64)
}

/// The key of a line of that weight; `None` for weight zero, and for a key that is certainly greater than `limit`. Two
/// random words are drawn in any case, so that neither changes the draws of later lines.
#[inline]
pub fn weighted_key(weight: f64, limit: Key, random: &mut Random) -> Option<Key> {
    let exponential = random.exponential(limit.to_positive() * weight * (1.0 + 1e-12))?;
    (weight > 0.0).then(|| Key::of_positive(exponential / weight))
}
