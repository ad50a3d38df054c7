//! A run as scripts read it.

use serde::Serialize;

use super::Ending;
use crate::rules::lint::shown;
use crate::sync::{Change, ChangeKind, Deletions, Error, Job, Report, Tally};

#[derive(Serialize)]
pub(super) struct Object<'o> {
    host: Option<&'o str>,
    list: String,
    source: String,
    destination: String,
    dry_run: bool,
    /// `done`, `refused`, `failed` or `stopped`.
    status: &'static str,
    /// rsync's exit code, if it is what failed.
    rsync_code: Option<i32>,
    error: Option<String>,
    /// Why a guard said no, and what it had counted.
    refusal: Option<Refused>,
    deleted: u64,
    created: u64,
    updated: u64,
    attributes: u64,
    entries: u64,
    changed_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    vanished: bool,
    retried: u32,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<One<'o>>>,
}

#[derive(Serialize)]
struct Refused {
    reason: &'static str,
    would_delete: Option<u64>,
    destination_entries: Option<u64>,
    max_delete: Option<u64>,
}

impl Refused {
    fn new(reason: &'static str, deletions: Option<Deletions>) -> Refused {
        Refused {
            reason,
            would_delete: deletions.map(|counted| counted.deleted),
            destination_entries: deletions.map(|counted| counted.entries),
            max_delete: deletions.and_then(|counted| counted.limit),
        }
    }

    fn of(error: &Error) -> Option<Refused> {
        let deletions = if let Error::Refused(refusal) = error { refusal.deletions() } else { None };
        error.refusal_code().map(|reason| Refused::new(reason, deletions))
    }
}

#[derive(Serialize)]
struct One<'o> {
    change: &'static str,
    path: String,
    /// The path's bytes in hexadecimal, if it is no UTF-8 and `path` cannot show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(serialize_with = "as_text")]
    item: &'o [u8],
}

fn as_text<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

impl<'o> Object<'o> {
    pub(super) fn new(
        job: &'o Job,
        dry_run: bool,
        ending: Option<&Ending>,
        changes: Option<&'o [Change]>,
    ) -> Object<'o> {
        let report = ending.and_then(|ending| ending.result.as_ref().ok());
        let trouble = report.and_then(Report::trouble);
        let error = ending.and_then(|ending| ending.result.as_ref().err());
        let refusal = report.and_then(|report| report.refusal.as_ref());
        let refused = match refusal {
            Some(refusal) => Some(Refused::new(refusal.code(), refusal.deletions())),
            None => error.and_then(Refused::of),
        };
        let status = match (error, &refused, report) {
            (_, Some(_), _) => "refused",
            (Some(Error::Stopped), ..) | (None, _, None) => "stopped",
            (Some(_), ..) => "failed",
            (_, _, Some(report)) if report.partial => "failed",
            _ => "done",
        };
        let tally = report.map_or_else(Tally::default, |report| report.tally);
        Object {
            host: job.host.as_ref().map(|host| host.as_str()),
            list: job.list.display().to_string(),
            source: job.source.shown(),
            destination: job.destination.shown(),
            dry_run,
            status,
            rsync_code: match error.or(trouble.as_ref()) {
                Some(Error::Rsync { code } | Error::Count { code }) => Some(*code),
                _ => None,
            },
            error: match (error, refusal) {
                (Some(error), _) => Some(error.to_string()),
                (_, Some(refusal)) => Some(refusal.to_string()),
                _ => trouble.map(|trouble| trouble.to_string()),
            },
            refusal: refused,
            deleted: tally.deleted,
            created: tally.created,
            updated: tally.updated,
            attributes: tally.attributes,
            entries: tally.files,
            changed_bytes: tally.changed_bytes,
            sent_bytes: tally.sent_bytes,
            received_bytes: tally.received_bytes,
            vanished: report.is_some_and(|report| report.vanished),
            retried: ending.map_or(0, |ending| ending.retried),
            elapsed_ms: ending.map_or(0, |ending| u64::try_from(ending.elapsed.as_millis()).unwrap_or(u64::MAX)),
            changes: changes.map(|changes| changes.iter().map(One::new).collect()),
        }
    }
}

impl<'o> One<'o> {
    fn new(change: &'o Change) -> One<'o> {
        let hex = || change.path.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = std::str::from_utf8(&change.path);
        One {
            change: match change.kind {
                ChangeKind::Deleted => "deleted",
                ChangeKind::Created => "created",
                ChangeKind::Updated => "updated",
                ChangeKind::Attributes => "attributes",
            },
            path: text.map_or_else(|_| shown(&change.path), str::to_owned),
            path_hex: text.is_err().then(hex),
            item: &change.item,
        }
    }
}
