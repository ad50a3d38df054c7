//! rsync's include/exclude lists: read, judged, explained, checked and made to work.
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
