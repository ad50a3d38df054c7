//! What waits in a queue: how many tickets the head is behind, the first entry, and how old it is. Reads only.

use crate::queue::{self, Connection, Keys, Ticket};

use super::wire;

/// How many slots after the head are searched for the oldest entry, and how many of them in one round trip.
const OLDEST_SLOTS: u64 = 1024;
const SLOTS_AT_ONCE: u64 = 64;

/// What waits in a queue.
pub(super) struct Waiting {
    /// Tickets handed out and not flushed.
    pub(super) depth: u64,
    /// The first entry found after the head, and when its oldest ballot was cast, if it says so.
    pub(super) first: Option<Option<i64>>,
    /// How long the newest entry is, if it is there.
    pub(super) entry_bytes: Option<usize>,
}

impl Waiting {
    /// Looks at a queue whose head in the database is `head`.
    pub(super) fn look(
        connection: &mut Connection,
        keys: &Keys,
        head: Option<Ticket>,
    ) -> Result<Waiting, queue::Error> {
        let last = connection.counter(&keys.curr())?.map(|(value, _)| Ticket::from_counter(value));
        let Some(last) = last else { return Ok(Waiting { depth: 0, first: None, entry_bytes: None }) };
        let from = head.filter(|from| last.continues(*from)).unwrap_or(last.epoch_start());
        let depth = last.value() - from.value();
        let entry_bytes = connection.get(&keys.slot(last))?.map(|entry| entry.len());
        Ok(Waiting { depth, first: first_entry(connection, keys, from, depth)?, entry_bytes })
    }
}

fn first_entry(
    connection: &mut Connection,
    keys: &Keys,
    from: Ticket,
    depth: u64,
) -> Result<Option<Option<i64>>, queue::Error> {
    let steps: Vec<u64> = (1..=depth.min(OLDEST_SLOTS)).collect();
    for steps in steps.chunks(SLOTS_AT_ONCE as usize) {
        let slots: Vec<_> = steps.iter().map(|step| keys.slot(from.plus(*step))).collect();
        let slots: Vec<_> = slots.iter().map(String::as_str).collect();
        for entry in connection.get_all(&slots)?.into_iter().flatten() {
            let lines: Vec<_> = wire::lines(&entry).filter_map(|(_, line)| wire::read_line(line).ok()).collect();
            if !lines.is_empty() {
                return Ok(Some(lines.iter().filter_map(|line| line.at).min()));
            }
        }
    }
    Ok(None)
}
