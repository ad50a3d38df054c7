//! Rules that decide nothing, and lists that hide everything or nothing.

use std::collections::BTreeSet;

use super::super::expand::{Addition, expand};
use super::super::judge::{Judge, Verdict};
use super::super::list::{Action, Line, LineKind, List, Origin, Rule};
use super::super::reach::{Reach, reach, samples};
use super::{Finding, Severity, shown};

/// Checks the list as a whole; `strict` as plain rsync would read it. Rules that have an error already are not
/// told of twice.
pub(super) fn check_reach(list: &List, lines: &[Line<'_>], so_far: &[Finding], strict: bool) -> Vec<Finding> {
    let expansion = expand(list);
    let judged = if strict { list } else { &expansion.list };
    let mut findings: Vec<Finding> = expansion
        .additions
        .iter()
        .filter(|addition| !expansion.additions.iter().any(|other| shallower_way(other, addition)))
        .map(|addition| needs_way(addition, &expansion.additions, lines, strict))
        .collect();
    let told = |line: usize, findings: &[Finding]| {
        so_far.iter().any(|finding| finding.line == line && finding.severity == Severity::Error)
            || findings.iter().any(|finding| finding.line == line)
    };
    let reached = reach(judged);
    // What an include needs is told at the include; a rule that works once that is done is no mistake.
    let works_when_open = if strict { alive_lines(&expansion.list) } else { BTreeSet::new() };
    let mut judge = Judge::new(judged);
    for (number, (rule, reach)) in judged.rules.iter().zip(&reached).enumerate() {
        let written = matches!(rule.origin, Origin::Written { .. });
        if written && matches!(reach, Reach::Alive(_)) {
            findings.extend(blocked_at_root(judged, &mut judge, number, lines));
        }
        let works = matches!(reach, Reach::Alive(_)) || works_when_open.contains(&rule.line());
        if !written || works || told(rule.line(), &findings) {
            continue;
        }
        let dead = *reach == Reach::Dead;
        findings.push(decides_nothing(judged, &mut judge, number, lines, dead));
    }
    findings.extend(whole_list(judged, &reached, so_far, lines));
    findings
}

/// The lines of the rules that decide something.
fn alive_lines(list: &List) -> BTreeSet<usize> {
    let rules = list.rules.iter().zip(reach(list));
    rules.filter(|(_, reach)| matches!(reach, Reach::Alive(_))).map(|(rule, _)| rule.line()).collect()
}

/// An include that needs several ways is told of once, for the topmost.
fn shallower_way(other: &Addition, addition: &Addition) -> bool {
    other.include_line == addition.include_line && other.directory.len() < addition.directory.len()
}

fn span(lines: &[Line<'_>], line: usize) -> std::ops::Range<usize> {
    match lines.get(line.wrapping_sub(1)).map(|line| (&line.kind, line.bytes.len())) {
        Some((LineKind::Rule { start, end, .. }, _)) => *start..*end,
        Some((_, length)) => 0..length,
        None => 0..1,
    }
}

fn quoted_line(lines: &[Line<'_>], line: usize) -> String {
    let bytes = lines.get(line.wrapping_sub(1)).map_or(&b""[..], |line| line.bytes);
    format!("line {line}: {}", shown(bytes))
}

fn needs_way(addition: &Addition, all: &[Addition], lines: &[Line<'_>], strict: bool) -> Finding {
    let severity = if strict { Severity::Error } else { Severity::Warning };
    let line = addition.include_line;
    let rules = all.iter().filter(|other| other.include_line == line).flat_map(|addition| &addition.rules);
    let rules: Vec<String> = rules.map(|rule| format!("`{}`", shown(rule))).collect();
    let message = if strict {
        "this include can never be reached: a later rule hides its parent"
    } else {
        "plain rsync never reaches this include: a later rule hides its parent"
    };
    let hider = addition.hidden_by_line;
    let label = format!("`/{}/` is hidden by line {hider}", shown(&addition.directory));
    let finding = Finding::new(severity, "hidden-parent", line, span(lines, line), message).label(label);
    let finding = finding.note(quoted_line(lines, hider));
    let finding = if strict { finding } else { finding.note("weir opens the way when it runs rsync") };
    finding.help(format!("put {} just before line {hider}", rules.join(" and ")))
}

/// Why a rule decides nothing, told of one path that it matches and that something else decides.
fn decides_nothing(list: &List, judge: &mut Judge<'_>, number: usize, lines: &[Line<'_>], dead: bool) -> Finding {
    let rule = &list.rules[number];
    let line = rule.line();
    let code = |code: &'static str| if dead { code } else { "maybe-dead" };
    let new = |severity, name, message: &str| Finding::new(severity, code(name), line, span(lines, line), message);
    let sample = samples(&rule.pattern).into_iter().next();
    let verdict = sample.as_ref().map(|(path, is_dir)| (path, judge.judge_bytes(path, *is_dir)));
    let Some((path, Verdict { rule: Some(decider), blocked_by, .. })) = verdict else {
        return new(Severity::Warning, "no-match", "this rule matches nothing that the list lets through")
            .label("decides nothing");
    };
    let by = &list.rules[decider];
    let by_line = if by.line() == line { "a rule added for it".to_owned() } else { format!("line {}", by.line()) };
    let same = by.action == rule.action;
    let severity = if same || !dead { Severity::Warning } else { Severity::Error };
    let include = rule.action == Action::Include;
    let finding = match blocked_by {
        Some(length) => {
            let parent = format!("`/{}/`", shown(&path[..length]));
            let message = if include { "this include can never be reached" } else { "this rule is never reached" };
            let fix =
                if include { ways(rule, by, decider < number, names(&path[..length])) } else { "delete it".to_owned() };
            new(severity, "hidden-parent", message).label(format!("{parent} is hidden by {by_line}")).help(fix)
        }
        None if same => new(severity, "redundant", "this rule changes nothing")
            .label(format!("{by_line} says so already"))
            .help("delete it"),
        None => new(severity, "shadowed", "this rule never decides anything")
            .label(format!("{by_line} matches first and says the opposite"))
            .help(format!("move it above {by_line}, or delete it")),
    };
    let finding = if by.line() == line { finding } else { finding.note(quoted_line(lines, by.line())) };
    if dead {
        return finding;
    }
    let message = "no path was found that this rule decides".to_owned();
    Finding { message, ..finding }.note("the search was cut off: the list has many wildcards")
}

/// An include such as `apps/share/vim/` that can be reached deeper down, but not where an anchored rule about the
/// same directory shows that it is meant: in the root.
fn blocked_at_root(list: &List, judge: &mut Judge<'_>, number: usize, lines: &[Line<'_>]) -> Option<Finding> {
    let include = &list.rules[number];
    let (path, is_dir) = samples(&include.pattern).into_iter().next()?;
    let literal = include.pattern.text().strip_suffix(b"/").unwrap_or(include.pattern.text()) == path;
    if include.action != Action::Include || !literal {
        return None;
    }
    let verdict = judge.judge_bytes(&path, is_dir);
    let (length, hider) = (verdict.blocked_by?, &list.rules[verdict.rule?]);
    let first = [b"/", path.split(|byte| *byte == b'/').next()?, b"/"].concat();
    if !hider.pattern.text().starts_with(&first) {
        return None;
    }
    let (line, by_line) = (include.line(), hider.line());
    let message = "in the root of the transfer this include is never reached";
    let finding = Finding::new(Severity::Warning, "hidden-parent", line, span(lines, line), message);
    let finding = finding.label(format!("`/{}/` is hidden by line {by_line}", shown(&path[..length])));
    let rooted = shown(&[b"/", include.pattern.text()].concat());
    let help = format!("write `+ {rooted}` above line {by_line}; weir then opens the way");
    Some(finding.note(quoted_line(lines, by_line)).help(help))
}

fn names(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count() + 1
}

/// How to make an include work that is behind a hidden parent, which is so many names deep.
fn ways(include: &Rule, hider: &Rule, hider_is_above: bool, depth: usize) -> String {
    let line = hider.line();
    if !include.pattern.is_anchored() {
        return format!("include the directories it may be in before line {line}, for all of them `+ */`");
    }
    if hider_is_above {
        return format!("move it above line {line}; weir then opens the way");
    }
    let text = include.pattern.text();
    let text = text.strip_suffix(b"/").unwrap_or(text);
    let slashes = text.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
    let hidden: Vec<String> = slashes
        .skip(depth - 1)
        .map(|(end, _)| shown(&text[..end]))
        .map(|parent| format!("`+ {parent}/` and `- {parent}/*`"))
        .collect();
    format!("put {} just before line {line}", hidden.join(" and "))
}

/// What can be said of the list only as a whole.
fn whole_list(list: &List, reached: &[Reach], so_far: &[Finding], lines: &[Line<'_>]) -> Option<Finding> {
    if so_far.iter().any(|finding| matches!(finding.code, "no-pattern" | "too-long")) {
        return None;
    }
    if list.rules.is_empty() {
        let finding = Finding::new(Severity::Error, "no-rule", 0, 0..1, "there is no rule in this list");
        return Some(finding.label("everything would be sent"));
    }
    let acts =
        |action| list.rules.iter().zip(reached).any(|(rule, reach)| rule.action == action && *reach != Reach::Dead);
    if !acts(Action::Exclude) {
        let finding = Finding::new(Severity::Error, "hides-nothing", 0, 0..1, "this list hides nothing");
        let help = "includes alone limit nothing: end the list with a rule that hides the rest, such as `- /*`";
        return Some(finding.label("everything would be sent").help(help));
    }
    let all = |rule: &&Rule| {
        let text = rule.pattern.text();
        rule.action == Action::Exclude && matches!(text, b"*" | b"**" | b"***" | b"/*" | b"/**" | b"/***")
    };
    let hider = list.rules.iter().find(all).filter(|_| !acts(Action::Include))?;
    let line = hider.line();
    let finding =
        Finding::new(Severity::Error, "hides-everything", line, span(lines, line), "this list hides everything");
    Some(finding.label("nothing would be sent").help("include what is wanted above this line"))
}
