//! The page where one votes, and the list of polls.

use maud::{Markup, html};

use crate::poll::ballot::{Poll, Refusal};
use crate::poll::now_ms;

use super::text::{duration, moment};

/// How much the time that is left is told too long, in milliseconds.
const SLACK_MS: i64 = 30_000;

/// The form of an open poll.
pub(super) fn form(poll: &Poll, advice: Option<&str>, embedded: bool) -> Markup {
    let several = poll.pick_max > 1;
    let query = if embedded { "?embed=1" } else { "" };
    html! {
        @if let Some(advice) = advice {
            p class="notice warn" role="alert" { (advice) }
        }
        form method="post" action={ "/polls/" (poll.slug) (query) } data-pick=(poll.pick_max) {
            fieldset {
                legend {
                    p class="kicker" { "Vote" }
                    h1 { (poll.question) }
                }
                p class="meta" { (hint(poll)) @if several { " " span data-left aria-live="polite" {} } }
                ul class="choices" {
                    @for choice in &poll.choices {
                        li {
                            label {
                                @if several {
                                    input type="checkbox" name="choice" value=(choice.key);
                                } @else {
                                    input type="radio" name="choice" value=(choice.key) required;
                                }
                                span { (choice.label) }
                            }
                        }
                    }
                }
            }
            div class="act" {
                button type="submit" { "Vote" }
                a href={ "/polls/" (poll.slug) "/results" (query) } { "See the results" }
            }
        }
    }
}

/// The open polls, newest first.
pub(super) fn list(open: &[&Poll]) -> Markup {
    html! {
        p class="kicker" { "Open now" }
        h1 { "Have your say" }
        @if open.is_empty() {
            p { "No poll is open at the moment." }
        } @else {
            ul class="polls" {
                @for poll in open {
                    li {
                        h2 { a href={ "/polls/" (poll.slug) } { (poll.question) } }
                        p class="meta" {
                            @match closing(poll) {
                                Some(closing) => (closing),
                                None => "Open until further notice",
                            }
                            " · "
                            a href={ "/polls/" (poll.slug) "/results" } {
                                "Results" span class="visually-hidden" { ": " (poll.question) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn hint(poll: &Poll) -> Markup {
    html! {
        @match poll.pick_max {
            1 => "Choose one.",
            most if usize::from(most) == poll.choices.len() => "Choose as many as you like.",
            most => { "Choose up to " (most) "." }
        }
        @if let Some(closing) = closing(poll) { " " (closing) "." }
    }
}

fn closing(poll: &Poll) -> Option<Markup> {
    let end = poll.ends_at_ms()?;
    // So that a poll made a moment ago for three days does not close in two.
    let left_ms = end - now_ms() + SLACK_MS;
    Some(html! { "Closes in " (duration(left_ms)) ", on " (moment(end)) })
}

/// What to do about a form that could not be taken.
pub(in crate::web) fn advice(refusal: &Refusal, poll: &Poll) -> String {
    match refusal {
        Refusal::NoPick(_) => "Nothing was chosen yet: please choose, then vote.".into(),
        Refusal::TooManyPicks { given, most, .. } => {
            format!("You chose {given}, and this poll takes at most {most}. Please choose again.")
        }
        _ => format!("That is not a choice of this poll. Please choose out of these {}.", poll.choices.len()),
    }
}
