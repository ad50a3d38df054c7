//! [`Place`]: a source or a destination, told apart as rsync tells them apart, and handed over so that nothing in a name
//! means anything.
//!
//! `host:path` and `user@host:path` go through a remote shell, `host::module/path` and `rsync://host/module/path` to
//! a daemon; all else is local. A colon before the first slash makes a place remote, unless something of that very
//! name exists here. A local path gets `./` in front, so that neither `-` nor `:` means anything in it. Names on
//! the other side are passed with `--protect-args`, so no shell there reads them; rsync itself would still expand
//! wildcards in them, which are therefore escaped.
//!
//! It refuses what cannot be meant: an empty place, `/`, a host that a remote shell would take for an option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::rules::lint::shown;

/// Where a tree is or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine, as it was given.
    Local(PathBuf),
    /// On another one.
    Remote(Remote),
}

/// A place on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Up to and with what separates the host from the path: `host:`, `host::`, `rsync://host:port/`.
    prefix: Vec<u8>,
    /// The path; for a daemon it begins with the module.
    path: Vec<u8>,
    daemon: bool,
}

/// Why something is no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PlaceError {
    #[error("an empty path names no directory")]
    Empty,
    #[error("{0}: the root directory is neither a source nor a destination")]
    Root(String),
    #[error("{0}: no path after the host; name the directory, and a daemon's module")]
    NoPath(String),
    #[error("{0}: the name before the colon is no host; write ./{0} if it is a directory here")]
    Host(String),
}

impl Place {
    /// Reads a place as it stands on the command line.
    ///
    /// # Errors
    /// [`PlaceError`] when it is empty, the root directory, or a remote place without host or path.
    pub fn parse(text: &OsStr) -> Result<Place, PlaceError> {
        let bytes = text.as_bytes();
        let told = || shown(bytes);
        if bytes.is_empty() {
            return Err(PlaceError::Empty);
        }
        let Some(remote) = split_remote(bytes).filter(|_| Path::new(text).symlink_metadata().is_err()) else {
            return if is_root(bytes) { Err(PlaceError::Root(told())) } else { Ok(Place::Local(PathBuf::from(text))) };
        };
        if !remote.has_sane_host() {
            return Err(PlaceError::Host(told()));
        }
        match remote.path.as_slice() {
            b"" => Err(PlaceError::NoPath(told())),
            path if remote.daemon && path.starts_with(b"/") => Err(PlaceError::NoPath(told())),
            path if is_root(path) => Err(PlaceError::Root(told())),
            _ => Ok(Place::Remote(remote)),
        }
    }

    /// Whether it is on another machine.
    pub fn is_remote(&self) -> bool {
        matches!(self, Place::Remote(_))
    }

    /// Whether it is reached through a remote shell.
    pub(super) fn needs_shell(&self) -> bool {
        matches!(self, Place::Remote(remote) if !remote.daemon)
    }

    /// Its path's bytes as given, without the host.
    fn path(&self) -> &[u8] {
        match self {
            Place::Local(path) => path.as_os_str().as_bytes(),
            Place::Remote(remote) => &remote.path,
        }
    }

    /// As a source: the name that the transfer root holds, or none if its content is the transfer root.
    pub(super) fn name_in_root(&self) -> Option<&[u8]> {
        let path = self.path();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let whole_module = matches!(self, Place::Remote(remote) if remote.daemon) && !path.contains(&b'/');
        (!matches!(name, b"" | b"." | b"..") && !whole_module).then_some(name)
    }

    /// The argument that rsync is given for it.
    pub(super) fn argument(&self, source: bool) -> OsString {
        let bytes = match self {
            Place::Local(path) if path.is_absolute() => path.as_os_str().as_bytes().to_vec(),
            Place::Local(path) => [b"./", path.as_os_str().as_bytes()].concat(),
            Place::Remote(remote) if source => [&remote.prefix[..], &without_wildcards(&remote.path)].concat(),
            Place::Remote(remote) => [&remote.prefix[..], &remote.path].concat(),
        };
        OsString::from_vec(bytes)
    }

    /// What the run touches: the destination, or the directory in it that is named after the source. One name for
    /// one place, as far as this machine can know it; local ones are absolute and without links.
    ///
    /// # Errors
    /// When the directory that a local destination stands in cannot be found.
    pub(super) fn touched(&self, source: &Place) -> std::io::Result<Vec<u8>> {
        let mut touched = match self {
            Place::Local(path) => resolve(path)?.into_os_string().into_vec(),
            Place::Remote(remote) => [&remote.prefix[..], &normal(&remote.path)].concat(),
        };
        if let Some(name) = source.name_in_root() {
            if !touched.ends_with(b"/") {
                touched.push(b'/');
            }
            touched.extend(name);
        }
        Ok(touched)
    }

    /// For messages: nothing in it can move the cursor.
    pub fn shown(&self) -> String {
        match self {
            Place::Local(path) => shown(path.as_os_str().as_bytes()),
            Place::Remote(remote) => shown(&[&remote.prefix[..], &remote.path].concat()),
        }
    }
}

