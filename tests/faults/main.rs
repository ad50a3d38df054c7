//! What the promise is worth when real processes die: acknowledged ballots are counted, each once, and tallies are what a
//! recount gives.
//!
//! | file | job |
//! |---|---|
//! | `steps` | every named step of writers and flush, one by one: the process dies there, or stops and goes on |
//! | `child` | this test binary run again, as a program that writes through the library's batcher |
//! | `ledger` | what voters tried and what they were told; the check at the end |
//!
//! The servers are those of `tests/it/support`.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]

mod child;
mod ledger;
mod process;
mod steps;
#[allow(dead_code, unused_imports, reason = "the other test target uses more of it")]
#[path = "../it/support/mod.rs"]
mod support;
