//! [`Glob`]: a pattern with wildcards, compiled to a bit-parallel automaton.
//!
//! One bit per consuming token says "everything before me has matched"; a byte of text moves all bits at once.
//! The time is therefore the length of the text times the length of the pattern over 64, whatever the pattern:
//! no text and no number of stars makes it slow, where a matcher that backtracks (rsync's own is one) can
//! take exponential time. It refuses nothing: what rsync can never match becomes [`Flaw`], and matches nothing.

use std::collections::HashMap;

use super::class::{self, BadClass, ByteSet};

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// This byte.
    Byte(u8),
    /// One byte of the set: `?` or a class.
    Set(ByteSet),
    /// `*`: any run without a slash.
    Star,
    /// `**` and longer: any run.
    StarStar,
}

/// Why a pattern with wildcards can match nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It ends in a backslash that escapes nothing.
    TrailingBackslash,
    /// A bracket expression is unclosed or names an unknown class.
    Class(BadClass),
}

/// Splits a pattern with wildcards into tokens; the first flaw that makes it match nothing is the error.
pub(crate) fn tokens(pattern: &[u8]) -> Result<Vec<Token>, Flaw> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        tokens.push(match byte {
            b'\\' => {
                let escaped = *pattern.get(at).ok_or(Flaw::TrailingBackslash)?;
                at += 1;
                Token::Byte(escaped)
            }
            b'?' => Token::Set(ByteSet::any_in_name()),
            b'[' => {
                let (set, length) = class::parse(&pattern[at..]).map_err(Flaw::Class)?;
                at += length;
                Token::Set(set)
            }
            b'*' => {
                let more = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
                at += more;
                if more == 0 { Token::Star } else { Token::StarStar }
            }
            other => Token::Byte(other),
        });
    }
    Ok(tokens)
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    /// The column of `advance` for each byte.
    column_of: Box<[u8; 256]>,
    /// For each column, `words` words: the states that a byte of this column may enter.
    advance: Vec<u64>,
    /// The states that stay where they are on any byte but a slash, and on any byte.
    stay_in_name: Vec<u64>,
    stay: Vec<u64>,
    accept: usize,
    words: usize,
    /// The kinds of bytes that every matching text has; the bytes that it begins with and that it ends with.
    pub(crate) required: u64,
    pub(crate) prefix: Box<[u8]>,
    pub(crate) suffix: Box<[u8]>,
}

impl Glob {
    pub(crate) fn new(tokens: &[Token]) -> Glob {
        let consuming: Vec<ByteSet> = tokens
            .iter()
            .filter_map(|token| match token {
                Token::Byte(byte) => Some(ByteSet::from_iter([*byte])),
                Token::Set(set) => Some(*set),
                Token::Star | Token::StarStar => None,
            })
            .collect();
        let accept = consuming.len();
        let words = accept / 64 + 1;
        let (mut stay_in_name, mut stay) = (vec![0; words], vec![0; words]);
        let mut state = 0;
        for token in tokens {
            match token {
                Token::Byte(_) | Token::Set(_) => state += 1,
                Token::Star => set_bit(&mut stay_in_name, state),
                Token::StarStar => set_bit(&mut stay, state),
            }
        }
        let (column_of, advance) = columns(&consuming, words);
        let literal = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
        let mut suffix: Vec<u8> = tokens.iter().rev().map_while(literal).collect();
        suffix.reverse();
        Glob {
            column_of,
            advance,
            stay_in_name,
            stay,
            accept,
            words,
            required: class::kinds(tokens.iter().filter_map(literal)),
            prefix: tokens.iter().map_while(literal).collect(),
            suffix: suffix.into(),
        }
    }

    /// Whether the pattern matches the whole text, which is given in parts; with `after_slashes`, whether it
    /// matches the whole text or what follows any of its slashes.
    pub(crate) fn matches(&self, parts: [&[u8]; 3], after_slashes: bool) -> bool {
        let bytes = parts.into_iter().flatten().copied();
        if self.words == 1 { self.run_in_one_word(bytes, after_slashes) } else { self.run(bytes, after_slashes) }
    }

    /// How many words the states take.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Bytes with the same column are alike to this pattern.
    pub(crate) fn column(&self, byte: u8) -> u8 {
        self.column_of[usize::from(byte)]
    }

    /// Moves the states of one word by one byte: those that are then in the word, and in the one behind it.
    pub(crate) fn step(&self, word: usize, states: u64, byte: u8) -> (u64, u64) {
        let column = usize::from(self.column(byte)) * self.words;
        let in_name = if byte == b'/' { 0 } else { self.stay_in_name[word] };
        let kept = states & (self.stay[word] | in_name);
        let carried = if word + 1 < self.words { (states >> 63) & self.advance[column + word + 1] } else { 0 };
        (((states << 1) & self.advance[column + word]) | kept, carried)
    }

