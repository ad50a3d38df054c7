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
    let weight = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse::<f64>().ok());
    weight.filter(|weight| weight.is_finite() && *weight >= 0.0).ok_or_else(|| Error::BadWeight {
        name: line.name.to_owned(),
        line: line.number,
        text: String::from_utf8_lossy(text).chars().take(40).collect(),
    })
}

/// The key of a line of that weight, `None` for weight zero. One number is drawn in either case.
pub fn weighted_key(weight: f64, random: &mut Random) -> Option<Key> {
    let exponential = random.exponential();
    (weight > 0.0).then(|| Key::of_positive(exponential / weight))
}
