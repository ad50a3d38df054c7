//! Every way to sample has exactly its law: each subset comes as often as it should, over fixed seeds.
#![allow(clippy::unwrap_used)]

mod sample_support;

use std::ops::ControlFlow;

use sample_support::*;
use weir::sample::probe::{Probing, probe};
use weir::sample::scan::{Scan, find, scan};
use weir::sample::{Field, Fields, LineFormat, Opened, Order, Plan, Rate, Sample, Seed, saved};

/// Very unequal: one line is longer than all others together, two are empty but for their number.
const LENGTHS: [usize; 7] = [0, 3, 150, 17, 0, 40, 1];

const TRIALS: u64 = 5_000;

fn small_plan(count: u64, seed: u64, chunk_bytes: usize) -> Plan {
    Plan { seed: Some(Seed(seed)), chunk_bytes, threads: 1, ..Plan::new(count) }
}

fn drawn(sample: &Sample<'_>, order: Order) -> Vec<usize> {
    numbers_of(&sample.to_lines(order).unwrap())
}

fn assert_all_35_subsets_alike(what: &str, draw: impl FnMut(u64) -> Vec<usize>) {
    let chance = fit_uniform(&count_subsets(7, 3, TRIALS, draw));
    assert!(chance > UNLIKELY, "{what}: {chance:e}");
}

#[test]
fn a_stream_is_uniform_at_every_chunk_size_and_however_reads_fall() {
    let log = unequal_lines(7, &LENGTHS);
    for (chunk_bytes, pieces) in [(1, vec![1000]), (5, vec![1, 0, 4]), (64, vec![3, 100]), (1 << 17, vec![1 << 17])] {
        assert_all_35_subsets_alike(&format!("chunks of {chunk_bytes}"), |seed| {
            let reader = Pieces::new(&log, &pieces);
            drawn(&small_plan(3, seed, chunk_bytes).sample_reader("log", reader).unwrap(), Order::Input)
        });
    }
}

fn scanned(population: &weir::sample::population::Population, scanning: Scan) -> Vec<usize> {
    let scanned = scan(population, scanning, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    assert_eq!(scanned.bytes, population.len());
    let spans = find(population, scanning.chunk_bytes, scanned.places).unwrap();
    let line = |start| {
        let mut digit = [0];
        population.read(start, &mut digit).unwrap();
        number_of(&digit)
    };
    spans.iter().map(|entry| line(entry.item.start)).collect()
}

#[test]
fn a_scan_is_uniform_with_one_thread_and_with_two_and_over_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(7, &LENGTHS);
    let one = vec![file(dir.path(), "one", &log)];
    // The first ends without a line feed, one is empty.
    let cut = log.iter().position(|byte| *byte == b'\n').unwrap();
    let several = vec![
        file(dir.path(), "a", &log[..cut]),
        file(dir.path(), "b", b""),
        file(dir.path(), "c", &log[cut + 1..cut + 6]),
        file(dir.path(), "d", &log[cut + 6..]),
    ];
    for (threads, chunk_bytes, paths) in [(1, 4, &one), (1, 1 << 17, &one), (2, 50, &one), (2, 16, &several)] {
        let population = population(paths, LineFormat::default());
        assert_all_35_subsets_alike(&format!("{threads} threads, chunks of {chunk_bytes}"), |seed| {
            scanned(&population, Scan { count: 3, seed: Seed(seed), chunk_bytes, threads })
        });
    }
}

