//! Line after line of a stream, for the ways that must look at each: rate, weight, groups.
//!
//! Lines are handed on as soon as their terminator was read, so a slow stream (`tail -f`) is sampled as it comes.
//! A piece of a line waits at the front of the buffer for the rest.
//!
//! Cost: one pass over the bytes with SIMD (memchr) and a call for each line; a buffer and the longest line in
//! memory. It refuses lines over [`LineFormat::stream_line_max_bytes`](super::LineFormat).

use std::ops::ControlFlow;

use super::error::Error;
use super::joined::{Got, Joined};

/// How much is read at once.
const READ_BYTES: usize = 128 << 10;

/// A line and where it was found.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its bytes with the terminator.
    pub bytes: &'a [u8],
    /// Its number among all lines of all inputs, from 0, headers not counted.
    pub ordinal: u64,
    /// The input.
    pub name: &'a str,
    /// Its number in that input, from 1, headers counted.
    pub number: u64,
}

/// Somebody who looks at each line.
pub trait Lines {
    /// Called once before the first line, with the first input's name and header.
    ///
    /// # Errors
    /// Whatever makes it pointless to go on.
    fn begin(&mut self, name: &str, header: &[u8]) -> Result<(), Error>;

    /// The next line.
    ///
    /// # Errors
    /// Whatever makes it pointless to go on.
    fn line(&mut self, line: Line<'_>) -> Result<(), Error>;

    /// Nothing more is there at the moment.
    ///
    /// # Errors
    /// Whatever makes it pointless to go on.
    fn pause(&mut self) -> Result<(), Error>;
}

/// Called after each read with the one who looks at lines and the bytes read so far; `Break` ends the input there.
pub type LookAt<'a, L> = dyn FnMut(&mut L, u64) -> Result<ControlFlow<()>, Error> + 'a;

/// Hands on every line of the joined inputs. After each read `look` is called.
///
/// # Errors
/// An input cannot be read, a line is too long, `lines` or `look` failed.
pub fn each_line<L: Lines>(joined: &mut Joined, lines: &mut L, look: &mut LookAt<'_, L>) -> Result<(), Error> {
    let format = joined.format();
    let mut buffer = vec![0; READ_BYTES];
    let (mut filled, mut bytes, mut ordinal, mut begun) = (0, 0u64, 0u64, false);
    let (mut input, mut first_ordinal) = (0, 0);
    loop {
        let got = joined.read(&mut buffer[filled..])?;
        if !begun && got != Got::Woken {
            lines.begin(joined.name(), joined.header())?;
            begun = true;
        }
        if input != joined.input_number() {
            input = joined.input_number();
            first_ordinal = ordinal;
        }
        match got {
            Got::End => break,
            Got::Woken => lines.pause()?,
            Got::Bytes(count) => {
                let new = filled..filled + count;
                let mut start = 0;
                for at in memchr::memchr_iter(format.delimiter, &buffer[new.clone()]) {
                    let end = filled + at + 1;
                    let number = ordinal - first_ordinal + format.header_lines + 1;
                    lines.line(Line { bytes: &buffer[start..end], ordinal, name: joined.name(), number })?;
                    start = end;
                    ordinal += 1;
                }
                bytes += count as u64;
                if start > 0 {
                    buffer.copy_within(start..new.end, 0);
                }
                filled = new.end - start;
            }
        }
        if filled as u64 > format.stream_line_max_bytes {
            let limit_bytes = format.stream_line_max_bytes;
            return Err(Error::LongLine { name: joined.name().to_owned(), line: ordinal + 1, limit_bytes });
        }
        if buffer.len() - filled < READ_BYTES / 2 {
            buffer.reserve_exact(READ_BYTES);
            buffer.resize(filled + READ_BYTES, 0);
        }
        if look(lines, bytes)?.is_break() {
            break;
        }
    }
    Ok(())
}
