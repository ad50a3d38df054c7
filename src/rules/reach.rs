//! [`reach`]: proves of each rule that it decides some path, or that it can decide none.
//!
//! A rule is *alive* when there is a path that it is the first to match and above which no directory is hidden;
//! the proof is such a path. It is *dead* when there is none; the proof is a complete search. Each rule is an
//! automaton over the bytes of a path, and the search walks all of them at once, breadth first, over one byte of
//! each kind that the list tells apart; it goes through a slash only where the list shows the directory. The
//! walk is finite, for states repeat; but with many wildcards it may be long, and so it has a budget, and says
//! [`Reach::Unknown`] when that is spent. Samples that are cheap to make are tried first: they settle nearly
//! every rule of nearly every list.

use std::collections::HashSet;

use super::glob::{Glob, Token};
use super::judge::{Judge, TreePath};
use super::list::{Action, List, Rule};
use super::pattern::{Compare, Pattern, Scope};

/// Whether a rule decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It decides this path, and no parent of it is hidden.
    Alive(TreePath),
    /// There is no path that it decides.
    Dead,
    /// The search was cut off.
    Unknown,
}

/// Steps of one automaton word that one rule's search, and all searches of a list, may take.
const RULE_BUDGET_STEPS: usize = 1_000_000;
const LIST_BUDGET_STEPS: usize = 4_000_000;

/// Says of each rule of the list whether it decides anything.
pub fn reach(list: &List) -> Vec<Reach> {
    let mut judge = Judge::new(list);
    let mut found: Vec<Option<Reach>> = vec![None; list.rules.len()];
    for (number, rule) in list.rules.iter().enumerate() {
        let literal = matches!(rule.pattern.compare, Compare::Literal(_)) && rule.pattern.is_anchored();
        for (path, is_dir) in samples(&rule.pattern) {
            let verdict = judge.judge_bytes(&path, is_dir);
            if let (None, Some(rule)) = (verdict.blocked_by, verdict.rule) {
                found[rule].get_or_insert_with(|| Reach::Alive(TreePath::known(path, is_dir)));
            }
        }
        // The samples of an anchored literal are all that it matches.
        if found[number].is_none() && (literal || rule.pattern.flaw().is_some()) {
            found[number] = Some(Reach::Dead);
        }
    }
    for (number, reach) in found.iter_mut().enumerate() {
        if reach.is_none() && is_covered(list, &judge, number) {
            *reach = Some(Reach::Dead);
        }
    }
    if found.iter().any(Option::is_none) {
        search_the_rest(list, &mut found);
    }
    found.into_iter().map(|reach| reach.unwrap_or(Reach::Unknown)).collect()
}

/// Whether one earlier rule matches all that this one matches: a question about two patterns, which has a quick
/// answer however long the list is. The rule to ask about is the one that takes a sample.
fn is_covered(list: &List, judge: &Judge<'_>, number: usize) -> bool {
    let sample = samples(&list.rules[number].pattern).into_iter().next();
    let earlier = sample.and_then(|(path, is_dir)| judge.first_match(&path, is_dir)).filter(|rule| *rule < number);
    earlier.is_some_and(|earlier| {
        // As includes, for what they hide does not matter here.
        let shown = |rule: usize| Rule { action: Action::Include, ..list.rules[rule].clone() };
        let pair = List { name: String::new(), rules: vec![shown(earlier), shown(number)] };
        let (mut found, mut budget) = ([Some(Reach::Unknown), None], RULE_BUDGET_STEPS);
        Machine::new(&pair).search(1, &mut found, &mut budget) == Reach::Dead
    })
}

/// Searches for the rules that no sample settled.
fn search_the_rest(list: &List, found: &mut [Option<Reach>]) {
    let machine = Machine::new(list);
    let mut budget = LIST_BUDGET_STEPS;
    // Rules bound to the root go first: their searches are short, for they end where the rule has failed.
    let (bound, free): (Vec<usize>, Vec<usize>) = (0..found.len()).partition(|rule| machine.is_bound(*rule));
    for target in bound {
        if found[target].is_none() {
            let result = machine.search(target, found, &mut budget);
            found[target].get_or_insert(result);
        }
    }
    // A search for any other walks everything that can be reached: one that ends without it ends for all.
    if let Some(target) = free.into_iter().find(|rule| found[*rule].is_none()) {
        let result = machine.search(target, found, &mut budget);
        let rest = if let Reach::Alive(_) = result { Reach::Unknown } else { result };
        found.iter_mut().filter(|reach| reach.is_none()).for_each(|reach| *reach = Some(rest.clone()));
    }
}

