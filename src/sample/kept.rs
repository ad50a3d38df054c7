//! A line that is kept: short ones in place, longer ones on the heap, very long ones in a temporary file.
//!
//! A large sample of short lines would otherwise spend most of its time in the allocator: lines are thrown out of it in
//! random order, which is what allocators are worst at. And a small sample of very long lines would otherwise need
//! their bytes in memory: past [`SPILL_BYTES`] a line goes to an unlinked file in the system's temporary directory,
//! and its room is given back when it is thrown out. Cost: 24 bytes, and the heap from [`INLINE_BYTES`] on.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, fallocate};

use super::error::Error;

/// The longest line that needs no heap.
pub const INLINE_BYTES: usize = 22;

/// The longest line that is kept in memory.
pub const SPILL_BYTES: usize = 64 << 10;

/// A line's bytes with the terminator.
#[derive(Clone)]
pub struct KeptLine(Storage);

#[derive(Clone)]
enum Storage {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
    Spilled(Arc<Spilled>),
}

/// Where very long lines go: one file for a sample, made when the first of them comes.
#[derive(Debug, Clone, Default)]
pub struct Spill {
    file: Arc<OnceLock<File>>,
    end: Arc<AtomicU64>,
}

/// A line in the file.
struct Spilled {
    spill: Spill,
    start: u64,
    len: usize,
}

impl Spill {
    /// Keeps a line, wherever its length says.
    ///
    /// # Errors
    /// The temporary file cannot be made or written.
    #[inline]
    pub fn keep(&self, line: &[u8]) -> Result<KeptLine, Error> {
        if line.len() <= SPILL_BYTES { Ok(line.into()) } else { self.spill(line) }
    }

    fn spill(&self, line: &[u8]) -> Result<KeptLine, Error> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let made = tempfile::tempfile().map_err(spill_error)?;
                self.file.get_or_init(|| made)
            }
        };
        let start = self.end.fetch_add(line.len() as u64, Ordering::Relaxed);
        let spilled = Spilled { spill: self.clone(), start, len: line.len() };
        file.write_all_at(line, start).map_err(spill_error)?;
        Ok(KeptLine(Storage::Spilled(Arc::new(spilled))))
    }
}

fn spill_error(source: std::io::Error) -> Error {
    Error::Spill { dir: std::env::temp_dir().display().to_string(), source }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        if let Some(file) = self.spill.file.get() {
            // A file system that cannot do this keeps the room until the end of the run.
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(file, flags, self.start, self.len as u64);
        }
    }
}

impl KeptLine {
    /// How many bytes it has.
    pub fn byte_count(&self) -> usize {
        match &self.0 {
            Storage::Inline { len, .. } => usize::from(*len),
            Storage::Heap(bytes) => bytes.len(),
            Storage::Spilled(spilled) => spilled.len,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        match &self.0 {
            Storage::Inline { len, bytes } => Ok(Cow::Borrowed(&bytes[..usize::from(*len)])),
            Storage::Heap(bytes) => Ok(Cow::Borrowed(bytes)),
            Storage::Spilled(spilled) => {
                let mut line = vec![0; spilled.len];
                if let Some(file) = spilled.spill.file.get() {
                    file.read_exact_at(&mut line, spilled.start).map_err(spill_error)?;
                }
                Ok(Cow::Owned(line))
            }
        }
    }
}

impl From<&[u8]> for KeptLine {
    #[inline]
    fn from(line: &[u8]) -> KeptLine {
        let mut bytes = [0; INLINE_BYTES];
        KeptLine(match bytes.get_mut(..line.len()) {
            Some(room) => {
                room.copy_from_slice(line);
                Storage::Inline { len: line.len() as u8, bytes }
            }
            None => Storage::Heap(line.into()),
        })
    }
}

impl From<Vec<u8>> for KeptLine {
    fn from(line: Vec<u8>) -> KeptLine {
        if line.len() <= INLINE_BYTES { KeptLine::from(&line[..]) } else { KeptLine(Storage::Heap(line.into())) }
    }
}

impl std::fmt::Debug for KeptLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Storage::Spilled(spilled) => write!(f, "{} bytes in a file", spilled.len),
            _ => write!(f, "{:?}", self.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_line_of_any_length_comes_back() {
        let spill = Spill::default();
        for len in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 1000, SPILL_BYTES, SPILL_BYTES + 1, 300_000]
        {
            let line: Vec<u8> = (0..len).map(|at| at as u8).collect();
            for kept in [KeptLine::from(&line[..]), KeptLine::from(line.clone()), spill.keep(&line).unwrap()] {
                assert_eq!((&kept.bytes().unwrap()[..], kept.byte_count()), (&line[..], len));
            }
        }
        assert_eq!(size_of::<KeptLine>(), 24);
    }

    #[test]
    fn a_line_that_is_thrown_out_gives_its_room_back_when_nobody_has_it_any_more() {
        let spill = Spill::default();
        let line = vec![7; 1 << 20];
        let first = spill.keep(&line).unwrap();
        let second = spill.keep(&line).unwrap();
        let copy = first.clone();
        drop(first);
        assert!(copy.bytes().unwrap() == line && second.bytes().unwrap() == line);
        let file = spill.file.get().unwrap();
        let blocks = || file.metadata().unwrap().blocks();
        let (before, len) = (blocks(), file.metadata().unwrap().len());
        drop(copy);
        assert!(blocks() < before && file.metadata().unwrap().len() == len);
        assert!(second.bytes().unwrap() == line);
    }
}
