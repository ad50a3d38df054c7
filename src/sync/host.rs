//! [`HostName`] and the list that belongs to it: exactly that one, never a similar one.
//!
//! The name becomes part of a file's name and of a destination, so it is letters, digits, `-`, `_` and `.` only;
//! it neither begins with `-` or `.` nor holds `..`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::guard::Refusal;

/// What the file name of a host's list ends in.
pub const LIST_SUFFIX: &str = "-exclude-list.txt";

/// The longest host name that DNS knows.
const NAME_MAX_BYTES: usize = 253;

/// How alike two names are that one may have been meant for the other, from 0 to 1.
const ALIKE: f64 = 0.8;

/// A host's name that is safe in file names and destinations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<HostName, Refusal> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = !text.is_empty() && text.len() <= NAME_MAX_BYTES && text.bytes().all(safe);
        if !fits || text.starts_with(['-', '.']) || text.contains("..") {
            return Err(Refusal::HostName(text.to_owned()));
        }
        Ok(HostName(text.to_owned()))
    }
}

/// The path of the list that belongs to `host` in the directory `lists`.
///
/// # Errors
/// [`Refusal::NoList`] when there is none, with the lists whose names are alike: a run must never take one of those by
/// itself.
pub fn list_of(host: &HostName, lists: &Path) -> Result<PathBuf, Refusal> {
    let path = lists.join(format!("{host}{LIST_SUFFIX}"));
    match path.symlink_metadata() {
        Ok(_) => Ok(path),
        Err(_) => Err(Refusal::NoList { host: host.clone(), meant: alike(host, lists), path }),
    }
}

/// Hosts that have a list here and whose names are like this one's, the likeliest first.
fn alike(host: &HostName, lists: &Path) -> Vec<String> {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut found: Vec<(f64, String)> = Vec::new();
    for entry in std::fs::read_dir(lists).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(other) = name.to_str().and_then(|name| name.strip_suffix(LIST_SUFFIX)) else { continue };
        let score = if short(other) == short(host.as_str()) { 1.0 } else { strsim::jaro_winkler(other, host.as_str()) };
        if score >= ALIKE && other.parse::<HostName>().is_ok() {
            found.push((score, format!("{other}{LIST_SUFFIX}")));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for good in ["web1", "web-1.example.org", "a_b", "10.0.0.1"] {
            assert_eq!(good.parse::<HostName>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "..", "a..b", ".a", "-a", "a b", "a\n", "a\0", "\u{e9}", "{host}", &"a".repeat(254)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }
}