/// Some paths that the pattern matches, the plainest first; all there are for an anchored literal.
pub(crate) fn samples(pattern: &Pattern) -> Vec<(Vec<u8>, bool)> {
    let tokens = pattern.tokens();
    let prefixes: &[&[u8]] = if pattern.is_anchored() { &[b""] } else { &[b"", b"x1/"] };
    let mut samples = Vec::new();
    for run in [&b"x1"[..], b"", b"x1/y2", b".x1"] {
        for prefix in prefixes {
            let mut path = prefix.to_vec();
            for token in &tokens {
                match token {
                    Token::Byte(byte) => path.push(*byte),
                    Token::Set(set) => {
                        path.extend(set.iter().find(u8::is_ascii_alphanumeric).or_else(|| set.iter().next()))
                    }
                    Token::Star => path.extend(run.split(|byte| *byte == b'/').next().unwrap_or_default()),
                    Token::StarStar => path.extend(run),
                }
            }
            // `dir/***` matches the directory itself, with a slash that is not the path's own.
            let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
            for is_dir in [false, true] {
                let clean = TreePath::new(&path).is_ok_and(|clean| clean.bytes() == path);
                let sample = (path.clone(), is_dir);
                if clean && pattern.matches(&path, is_dir) && !samples.contains(&sample) {
                    samples.push(sample);
                }
            }
        }
    }
    samples
}

/// The active words of all automata: place and bits, in order of place.
type Words = Box<[(u32, u64)]>;

/// A name so far: nothing, `.`, `..` or more; the first three are no names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Empty,
    Dot,
    DotDot,
    Real,
}

impl Name {
    fn and(self, byte: u8) -> Name {
        match (self, byte) {
            (Name::Empty, b'.') => Name::Dot,
            (Name::Dot, b'.') => Name::DotDot,
            _ => Name::Real,
        }
    }
}

/// All rules of a list as one automaton.
struct Machine<'l> {
    list: &'l List,
    globs: Vec<Glob>,
    /// For each word, its rule and its place within that rule.
    owner: Vec<(usize, usize)>,
    start: Words,
    /// What every slash adds: the start of each rule that is not bound to the root.
    restart: Vec<(u32, u64)>,
    alphabet: Vec<u8>,
}

/// The rules that decide a state as a file and as a directory.
struct Deciders {
    file: Option<usize>,
    directory: Option<usize>,
}

