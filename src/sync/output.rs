//! What rsync prints, read to the byte.
//!
//! rsync is given a format whose lines no other line looks like, `|ITEM|LENGTH|NAME`, and the C locale, in which
//! it writes every byte that is not plain ASCII as `\#ooo`. So names come back whole, whatever is in them.

/// What happens to an entry of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is deleted.
    Deleted,
    /// It is new.
    Created,
    /// Its content is another.
    Updated,
    /// Its times, permissions or owner are others.
    Attributes,
}

/// One change of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub kind: ChangeKind,
    /// rsync's own eleven letters for it.
    pub item: Vec<u8>,
    /// Below the root of the transfer; a directory ends in a slash.
    pub path: Vec<u8>,
}

/// What a run did, or a dry run would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries that were deleted.
    pub deleted: u64,
    /// Entries that are new.
    pub created: u64,
    /// Entries with another content.
    pub updated: u64,
    /// Entries with other times, permissions or owner only.
    pub attributes: u64,
    /// Entries that the list sends of the source, directories and the root included.
    pub files: u64,
    /// Bytes in the files that had to be transferred.
    pub changed_bytes: u64,
    /// Bytes that went to the other end.
    pub sent_bytes: u64,
    /// Bytes that came from there.
    pub received_bytes: u64,
    /// `created` as rsync counts it.
    pub(super) created_in_all: u64,
}

impl Tally {
    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.deleted + self.created + self.updated + self.attributes == 0
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The list of files still grows: so many so far.
    Listing {
        /// Entries found so far.
        files: u64,
    },
    /// The list is whole, or as whole as rsync says.
    Transferring {
        /// Bytes transferred so far.
        bytes: u64,
        /// Entries looked at.
        checked: u64,
        /// Entries known so far.
        known: u64,
        /// Whether there may be more than are known.
        growing: bool,
    },
}

/// One line of rsync's standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Change(Change),
    Progress(Progress),
    /// Words for people; may be a line of statistics, which is already in the tally.
    Other,
}

/// The format that rsync is given.
pub(super) const FORMAT: &str = "--out-format=|%i|%l|%n";

/// Reads a line without its end, and counts it.
pub(super) fn read_line(line: &[u8], tally: &mut Tally) -> Line {
    if let Some(rest) = line.strip_prefix(b"|") {
        if let Some(change) = read_change(rest) {
            match change.kind {
                ChangeKind::Deleted => tally.deleted += 1,
                ChangeKind::Created => tally.created += 1,
                ChangeKind::Updated => tally.updated += 1,
                ChangeKind::Attributes => tally.attributes += 1,
            }
            return Line::Change(change);
        }
        return Line::Other;
    }
    let Ok(text) = std::str::from_utf8(line) else { return Line::Other };
    if let Some(progress) = read_progress(text) {
        return Line::Progress(progress);
    }
    read_statistics(text, tally);
    Line::Other
}

fn read_change(rest: &[u8]) -> Option<Change> {
    let mut parts = rest.splitn(3, |byte| *byte == b'|');
    let (item, _, name) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = match item {
        [b'*', b'd', b'e', b'l', ..] => ChangeKind::Deleted,
        [b'<' | b'>' | b'c' | b'h' | b'.', _, flags @ ..] if flags.starts_with(b"++") => ChangeKind::Created,
        [b'<' | b'>' | b'c' | b'h', ..] => ChangeKind::Updated,
        [b'.', ..] => ChangeKind::Attributes,
        _ => return None,
    };
    Some(Change { kind, item: item.trim_ascii_end().to_vec(), path: unescaped(name) })
}

/// Undoes rsync's `\#ooo`.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

/// `      1234  56%  1.23MB/s    0:00:01 (xfr#3, to-chk=5/10)` or ` 1200 files...`.
fn read_progress(text: &str) -> Option<Progress> {
    let trimmed = text.trim();
    let (first, rest) = trimmed.split_once(' ')?;
    let first: u64 = first.parse().ok()?;
    if rest.starts_with("files") {
        return Some(Progress::Listing { files: first });
    }
    let (_, counts) = rest.split_once("-chk=")?;
    let (left, known) = counts.trim_end_matches(')').split_once('/')?;
    let (left, known): (u64, u64) = (left.parse().ok()?, known.parse().ok()?);
    let growing = rest.contains("ir-chk=");
    Some(Progress::Transferring { bytes: first, checked: known.saturating_sub(left), known, growing })
}

fn read_statistics(text: &str, tally: &mut Tally) {
    let Some((name, value)) = text.split_once(": ") else { return };
    let Some(number) = value.split([' ', '.']).next().and_then(|number| number.parse().ok()) else { return };
    match name {
        "Number of files" => tally.files = number,
        "Number of created files" => tally.created_in_all = number,
        "Total transferred file size" => tally.changed_bytes = number,
        "Total bytes sent" => tally.sent_bytes = number,
        "Total bytes received" => tally.received_bytes = number,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_to_the_byte() {
        let mut tally = Tally::default();
        let Line::Change(change) = read_line(br"|>f+++++++++|1|s/odd\#012\#377|\#134#123x\y", &mut tally) else {
            panic!()
        };
        assert_eq!(change.path, b"s/odd\n\xff|\\#123x\\y");
        assert_eq!((change.kind, tally.created), (ChangeKind::Created, 1));
    }

    #[test]
    fn each_kind_of_change_is_counted() {
        let mut tally = Tally::default();
        for line in [
            "|*deleting  |0|a/",
            "|<f.st......|2|b",
            "|.d..t......|4096|./",
            "|cLc.T......|7|l",
            "|hf+++++++++|1|h",
            "plain",
        ] {
            read_line(line.as_bytes(), &mut tally);
        }
        assert_eq!((tally.deleted, tally.updated, tally.attributes, tally.created), (1, 2, 1, 1));
    }

    #[test]
    fn progress_and_statistics_are_read() {
        let mut tally = Tally::default();
        let mut read = |line: &str| read_line(line.as_bytes(), &mut tally);
        assert_eq!(read(" 1200 files..."), Line::Progress(Progress::Listing { files: 1200 }));
        let progress = Progress::Transferring { bytes: 3, checked: 4, known: 7, growing: true };
        assert_eq!(read("      3  25%    1.95kB/s    0:00:00 (xfr#2, ir-chk=3/7)"), Line::Progress(progress));
        assert_eq!(read("Number of files: 7 (reg: 3, dir: 3, link: 1)"), Line::Other);
        assert_eq!(read("Total bytes sent: 307"), Line::Other);
        assert_eq!((tally.files, tally.sent_bytes), (7, 307));
    }
}
