//! [`Index`]: finds the first rule that matches a path without trying them all.
//!
//! Rules without wildcards are looked up by hash of the part of the path that they are held against. Of those
//! with wildcards, the anchored ones are filed under the directory that they name before the first wildcard,
//! the others under their last byte; a rule is tried only when the path has every byte that the rule spells
//! out, as far as a word of kinds can tell. The answer is always the one that trying every rule in order would
//! give, and a test holds it to that.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::class::kinds;
use super::list::Rule;
use super::pattern::{Compare, Pattern, Scope};

/// The first rule of each kind for one literal.
#[derive(Clone, Copy, Debug)]
struct First {
    any: u32,
    dir_only: u32,
}

const NONE: u32 = u32::MAX;

type Map<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<PathHasher>>;

/// Finds the deciding rule of a list.
#[derive(Debug)]
pub(crate) struct Index<'l> {
    rules: &'l [Rule],
    names: Map<First>,
    paths: Map<First>,
    /// Unanchored literals with slashes, by how many names they have.
    tails: Vec<(usize, Map<First>)>,
    /// Anchored patterns with wildcards, by the directory before the first wildcard.
    under: Map<Vec<Candidate>>,
    /// The other patterns with wildcards by their last byte, and those that end in a wildcard.
    by_last_byte: Vec<Vec<Candidate>>,
    open_end: Vec<Candidate>,
}

/// A rule with wildcards and what to ask first. It lies in its list by itself, for to follow a pointer to each
/// rule of a long list costs more than all questions.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    required: u64,
    number: u32,
    in_name: bool,
}

impl<'l> Index<'l> {
    pub(crate) fn new(rules: &'l [Rule]) -> Index<'l> {
        let mut index = Index {
            rules,
            names: Map::default(),
            paths: Map::default(),
            tails: Vec::new(),
            under: Map::default(),
            by_last_byte: vec![Vec::new(); 256],
            open_end: Vec::new(),
        };
        let mut tails: HashMap<usize, Map<First>> = HashMap::new();
        let numbers = 0..NONE;
        for (number, rule) in numbers.zip(rules) {
            let pattern = &rule.pattern;
            let candidate = |required| Candidate { required, number, in_name: pattern.scope == Scope::Name };
            match (&pattern.compare, pattern.scope) {
                (Compare::Never(_), _) => {}
                (Compare::Literal(literal), Scope::Name) => file(&mut index.names, literal, number, pattern),
                (Compare::Literal(literal), Scope::Tail { names }) => {
                    file(tails.entry(names).or_default(), literal, number, pattern);
                }
                (Compare::Literal(literal), _) => file(&mut index.paths, literal, number, pattern),
                (Compare::Glob(glob), Scope::Whole) => {
                    let directory = glob.prefix.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    index.under.entry(glob.prefix[..directory].into()).or_default().push(candidate(glob.required));
                }
                (Compare::Glob(glob), _) => match glob.suffix.last() {
                    // A directory has a slash behind it in some patterns, so their last byte says nothing.
                    Some(last) if !pattern.dir_with_slash => {
                        index.by_last_byte[usize::from(*last)].push(candidate(glob.required))
                    }
                    _ => index.open_end.push(candidate(glob.required)),
                },
            }
        }
        index.tails = tails.into_iter().collect();
        index
    }

    /// The number of the first rule that matches `path`, which has no slash at either end.
    pub(crate) fn first_match(&self, path: &[u8], is_dir: bool) -> Option<usize> {
        let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = &path[name_at..];
        let mut best = NONE;
        look_up(&self.names, name, is_dir, &mut best);
        look_up(&self.paths, path, is_dir, &mut best);
        for (names, map) in &self.tails {
            if let Some(part) = (Scope::Tail { names: *names }).part(path) {
                look_up(map, part, is_dir, &mut best);
            }
        }
        if let Some(last) = path.last() {
            let present = Present::of(name, &path[..name_at]);
            self.try_all(&self.by_last_byte[usize::from(*last)], path, is_dir, &present, &mut best);
            self.try_all(&self.open_end, path, is_dir, &present, &mut best);
            if !self.under.is_empty() {
                let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
                // `/a/***` is filed under `a` and matches `a` itself, so the path is looked up too.
                for end in std::iter::once(0).chain(slashes).chain([path.len()]) {
                    if let Some(numbers) = self.under.get(&path[..end]) {
                        self.try_all(numbers, path, is_dir, &present, &mut best);
                    }
                }
            }
        }
        (best != NONE).then_some(best as usize)
    }

    fn try_all(&self, candidates: &[Candidate], path: &[u8], is_dir: bool, present: &Present, best: &mut u32) {
        for candidate in candidates {
            if candidate.number >= *best {
                return;
            }
            let bytes = if candidate.in_name { present.name } else { present.path };
            if candidate.required & !bytes == 0 && self.rules[candidate.number as usize].pattern.matches(path, is_dir) {
                *best = candidate.number;
                return;
            }
        }
    }
}

/// The kinds of bytes that a path has, as a first question to each pattern.
struct Present {
    name: u64,
    path: u64,
}

impl Present {
    /// A pattern may spell out the slash that stands before or behind the path without being in it.
    fn of(name: &[u8], parents: &[u8]) -> Present {
        let name = kinds(name.iter().copied());
        Present { name, path: name | kinds(parents.iter().copied().chain([b'/'])) }
    }
}

fn file(map: &mut Map<First>, literal: &[u8], number: u32, pattern: &Pattern) {
    let first = map.entry(literal.into()).or_insert(First { any: NONE, dir_only: NONE });
    let slot = if pattern.dir_only { &mut first.dir_only } else { &mut first.any };
    *slot = (*slot).min(number);
}

fn look_up(map: &Map<First>, part: &[u8], is_dir: bool, best: &mut u32) {
    if map.is_empty() {
        return;
    }
    if let Some(first) = map.get(part) {
        *best = first.any.min(*best);
        if is_dir {
            *best = first.dir_only.min(*best);
        }
    }
}

/// FNV-1a by eight bytes at a time: the keys are short and come from the operator's own list, so a hash that
/// withstands an attacker would only cost time.
#[derive(Default)]
struct PathHasher(u64);

impl Hasher for PathHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(PRIME).rotate_left(23);
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&number.to_le_bytes());
    }
}

/// The directories above a path, from the top down, without the root.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}
