//! What votes that are cast together share: their time, a run of identities, and what has been checked already.

use std::sync::Arc;
use std::time::Instant;

use crate::slug::Slug;

use super::ballot::{Ballot, Identity};
use super::now_ms;

/// What votes cast together share.
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) at_ms: i64,
    identity: Identity,
    /// Polls and picks that have passed already: a batch has many votes of few kinds.
    checked: Vec<(Slug, Arc<[Slug]>)>,
}

/// How many kinds of votes are looked through before a vote is simply checked again.
const KINDS_MAX: usize = 16;

impl Moment {
    pub(super) fn new() -> Moment {
        let at_ms = now_ms();
        Moment { now: Instant::now(), at_ms, identity: Identity::anonymous(at_ms), checked: Vec::new() }
    }

    pub(super) fn next_identity(&mut self) -> Identity {
        let next = self.identity.next();
        std::mem::replace(&mut self.identity, next)
    }

    pub(super) fn passed(&mut self, ballot: &Ballot) {
        if self.checked.len() < KINDS_MAX {
            self.checked.push((ballot.poll.clone(), ballot.picks.clone()));
        }
    }

    pub(super) fn has_checked(&self, ballot: &Ballot) -> bool {
        let same = |(poll, picks): &(Slug, Arc<[Slug]>)| Arc::ptr_eq(picks, &ballot.picks) && *poll == ballot.poll;
        self.checked.iter().any(same)
    }
}
