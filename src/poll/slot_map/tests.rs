//! A map of ranges against a table of single slots, and what the times come to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const START: u64 = (1 << 28) << 34;
const KEEP: Duration = Duration::from_secs(60);

fn range(first: u64, last: u64) -> SlotRange {
    let ticket = |number| Ticket::from_counter(START + number);
    SlotRange { first: ticket(first), last: ticket(last), legacy: false }
}

fn numbers(ranges: &[SlotRange]) -> BTreeSet<u64> {
    ranges.iter().flat_map(|range| range.slots()).map(|slot| slot.ticket.value() - START).collect()
}

fn slots(numbers: &BTreeSet<u64>) -> Vec<Slot> {
    numbers.iter().map(|number| range(*number, *number).slot(Ticket::from_counter(START + number))).collect()
}

proptest! {
    /// Slot by slot: kept since when, and whether it is a hole.
    #[test]
    fn a_map_knows_of_each_slot_what_a_table_of_single_slots_knows(
        chunks in proptest::collection::vec((1..40_u64, any::<u64>(), any::<u64>(), 0..50_000_i64), 1..30),
    ) {
        let (mut map, mut table) = (SlotMap::default(), BTreeMap::new());
        let (mut next, mut now_ms) = (1, 1_000_000);
        for (length, filled, late, passed) in chunks {
            now_ms += passed;
            let due = numbers(&map.due_deletions(now_ms, KEEP));
            for number in &due {
                let (kept_ms, hole): (i64, bool) = table.remove(number).unwrap();
                prop_assert!(!hole && now_ms - kept_ms >= 60_000 - 1, "{number}");
            }
            map.deleted(now_ms, KEEP);
            let holes = numbers(&map.due_holes(now_ms));
            prop_assert!(holes.iter().all(|number| table[number].1));
            let late: BTreeSet<u64> = holes.into_iter().filter(|number| late >> (number % 64) & 1 == 1).collect();
            map.filled(&slots(&late), now_ms, KEEP);
            table.extend(late.iter().map(|number| (*number, (now_ms, false))));
            map.looked(now_ms, now_ms);
            let found: BTreeSet<u64> =
                (next..next + length).filter(|number| filled >> (number % 64) & 1 == 1).collect();
            map.committed(range(next, next + length - 1), &slots(&found), now_ms, KEEP);
            table.extend((next..next + length).map(|number| (number, (now_ms, !found.contains(&number)))));
            next += length;
            let text = map.to_text();
            prop_assert_eq!(&SlotMap::read(&text).unwrap(), &map);
            let holes = table.values().filter(|(_, hole)| *hole).count() as u64;
            prop_assert_eq!(slots_in(&map.all_holes()), holes);
            prop_assert_eq!(slots_in(&map.entries()), table.values().filter(|(_, hole)| !hole).count() as u64);
        }
        // In the end everything that was filled is deleted, and every hole has been given up.
        for _ in 0..LOOKS + 1 {
            now_ms += 10_000_000;
            map.looked(now_ms, now_ms);
        }
        let filled: BTreeSet<u64> = table.iter().filter(|(_, (_, hole))| !hole).map(|(number, _)| *number).collect();
        prop_assert!(numbers(&map.due_deletions(now_ms, KEEP)).is_superset(&filled));
        map.deleted(now_ms, KEEP);
        prop_assert!(map.kept.is_empty() && map.holes.is_empty());
        let total = map.total;
        prop_assert_eq!((map.deleted_count(now_ms, KEEP), map.missing(total + 3), map.missing(total + 3)), (total, 3, 0));
    }
}

#[test]
fn a_hole_is_read_again_for_over_an_hour_at_pauses_that_double() {
    let mut map = SlotMap::default();
    map.committed(range(1, 9), &[], 0, KEEP);
    let mut looks = Vec::new();
    for second in 0..10_000 {
        if !map.due_holes(second * 1000).is_empty() {
            looks.push(second);
            map.looked(second * 1000, second * 1000);
        }
    }
    assert_eq!(looks, [1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047, 4095]);
}

#[test]
fn thousands_of_holes_are_joined_once_nothing_is_kept_between_them() {
    let mut map = SlotMap::default();
    let found = slots(&(1..=20_000).step_by(2).collect());
    map.committed(range(1, 20_000), &found, 0, KEEP);
    assert!(map.to_text().len() < 50_000);
    assert_eq!(slots_in(&map.all_holes()), 10_000);
    map.deleted(60_000, KEEP);
    map.to_text();
    assert_eq!(map.due_holes(1000), [range(2, 20_000)]);
}

#[test]
fn slots_of_epoch_0_are_not_kept_and_forgotten_when_their_numbers_begin_anew() {
    let mut map = SlotMap::default();
    let legacy = SlotRange { legacy: true, ..range(0, 3) };
    map.committed(legacy, &[legacy.slot(Ticket::from_counter(START + 1))], 0, KEEP);
    assert!(map.keeps_legacy());
    let due = map.due_deletions(0, KEEP);
    assert_eq!(due, [SlotRange { legacy: true, ..range(1, 1) }]);
    assert_eq!(due[0].slots().next().unwrap().number, Ticket::from_counter(1));
    // The slot of the same number outside of epoch 0 is another one.
    map.add_holes(&[range(0, 1)], 0);
    assert_eq!(slots_in(&map.all_holes()), 5);
    let [same, other] = [START, START + (1 << 34)].map(Ticket::from_counter);
    map.forget_kept_legacy_except(same);
    map.forget_legacy_holes_except(same);
    assert_eq!((map.keeps_legacy(), map.due_holes(1000).len()), (true, 3));
    map.forget_kept_legacy_except(other);
    map.forget_legacy_holes_except(other);
    assert_eq!((map.keeps_legacy(), map.all_holes()), (false, vec![range(0, 1)]));
}

#[test]
fn hosts_whose_clocks_differ_do_not_use_up_the_looks_at_a_hole_between_them() {
    let mut map = SlotMap::default();
    map.committed(range(1, 9), &[], 0, KEEP);
    let mut looks = 0;
    // Both read every second; the clock of one is two hours ahead.
    for second in 0..3000 {
        for now_ms in [second * 1000, (second + 7200) * 1000] {
            if !map.due_holes(now_ms).is_empty() {
                map.looked(now_ms, now_ms);
                looks += 1;
            }
        }
    }
    assert!(looks < LOOKS && !map.all_holes().is_empty(), "{looks}");
}
