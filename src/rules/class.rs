//! [`ByteSet`]: a set of bytes, and the reading of a bracket expression into one.
//!
//! It follows rsync's own wildmatch, quirks included: a `]` in first place is a member, `!` and `^` negate, a
//! backslash makes the next byte a member, `[:name:]` names an ASCII class. A slash is never a member, negated
//! or not. It refuses locales: letters are ASCII letters, as they are to an rsync that runs in C or UTF-8.

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// The set of every byte but `/`: what `?` matches.
    pub(crate) fn any_in_name() -> ByteSet {
        ByteSet::default().complement()
    }

    pub(crate) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|byte| self.contains(*byte))
    }

    /// Every byte that is not in the set, but never `/`.
    fn complement(self) -> ByteSet {
        let mut set = ByteSet(self.0.map(|word| !word));
        set.remove(b'/');
        set
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    fn insert_range(&mut self, first: u8, last: u8) {
        for byte in first..=last {
            self.insert(byte);
        }
    }
}

impl FromIterator<u8> for ByteSet {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> ByteSet {
        let mut set = ByteSet::default();
        bytes.into_iter().for_each(|byte| set.insert(byte));
        set
    }
}

/// Why a bracket expression can match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadClass {
    /// There is no closing bracket.
    Unclosed,
    /// `[:name:]` names no class; rsync gives up on the whole pattern.
    UnknownName(Box<[u8]>),
}

/// Reads the bracket expression that follows the `[` just before `text`; gives the set and how many bytes of
/// `text` it took, its closing bracket included.
pub(crate) fn parse(text: &[u8]) -> Result<(ByteSet, usize), BadClass> {
    let byte_at = |at: usize| text.get(at).copied().ok_or(BadClass::Unclosed);
    let mut at = 0;
    let negated = matches!(byte_at(0)?, b'!' | b'^');
    at += usize::from(negated);
    let mut set = ByteSet::default();
    // The byte that a following `-` may make the start of a range.
    let mut range_start = None;
    loop {
        let mut byte = byte_at(at)?;
        let next = text.get(at + 1).copied();
        match (byte, range_start, next) {
            (b'\\', _, _) => {
                at += 1;
                byte = byte_at(at)?;
                set.insert(byte);
                range_start = Some(byte);
            }
            (b'-', Some(first), Some(next)) if next != b']' => {
                at += 1;
                let mut last = next;
                if last == b'\\' {
                    at += 1;
                    last = byte_at(at)?;
                }
                set.insert_range(first, last);
                range_start = None;
            }
            (b'[', _, Some(b':')) => {
                let name_at = at + 2;
                let close = text[name_at..].iter().position(|byte| *byte == b']').ok_or(BadClass::Unclosed)? + name_at;
                if close > name_at && text[close - 1] == b':' {
                    let name = &text[name_at..close - 1];
                    let members = named(name).ok_or_else(|| BadClass::UnknownName(name.into()))?;
                    (0..=u8::MAX).filter(members).for_each(|byte| set.insert(byte));
                    at = close;
                    range_start = None;
                } else {
                    set.insert(byte);
                    range_start = Some(byte);
                }
            }
            _ => {
                set.insert(byte);
                range_start = Some(byte);
            }
        }
        at += 1;
        if byte_at(at)? == b']' {
            break;
        }
    }
    let set = if negated { set.complement() } else { set };
    let mut set = set;
    set.remove(b'/');
    Ok((set, at + 1))
}

/// The members of a POSIX class in the C locale.
fn named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        // C's isspace has the vertical tab, which Rust's is_ascii_whitespace has not.
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

/// A word with one bit for each kind of byte in `bytes`: 32 kinds for the bytes from 0x60 to 0x7f, among them the
/// small letters, and 32 that the others share. Where the word of a part lacks a bit, the part lacks the byte.
pub(crate) fn kinds(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0, |word, byte| {
        let shared = if byte & 0xe0 == 0x60 { 0 } else { 32 };
        word | 1 << (shared | (byte & 31))
    })
}
