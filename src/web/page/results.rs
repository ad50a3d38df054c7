//! The page of results: a bar for each choice, the sum, and the turnout.

use maud::{Markup, html};

use crate::poll::ballot::Poll;
use crate::poll::judge::CLOSING_GRACE_MS;
use crate::poll::now_ms;
use crate::poll::results::Totals;
use crate::web::desk::View;

use super::chart::chart;
use super::text::{ago, count, counted, moment, old_notice};

/// What the page tells its reader first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Notice {
    /// Nothing.
    None,
    /// The vote is in.
    Taken,
    /// An earlier vote stands.
    Already,
    /// The poll had closed.
    TooLate,
}

impl Notice {
    /// What the page's title begins with: a screen reader says it first.
    pub(super) fn title(self) -> &'static str {
        match self {
            Notice::None => "Results",
            Notice::Taken => "Your vote is in",
            Notice::Already => "You have already voted",
            Notice::TooLate => "This poll has closed",
        }
    }
}

/// The content of the page.
pub(super) fn content(view: &View, notice: Notice, embedded: bool) -> Markup {
    let poll = &view.poll;
    let query = if embedded { "?embed=1" } else { "" };
    let now = now_ms();
    html! {
        @match notice {
            Notice::None => {}
            Notice::Taken => p class="notice" role="status" {
                strong { "Thank you." } " Your vote is in and shows here with the next count, in a few seconds."
            },
            Notice::Already => p class="notice warn" role="status" {
                strong { "You have already voted in this poll." } " Your first vote stands. This is how it looks now."
            },
            Notice::TooLate => p class="notice warn" role="alert" {
                strong { "This poll has closed." } " Your vote came too late and was not counted."
            },
        }
        (old_notice(view.as_of_ms))
        p class="kicker" { (state(poll, view.totals.as_ref(), now)) }
        h1 { (poll.question) }
        @match &view.totals {
            None => p class="meta" { "The results cannot be read just now. Votes are taken and counted all the same." },
            Some(totals) => {
                section data-events={ "/polls/" (poll.slug) "/events" } aria-label="Results" {
                    (bars(poll, totals))
                    (sum(poll, totals, now))
                }
                @if let Some(turnout) = view.turnout.as_ref().filter(|turnout| turnout.ballots.len() > 1) {
                    (chart(turnout))
                }
            },
        }
        @if poll.is_open_at(now) && notice == Notice::None {
            p class="act" { a href={ "/polls/" (poll.slug) (query) } { "Vote in this poll" } }
        }
        @if !embedded && notice != Notice::None {
            p class="act" { a href="/" { "See all open polls" } }
        }
    }
}

/// Results are final only when they were counted after the last ballot that counts can have been cast.
fn state(poll: &Poll, totals: Option<&Totals>, now_ms: i64) -> &'static str {
    let counted_ms = totals.and_then(as_of_ms);
    let last_cast_ms = poll.ends_at_ms().map(|end| end.saturating_add(CLOSING_GRACE_MS));
    match (poll.is_open_at(now_ms), counted_ms.zip(last_cast_ms)) {
        (true, _) => "Results so far",
        (false, Some((counted, last_cast))) if counted > last_cast => "Final results",
        _ => "The last votes are being counted",
    }
}

fn as_of_ms(totals: &Totals) -> Option<i64> {
    totals.as_of.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn bars(poll: &Poll, totals: &Totals) -> Markup {
    let most = totals.choices.iter().map(|choice| choice.votes).max().unwrap_or_default();
    html! {
        ol class="bars" {
            @for choice in &totals.choices {
                li class=[(choice.votes == most && most > 0).then_some("leads")] data-choice=(choice.key) {
                    div class="label" {
                        span class="name" { (choice.label) }
                        span class="figures" {
                            span class="share" data-share { (format!("{:.1}%", choice.share * 100.0)) }
                            " "
                            span class="votes" data-votes { (counted(choice.votes, "vote")) }
                        }
                    }
                    svg aria-hidden="true" {
                        rect data-bar height="100%" width=(format!("{:.2}%", choice.share * 100.0)) {}
                    }
                }
            }
        }
        @if poll.pick_max > 1 {
            p class="meta" { "Readers could choose up to " (poll.pick_max) ", so shares add up to more than 100%." }
        }
    }
}

fn sum(poll: &Poll, totals: &Totals, now_ms: i64) -> Markup {
    let as_of_ms = as_of_ms(totals).unwrap_or(now_ms);
    html! {
        p class="sum" {
            strong data-total { (count(totals.total)) } " "
            span data-people { @if totals.total == 1 { "ballot" } @else { "ballots" } }
            " counted · as of "
            time data-as-of datetime=(totals.as_of) { (ago(now_ms - as_of_ms)) }
            @if let Some(end) = poll.ends_at_ms() {
                " · " @if end > now_ms { "closes " } @else { "closed " }
                (moment(end))
            }
        }
    }
}
