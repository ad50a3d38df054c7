//! Numbers and times as readers like them.

use maud::{Markup, html};

use crate::poll::ballot::time_text;
use crate::web::desk::old_time;

/// A number with its thousands apart: `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 vote`, `2 votes`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A while: `5 seconds`, `3 minutes`, `2 hours`, `4 days`, rounded down.
pub(super) fn duration(ms: i64) -> String {
    let seconds = ms.max(0).unsigned_abs() / 1000;
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7200 => counted(seconds / 60, "minute"),
        7200..172_800 => counted(seconds / 3600, "hour"),
        _ => counted(seconds / 86_400, "day"),
    }
}

/// How long ago something was, for readers.
pub(super) fn ago(ms: i64) -> String {
    if ms < 2000 { "now".into() } else { format!("{} ago", duration(ms)) }
}

/// A moment as a date and time in UTC, `4 January 2026, 15:04 UTC`, which the script turns into the reader's own.
pub(super) fn moment(at_ms: i64) -> Markup {
    html! { time data-local datetime=(time_text(at_ms)) { (strftime(at_ms, "%-d %B %Y, %H:%M UTC")) } }
}

/// The time that something old is of, and that it is all there is; nothing if it is not old.
pub(super) fn old_notice(as_of_ms: i64) -> Markup {
    html! { @if let Some(at_ms) = old_time(as_of_ms) { (as_of(at_ms, "nothing newer can be read just now.")) } }
}

/// The same of a list that may lack polls, however old it is.
pub(super) fn part_notice(as_of_ms: i64) -> Markup {
    as_of(as_of_ms, "the list cannot be read just now, and further polls may be open.")
}

fn as_of(at_ms: i64, says: &str) -> Markup {
    html! {
        p class="notice warn" role="status" {
            "As of " time datetime=(time_text(at_ms)) { (clock(at_ms, crate::poll::now_ms())) } ": " (says)
        }
    }
}

/// A time of the last hours with its seconds, an earlier one with its date.
fn clock(at_ms: i64, now_ms: i64) -> String {
    const HOURS_MS: i64 = 20 * 3_600_000;
    strftime(at_ms, if now_ms - at_ms < HOURS_MS { "%H:%M:%S UTC" } else { "%-d %B %Y, %H:%M UTC" })
}

/// The present as HTTP writes it: `Sun, 04 Jan 2026 15:04:05 GMT`.
pub(in crate::web) fn http_date() -> String {
    strftime(crate::poll::now_ms(), "%a, %d %b %Y %H:%M:%S GMT")
}

/// A moment by a pattern, in UTC.
pub(super) fn strftime(at_ms: i64, pattern: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::UTC).strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2].map(|n| counted(n, "vote")), ["1 vote", "2 votes"]);
        assert_eq!([0, 1999, 2000, 119_000, 120_000].map(ago)[1..4], ["now", "2 seconds ago", "119 seconds ago"]);
        assert_eq!(duration(86_400_000 * 3), "3 days");
        assert_eq!(
            (clock(1000, 2000), clock(1000, 86_400_000)),
            ("00:00:01 UTC".into(), "1 January 1970, 00:00 UTC".into())
        );
        let moment = moment(0).into_string();
        assert!(moment.contains(">1 January 1970, 00:00 UTC<"), "{moment}");
    }
}