    /// Whether the states of one word say that the whole pattern has matched.
    pub(crate) fn accepts(&self, word: usize, states: u64) -> bool {
        self.accept / 64 == word && states & (1 << (self.accept % 64)) != 0
    }

    fn run_in_one_word(&self, text: impl Iterator<Item = u8>, after_slashes: bool) -> bool {
        let (stay, stay_in_name) = (self.stay[0], self.stay_in_name[0]);
        let mut states = 1_u64;
        for byte in text {
            let enter = self.advance[usize::from(self.column_of[usize::from(byte)])];
            let kept = states & if byte == b'/' { stay } else { stay | stay_in_name };
            states = ((states << 1) & enter) | kept;
            if after_slashes && byte == b'/' {
                states |= 1;
            }
            if states == 0 && !after_slashes {
                return false;
            }
        }
        states & (1 << self.accept) != 0
    }

    fn run(&self, text: impl Iterator<Item = u8>, after_slashes: bool) -> bool {
        let mut states = vec![0_u64; self.words];
        states[0] = 1;
        for byte in text {
            let column = usize::from(self.column_of[usize::from(byte)]) * self.words;
            let enter = &self.advance[column..column + self.words];
            let mut carry = 0;
            for (word, state) in states.iter_mut().enumerate() {
                let in_name = if byte == b'/' { 0 } else { self.stay_in_name[word] };
                let kept = *state & (self.stay[word] | in_name);
                let moved = (*state << 1) | carry;
                carry = *state >> 63;
                *state = (moved & enter[word]) | kept;
            }
            if after_slashes && byte == b'/' {
                states[0] |= 1;
            }
        }
        states[self.accept / 64] & (1 << (self.accept % 64)) != 0
    }
}

fn set_bit(words: &mut [u64], bit: usize) {
    words[bit / 64] |= 1 << (bit % 64);
}

/// Bytes that every token treats alike share a column, so that a pattern takes a few hundred bytes and not
/// the 2 KiB of a full table: a list of a thousand of them stays in the cache.
fn columns(consuming: &[ByteSet], words: usize) -> (Box<[u8; 256]>, Vec<u64>) {
    let mut column_of = Box::new([0_u8; 256]);
    let mut seen: HashMap<Vec<u64>, u8> = HashMap::new();
    let mut advance = Vec::new();
    for byte in 0..=u8::MAX {
        let mut enters = vec![0_u64; words];
        for (index, set) in consuming.iter().enumerate() {
            if set.contains(byte) {
                set_bit(&mut enters, index + 1);
            }
        }
        // At most 256 columns exist, so the next number fits whenever a new one is needed.
        let next = u8::try_from(seen.len()).unwrap_or(u8::MAX);
        let column = *seen.entry(enters).or_insert_with_key(|enters| {
            advance.extend_from_slice(enters);
            next
        });
        column_of[usize::from(byte)] = column;
    }
    (column_of, advance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        tokens(pattern.as_bytes()).is_ok_and(|tokens| Glob::new(&tokens).matches([text.as_bytes(), b"", b""], false))
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        assert!(matches("a*c", "abbc") && !matches("a*c", "a/c") && matches("a**c", "a/b/c"));
        assert!(matches("*", "") && matches("a?c", "abc") && !matches("a?c", "a/c"));
    }

    #[test]
    fn classes_follow_rsync() {
        assert!(matches("[]-a]", "]") && matches("[^a]", "b") && !matches("[!a]", "/"));
        assert!(matches("[[:digit:]-]", "-") && matches("[a-c]", "b") && !matches("[c-a]", "b"));
        assert_eq!(tokens(b"[a"), Err(Flaw::Class(BadClass::Unclosed)));
        assert_eq!(tokens(b"[[:word:]]"), Err(Flaw::Class(BadClass::UnknownName(b"word".as_slice().into()))));
    }

    #[test]
    fn patterns_longer_than_a_word_match_too() {
        let long = "abc*".repeat(60);
        assert!(matches(&long, &"abcx".repeat(60)) && !matches(&long, &"abcx".repeat(59)));
    }

    #[test]
    fn a_pattern_that_makes_backtracking_explode_takes_no_time() {
        let text = "a".repeat(4000);
        for star in ["a*", "a**", "*?a", "**a*"] {
            let pattern = format!("{}b", star.repeat(60));
            assert!(!matches(&pattern, &text), "{pattern}");
        }
    }
}
