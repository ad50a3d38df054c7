//! A finding as a good compiler shows it: the line, a caret, the reason, the way out.

use std::io::{self, Write};

use crate::rules::lint::{Finding, Report, Severity, shown};

/// Writes one finding.
pub(super) fn render(report: &Report, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
    writeln!(out, "{severity}[{}]: {}", finding.code, finding.message)?;
    let number = finding.line.to_string();
    let gutter = " ".repeat(number.len());
    match report.lines.get(finding.line.wrapping_sub(1)) {
        Some(line) => {
            writeln!(out, "{gutter}--> {}:{}:{}", report.name, finding.line, finding.column)?;
            let start = (finding.column - 1).min(line.len());
            let end = (start + finding.length).min(line.len());
            let before = shown(&line[..start]);
            let width = shown(&line[start..end]).chars().count().max(1);
            writeln!(out, "{gutter} |")?;
            writeln!(out, "{number} | {before}{}", shown(&line[start..]))?;
            let (indent, carets) = (" ".repeat(before.chars().count()), "^".repeat(width));
            writeln!(out, "{gutter} | {indent}{carets} {}", finding.label)?;
        }
        None => {
            writeln!(out, "{gutter}--> {}", report.name)?;
            writeln!(out, "{gutter} = {}", finding.label)?;
        }
    }
    for note in &finding.notes {
        writeln!(out, "{gutter} = note: {note}")?;
    }
    if let Some(help) = &finding.help {
        writeln!(out, "{gutter} = help: {help}")?;
    }
    writeln!(out)
}
