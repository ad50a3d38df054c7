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
