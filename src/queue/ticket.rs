//! Tickets: numbers that never repeat, also when the server that hands them out forgets everything.
//!
//! A ticket is `epoch << 34 | sequence`. The epoch is 29 random bits with the top one set, so a ticket has 19
//! decimal digits and fits a signed 64-bit integer (an `sprintf "%d"` in an old script keeps it whole). The
//! server's `incr` moves the sequence; whoever finds the counter missing begins a new epoch. Two restarts
//! give the same epoch once in 2^28.
//!
//! # Epoch 0
//! A script that follows the old notes starts the counter at 0 itself, after every restart of the server, so
//! tickets of epoch 0 do repeat and a number in the database says nothing about them. They are therefore
//! drained under a *shadow*: a fresh epoch `E` kept beside the counter in `P-legacy`, which a restart wipes
//! together with it. Ticket `t` of epoch 0 is recorded as `E << 34 | t`, and when it has been drained the
//! counter itself is moved to `E << 34 | t` with a compare-and-swap: the queue goes on in epoch `E` without a
//! seam. A number recorded under the shadow of another life of the server is just another epoch.

use std::fmt;

use rand::RngExt;

/// How many bits of a ticket count within its epoch.
pub const SEQUENCE_BITS: u32 = 34;

/// A head and a counter that lie further apart than this are of different epochs.
pub const SAME_EPOCH_SPAN: u64 = 1 << 33;

/// A ticket of the queue. See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket that a counter's value stands for.
    pub const fn from_counter(value: u64) -> Ticket {
        Ticket(value)
    }

    /// Ticket 0 of a fresh random epoch: nobody is ever given it, the first `incr` gives the next.
    pub fn fresh_epoch() -> Ticket {
        let epoch = rand::rng().random_range(1u64 << 28..1 << 29);
        Ticket(epoch << SEQUENCE_BITS)
    }

    /// The number as the counter holds it.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Whether an old script, not weir, began this counter.
    pub const fn is_legacy(self) -> bool {
        self.0 >> SEQUENCE_BITS == 0
    }

    /// The position within the epoch.
    pub const fn sequence(self) -> u64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }

    /// Ticket 0 of this ticket's epoch.
    pub const fn epoch_start(self) -> Ticket {
        Ticket(self.0 & !((1 << SEQUENCE_BITS) - 1))
    }

    /// The ticket `steps` later.
    pub const fn plus(self, steps: u64) -> Ticket {
        Ticket(self.0.saturating_add(steps))
    }

    /// The ticket before this one.
    pub const fn before(self) -> Ticket {
        Ticket(self.0.saturating_sub(1))
    }

    /// Whether a reader that has got to `head` goes on from there to reach `self`, or must begin `self`'s
    /// epoch anew.
    pub const fn continues(self, head: Ticket) -> bool {
        head.0 <= self.0 && self.0 - head.0 < SAME_EPOCH_SPAN
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_epoch_has_19_digits_fits_i64_and_counts_from_zero() {
        for _ in 0..1000 {
            let ticket = Ticket::fresh_epoch();
            assert_eq!(ticket.to_string().len(), 19);
            assert!(i64::try_from(ticket.value()).is_ok());
            assert_eq!(ticket.sequence(), 0);
            assert_eq!(ticket.plus(7).epoch_start(), ticket);
            assert!(!ticket.is_legacy());
        }
    }

    #[test]
    fn a_head_is_continued_only_within_its_own_epoch() {
        let start = Ticket::from_counter((1 << 28) << SEQUENCE_BITS);
        let next_epoch = Ticket::from_counter(((1 << 28) + 1) << SEQUENCE_BITS);
        assert!(start.continues(start));
        assert!(start.plus(5).continues(start));
        assert!(!start.continues(start.plus(5)));
        assert!(!next_epoch.continues(start.plus(5)));
        assert!(!Ticket::from_counter(5).continues(start));
        assert!(!start.continues(Ticket::from_counter(5)));
    }
}
