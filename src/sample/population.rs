//! Plain files as one long row of bytes in which every line has its terminator.
//!
//! The lines of all files follow each other, each file without its header; where a file's last line has no
//! terminator the row has one that the file does not. So every line is ended by exactly one byte of the row, and the
//! row is byte for byte what the same files give as a stream. Reads name the file that failed, and a file that has
//! become shorter than it was when it was opened is an error.
//!
//! Cost: a search over the files for each read, and memory for the files' names only.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::Error;
use super::input::PlainFile;
use super::joined::LineFormat;

/// How far back the beginning of a line is looked for at once.
const BACK_BYTES: usize = 16 << 10;

/// See the [module](self).
#[derive(Debug)]
pub struct Population {
    parts: Vec<Part>,
    len: u64,
    header: Vec<u8>,
    delimiter: u8,
}

#[derive(Debug)]
struct Part {
    name: String,
    file: File,
    /// Where its lines begin in the file.
    start: u64,
    /// How many bytes of the file are lines.
    file_len: u64,
    /// Where it begins in the row.
    at: u64,
    /// `file_len`, and one more for a terminator that the file lacks.
    len: u64,
}

impl Population {
    /// The files in this order.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn new(files: Vec<PlainFile>, format: LineFormat) -> Result<Population, Error> {
        let delimiter = format.delimiter;
        let mut population = Population { parts: Vec::new(), len: 0, header: Vec::new(), delimiter };
        for (number, PlainFile { name, file, start, len }) in files.into_iter().enumerate() {
            let mut part = Part { name, file, start, file_len: len, at: population.len, len };
            let header_len = part.header_len(format)?;
            if number == 0 {
                population.header.resize(header_len as usize, 0);
                part.read(0, &mut population.header)?;
                if population.header.last().is_some_and(|byte| *byte != delimiter) {
                    population.header.push(delimiter);
                }
            }
            part.start += header_len;
            part.file_len -= header_len;
            part.len = part.file_len;
            if part.file_len > 0 {
                let mut last = [0];
                part.read(part.file_len - 1, &mut last)?;
                part.len += u64::from(last[0] != delimiter);
            }
            population.len += part.len;
            population.parts.push(part);
        }
        Ok(population)
    }

    /// How many bytes the row has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The byte that ends a line.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The first file's header, each line ended.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The name of the file that a byte of the row is in.
    pub fn name_at(&self, offset: u64) -> &str {
        self.parts.get(self.part_at(offset)).map_or("", |part| &part.name)
    }

    /// Fills the buffer with the row's bytes from `offset`.
    ///
    /// # Errors
    /// A file cannot be read, or has become shorter.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        for part in &self.parts[self.part_at(offset)..] {
            if filled == into.len() {
                break;
            }
            let from = offset + filled as u64 - part.at;
            let count = (part.len - from).min((into.len() - filled) as u64) as usize;
            let piece = &mut into[filled..filled + count];
            let in_file = (part.file_len.saturating_sub(from)).min(count as u64) as usize;
            part.read(from, &mut piece[..in_file])?;
            piece[in_file..].fill(self.delimiter);
            filled += count;
        }
        Ok(())
    }

    /// Where the line that holds the byte at `offset` begins.
    ///
    /// # Errors
    /// As [`Population::read`].
    pub fn line_start(&self, offset: u64) -> Result<u64, Error> {
        let mut block = [0; BACK_BYTES];
        let mut end = offset;
        while end > 0 {
            let start = end.saturating_sub(BACK_BYTES as u64);
            let block = &mut block[..(end - start) as usize];
            self.read(start, block)?;
            if let Some(at) = memchr::memrchr(self.delimiter, block) {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    /// Whether every file is still as long as it was.
    ///
    /// # Errors
    /// One is not.
    pub fn check_lengths(&self) -> Result<(), Error> {
        for part in &self.parts {
            let read = |source| Error::Read { name: part.name.clone(), source };
            if part.file.metadata().map_err(read)?.len() < part.start + part.file_len {
                return Err(part.cut());
            }
        }
        Ok(())
    }

    /// Tells the system that reads come from all over the files, or again in order.
    pub fn advise_random(&self, random: bool) {
        let advice = if random { rustix::fs::Advice::Random } else { rustix::fs::Advice::Normal };
        for part in &self.parts {
            // Advice only: a system that does not take it reads a little more.
            let _ = rustix::fs::fadvise(&part.file, 0, None, advice);
        }
    }

    /// The part that holds the byte at `offset`, or one past the last.
    fn part_at(&self, offset: u64) -> usize {
        self.parts.partition_point(|part| part.at + part.len <= offset)
    }
}

impl Part {
    fn read(&self, from: u64, into: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(into, self.start + from).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => self.cut(),
            _ => Error::Read { name: self.name.clone(), source },
        })
    }

    fn cut(&self) -> Error {
        let what = format!("it is now shorter than the {} bytes it had", self.start + self.file_len);
        Error::Changed { name: self.name.clone(), what }
    }

    /// How long the header is, with its terminators.
    fn header_len(&self, format: LineFormat) -> Result<u64, Error> {
        let mut left = format.header_lines;
        let mut block = [0; BACK_BYTES];
        let mut at = 0;
        while left > 0 && at < self.file_len {
            let count = (self.file_len - at).min(BACK_BYTES as u64) as usize;
            self.read(at, &mut block[..count])?;
            let end = memchr::memchr_iter(format.delimiter, &block[..count]).take(left as usize).inspect(|_| left -= 1);
            let end = end.last();
            at += if left == 0 { end.map_or(0, |end| end as u64 + 1) } else { count as u64 };
            if at > format.stream_line_max_bytes {
                let line = format.header_lines - left + 1;
                let limit_bytes = format.stream_line_max_bytes;
                return Err(Error::LongLine { name: self.name.clone(), line, limit_bytes });
            }
        }
        Ok(at)
    }
}
