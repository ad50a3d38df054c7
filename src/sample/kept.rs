//! A line that is kept: short ones in place, longer ones on the heap.
//!
//! A large sample of short lines would otherwise spend most of its time in the allocator: lines are thrown out of it in
//! random order, which is what allocators are worst at. Cost: 24 bytes, and the heap from [`INLINE_BYTES`] on.

use std::ops::Deref;

/// The longest line that needs no heap.
pub const INLINE_BYTES: usize = 22;

/// A line's bytes with the terminator.
#[derive(Clone)]
pub struct KeptLine(Storage);

#[derive(Clone)]
enum Storage {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
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

impl Deref for KeptLine {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Storage::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Storage::Heap(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for KeptLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_length_comes_back() {
        for len in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 1000] {
            let line: Vec<u8> = (0..len).map(|at| at as u8).collect();
            assert_eq!(*KeptLine::from(&line[..]), *line);
            assert_eq!(*KeptLine::from(line.clone()), *line);
        }
        assert_eq!(size_of::<KeptLine>(), 24);
    }
}
