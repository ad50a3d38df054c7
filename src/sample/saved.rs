//! Samples kept in a file, and several of them as one.
//!
//! Algorithm: the N smallest keys of a union are among the N smallest of its parts, so samples that kept their keys merge
//! exactly: the result has the law of a sample out of all inputs together. For that the keys of the parts must be
//! independent, so each part needs a seed of its own, and no part may be counted twice. A saved sample therefore
//! carries the seeds of all that is in it, and a seed that occurs twice is refused, whichever of both it means.
//!
//! # The file
//! One line of JSON (`weir_sample` is the version of the format, here 1; `count` is N; `seeds`; `lines` and `bytes`
//! seen; `by`, `weight` and `separator` the fields by number; `line_end`; `header_bytes`; `entries`), then the header's
//! bytes, then for each entry a line `KEY LENGTH` (the key as 16 hexadecimal digits, the length in decimal) and the
//! line's bytes with their terminator, in input order; and at the end a line `blake3 ` and the BLAKE3 hash of all
//! bytes before it as 64 hexadecimal digits.
//!
//! Cost: the sample's bytes in memory. It refuses a file that is cut or changed, samples taken in different ways (other
//! fields, other line ends), and to make N larger than a part's: what that part has thrown away is gone.

use std::collections::BTreeSet;
use std::io::Write;

use super::error::Error;
use super::field::field_of;
use super::kept::KeptLine;
use super::key::Key;
use super::keyed::{Fields, Groups};
use super::outcome::{Held, Sample, Way};
use super::reservoir::{Entry, Reservoir};
use super::rng::Seed;

const VERSION: u32 = 1;

/// What the last line of the file begins with.
const SEAL: &[u8] = b"blake3 ";

/// The last line's length: [`SEAL`], 64 digits, line feed.
const SEAL_LEN: usize = SEAL.len() + 64 + 1;

/// The longest number in front of an entry's bytes.
const ENTRY_HEAD_MAX: usize = 64;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Head {
    weir_sample: u32,
    count: u64,
    seeds: Vec<Seed>,
    lines: u64,
    bytes: u64,
    by: Option<usize>,
    weight: Option<usize>,
    separator: u8,
    line_end: u8,
    header_bytes: usize,
    entries: usize,
}

/// Writes the sample so that [`read`] gives it back. Its lines are in memory then.
///
/// # Errors
/// It is one without keys (random access, with replacement), or the output cannot be written.
pub fn write<'a>(sample: Sample<'a>, out: &mut dyn Write) -> Result<Sample<'a>, Error> {
    let Some(lines) = sample.lines.filter(|_| sample.draws.is_none()) else {
        return Err(Error::Options("a sample by random access or with replacement cannot be saved: it does not merge"));
    };
    let sample = sample.into_memory()?;
    let Held::Memory(entries) = &sample.held else { return Ok(sample) };
    let head = Head {
        weir_sample: VERSION,
        count: sample.count,
        seeds: sample.seeds.clone(),
        lines,
        bytes: sample.bytes,
        by: sample.fields.by,
        weight: sample.fields.weight,
        separator: sample.fields.separator,
        line_end: sample.delimiter,
        header_bytes: sample.header.len(),
        entries: entries.len(),
    };
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes).map_err(Error::Write)
    };
    let json = serde_json::to_string(&head).map_err(|error| Error::Write(error.into()))?;
    put(format!("{json}\n").as_bytes())?;
    put(&sample.header)?;
    for Entry { key, item, .. } in entries {
        put(format!("{:016x} {}\n", key.to_bits(), item.byte_count()).as_bytes())?;
        put(&item.bytes()?)?;
    }
    let seal = format!("blake3 {}\n", hasher.finalize().to_hex());
    out.write_all(seal.as_bytes()).and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(sample)
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// The bytes are not a whole saved sample; `name` is theirs.
pub fn read(name: &str, bytes: &[u8]) -> Result<Sample<'static>, Error> {
    parse(bytes).map_err(|what| Error::Saved { name: name.to_owned(), what: what.to_owned() })
}

