//! Lines chosen at random out of files and streams of unknown length, each with exactly the same chance.
//!
//! [`Plan`] says what is wanted; [`Plan::sample_reader`] takes it out of any reader, [`Plan::sample`] out of files and
//! streams, in the cheapest way that gives the law that was asked for:
//!
//! | module | way | when |
//! |---|---|---|
//! | [`probe`] | random access: files are not read | plain files, no seed |
//! | [`scan`] | one pass over the bytes, several threads | plain files |
//! | [`stream`] | one pass, one thread | anything else |
//! | [`keyed`], [`weighted`] | each line looked at | groups, weights |
//! | [`rate`] | each line looked at, written at once | a chance instead of a number |
//! | [`replace`] | out of the first three | with replacement |
//! | [`saved`] | samples of several hosts as one | `--save`, `--merge` |
//!
//! [`key`], [`reservoir`] and [`rng`] are what these have in common. Lines are bytes, ended by one byte of any value.
//! With a seed the same bytes give the same sample, whatever they come from and however many threads read.
//!
//! ```
//! use weir::sample::{Order, Plan, Seed};
//!
//! let plan = Plan { seed: Some(Seed(7)), ..Plan::new(3) };
//! let log = std::io::Cursor::new("one\ntwo\nthree\nfour\nfive\n");
//! let sample = plan.sample_reader("log", log)?;
//! assert_eq!(sample.lines_seen(), Some(5));
//! assert_eq!(sample.to_lines(Order::Input)?.len(), 3);
//! # Ok::<(), weir::sample::Error>(())
//! ```

mod count;
mod error;
pub mod field;
pub mod input;
pub mod joined;
mod kept;
pub mod key;
pub mod keyed;
pub mod lines;
mod outcome;
mod plan;
pub mod population;
pub mod probe;
pub mod rate;
pub mod replace;
pub mod reservoir;
pub mod rng;
pub mod saved;
pub mod scan;
pub mod stream;
pub mod weighted;

pub use error::Error;
pub use field::Field;
pub use input::Input;
pub use joined::LineFormat;
pub use kept::{INLINE_BYTES, KeptLine, SPILL_BYTES, Spill};
pub use keyed::Fields;
pub use outcome::{Order, Sample, Way};
pub use plan::{CHUNK_BYTES, Look, Opened, Plan, Rated};
pub use rate::Rate;
pub use rng::Seed;
