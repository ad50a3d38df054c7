//! The bytes of a queue entry, which are an interface: scripts may write entries themselves.
//!
//! An entry is one JSON object per line, each a ballot:
//!
//! ```text
//! {"poll":"now","picks":["yes"],"id":"<32 hex digits>","at":1763870000123}
//! ```
//!
//! `poll` and `picks` are needed. `id` is the ballot's identity; in its place `voter` may name the voter, and
//! with neither the ballot is anonymous. `at` is when it was cast, in milliseconds of Unix time; without it, it
//! is the time of the flush. Keys that are not known are passed over. The spool holds the same lines.
//!
//! It refuses what it cannot read whole: such a line becomes a dead letter with the reason given here.

use std::borrow::Cow;

use serde::Deserialize;

use super::ballot::{AT_MAX_MS, Ballot, Identity};

/// The most bytes weir puts into one entry, well under the server's limit of 1 MiB an item.
pub const ENTRY_MAX_LEN: usize = 128 * 1024;

/// A line as it was found: nothing is looked up yet.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// The poll's name, if it is one.
    #[serde(borrow)]
    pub poll: Cow<'a, str>,
    /// The choices' names, if they are such.
    #[serde(borrow)]
    pub picks: Vec<Cow<'a, str>>,
    /// The identity in hex.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// The voter's name.
    #[serde(borrow, default)]
    pub voter: Option<Cow<'a, str>>,
    /// When it was cast, in milliseconds of Unix time.
    #[serde(default)]
    pub at: Option<i64>,
}

/// Appends a ballot's line to an entry. Slugs and hex need no escaping.
pub fn write_line(entry: &mut String, ballot: &Ballot) {
    entry.push_str("{\"poll\":\"");
    entry.push_str(ballot.poll.as_str());
    entry.push_str("\",\"picks\":[");
    for (index, pick) in ballot.picks.iter().enumerate() {
        entry.push_str(if index == 0 { "\"" } else { ",\"" });
        entry.push_str(pick.as_str());
        entry.push('"');
    }
    entry.push_str("],\"id\":\"");
    let mut hex = [0; 32];
    // The number formatting of the standard library is what a batch would spend most of its time in.
    entry.push_str(uuid::Uuid::from_bytes(ballot.identity.0).simple().encode_lower(&mut hex));
    entry.push_str("\",\"at\":");
    entry.push_str(itoa::Buffer::new().format(ballot.at_ms));
    entry.push_str("}\n");
}

/// The lines of an entry that are not blank, with their numbers from 0.
pub fn lines(entry: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    entry.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Reads one line.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn read_line(line: &[u8]) -> Result<Line<'_>, String> {
    let read: Line<'_> = serde_json::from_slice(line).map_err(|error| format!("not a ballot: {error}"))?;
    if read.at.is_some_and(|at| !(0..=AT_MAX_MS).contains(&at)) {
        return Err("not a ballot: \"at\" is no time in milliseconds".into());
    }
    if read.id.as_ref().is_some_and(|id| Identity::from_hex(id).is_none()) {
        return Err("not a ballot: \"id\" is not 32 hexadecimal digits".into());
    }
    Ok(read)
}

/// A line that ends as [`write_line`] ends it: all that comes before the identity, the identity, and the time of
/// casting in milliseconds. Nothing is known of what comes before, but that it means the same in every line that is
/// taken apart here and begins with it.
pub fn take_apart(line: &[u8]) -> Option<(&[u8], Identity, i64)> {
    let rest = line.strip_suffix(b"}")?;
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, at) = rest.split_at(rest.len() - digits);
    // As many digits as fit, and no zero in front, which JSON refuses.
    if !(1..=18).contains(&digits) || at.starts_with(b"0") {
        return None;
    }
    let at_ms = at.iter().fold(0, |at_ms, digit| at_ms * 10 + i64::from(digit - b'0'));
    let (opening, id) = rest.strip_suffix(b"\",\"at\":")?.split_last_chunk()?;
    let identity = Identity::from_hex_digits(id)?;
    (opening.ends_with(b"\"id\":\"") && at_ms <= AT_MAX_MS).then_some((opening, identity, at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slug::Slug;

    #[test]
    fn a_ballot_is_written_as_documented_and_read_back() {
        let slug = |text| Slug::new(text).unwrap();
        let identity = Identity::from_hex("000102030405060708090a0b0c0d0eff").unwrap();
        let ballot =
            Ballot { poll: slug("now"), picks: [slug("yes"), slug("no")].into(), identity, at_ms: 1_763_870_000_123 };
        let mut entry = String::new();
        write_line(&mut entry, &ballot);
        let want = r#"{"poll":"now","picks":["yes","no"],"id":"000102030405060708090a0b0c0d0eff","at":1763870000123}"#;
        assert_eq!(entry, format!("{want}\n"));
        let (_, line) = lines(entry.as_bytes()).next().unwrap();
        let read = read_line(line).unwrap();
        assert_eq!((read.poll.as_ref(), read.picks.len(), read.at), ("now", 2, Some(1_763_870_000_123)));
        let opening = &br#"{"poll":"now","picks":["yes","no"],"id":""#[..];
        assert_eq!(take_apart(line), Some((opening, identity, 1_763_870_000_123)));
    }

    #[test]
    fn only_what_ends_as_weir_ends_it_is_taken_apart() {
        let id = "000102030405060708090a0b0c0d0eff";
        for other in [
            format!(r#""id":"{id}","at":01}}"#),
            format!(r#""id":"{id}","at":}}"#),
            format!(r#""id":"{id}","at":-1}}"#),
            format!(r#""id":"{id}","at":1,"more":2}}"#),
            format!(r#""id":"{id}","at":{}}}"#, AT_MAX_MS + 1),
            format!(r#""id":"{id}","at":99999999999999999999}}"#),
            format!(r#""voter":"{id}","at":1}}"#),
            format!(r#""id":"{}","at":1}}"#, &id[1..]),
            format!(r#""id":"{}g","at":1}}"#, &id[1..]),
            format!(r#"{id}","at":1}}"#),
            "}".into(),
            String::new(),
        ] {
            assert_eq!(take_apart(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_ballot_is_told_apart() {
        for bad in [
            &b"now yes"[..],
            b"{}",
            b"\xff\xfe",
            br#"{"poll":"now","picks":"yes"}"#,
            br#"{"poll":"now","picks":["yes"],"id":"12"}"#,
            br#"{"poll":"now","picks":["yes"],"at":-1}"#,
            br#"{"poll":"now","picks":["yes"],"at":99999999999999999}"#,
        ] {
            assert!(read_line(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(read_line(br#"{"poll":"now","picks":["yes"],"voter":"ann","more":1}"#).is_ok());
        assert_eq!(lines(b"\n {}\r\n\n{}").map(|(number, _)| number).collect::<Vec<_>>(), [1, 3]);
    }
}
