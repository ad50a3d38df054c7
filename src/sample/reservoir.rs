//! The N entries with the smallest keys out of any number that are offered.
//!
//! Algorithm: bottom-N by key ("min-wise" sampling; Cohen and Kaplan, *Summarizing data using bottom-k
//! sketches*, 2007). What is kept depends on the set that was offered and not on the order, so parts that were
//! sampled apart (threads, hosts) are put together by offering all that each kept. Entries gather up to N plus
//! a quarter and are then cut back to N in linear time (quickselect).
//!
//! Cost: constant time for an entry that is kept for a while, one comparison for one that is not, on average
//! `N (1 + ln(n / N))` kept out of `n`; memory for 1.25 N entries. It gives up the order of arrival: entries carry
//! a position, and are sorted by it at the end.

use super::key::Key;

/// How many entries more than N may wait before they are cut back, at least.
const SLACK_MIN: usize = 1;

/// Something that may be in the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its random key.
    pub key: Key,
    /// Where it stands in the input: no two have the same.
    pub position: u64,
    /// The line, or where to find it.
    pub item: T,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Reservoir<T> {
    size: usize,
    entries: Vec<Entry<T>>,
    limit: Key,
}

impl<T> Reservoir<T> {
    /// An empty reservoir that keeps `size` entries.
    pub fn new(size: u64) -> Reservoir<T> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Reservoir { size, entries: Vec::new(), limit: Key::LARGEST }
    }

    /// An entry with a larger key than this has no chance.
    #[inline]
    pub fn limit(&self) -> Key {
        self.limit
    }

    /// Whether an entry of that key may be kept.
    #[inline]
    pub fn wants(&self, key: Key) -> bool {
        key <= self.limit && self.size > 0
    }

    /// Takes the entry if its key is small enough.
    pub fn offer(&mut self, key: Key, position: u64, item: T) {
        if !self.wants(key) {
            return;
        }
        self.entries.push(Entry { key, position, item });
        if self.entries.len() >= self.size.saturating_add((self.size / 4).max(SLACK_MIN)) {
            self.cut();
        }
    }

    /// Takes what another reservoir over other input kept: the result is that of both inputs together.
    pub fn merge(&mut self, other: Reservoir<T>) {
        for entry in other.entries {
            self.offer(entry.key, entry.position, entry.item);
        }
    }

    /// The kept entries in input order.
    pub fn into_entries(mut self) -> Vec<Entry<T>> {
        self.cut();
        self.entries.sort_unstable_by_key(|entry| entry.position);
        self.entries
    }

    /// How many entries are held now, at most 1.25 times the size and one.
    pub fn held(&self) -> usize {
        self.entries.len()
    }

    fn cut(&mut self) {
        if self.entries.len() > self.size && self.size > 0 {
            let (_, last, _) =
                self.entries.select_nth_unstable_by_key(self.size - 1, |entry| (entry.key, entry.position));
            self.limit = last.key;
            self.entries.truncate(self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::rng::{Random, Seed, Use};

    fn random_keys(count: usize) -> Vec<Key> {
        let mut random = Random::new(Seed(1), Use::Line, 0);
        (0..count).map(|_| Key::draw(&mut random)).collect()
    }

    #[test]
    fn keeps_the_smallest_whatever_the_order() {
        let keys = random_keys(1000);
        for size in [0, 1, 2, 20, 999, 1000, 5000] {
            let mut sorted: Vec<(Key, u64)> = keys.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            let mut expected: Vec<u64> = sorted.iter().take(size).map(|(_, position)| *position).collect();
            expected.sort_unstable();
            let mut forwards = Reservoir::new(size as u64);
            keys.iter().zip(0..).for_each(|(key, position)| forwards.offer(*key, position, ()));
            let mut halves = [Reservoir::new(size as u64), Reservoir::new(size as u64)];
            keys.iter()
                .zip(0..1000u32)
                .rev()
                .for_each(|(key, position)| halves[position as usize % 2].offer(*key, u64::from(position), ()));
            let [mut one, other] = halves;
            one.merge(other);
            for reservoir in [forwards, one] {
                let kept: Vec<u64> = reservoir.into_entries().iter().map(|entry| entry.position).collect();
                assert_eq!(kept, expected);
            }
        }
    }

    #[test]
    fn holds_no_more_than_a_quarter_over_its_size() {
        let mut reservoir = Reservoir::new(1000);
        for (key, position) in random_keys(20_000).into_iter().zip(0..) {
            reservoir.offer(key, position, ());
            assert!(reservoir.held() <= 1250);
        }
    }

    #[test]
    fn a_size_that_is_not_of_this_world_reserves_nothing() {
        let mut reservoir = Reservoir::new(u64::MAX);
        reservoir.offer(Key::LARGEST, 0, ());
        assert_eq!(reservoir.into_entries().len(), 1);
    }
}
