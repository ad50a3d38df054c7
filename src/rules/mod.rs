//! rsync include/exclude lists: read, judged, explained, checked and made to work.
//!
//! A list decides what is copied to a server and, with `--delete-excluded`, what is deleted there. Nobody can
//! see from a list what it does, for rsync's rules about it are old and odd; so this room says it beforehand:
//!
//! | question | answer |
//! |---|---|
//! | what are the rules of this file? | [`List::parse`], to the byte as `--exclude-from` reads it |
//! | is this path sent, and by which rule? | [`Judge`] |
//! | what is wrong with the list? | [`lint::check`] |
//! | can this rule ever decide anything? | [`reach`], with a proof either way |
//! | how does an include behind a hidden parent work all the same? | [`expand`] |
//! | which list sends exactly these paths? | [`from_paths`] |
//!
//! # What it promises
//! - *Equal to rsync*: for every list and every tree the answer is that of the installed rsync. Tests hold
//!   thousands of random lists and trees against it, and tolerate no difference.
//! - *Bytes*: names, patterns and lists are bytes; nothing here needs them to be UTF-8.
//! - *No slow pattern*: the time for a path is bounded by its length times that of the list. rsync's own matcher
//!   backtracks, and some patterns take it longer than a lifetime.
//!
//! # What it refuses
//! Only what `--exclude-from` reads is read: no `--filter` rules, no merge files, no `-C`, none of which a list can
//! have. A list that rsync would stop at, or drop a line of, is refused with the line. Letter classes are ASCII,
//! as they are for rsync in the C and in UTF-8 locales. It prints nothing, runs nothing and asks no
//! configuration.
//!
//! # Terms
//! The *root of the transfer* is what paths are relative to: the content of `SRC/`, or the directory that holds
//! `SRC` when it is given without the slash. A directory is *hidden* when an exclude decides it; rsync does not
//! look inside. A *way* is a directory that is sent only because something wanted is below it.

mod class;
mod expand;
mod from_paths;
mod glob;
mod index;
mod judge;
pub mod lint;
mod list;
mod pattern;
mod reach;

pub use class::BadClass;
pub use expand::{Addition, Expansion, expand};
pub use from_paths::from_paths;
pub use glob::Flaw;
pub use judge::{Judge, PathError, TreePath, Verdict};
pub use list::{Action, List, ListError, Origin, Rule};
pub use pattern::Pattern;
pub use reach::{Reach, reach};
