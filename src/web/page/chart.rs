//! Turnout over time as a drawing: how many ballots had been cast by each moment.

use std::fmt::Write;

use maud::{Markup, html};

use crate::poll::turnout::Turnout;

use super::text::{count, counted, strftime};

/// The drawing's size; it is scaled to the page.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Room above the plot, below it for the times, and beside it for the counts.
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
const LEFT: f64 = 4.0;

/// The chart of a turnout of two steps or more.
pub(super) fn chart(turnout: &Turnout) -> Markup {
    let steps_end_ms = turnout.from_ms + turnout.step_ms * turnout.ballots.len() as i64;
    // The last step has not ended while the poll is open.
    let until_ms = steps_end_ms.min(turnout.as_of_ms).max(turnout.from_ms + 1);
    let span_ms = until_ms - turnout.from_ms;
    let sum: u64 = turnout.ballots.iter().sum();
    let top = round_up(sum);
    let x = |at_ms: i64| LEFT + (WIDTH - LEFT) * (at_ms - turnout.from_ms) as f64 / span_ms as f64;
    let y = |ballots: u64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - ballots as f64 / top as f64);
    let mut line = format!("M{:.1} {:.1}", x(turnout.from_ms), y(0));
    let (mut so_far, mut at_ms) = (0, turnout.from_ms);
    for ballots in &turnout.ballots {
        so_far += ballots;
        at_ms = (at_ms + turnout.step_ms).min(until_ms);
        // Writing to a string cannot fail.
        let _ = write!(line, "L{:.1} {:.1}", x(at_ms), y(so_far));
    }
    let area = format!("{line}L{:.1} {:.1}Z", x(at_ms), y(0));
    let time = |at_ms| strftime(at_ms, pattern(span_ms));
    html! {
        figure {
            figcaption { "Turnout" span { "Ballots cast since the poll opened (times in UTC)" } }
            svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label={ (counted(sum, "ballot")) " from " (time(turnout.from_ms)) " to " (time(until_ms)) " UTC" } {
                @for part in [0, top / 2, top] {
                    line class="grid" x1="0" x2=(WIDTH) y1=(tenth(y(part))) y2=(tenth(y(part))) {}
                }
                path class="area" d=(area) {}
                path class="line" d=(line) {}
                @for part in [top / 2, top] {
                    text x="0" y=(tenth(y(part) + 17.0)) { (count(part)) }
                }
                text x="0" y=(HEIGHT - 8.0) { (time(turnout.from_ms)) }
                text x=(WIDTH / 2.0) y=(HEIGHT - 8.0) text-anchor="middle" { (time(turnout.from_ms + span_ms / 2)) }
                text x=(WIDTH) y=(HEIGHT - 8.0) text-anchor="end" { (time(until_ms)) }
            }
        }
    }
}

fn tenth(length: f64) -> String {
    format!("{length:.1}")
}

/// The next number that reads and halves well.
fn round_up(number: u64) -> u64 {
    let mut scale = 1u64;
    loop {
        let steps: &[u64] = if scale == 1 { &[2, 4, 6, 8, 10] } else { &[12, 14, 16, 20, 30, 40, 50, 60, 80, 100] };
        for step in steps {
            if let Some(round) = (scale.max(10) / 10).checked_mul(*step).filter(|round| *round >= number) {
                return round;
            }
        }
        match scale.checked_mul(10) {
            Some(larger) => scale = larger,
            None => return number,
        }
    }
}

/// As much of the time as the span needs.
fn pattern(span_ms: i64) -> &'static str {
    match span_ms {
        ..300_000 => "%H:%M:%S",
        300_000..86_400_000 => "%H:%M",
        86_400_000..604_800_000 => "%-d %b, %H:%M",
        604_800_000..31_536_000_000 => "%-d %b",
        _ => "%b %Y",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slug::Slug;

    #[test]
    fn the_top_of_the_chart_is_round_and_never_too_low() {
        assert_eq!([0, 2, 3, 7, 10, 11, 41, 100, 12_977].map(round_up), [2, 2, 4, 8, 10, 12, 50, 100, 14_000]);
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_chart_rises_from_nothing_to_all() {
        let slug = Slug::new("now").unwrap();
        let turnout =
            Turnout { poll: slug, as_of_ms: 150_000, took_ms: 0, from_ms: 0, step_ms: 60_000, ballots: vec![0, 5, 5] };
        let drawn = chart(&turnout).into_string();
        assert!(
            drawn.contains("M4.0 206.0L290.4 206.0L576.8 110.0L720.0 14.0") && drawn.contains("10 ballots from"),
            "{drawn}"
        );
        let nothing = Turnout { ballots: vec![0, 0], ..turnout };
        assert!(!chart(&nothing).into_string().contains("NaN"));
    }
}