fn parse(bytes: &[u8]) -> Result<Sample<'static>, &'static str> {
    if !bytes.starts_with(b"{\"weir_sample\":") {
        return Err("it does not begin as one");
    }
    let (sealed, seal) = bytes.split_at_checked(bytes.len().saturating_sub(SEAL_LEN)).ok_or("it is too short")?;
    let hash = seal.strip_prefix(SEAL).and_then(|hash| hash.strip_suffix(b"\n")).ok_or("its end is missing")?;
    if blake3::hash(sealed).to_hex().as_bytes() != hash {
        return Err("its bytes were changed");
    }
    let mut rest = sealed;
    let head: Head =
        serde_json::from_slice(take_line(&mut rest, sealed.len())?).map_err(|_| "its first line is wrong")?;
    if head.weir_sample != VERSION {
        return Err("it is of another version");
    }
    let header = take(&mut rest, head.header_bytes)?.to_vec();
    let mut entries = Vec::new();
    for position in 0..head.entries as u64 {
        let line = take_line(&mut rest, ENTRY_HEAD_MAX)?;
        let mut words = std::str::from_utf8(line).map_err(|_| "an entry is wrong")?.split(' ');
        let key = words.next().and_then(|key| u64::from_str_radix(key, 16).ok()).ok_or("a key is wrong")?;
        let len = words.next().and_then(|len| len.parse().ok()).ok_or("a length is wrong")?;
        entries.push(Entry { key: Key::from_bits(key), position, item: take(&mut rest, len)?.into() });
    }
    if !rest.is_empty() {
        return Err("it has more than its entries");
    }
    Ok(Sample {
        header,
        delimiter: head.line_end,
        held: Held::Memory(entries),
        draws: None,
        fields: Fields { by: head.by, weight: head.weight, separator: head.separator },
        count: head.count,
        lines: Some(head.lines),
        bytes: head.bytes,
        seeds: head.seeds,
        way: Way::Merge,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], &'static str> {
    let (taken, left) = rest.split_at_checked(len).ok_or("an entry is cut")?;
    *rest = left;
    Ok(taken)
}

fn take_line<'a>(rest: &mut &'a [u8], max_len: usize) -> Result<&'a [u8], &'static str> {
    let window = &rest[..rest.len().min(max_len)];
    let end = memchr::memchr(b'\n', window).ok_or("a line is cut")?;
    let line = take(rest, end)?;
    take(rest, 1)?;
    Ok(line)
}

/// Saved samples as the one sample that would have been taken of all their inputs, in the order given. Without a
/// `count` it has as many lines as the smallest N of the parts allows.
///
/// # Errors
/// A seed occurs twice, the parts were taken in different ways, or `count` is more than a part has kept.
pub fn merge(parts: Vec<(String, Sample<'static>)>, count: Option<u64>) -> Result<Sample<'static>, Error> {
    let mut parts = parts.into_iter();
    let Some((first_name, mut merged)) = parts.next() else {
        return Err(Error::Options("there is no saved sample to merge"));
    };
    let mut allowed = merged.allowed_count();
    let mut asked = merged.count;
    let mut seeds: BTreeSet<Seed> = merged.seeds.iter().copied().collect();
    let mut smallest = first_name;
    let Held::Memory(mut entries) = std::mem::replace(&mut merged.held, Held::Memory(Vec::new())) else {
        return Ok(merged);
    };
    for (name, part) in parts {
        let refuse = |what: String| Err(Error::Merge { name: name.clone(), what });
        if (&part.fields, part.delimiter) != (&merged.fields, merged.delimiter) {
            return refuse("it was taken by other fields or line ends than the first".to_owned());
        }
        if let Some(Seed(seed)) = part.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return refuse(format!(
                "a sample with seed {seed} is in it and in one before it. If they are the same, its lines would count \
                 twice; if not, two samples with one seed are not independent: give each host its own seed, or none"
            ));
        }
        if part.allowed_count() < allowed {
            allowed = part.allowed_count();
            smallest = name;
        }
        asked = asked.max(part.count);
        merged.lines = merged.lines.zip(part.lines).map(|(one, other)| one.saturating_add(other));
        merged.bytes = merged.bytes.saturating_add(part.bytes);
        if let Held::Memory(more) = part.held {
            entries.extend(more);
        }
    }
    merged.count = count.unwrap_or(asked.min(allowed));
    if merged.count > allowed {
        let what = format!("it kept {allowed} lines of more, so {} cannot be chosen", merged.count);
        return Err(Error::Merge { name: smallest, what });
    }
    merged.seeds = seeds.into_iter().collect();
    merged.way = Way::Merge;
    merged.held = Held::Memory(choose(entries, &merged.fields, merged.count)?);
    Ok(merged)
}

/// The smallest keys of all parts; of each group, if there are groups.
fn choose(entries: Vec<Entry<KeptLine>>, fields: &Fields<usize>, count: u64) -> Result<Vec<Entry<KeptLine>>, Error> {
    let numbered = entries.into_iter().zip(0u64..);
    if let Some(by) = fields.by {
        let mut groups = Groups::new(count);
        for (Entry { key, item, .. }, position) in numbered {
            let value = field_of(&item.bytes()?, by, fields.separator).unwrap_or_default().to_vec();
            groups.with(&value, |kept| kept.offer(key, position, item));
        }
        return Ok(groups.into_entries());
    }
    let mut reservoir = Reservoir::new(count);
    numbered.for_each(|(entry, position)| reservoir.offer(entry.key, position, entry.item));
    Ok(reservoir.into_entries())
}

impl Sample<'_> {
    /// How many lines may be chosen of it: its N, or any number if it kept everything that could be chosen.
    fn allowed_count(&self) -> u64 {
        let kept_all = self.lines == Some(self.held.len() as u64);
        if kept_all { u64::MAX } else { self.count }
    }
}
