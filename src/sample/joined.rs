//! Several streams as one: headers taken off, and every line ended.
//!
//! The bytes of all inputs follow each other. The first H lines of each are its header: the first input's are
//! kept, the others' are dropped. Where an input's last line has no terminator one is put in, so that
//! the next input's first line stays a line of its own; an input that is empty adds nothing.
//!
//! Cost: bytes are read straight into the caller's buffer; only the block that holds the end of a header
//! is copied.

use std::collections::VecDeque;
use std::io;

use super::error::Error;
use super::input::Source;

/// How the bytes of an input are cut into lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineFormat {
    /// The byte that ends a line.
    pub delimiter: u8,
    /// How many lines at the beginning of each input are its header.
    pub header_lines: u64,
    /// The longest line of a stream, with its terminator. A plain file's line may have any length.
    pub stream_line_max_bytes: u64,
}

impl Default for LineFormat {
    fn default() -> LineFormat {
        LineFormat { delimiter: b'\n', header_lines: 0, stream_line_max_bytes: 8 << 20 }
    }
}

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet: look at signals and timers, and read again.
    Woken,
    /// The end of the last input.
    End,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Joined {
    waiting: VecDeque<Source>,
    current: Option<Source>,
    format: LineFormat,
    header_left: u64,
    header: Vec<u8>,
    /// Bytes behind a header that were read with it.
    pending: Vec<u8>,
    pending_at: usize,
    keep_header: bool,
    open_line: bool,
    name: String,
    /// How many lines had been read when the current input began, without headers, as far as it is known.
    reads: u64,
}

impl Joined {
    /// The inputs in this order.
    pub fn new(sources: Vec<Source>, format: LineFormat) -> Joined {
        Joined {
            waiting: sources.into(),
            current: None,
            format,
            header_left: 0,
            header: Vec::new(),
            pending: Vec::new(),
            pending_at: 0,
            keep_header: true,
            open_line: false,
            name: String::new(),
            reads: 0,
        }
    }

    /// The header of the first input, each line ended. Whole as soon as a byte of its lines was read.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The input that was read last.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the lines are cut.
    pub fn format(&self) -> LineFormat {
        self.format
    }

    /// Which input is being read, counted from 1.
    pub fn input_number(&self) -> u64 {
        self.reads
    }

    /// The next bytes. One read never holds bytes of two inputs.
    ///
    /// # Errors
    /// The input could not be read; a header line is too long.
    pub fn read(&mut self, into: &mut [u8]) -> Result<Got, Error> {
        loop {
            if self.pending_at < self.pending.len() {
                let rest = &self.pending[self.pending_at..];
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                self.pending_at += count;
                self.open_line = into[..count].last() != Some(&self.format.delimiter);
                return Ok(Got::Bytes(count));
            }
            let Some(source) = &mut self.current else {
                let Some(next) = self.waiting.pop_front() else { return Ok(Got::End) };
                self.name.clone_from(&next.name);
                self.current = Some(next);
                self.header_left = self.format.header_lines;
                self.reads += 1;
                continue;
            };
            if self.header_left > 0 {
                self.pending.resize(8 << 10, 0);
                self.pending_at = self.pending.len();
                let read = source.reader.read(&mut self.pending);
                if let Some(got) = self.took_header(read)? {
                    return Ok(got);
                }
                continue;
            }
            return match source.reader.read(into) {
                Ok(0) if into.is_empty() => Ok(Got::Bytes(0)),
                Ok(0) => {
                    self.current = None;
                    if !std::mem::take(&mut self.open_line) {
                        continue;
                    }
                    into[0] = self.format.delimiter;
                    Ok(Got::Bytes(1))
                }
                Ok(count) => {
                    self.open_line = into[..count].last() != Some(&self.format.delimiter);
                    Ok(Got::Bytes(count))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Got::Woken),
                Err(source) => Err(Error::Read { name: self.name.clone(), source }),
            };
        }
    }

    /// Sorts what was read at the beginning of an input into header and lines.
    fn took_header(&mut self, read: io::Result<usize>) -> Result<Option<Got>, Error> {
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(Got::Woken)),
            Err(source) => return Err(Error::Read { name: self.name.clone(), source }),
        };
        if count == 0 {
            if self.keep_header && self.header.last().is_some_and(|byte| *byte != self.format.delimiter) {
                self.header.push(self.format.delimiter);
            }
            self.header_left = 0;
            self.current = None;
        }
        let block = &self.pending[..count];
        let mut used = 0;
        while self.header_left > 0 && used < count {
            match memchr::memchr(self.format.delimiter, &block[used..]) {
                Some(at) => {
                    used += at + 1;
                    self.header_left -= 1;
                }
                None => used = count,
            }
        }
        if self.keep_header {
            self.header.extend_from_slice(&block[..used]);
            if self.header.len() as u64 > self.format.stream_line_max_bytes {
                let line = self.format.header_lines - self.header_left + 1;
                let limit_bytes = self.format.stream_line_max_bytes;
                return Err(Error::LongLine { name: self.name.clone(), line, limit_bytes });
            }
        }
        self.pending.truncate(count);
        self.pending_at = used;
        self.keep_header &= self.header_left > 0;
        Ok(None)
    }
}
