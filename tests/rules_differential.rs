//! weir's matcher against the installed rsync, over random trees and lists: no difference is tolerated.
//!
//! `WEIR_RULES_CASES` sets the number of cases (5 000 unless set), `WEIR_RULES_SEED` the seed; the soak of
//! 200 000 is `cargo test --release --test rules_differential -- --ignored`, or so many cases in slices with a seed each.
//! The rsync is the one in the `PATH`; a case is one run of it over a tree of some 60 entries. A failing list is shrunk by
//! proptest and printed; it is then kept, with its name, in `rules_cases.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod rules_support;

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rules_support::generate::{entries, list};
use rules_support::{Tree, difference, rsync, scratch, sent_by_rsync, sent_by_weir};
use weir::rules::{List, ListError};

/// rsync sleeps for most of its short life, so more of them than processors are kept going.
const THREADS: u32 = 12;
const TREES: usize = 24;

/// Cases in which something was sent and something was hidden: a generator that makes few of them tests little.
static MIXED: AtomicU32 = AtomicU32::new(0);

fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn runner(cases: u32, seed: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut bytes = [0_u8; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn trees(count: usize, seed: u32) -> Vec<Tree> {
    let mut runner = runner(1, seed);
    (0..count).map(|_| Tree::build(&entries(40..90).new_tree(&mut runner).unwrap().current())).collect()
}

/// Cases done, for whoever waits for a soak.
static DONE: AtomicU32 = AtomicU32::new(0);

/// Every path of the tree gets the same answer from both, and a list that one refuses the other refuses.
fn agree(tree: &Tree, text: &[u8], at: &std::path::Path) -> Result<(), TestCaseError> {
    let done = DONE.fetch_add(1, Ordering::Relaxed) + 1;
    if done.is_multiple_of(10_000) {
        println!("{done} cases");
    }
    let fail = |reason: String| {
        Err(TestCaseError::fail(format!("{reason}\nlist: {}\ntree: {:?}", text.escape_ascii(), tree.path())))
    };
    match (List::parse("list", text), sent_by_rsync(tree.path(), text, at)) {
        (Err(ListError::NoPattern { .. }), Err(1)) => Ok(()),
        (Ok(list), Ok(sent)) => {
            MIXED.fetch_add(u32::from(!sent.is_empty() && sent.len() < tree.paths.len()), Ordering::Relaxed);
            match difference(&sent_by_weir(&tree.paths, &list), &sent) {
                Some(reason) => fail(reason),
                None => Ok(()),
            }
        }
        (weir, rsync) => fail(format!("weir: {:?}, rsync: {rsync:?}", weir.map(|list| list.rules.len()))),
    }
}

fn run(cases: u32, seed: u32) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let seed = seed.wrapping_mul(THREADS) + thread;
                let trees = trees(TREES, seed);
                let at = tempfile::Builder::new().prefix("rules-").tempdir_in(scratch()).unwrap();
                let result = runner(cases / THREADS, seed)
                    .run(&(0..TREES, list()), |(tree, text)| agree(&trees[tree], &text, at.path()));
                if let Err(error) = result {
                    panic!("{error}");
                }
            });
        }
    });
    let mixed = MIXED.load(Ordering::Relaxed);
    println!("{mixed} of {cases} cases sent some and hid some");
    assert!(mixed > cases / 2, "only {mixed} of {cases} cases sent some and hid some");
}

#[test]
fn rsync_and_weir_send_the_same_paths() {
    run(from_environment("WEIR_RULES_CASES", 5000), from_environment("WEIR_RULES_SEED", 1));
}

#[test]
#[ignore = "200 000 runs of rsync keep two processors busy for some 20 minutes"]
fn rsync_and_weir_send_the_same_paths_soak() {
    run(from_environment("WEIR_RULES_CASES", 200_000), from_environment("WEIR_RULES_SEED", 2));
}

/// What `--delete-excluded` leaves in a destination that was a copy of the whole source, and more, is what
/// weir says is sent: nothing else survives, nothing else is deleted.
#[test]
fn delete_excluded_leaves_what_weir_says_is_sent() {
    let source = trees(1, 77).remove(0);
    let at = tempfile::Builder::new().prefix("rules-").tempdir_in(scratch()).unwrap();
    let result = runner(from_environment("WEIR_RULES_CASES", 5000) / 50, 77).run(&list(), |text| {
        let Ok(list) = List::parse("list", &text) else { return Ok(()) };
        let dest =
            Tree::build(&[source.paths.iter().cloned().collect::<Vec<_>>(), vec![b"extra/of/dest".to_vec()]].concat());
        let file = at.path().join("list");
        std::fs::write(&file, &text).unwrap();
        let mut from = std::ffi::OsString::from("--exclude-from=");
        from.push(&file);
        let mut directory = source.path().as_os_str().to_owned();
        directory.push("/");
        let flags = ["-rl", "--delete-excluded"].map(std::ffi::OsString::from);
        let output = rsync(flags.iter().chain([&from, &directory, &dest.path().as_os_str().to_owned()]));
        prop_assert!(output.status.success(), "{output:?}");
        let left = sent_by_rsync(dest.path(), b"", at.path()).unwrap();
        let difference = difference(&sent_by_weir(&source.paths, &list), &left);
        prop_assert!(difference.is_none(), "{}\nlist: {}", difference.unwrap_or_default(), text.escape_ascii());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