impl<'l> Machine<'l> {
    fn new(list: &'l List) -> Machine<'l> {
        let (mut globs, mut owner, mut start, mut restart) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (rule, pattern) in list.rules.iter().map(|rule| &rule.pattern).enumerate() {
            let glob = Glob::new(&pattern.tokens());
            let first = u32::try_from(owner.len()).unwrap_or(u32::MAX);
            owner.extend((0..glob.words()).map(|word| (rule, word)));
            globs.push(glob);
            if !can_match(pattern) {
                continue;
            }
            match pattern.scope {
                Scope::WholeAfterSlash => {
                    let glob = &globs[rule];
                    let states = glob.step(0, 1, b'/').0;
                    start.push((first, states));
                }
                Scope::Whole => start.push((first, 1)),
                Scope::Name | Scope::Tail { .. } | Scope::AnySuffix => {
                    start.push((first, 1));
                    restart.push((first, 1));
                }
            }
        }
        let alphabet = alphabet(&globs);
        Machine { list, globs, owner, start: start.into(), restart, alphabet }
    }

    fn is_bound(&self, rule: usize) -> bool {
        matches!(self.list.rules[rule].pattern.scope, Scope::Whole)
    }

    /// Looks for a path that `target` decides, and notes what else it finds on the way; if `target` is not bound
    /// to the root, walks on until every rule is found or everything has been walked.
    fn search(&self, target: usize, found: &mut [Option<Reach>], budget: &mut usize) -> Reach {
        let bound = self.is_bound(target);
        let mut steps_left = RULE_BUDGET_STEPS.min(*budget);
        let mut seen: HashSet<(Name, Words)> = HashSet::new();
        let mut queue: Vec<(Name, Words, usize, u8)> = vec![(Name::Empty, self.start.clone(), 0, b'/')];
        let mut at = 0;
        while at < queue.len() {
            let (name, words, ..) = queue[at].clone();
            let mut bytes: &[u8] = &self.alphabet;
            let slash = [b'/'];
            let through_slash = name == Name::Real && !self.hides(self.deciders(&words).directory);
            for round in 0..2 {
                for &byte in bytes {
                    let cost = words.len() + 1;
                    if steps_left < cost {
                        *budget = budget.saturating_sub(RULE_BUDGET_STEPS);
                        return Reach::Unknown;
                    }
                    steps_left -= cost;
                    let next = self.step(&words, byte);
                    let name = if byte == b'/' { Name::Empty } else { name.and(byte) };
                    // A rule that is bound to the root and has failed stays failed.
                    if bound && !next.iter().any(|(place, _)| self.owner[*place as usize].0 == target) {
                        continue;
                    }
                    if !seen.insert((name, next.clone())) {
                        continue;
                    }
                    queue.push((name, next, at, byte));
                    if name == Name::Real {
                        self.note(&queue, found);
                        let done = if bound { found[target].is_some() } else { found.iter().all(Option::is_some) };
                        if done {
                            return found[target].clone().unwrap_or(Reach::Unknown);
                        }
                    }
                }
                if round == 1 || !through_slash {
                    break;
                }
                bytes = &slash;
            }
            at += 1;
        }
        *budget = budget.saturating_sub(RULE_BUDGET_STEPS - steps_left);
        Reach::Dead
    }

    /// Notes which rules the last state of the queue is decided by.
    fn note(&self, queue: &[(Name, Words, usize, u8)], found: &mut [Option<Reach>]) {
        let Some((_, words, ..)) = queue.last() else { return };
        let deciders = self.deciders(words);
        for (rule, is_dir) in [(deciders.file, false), (deciders.directory, true)] {
            let Some(rule) = rule.filter(|rule| found[*rule].is_none()) else { continue };
            let mut path = Vec::new();
            let mut at = queue.len() - 1;
            while at > 0 {
                path.push(queue[at].3);
                at = queue[at].2;
            }
            path.reverse();
            found[rule] = Some(Reach::Alive(TreePath::known(path, is_dir)));
        }
    }

    fn step(&self, words: &[(u32, u64)], byte: u8) -> Words {
        let mut next: Vec<(u32, u64)> = Vec::with_capacity(words.len() + 1);
        let mut add = |place: u32, bits: u64| match next.last_mut() {
            _ if bits == 0 => {}
            Some((last, have)) if *last == place => *have |= bits,
            _ => next.push((place, bits)),
        };
        for &(place, bits) in words {
            let (rule, word) = self.owner[place as usize];
            let (stays, carried) = self.globs[rule].step(word, bits, byte);
            add(place, stays);
            add(place + 1, carried);
        }
        if byte == b'/' && !self.restart.is_empty() {
            next.extend(&self.restart);
            next.sort_unstable();
            next.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                earlier.1 |= if same { later.1 } else { 0 };
                same
            });
        }
        next.into()
    }

    fn deciders(&self, words: &[(u32, u64)]) -> Deciders {
        let mut deciders = Deciders { file: None, directory: None };
        for &(place, bits) in words {
            let (number, word) = self.owner[place as usize];
            let (glob, pattern) = (&self.globs[number], &self.list.rules[number].pattern);
            let accepts = glob.accepts(word, bits);
            if accepts && !pattern.dir_only {
                deciders.file.get_or_insert(number);
            }
            let as_directory = if pattern.dir_with_slash {
                let (stays, carried) = glob.step(word, bits, b'/');
                glob.accepts(word, stays) || (carried != 0 && glob.accepts(word + 1, carried))
            } else {
                accepts
            };
            if as_directory {
                deciders.directory.get_or_insert(number);
            }
            if deciders.file.is_some() && deciders.directory.is_some() {
                break;
            }
        }
        deciders
    }

    fn hides(&self, rule: Option<usize>) -> bool {
        rule.is_some_and(|rule| self.list.rules[rule].action == Action::Exclude)
    }
}

/// Whether it can match anything as far as slashes go: one inside a bracket counts as a name but matches none.
fn can_match(pattern: &Pattern) -> bool {
    let slashes = pattern.tokens().iter().filter(|token| **token == Token::Byte(b'/')).count();
    pattern.flaw().is_none() && !matches!(pattern.scope, Scope::Tail { names } if names != slashes + 1)
}

/// One byte of each kind that some rule tells apart, without the slash; letters and digits stand for a kind
/// before anything that is hard to read.
fn alphabet(globs: &[Glob]) -> Vec<u8> {
    let mut kinds: Vec<u32> = vec![0; 256];
    for glob in globs {
        let mut renumbered = std::collections::HashMap::new();
        for (byte, kind) in (0..=u8::MAX).zip(&mut kinds) {
            let next = u32::try_from(renumbered.len()).unwrap_or(u32::MAX);
            *kind = *renumbered.entry((*kind, glob.column(byte))).or_insert(next);
        }
    }
    let mut bytes: Vec<u8> = (1..=u8::MAX).filter(|byte| *byte != b'/').collect();
    // A dot comes after its like, for some names made of dots are none.
    bytes.sort_by_key(|byte| (!byte.is_ascii_alphanumeric(), !byte.is_ascii_graphic(), *byte == b'.', *byte));
    let mut seen = HashSet::new();
    bytes.retain(|byte| seen.insert(kinds[usize::from(*byte)]));
    bytes
}
