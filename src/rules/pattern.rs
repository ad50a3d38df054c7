//! [`Pattern`]: what one rule matches, decided as rsync decides it.
//!
//! A pattern is anchored when it begins with a slash; it matches directories only when it ends with one. What
//! part of a path it is held against is its [`Scope`]. A backslash escapes only in a pattern that has a
//! wildcard; in any other it is a byte like the rest. It refuses nothing: every byte string is a pattern, and
//! one that can match nothing says why in [`Pattern::flaw`].

use super::glob::{self, Flaw, Glob, Token};

/// The part of a path that a pattern is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// The last name: no slash and no `**` in the pattern.
    Name,
    /// As many last names as the pattern has: an unanchored pattern with a slash.
    Tail {
        /// How many names.
        names: usize,
    },
    /// The whole path from the root of the transfer.
    Whole,
    /// The whole path with a slash before it, so that `**/x` matches in the root too.
    WholeAfterSlash,
    /// The whole path or what follows any slash: an unanchored pattern with a `**` that is not in front.
    AnySuffix,
}

/// How the part is compared.
#[derive(Clone, Debug)]
pub(crate) enum Compare {
    Literal(Box<[u8]>),
    Glob(Box<Glob>),
    Never(Flaw),
}

/// The compiled pattern of a rule.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<[u8]>,
    pub(crate) dir_only: bool,
    /// The pattern ends in `***`: a directory is matched with a slash behind it.
    pub(crate) dir_with_slash: bool,
    pub(crate) scope: Scope,
    pub(crate) compare: Compare,
}

impl Pattern {
    /// Compiles the text of a pattern, as it stands in a list behind its prefix.
    pub fn new(text: &[u8]) -> Pattern {
        let dir_only = text.len() > 1 && text.ends_with(b"/");
        let body = if dir_only { &text[..text.len() - 1] } else { text };
        let slashes = body.iter().filter(|byte| **byte == b'/').count();
        let wild = body.iter().any(|byte| matches!(byte, b'*' | b'[' | b'?'));
        let double_star = body.windows(2).position(|pair| pair == b"**");
        let anchored = body.starts_with(b"/");
        let scope = match double_star {
            _ if anchored => Scope::Whole,
            Some(0) => Scope::WholeAfterSlash,
            Some(_) => Scope::AnySuffix,
            None if slashes > 0 => Scope::Tail { names: slashes + 1 },
            None => Scope::Name,
        };
        let body = if anchored { &body[1..] } else { body };
        let compare = if !wild {
            Compare::Literal(body.into())
        } else {
            match glob::tokens(body) {
                Ok(tokens) => Compare::Glob(Box::new(Glob::new(&tokens))),
                Err(flaw) => Compare::Never(flaw),
            }
        };
        let dir_with_slash = wild && body.ends_with(b"***");
        Pattern { text: text.into(), dir_only, dir_with_slash, scope, compare }
    }

    /// The text that the pattern was made of.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the pattern begins with a slash and so matches from the root of the transfer only.
    pub fn is_anchored(&self) -> bool {
        self.text.starts_with(b"/")
    }

    /// Why the pattern's wildcards can match nothing, if so.
    pub fn flaw(&self) -> Option<&Flaw> {
        if let Compare::Never(flaw) = &self.compare { Some(flaw) } else { None }
    }

    /// The tokens of the pattern without the anchoring and the trailing slash; empty if it has a flaw.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        match &self.compare {
            Compare::Literal(body) => body.iter().map(|byte| Token::Byte(*byte)).collect(),
            Compare::Never(_) => Vec::new(),
            Compare::Glob(_) => {
                let body = self.text.strip_prefix(b"/").unwrap_or(&self.text);
                let body = if self.dir_only { &body[..body.len() - 1] } else { body };
                glob::tokens(body).unwrap_or_default()
            }
        }
    }

    /// Whether it matches `path`, which is relative to the root of the transfer and has no slash at either end.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if (self.dir_only && !is_dir) || path.is_empty() {
            return false;
        }
        let Some(part) = self.scope.part(path) else { return false };
        match &self.compare {
            Compare::Literal(literal) => **literal == *part,
            Compare::Never(_) => false,
            Compare::Glob(glob) => {
                let before: &[u8] = if self.scope == Scope::WholeAfterSlash { b"/" } else { b"" };
                let behind: &[u8] = if self.dir_with_slash && is_dir { b"/" } else { b"" };
                glob.matches([before, part, behind], self.scope == Scope::AnySuffix)
            }
        }
    }
}

impl Scope {
    /// The part of `path` in this scope; none if the path has too few names.
    pub(crate) fn part(self, path: &[u8]) -> Option<&[u8]> {
        match self {
            Scope::Name => path.rsplit(|byte| *byte == b'/').next(),
            Scope::Whole | Scope::WholeAfterSlash | Scope::AnySuffix => Some(path),
            Scope::Tail { names } => {
                let mut slashes = (0..path.len()).rev().filter(|at| path[*at] == b'/');
                match slashes.by_ref().nth(names - 1) {
                    Some(at) => Some(&path[at + 1..]),
                    None => {
                        let have = path.iter().filter(|byte| **byte == b'/').count() + 1;
                        (have == names).then_some(path)
                    }
                }
            }
        }
    }
}

/// A pattern that matches exactly the name or path `literal`, whose special bytes it escapes if `in_glob`
/// says that the pattern will have a wildcard elsewhere, or if `literal` itself makes it look like one.
pub(crate) fn quote(literal: &[u8], in_glob: bool) -> Vec<u8> {
    let wild = in_glob || literal.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\n' | b'\r'));
    let mut quoted = Vec::with_capacity(literal.len());
    for &byte in literal {
        match byte {
            // A line cannot hold its own end, so the byte is named by all that it is not.
            b'\n' | b'\r' => quoted.extend([b'[', b'!', 1, b'-', byte - 1, byte + 1, b'-', 0xff, b']']),
            b'*' | b'?' | b'[' | b'\\' if wild => quoted.extend([b'\\', byte]),
            other => quoted.push(other),
        }
    }
    quoted
}
