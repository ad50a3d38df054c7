//! Votes on their way into the queue of one server: marks claimed, entries written, marks confirmed, in one attempt for all.

use crate::failpoint::{self, Step};
use crate::queue::{self, Claim, Connection, Keys, Lock, ServerId};

use super::ballot::{Ballot, Refusal};
use super::wire::{ENTRY_MAX_LEN, write_line};

/// A vote on its way in.
pub(super) struct Pending {
    pub(super) index: usize,
    pub(super) ballot: Ballot,
    /// Its voter has a name, and so a mark.
    pub(super) named: bool,
    pub(super) copies: usize,
    /// The servers that have it, where it is to have several copies.
    pub(super) on: Vec<ServerId>,
    /// Boxed, because votes are moved about and few are refused.
    pub(super) refused: Option<Box<Refusal>>,
}

/// Enqueues ballots on one server and notes on each what became of it. When this fails, those without a copy
/// from this server are in doubt or not in its queue; both are tried elsewhere. With `id`, a ballot that this server has
/// already under another address is passed over; tells whether there was one.
pub(super) fn enqueue_on(
    connection: &mut Connection,
    keys: &Keys,
    ballots: &mut [Pending],
    id: Option<ServerId>,
    locked: bool,
) -> Result<bool, queue::Error> {
    if locked {
        // Waiting for the lock has a limit of its own; each exchange keeps its time-out.
        connection.set_deadline(None);
    }
    claim_marks(connection, keys, ballots)?;
    failpoint::pass(Step::Claimed);
    let accepted = ballots.iter_mut().filter(|one| one.refused.is_none());
    let (passed_over, mut open): (Vec<&mut Pending>, Vec<_>) =
        accepted.partition(|one| id.is_some_and(|id| one.on.contains(&id)));
    let passed_over = !passed_over.is_empty();
    let mut entries: Vec<String> = Vec::new();
    for one in &open {
        match entries.last_mut().filter(|entry| entry.len() < ENTRY_MAX_LEN) {
            Some(entry) => write_line(entry, &one.ballot),
            None => {
                let mut entry = String::new();
                write_line(&mut entry, &one.ballot);
                entries.push(entry);
            }
        }
    }
    if open.is_empty() {
        return Ok(passed_over);
    }
    let lock = if locked { Some(Lock::acquire(connection, keys)?) } else { None };
    queue::enqueue(connection, keys, &entries)?;
    for one in &mut open {
        one.copies += 1;
        one.on.extend(id);
    }
    if let Some(lock) = lock {
        lock.release(connection, keys)?;
    }
    let marks: Vec<_> = open.iter().filter_map(|one| mark_of(keys, one)).collect();
    queue::confirm(connection, &marks)?;
    failpoint::pass(Step::Confirmed);
    Ok(passed_over)
}

/// A mark is claimed on the first server that can; on a further one it would only find itself.
fn claim_marks(connection: &mut Connection, keys: &Keys, ballots: &mut [Pending]) -> Result<(), queue::Error> {
    let mut named: Vec<&mut Pending> = ballots.iter_mut().filter(|one| mark_of(keys, one).is_some()).collect();
    let marks: Vec<_> = named.iter().filter_map(|one| mark_of(keys, one)).collect();
    for (one, claim) in named.iter_mut().zip(queue::claim(connection, &marks)?).filter(|(one, _)| one.copies == 0) {
        let poll = one.ballot.poll.clone();
        one.refused = match claim {
            Claim::Made => None,
            Claim::Pending => Some(Box::new(Refusal::UnderWay(poll))),
            Claim::Taken => Some(Box::new(Refusal::AlreadyVoted(poll))),
        };
    }
    Ok(())
}

fn mark_of(keys: &Keys, one: &Pending) -> Option<String> {
    one.named.then(|| keys.voted(&one.ballot.poll, &one.ballot.identity.0))
}
