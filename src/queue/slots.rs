//! Ranges of slots, in the numbering of the reader's database.
//!
//! Tickets of epoch 0 repeat, so they are numbered under a shadow epoch (see [`super::ticket`]); their slots keep the
//! low numbers. A range knows which of the two it is about.

use super::ticket::Ticket;

/// Consecutive slots of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    /// The ticket of the first slot.
    pub first: Ticket,
    /// The ticket of the last slot, which belongs to the range.
    pub last: Ticket,
    /// Whether the slots are those of epoch 0, their tickets numbered under a shadow epoch.
    pub legacy: bool,
}

/// A ticket, and the number under which its slot is found on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The ticket.
    pub ticket: Ticket,
    /// The number in the slot's key.
    pub number: Ticket,
}

impl SlotRange {
    /// One slot.
    pub fn single(slot: Slot) -> SlotRange {
        SlotRange { first: slot.ticket, last: slot.ticket, legacy: slot.number != slot.ticket }
    }

    /// The number of slots.
    pub fn len(self) -> u64 {
        (self.last.value() + 1).saturating_sub(self.first.value())
    }

    /// Whether there is no slot in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The slot of one of its tickets.
    pub fn slot(self, ticket: Ticket) -> Slot {
        let number = if self.legacy { Ticket::from_counter(ticket.sequence()) } else { ticket };
        Slot { ticket, number }
    }

    /// Its slots, in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..self.len()).map(move |step| self.slot(self.first.plus(step)))
    }

    /// Whether the two share a slot. A slot of epoch 0 is another one than that of the same ticket in the epoch under which
    /// it is numbered.
    pub fn overlaps(self, other: SlotRange) -> bool {
        self.legacy == other.legacy && self.first <= other.last && other.first <= self.last
    }

    /// The order in which ranges are sorted.
    pub fn place(self) -> (bool, Ticket) {
        (self.legacy, self.first)
    }
}

/// What is left of `ranges` without the slots of `others`. Both are sorted by their places, and the ranges of each do not
/// overlap.
pub fn subtract(ranges: &[SlotRange], others: &[SlotRange]) -> Vec<SlotRange> {
    let mut left = Vec::new();
    let mut others = others.iter().copied().peekable();
    for range in ranges {
        let mut rest = *range;
        if rest.is_empty() {
            continue;
        }
        while others.next_if(|other| (other.legacy, other.last) < rest.place()).is_some() {}
        let mut ahead = others.clone();
        while let Some(other) = ahead.next_if(|other| other.overlaps(rest)) {
            if other.first > rest.first {
                left.push(SlotRange { last: other.first.before(), ..rest });
            }
            rest.first = other.last.plus(1);
        }
        if !rest.is_empty() {
            left.push(rest);
        }
    }
    left
}
