//! What can go wrong while sampling, always with the name of the input it went wrong with.

use std::io;

/// A failure. No sample is given with it: a sample that may be wrong is worse than none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be opened.
    #[error("{name}: cannot open: {source}")]
    Open {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be read to its end; for compressed input also: it is damaged or cut short.
    #[error("{name}: cannot read: {source}")]
    Read {
        /// The file.
        name: String,
        /// What the system, or the decompressor, said.
        source: io::Error,
    },
    /// It was cut or written over meanwhile, so lines that were counted are no longer there.
    #[error("{name}: changed while it was read ({what}): no sample of it can be right")]
    Changed {
        /// The file.
        name: String,
        /// What gave it away.
        what: String,
    },
    /// A stream's line is longer than what may be held in memory. A file's line may have any length.
    #[error(
        "{name}: line {line} of the input is longer than {limit_bytes} bytes: a line that is read in order, from a pipe, \
         compressed, or for its fields, must fit into memory; in a plain file it may have any length"
    )]
    LongLine {
        /// The stream.
        name: String,
        /// Its number among all lines of all inputs, from 1, headers not counted.
        line: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The line has no such field, so it has no weight.
    #[error("{name}: line {line} has no field {field}")]
    NoField {
        /// The file.
        name: String,
        /// Its number, from 1, headers included.
        line: u64,
        /// The field's number, from 1.
        field: usize,
    },
    /// The field is no weight.
    #[error("{name}: line {line}: {text:?} is no weight: a finite number, zero or greater")]
    BadWeight {
        /// The file.
        name: String,
        /// Its number, from 1, headers included.
        line: u64,
        /// What stands there, shortened.
        text: String,
    },
    /// A field was given by name and the header has no such name, or there is no header.
    #[error("{name}: its header has no field named {field:?}")]
    NoName {
        /// The first file.
        name: String,
        /// The name.
        field: String,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(&'static str),
    /// A saved sample is not one, or is damaged.
    #[error("{name}: not a whole saved sample: {what}")]
    Saved {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Two saved samples cannot be put together.
    #[error("{name}: cannot be merged: {what}")]
    Merge {
        /// The file.
        name: String,
        /// Why.
        what: String,
    },
    /// Very long lines are kept in a temporary file, and that failed.
    #[error(
        "{dir}: cannot keep the long lines of the sample in a temporary file there (TMPDIR names another place): {source}"
    )]
    Spill {
        /// The directory.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sample could not be written.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
}