impl Remote {
    fn has_sane_host(&self) -> bool {
        let host = self.prefix.strip_prefix(b"rsync://").unwrap_or(&self.prefix);
        let name = host.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'\\' | b'$' | b'`' | b'*');
        let named = name.iter().any(u8::is_ascii_alphanumeric);
        named && host.iter().all(plain) && !host.starts_with(b"-") && !name.starts_with(b"-")
    }
}

/// Takes a remote place apart as rsync does; none if it is local.
fn split_remote(bytes: &[u8]) -> Option<Remote> {
    let scheme = b"rsync://";
    if bytes.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
        let slash = bytes.iter().skip(scheme.len()).position(|byte| *byte == b'/');
        let end = slash.map_or(bytes.len(), |slash| scheme.len() + slash + 1);
        let (prefix, path) = bytes.split_at(end);
        return Some(Remote { prefix: prefix.to_vec(), path: path.to_vec(), daemon: true });
    }
    let before_slash = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let address = before_slash.iter().position(|byte| *byte == b']').filter(|_| before_slash.contains(&b'['));
    let from = address.unwrap_or(0);
    let colon = from + before_slash.iter().skip(from).position(|byte| *byte == b':')?;
    if colon == 0 {
        return None;
    }
    let daemon = bytes.get(colon + 1) == Some(&b':');
    let (prefix, path) = bytes.split_at(colon + 1 + usize::from(daemon));
    Some(Remote { prefix: prefix.to_vec(), path: path.to_vec(), daemon })
}

/// Whether a path is `/` by any spelling.
fn is_root(path: &[u8]) -> bool {
    path.starts_with(b"/") && normal(path) == b"/"
}

/// A path without doubled slashes, `.` and, where the name before it is known, `..`.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    let absolute = path.starts_with(b"/");
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => drop(names.pop()),
            b".." if absolute => {}
            name => names.push(name),
        }
    }
    [if absolute { &b"/"[..] } else { b"" }, &names.join(&b'/')[..]].concat()
}

/// Escapes what rsync would expand on the other side. It takes a backslash for an escape only in a name that
/// has a wildcard in it, so other names stay as they are.
fn without_wildcards(path: &[u8]) -> Vec<u8> {
    let wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    let mut safe = Vec::with_capacity(path.len());
    for (place, name) in path.split(|byte| *byte == b'/').enumerate() {
        if place > 0 {
            safe.push(b'/');
        }
        let escaped = name.iter().any(wild);
        for byte in name {
            if escaped && (wild(byte) || *byte == b'\\') {
                safe.push(b'\\');
            }
            safe.push(*byte);
        }
    }
    safe
}

/// The absolute path without links of something that need not exist itself.
pub(super) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut existing = path;
    loop {
        let here = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
        match here.canonicalize() {
            Ok(found) => return Ok(missing.into_iter().rev().fold(found, |path, name| path.join(name))),
            Err(error) => match (existing.components().next_back(), existing.parent()) {
                (Some(Component::Normal(name)), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push(name);
                    existing = parent;
                }
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, PlaceError> {
        Place::parse(OsStr::new(text))
    }

    #[test]
    fn local_and_remote_are_told_apart_as_rsync_does() {
        for local in ["a", "./a:b", "/a:b", ":a", "a/b:c", "-a"] {
            assert!(!place(local).unwrap().is_remote(), "{local}");
        }
        for remote in
            ["h:a", "u@h:/a", "h::m", "h::m/a", "rsync://h/m", "RSYNC://u@h:873/m/a", "[::1]:/a", "u@[::1]::m"]
        {
            assert!(place(remote).unwrap().is_remote(), "{remote}");
        }
    }

    #[test]
    fn what_names_no_directory_is_refused() {
        for bad in [
            "",
            "/",
            "//",
            "/.",
            "/a/..",
            "h:",
            "h:/",
            "h:/a/..",
            "h::",
            "rsync://h",
            "rsync://h/",
            "-h:/a",
            "u@-h:/a",
            "a b:/a",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_in_an_argument_means_anything() {
        let argument = |text: &str, source| place(text).unwrap().argument(source).into_string().unwrap();
        assert_eq!(argument("-a", true), "./-a");
        assert_eq!(argument("/a:b", true), "/a:b");
        assert_eq!(argument(r"h:/a*b\c/d\e", true), r"h:/a\*b\\c/d\e");
        assert_eq!(argument("h:/a*b", false), "h:/a*b");
    }

    #[test]
    fn the_touched_directory_is_named_after_a_source_without_a_slash() {
        let touched = |destination: &str, source: &str| {
            String::from_utf8(place(destination).unwrap().touched(&place(source).unwrap()).unwrap()).unwrap()
        };
        assert_eq!(touched("h:/a//b/", "x/apps"), "h:/a/b/apps");
        assert_eq!(touched("h:/a/./b", "x/apps/"), "h:/a/b");
        assert_eq!(touched("h::m", "h2::m2"), "h::m");
        assert_eq!(touched("/tmp/../tmp/no-such-directory/x", "h:/e/apps"), "/tmp/no-such-directory/x/apps");
    }
}