#[test]
fn random_access_is_uniform_whatever_the_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(7, &LENGTHS);
    let whole = vec![file(dir.path(), "whole", &log)];
    let unterminated = vec![file(dir.path(), "unterminated", &log[..log.len() - 1])];
    let half = log.len() / 2;
    let half = half + log[half..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let two = vec![file(dir.path(), "x", &log[..half - 1]), file(dir.path(), "y", &log[half..])];
    for paths in [whole, unterminated, two] {
        let population = population(&paths, LineFormat::default());
        assert_eq!(population.len(), log.len() as u64);
        assert_all_35_subsets_alike("random access", |seed| {
            let probing = Probing { count: 3, seed: Seed(seed), replace: false, budget: 1_000_000 };
            let found = probe(&population, probing, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap().unwrap();
            found
                .iter()
                .map(|entry| {
                    let mut line = vec![0; entry.item.len as usize];
                    population.read(entry.item.start, &mut line).unwrap();
                    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
                    number_of(&line)
                })
                .collect()
        });
    }
}

#[test]
fn giving_up_random_access_does_not_bias_what_is_found_in_time() {
    // A budget that suffices for about half of the seeds: those that make it are a uniform sample all the same.
    let dir = tempfile::tempdir().unwrap();
    let population = population(&[file(dir.path(), "log", &unequal_lines(7, &[20, 1, 5]))], LineFormat::default());
    let mut seeds = 0..;
    assert_all_35_subsets_alike("budget", |_| {
        loop {
            let probing = Probing { count: 3, seed: Seed(seeds.next().unwrap()), replace: false, budget: 30 };
            if let Some(found) = probe(&population, probing, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap() {
                let starts = found.iter().map(|entry| {
                    let mut digit = [0];
                    population.read(entry.item.start, &mut digit).unwrap();
                    number_of(&digit)
                });
                return starts.collect();
            }
        }
    });
}

#[test]
fn merged_samples_are_uniform_over_the_joined_input() {
    let log = unequal_lines(7, &LENGTHS);
    let ends: Vec<usize> = (0..log.len()).filter(|at| log[*at] == b'\n').map(|at| at + 1).collect();
    for cuts in [[0, 1], [1, 3], [3, 3], [2, 5]] {
        let [first, second] = cuts.map(|lines: usize| lines.checked_sub(1).map_or(0, |line| ends[line]));
        let parts = [&log[..first], &log[first..second], &log[second..]];
        assert_all_35_subsets_alike(&format!("merged at {cuts:?}"), |seed| {
            let merged = merged(&parts, |part| small_plan(3, seed * 3 + part, 1 << 17));
            assert_eq!(merged.lines_seen(), Some(7));
            drawn(&merged, Order::Input)
        });
    }
}

/// Each part sampled by a plan of its own, saved, and merged.
fn merged(parts: &[&[u8]], plan: impl Fn(u64) -> Plan) -> Sample<'static> {
    let save = |(bytes, part): (&&[u8], u64)| {
        let mut file = Vec::new();
        let sample = plan(part).sample_reader("part", std::io::Cursor::new(bytes.to_vec())).unwrap();
        saved::write(sample, &mut file).unwrap();
        (part.to_string(), saved::read("part", &file).unwrap())
    };
    saved::merge(parts.iter().zip(0..).map(save).collect(), None).unwrap()
}

#[test]
fn each_group_is_sampled_uniformly_and_on_its_own() {
    // Lines 0 to 6 alternate between two groups of 7: A has them in order, B in the opposite order.
    let lines = (0..7).map(|i| format!("{i}\tA\n{}\tB\n", 6 - i)).collect::<String>();
    let fields = Fields { by: Some(Field::Number(2)), weight: None, separator: b'\t' };
    let mut other = Vec::new();
    let plan = |seed| Plan { fields: fields.clone(), ..small_plan(3, seed, 1 << 17) };
    let (first, second) = lines.as_bytes().split_at(lines.len() / 7 * 3);
    for (group, merge) in [(b"A\n", false), (b"B\n", false), (b"A\n", true), (b"B\n", true)] {
        assert_all_35_subsets_alike("by", |seed| {
            let sample = match merge {
                false => plan(seed).sample_reader("log", std::io::Cursor::new(lines.clone())).unwrap(),
                true => merged(&[first, second], |part| plan(seed * 2 + part)),
            };
            let mut chosen = sample.to_lines(Order::Input).unwrap();
            assert_eq!(chosen.len(), 6);
            chosen.retain(|line| line.ends_with(group));
            if !merge {
                other.push(numbers_of(&chosen));
            }
            numbers_of(&chosen)
        });
    }
    // Whether line 0 was chosen in A says nothing about line 0 in B.
    let (a, b) = other.split_at(other.len() / 2);
    let mut cells = [0; 4];
    a.iter().zip(b).for_each(|(a, b)| cells[usize::from(a.contains(&0)) * 2 + usize::from(b.contains(&0))] += 1);
    let [yes, no] = [3.0 / 7.0, 4.0 / 7.0];
    let chance = fit(&cells, &[no * no, no * yes, yes * no, yes * yes]);
    assert!(chance > UNLIKELY, "{chance:e}");
}

/// Ordered draws of `k` of `n` as a number in base `n`.
fn ordered(draws: &[usize], n: usize) -> usize {
    draws.iter().fold(0, |number, draw| number * n + draw)
}

#[test]
fn a_shuffled_sample_has_every_order_alike() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(5, &LENGTHS);
    let path = vec![file(dir.path(), "log", &log)];
    let orders: Vec<usize> =
        (0..125).filter(|it| it / 25 != it / 5 % 5 && it / 25 != it % 5 && it / 5 % 5 != it % 5).collect();
    for way in ["stream", "scan", "by"] {
        let mut counts = vec![0; orders.len()];
        for seed in 0..8_000 {
            let mut plan = small_plan(3, seed, 7);
            let draws = if way == "scan" {
                let mut opened = plan.open(inputs(&path)).unwrap();
                assert!(matches!(opened, Opened::Files(_)));
                drawn(&plan.sample(&mut opened, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap(), Order::Shuffled)
            } else {
                if way == "by" {
                    plan.fields.by = Some(Field::Number(2));
                }
                drawn(&plan.sample_reader("log", std::io::Cursor::new(log.clone())).unwrap(), Order::Shuffled)
            };
            counts[orders.binary_search(&ordered(&draws, 5)).unwrap()] += 1;
        }
        let chance = fit_uniform(&counts);
        assert!(chance > UNLIKELY, "{way}: {chance:e}");
    }
}

#[test]
fn random_access_finds_lines_in_every_order_alike() {
    let dir = tempfile::tempdir().unwrap();
    let population = population(&[file(dir.path(), "log", &unequal_lines(3, &[40, 1, 7]))], LineFormat::default());
    let mut counts = vec![0; 9];
    for seed in 0..6_000 {
        let probing = Probing { count: 2, seed: Seed(seed), replace: false, budget: 100_000 };
        let mut found = probe(&population, probing, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap().unwrap();
        found.sort_unstable_by_key(|entry| entry.key);
        let starts = [0, 42, 45].map(|start: u64| start);
        let draws: Vec<usize> =
            found.iter().map(|entry| starts.iter().position(|start| *start == entry.item.start).unwrap()).collect();
        counts[ordered(&draws, 3)] += 1;
    }
    let different: Vec<u64> = (0..9).filter(|it| it / 3 != it % 3).map(|it| counts[it]).collect();
    assert!(fit_uniform(&different) > UNLIKELY && counts[0] + counts[4] + counts[8] == 0, "{counts:?}");
}

#[test]
fn with_replacement_every_sequence_is_alike() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(3, &LENGTHS);
    let path = file(dir.path(), "log", &log);
    let population = population(std::slice::from_ref(&path), LineFormat::default());
    for way in ["stream", "file", "random access"] {
        let mut counts = vec![0; 81];
        for seed in 0..16_000 {
            let draws = if way == "stream" {
                let plan = Plan { replace: true, ..small_plan(4, seed, 5) };
                drawn(&plan.sample_reader("log", std::io::Cursor::new(log.clone())).unwrap(), Order::Shuffled)
            } else if way == "file" {
                let plan = Plan { replace: true, threads: 2, ..small_plan(4, seed, 5) };
                let mut opened = plan.open(inputs(std::slice::from_ref(&path))).unwrap();
                drawn(&plan.sample(&mut opened, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap(), Order::Shuffled)
            } else {
                let probing = Probing { count: 4, seed: Seed(seed), replace: true, budget: 1_000_000 };
                let mut found =
                    probe(&population, probing, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap().unwrap();
                found.sort_unstable_by_key(|entry| entry.key);
                let digit = |start| {
                    let mut digit = [0];
                    population.read(start, &mut digit).unwrap();
                    number_of(&digit)
                };
                found.iter().map(|entry| digit(entry.item.start)).collect()
            };
            counts[ordered(&draws, 3)] += 1;
        }
        let chance = fit_uniform(&counts);
        assert!(chance > UNLIKELY, "{way}: {chance:e}");
    }
}

#[test]
fn weights_give_the_law_of_successive_draws() {
    let weights = [1.0, 0.5, 2.0, 4.0, 0.25, 0.0, 1.5];
    // The chance of a set is the sum over its orders of the chances of successive draws in proportion to weight.
    let law = |set: &[usize]| -> f64 {
        let total: f64 = weights.iter().sum();
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let chance = |order: &[usize; 3]| {
            let mut left = total;
            order.iter().fold(1.0, |chance, at| {
                let weight = weights[set[*at]];
                let chance = chance * weight / left;
                left -= weight;
                chance
            })
        };
        orders.iter().map(chance).sum()
    };
    let lines: String = weights.iter().enumerate().map(|(i, weight)| format!("{i},{weight}\n")).collect();
    let fields = Fields { by: None, weight: Some(Field::Number(2)), separator: b',' };
    let plan = |seed| Plan { fields: fields.clone(), ..small_plan(3, seed, 1 << 17) };
    let whole = |seed| plan(seed).sample_reader("log", std::io::Cursor::new(lines.clone())).unwrap();
    let (first, second) = lines.as_bytes().split_at(lines.find("3,").unwrap());
    let joined = |seed| merged(&[first, second], |part| plan(seed * 2 + part));
    let expected: Vec<f64> = subsets(7, 3).iter().map(|set| law(set)).collect();
    for counts in [
        count_subsets(7, 3, 40_000, |seed| drawn(&whole(seed), Order::Input)),
        count_subsets(7, 3, 40_000, |seed| drawn(&joined(seed), Order::Input)),
    ] {
        let possible: Vec<usize> = (0..counts.len()).filter(|cell| expected[*cell] > 0.0).collect();
        assert!((0..counts.len()).all(|cell| expected[cell] > 0.0 || counts[cell] == 0), "weight 0 was chosen");
        let at = |cell: &usize| (counts[*cell], expected[*cell]);
        let (counts, expected): (Vec<u64>, Vec<f64>) = possible.iter().map(at).unzip();
        let chance = fit(&counts, &expected);
        assert!(chance > UNLIKELY, "{chance:e}");
    }
}

#[test]
fn at_a_rate_every_line_has_its_own_coin() {
    let (rate, p): (Rate, f64) = ("30%".parse().unwrap(), 0.3);
    let mut counts = vec![0; 16];
    for seed in 0..8_000 {
        let mut out = Vec::new();
        let input = weir::sample::input::Source::new("log", std::io::Cursor::new("0\n1\n2\n3\n"));
        let plan = small_plan(0, seed, 1);
        let rated = plan.write_at_rate(rate, vec![weir::sample::Input::Stream(input)], &mut out, &mut |_| {
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(rated.unwrap().lines, 4);
        let set: usize = out.split_inclusive(|byte| *byte == b'\n').map(|line| 1 << number_of(line)).sum();
        counts[set] += 1;
    }
    let expected: Vec<f64> =
        (0..16u32).map(|set| (0..4).map(|i| if set >> i & 1 == 1 { p } else { 1.0 - p }).product()).collect();
    assert!(fit(&counts, &expected) > UNLIKELY, "{counts:?}");
}

#[test]
fn all_495_subsets_of_4_out_of_12_are_alike_over_chunk_borders() {
    // 495 cells hold all pairs and triples too.
    let log = unequal_lines(12, &[2, 0, 9]);
    let counts = count_subsets(12, 4, 10_000, |seed| {
        drawn(&small_plan(4, seed, 8).sample_reader("log", std::io::Cursor::new(log.clone())).unwrap(), Order::Input)
    });
    let chance = fit_uniform(&counts);
    assert!(chance > UNLIKELY, "{chance:e}");
}

#[test]
fn of_a_thousand_lines_each_and_each_pair_of_neighbours_is_as_likely_as_any_other() {
    let (n, k, trials) = (1000, 50, 2000);
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(n, &LENGTHS);
    let path = vec![file(dir.path(), "log", &log)];
    let population = population(&path, LineFormat::default());
    let mut single = vec![0u64; n];
    let mut neighbours = 0u64;
    for seed in 0..trials {
        let scanning = Scan { count: k, seed: Seed(seed), chunk_bytes: 1000, threads: 1 };
        let found = scan(&population, scanning, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap();
        let spans = find(&population, 1000, found.places).unwrap();
        let numbers: Vec<usize> = spans
            .iter()
            .map(|entry| {
                let mut line = vec![0; entry.item.len as usize];
                population.read(entry.item.start, &mut line).unwrap();
                number_of(&line)
            })
            .collect();
        numbers.iter().for_each(|number| single[*number] += 1);
        neighbours += numbers.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() as u64;
    }
    // Inclusions of one draw are dependent: the statistic of fixed-size samples is smaller by the factor 1 - k/n, and
    // has n - 1 degrees of freedom.
    let share = k as f64 / n as f64;
    let mean = trials as f64 * share;
    let x: f64 = single.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / (mean * (1.0 - share));
    let x = x * (n as f64 - 1.0) / n as f64;
    assert!(chi_square_tail(x, n as f64 - 1.0) > UNLIKELY, "{x}");
    assert!(chi_square_tail(x, n as f64 - 1.0) < 1.0 - UNLIKELY, "too even: {x}");
    // k (k-1) / n pairs of neighbours a draw, close to a Poisson law.
    let mean = trials as f64 * (k * (k - 1)) as f64 / n as f64;
    assert!((neighbours as f64 - mean).abs() < 4.0 * mean.sqrt(), "{neighbours} of {mean}");
}
