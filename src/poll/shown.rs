//! A poll's definition as every reader sees it: the JSON of `poll list`, `poll create` and the web's interface.

use serde::Serialize;

use crate::slug::Slug;

use super::ballot::{Choice, Once, Poll, time_text};
use super::now_ms;

/// A poll as scripts read it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    /// Its name.
    pub poll: &'a Slug,
    /// What is asked.
    pub question: &'a str,
    /// Whether it takes votes.
    pub open: bool,
    /// How many choices one ballot may pick.
    pub pick: u8,
    /// How voters on the web are told apart.
    pub once: Once,
    /// RFC 3339.
    pub created_at: String,
    /// When it stops taking votes, or stopped: RFC 3339.
    pub ends_at: Option<String>,
    /// Its choices, in their order.
    pub choices: &'a [Choice],
}

impl Shown<'_> {
    /// A poll at this moment.
    pub fn new(poll: &Poll) -> Shown<'_> {
        Shown {
            poll: &poll.slug,
            question: &poll.question,
            open: poll.is_open_at(now_ms()),
            pick: poll.pick_max,
            once: poll.once,
            created_at: time_text(poll.created_at_ms),
            ends_at: poll.ends_at_ms().map(time_text),
            choices: &poll.choices,
        }
    }
}
