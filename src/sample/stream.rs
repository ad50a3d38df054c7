//! A uniform sample of what comes once: a pipe, compressed input, any reader.
//!
//! The algorithm is that of [`scan`](super::scan), chunk by chunk with the same keys, so one seed gives the same
//! sample of the same bytes. Since nothing can be read twice, a chunk that holds a small key is split into lines
//! at once and those lines are copied out; all others are counted only. The piece of a line at the end of a chunk
//! is carried to the front of the next.
//!
//! Cost: one pass, one thread, a chunk and the longest line in memory beside the sample's lines (those over
//! [`SPILL_BYTES`](super::SPILL_BYTES) are in a temporary file). It gives up lines over [`LineFormat::stream_line_max_bytes`](super::LineFormat), which are an error.

use super::count::count_byte;
use super::error::Error;
use super::joined::{Got, Joined};
use super::kept::{KeptLine, Spill};
use super::key::{ChunkKeys, Key};
use super::reservoir::Reservoir;
use super::scan::{Look, Scan};

/// A stream that is being sampled, or has been.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// The first input's header.
    pub header: Vec<u8>,
    /// The chosen lines, with their terminators.
    pub kept: Reservoir<KeptLine>,
    /// Where very long lines of it are.
    pub spill: Spill,
    /// How many lines were counted.
    pub lines: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

struct Chunk {
    /// The beginning of the first line, from the chunks before; then the chunk's own bytes; then room.
    buffer: Vec<u8>,
    carried: usize,
    filled: usize,
    number: u64,
}

/// Samples the joined inputs to their end, or until `look` breaks off.
///
/// # Errors
/// An input cannot be read, a line is too long, or `look` failed.
pub fn scan_stream(
    joined: &mut Joined,
    scan: Scan,
    look: &mut Look<'_, Result<Streamed, Error>>,
) -> Result<Streamed, Error> {
    let chunk_bytes = scan.chunk_bytes.clamp(1, 1 << 30);
    let scan = Scan { chunk_bytes, ..scan };
    let mut chunk = Chunk { buffer: vec![0; chunk_bytes], carried: 0, filled: 0, number: 0 };
    let mut keys = ChunkKeys::default();
    let delimiter = joined.format().delimiter;
    let mut seen =
        Streamed { header: Vec::new(), kept: Reservoir::new(scan.count), spill: Spill::default(), lines: 0, bytes: 0 };
    loop {
        let room = chunk.carried + chunk.filled..chunk.carried + chunk_bytes;
        let got = joined.read(&mut chunk.buffer[room])?;
        if let Got::Bytes(count) = got {
            chunk.filled += count;
            if chunk.filled == chunk_bytes {
                seen.take(&chunk, scan, &mut keys, delimiter)?;
                chunk.carry(delimiter, chunk_bytes, joined, &seen)?;
            }
        }
        if got == Got::End {
            break;
        }
        let so_far = || {
            let mut so_far = Streamed { header: joined.header().to_vec(), ..seen.clone() };
            so_far.take(&chunk, scan, &mut ChunkKeys::default(), delimiter)?;
            Ok(so_far)
        };
        if look(&so_far, seen.bytes + chunk.filled as u64)?.is_break() {
            break;
        }
    }
    seen.take(&chunk, scan, &mut keys, delimiter)?;
    seen.header.extend_from_slice(joined.header());
    Ok(seen)
}

impl Streamed {
    /// Counts the chunk's whole lines and keeps those with small keys.
    fn take(&mut self, chunk: &Chunk, scan: Scan, keys: &mut ChunkKeys, delimiter: u8) -> Result<(), Error> {
        let (carried, end) = (chunk.carried, chunk.carried + chunk.filled);
        let own = &chunk.buffer[carried..end];
        let line_count = count_byte(delimiter, own) as u32;
        let mut found: Vec<(Key, u32)> = Vec::new();
        keys.draw(scan.seed, chunk.number, line_count, self.kept.limit(), &mut found);
        found.sort_unstable_by_key(|(_, line)| *line);
        let first_position = chunk.number * scan.chunk_bytes as u64;
        let mut ends = memchr::memchr_iter(delimiter, own).zip(0u32..);
        let mut line_start = 0;
        for (key, wanted) in found {
            for (at, line) in ends.by_ref() {
                let from = std::mem::replace(&mut line_start, carried + at + 1);
                if line == wanted {
                    if self.kept.wants(key) {
                        let kept = self.spill.keep(&chunk.buffer[from..line_start])?;
                        self.kept.offer(key, first_position + u64::from(line), kept);
                    }
                    break;
                }
            }
        }
        self.lines += u64::from(line_count);
        self.bytes += chunk.filled as u64;
        Ok(())
    }
}

impl Chunk {
    /// Begins the next chunk with the piece of a line that this one ends with.
    fn carry(&mut self, delimiter: u8, chunk_bytes: usize, joined: &Joined, seen: &Streamed) -> Result<(), Error> {
        let end = self.carried + self.filled;
        match memchr::memrchr(delimiter, &self.buffer[self.carried..end]) {
            Some(at) => {
                let tail = self.carried + at + 1;
                self.buffer.copy_within(tail..end, 0);
                self.carried = end - tail;
            }
            None => self.carried = end,
        }
        let limit_bytes = joined.format().stream_line_max_bytes;
        if self.carried as u64 > limit_bytes {
            return Err(Error::LongLine { name: joined.name().to_owned(), line: seen.lines + 1, limit_bytes });
        }
        let wanted = self.carried + chunk_bytes;
        if self.buffer.len() < wanted {
            self.buffer.reserve_exact(wanted - self.buffer.len());
            self.buffer.resize(wanted, 0);
        }
        self.filled = 0;
        self.number += 1;
        Ok(())
    }
}
