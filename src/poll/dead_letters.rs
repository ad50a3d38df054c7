//! Dead letters looked at again: counted, kept with a new reason, or thrown away.
//!
//! A portion of them is settled in one transaction, and a letter is gone in the same transaction in which its
//! ballot is counted. So a process that dies in between has done whole portions, and two that retry the same
//! letters count each once.
//!
//! It refuses to judge by rules of its own: what a flush would count, a retry counts.

use crate::store::{self, DeadLetter, Settled, Store, Verdict};

use super::ballot::{Identity, IdentityKey};
use super::judge::Judge;

/// How many are held in memory at once; each may have a megabyte.
const AT_ONCE: u32 = 50;

/// Which letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// Those of these ids.
    These(Vec<Identity>),
}

/// What a retry or a drop came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What became of the letters that were there.
    pub settled: Settled,
    /// Ids under which there is no letter.
    pub unknown: Vec<Identity>,
}

/// Judges letters again by the polls of now. `watch` is told how many more are done.
///
/// # Errors
/// [`store::Error::Failure`]; what was settled by then stays so, and the rest can be retried.
pub fn retry(
    store: &mut dyn Store,
    key: &IdentityKey,
    which: &Selection,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, store::Error> {
    let mut judge = Judge::new(store.polls()?, key);
    settle(store, which, &mut |letter| judge.judge_again(letter), watch)
}

/// Throws letters away, for good.
///
/// # Errors
/// [`store::Error::Failure`]; those that are gone by then stay gone.
pub fn drop_letters(
    store: &mut dyn Store,
    which: &Selection,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, store::Error> {
    settle(store, which, &mut |_| Verdict::Dropped, watch)
}

/// Hands letters to `each`, in the order of ids or of the selection, in bounded memory; the ids under which there is
/// none. `each` returning `false` ends it.
///
/// # Errors
/// [`store::Error::Failure`].
pub fn for_each(
    store: &mut dyn Store,
    which: &Selection,
    each: &mut dyn FnMut(DeadLetter) -> bool,
) -> Result<Vec<Identity>, store::Error> {
    let mut unknown = Vec::new();
    portions(store, which, &mut unknown, &mut |_, letters| Ok(letters.into_iter().all(&mut *each)))?;
    Ok(unknown)
}

fn settle(
    store: &mut dyn Store,
    which: &Selection,
    decide: &mut dyn FnMut(&DeadLetter) -> Verdict,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, store::Error> {
    let mut outcome = Outcome::default();
    portions(store, which, &mut outcome.unknown, &mut |store, letters| {
        let verdicts: Vec<_> = letters.iter().map(|letter| (letter.id, decide(letter))).collect();
        outcome.settled += store.settle_dead_letters(&verdicts)?;
        watch(verdicts.len() as u64);
        Ok(true)
    })?;
    Ok(outcome)
}

type Work<'a> = dyn FnMut(&mut dyn Store, Vec<DeadLetter>) -> Result<bool, store::Error> + 'a;

fn portions(
    store: &mut dyn Store,
    which: &Selection,
    unknown: &mut Vec<Identity>,
    work: &mut Work<'_>,
) -> Result<(), store::Error> {
    match which {
        Selection::All => {
            let mut after = None;
            loop {
                let letters = store.dead_letters_after(after, AT_ONCE)?;
                let Some(last) = letters.last() else { return Ok(()) };
                after = Some(last.id);
                if !work(store, letters)? {
                    return Ok(());
                }
            }
        }
        Selection::These(ids) => {
            for some in ids.chunks(AT_ONCE as usize) {
                let mut letters: Vec<DeadLetter> = Vec::new();
                for id in some {
                    match store.dead_letter(id.0)? {
                        Some(letter) => letters.push(letter),
                        None => unknown.push(*id),
                    }
                }
                if !work(store, letters)? {
                    return Ok(());
                }
            }
            Ok(())
        }
    }
}
