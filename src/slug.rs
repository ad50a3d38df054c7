//! [`Slug`]: a short name that is safe as a memcached key part, an SQL value, a file name and a URL segment.
//!
//! Polls and choices are named by slugs, and so nothing that a user typed reaches a key or a command raw. It
//! refuses rather than repairs: a name that was silently changed is a name that nobody finds again.

use std::fmt;
use std::sync::Arc;

/// The longest slug, in bytes.
pub const SLUG_MAX_LEN: usize = 64;

/// A name of 1 to 64 bytes out of `a-z`, `0-9` and `-`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(Arc<str>);

/// Why a text is no [`Slug`]; its message shows the text, shortened and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown}: a name has 1 to 64 characters out of a-z, 0-9 and \"-\"")]
pub struct SlugError {
    shown: String,
}

impl Slug {
    /// Checks `text` and takes it as it is.
    ///
    /// # Errors
    /// [`SlugError`] when it is empty, longer than 64 bytes, or has another byte than `a-z`, `0-9`, `-`.
    pub fn new(text: &str) -> Result<Slug, SlugError> {
        let fits = (1..=SLUG_MAX_LEN).contains(&text.len());
        let clean = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && clean { Ok(Slug(text.into())) } else { Err(SlugError { shown: shown(text) }) }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `text` in double quotes with control and quote characters escaped, cut after 40 characters: for messages
/// that show what somebody typed without letting it move the cursor or fill the screen.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let head: String = text.chars().take(MAX_CHARS).collect();
    let more = if head.len() < text.len() { format!("... ({} bytes)", text.len()) } else { String::new() };
    format!("{head:?}{more}")
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Slug {
    type Err = SlugError;
    fn from_str(text: &str) -> Result<Slug, SlugError> {
        Slug::new(text)
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;
    fn try_from(text: String) -> Result<Slug, SlugError> {
        Slug::new(&text)
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> String {
        slug.0.to_string()
    }
}

impl std::borrow::Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_alphabet_and_the_lengths_it_promises_and_nothing_else() {
        for good in ["a", "now", "2026-election", "-", &"x".repeat(64)] {
            assert_eq!(Slug::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "Now", "a b", "a\r\nflush_all", "ä", "a_b", "a/b", &"x".repeat(65)] {
            assert!(Slug::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_shows_no_control_character_and_stays_short() {
        let message = Slug::new(&"\u{1b}[2J".repeat(4000)).unwrap_err().to_string();
        assert!(message.len() < 300 && !message.contains('\u{1b}'), "{message}");
    }
}
