//! Nobody goes round for ever: no state comes back, so every way through the states ends.
//!
//! The checker does not tell cycles, so they are looked for here, by walking in depth and watching for a state that
//! is on the way already.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use stateright::Model;

use crate::config::{Bug, CALM, Config, Start};
use crate::world::World;

/// The number of states, or nothing when one comes back.
fn states_without_return(config: &Config) -> Option<usize> {
    let hasher = RandomState::new();
    let fingerprint = |state: &World| hasher.hash_one(state);
    let mut on_the_way: HashMap<u64, bool> = HashMap::new();
    let mut way = Vec::new();
    for state in config.init_states() {
        let mut actions = Vec::new();
        config.actions(&state, &mut actions);
        on_the_way.insert(fingerprint(&state), true);
        way.push((state, actions));
    }
    while let Some((state, actions)) = way.last_mut() {
        let Some(action) = actions.pop() else {
            on_the_way.insert(fingerprint(state), false);
            way.pop();
            continue;
        };
        let Some(next) = config.next_state(state, action) else { continue };
        match on_the_way.get(&fingerprint(&next)) {
            Some(true) => return None,
            Some(false) => {}
            None => {
                on_the_way.insert(fingerprint(&next), true);
                let mut actions = Vec::new();
                config.actions(&next, &mut actions);
                way.push((next, actions));
            }
        }
    }
    Some(on_the_way.len())
}

#[test]
fn everybody_comes_to_an_end() {
    for config in [
        Config { deaths: 1, flushers: 2, voters: 1, ..CALM },
        Config { restarts: 1, cuts: 1, voters: 1, ..CALM },
        Config { evictions: 1, voters: 1, flushes: 2, window: 4, ..CALM },
        Config { start: Start::Nothing, scripts: 1, voters: 1, attempts: 1, window: 4, ..CALM },
        Config { start: Start::Nothing, no_memory: 1, voters: 2, attempts: 1, ..CALM },
        Config { noop_commits: 1, flushers: 2, voters: 1, attempts: 1, ..CALM },
        Config { keep: true, goes_back: true, flushes: 2, voters: 1, attempts: 2, ..CALM },
        Config { servers: 2, copies: 2, cuts: 1, voters: 1, attempts: 1, ..CALM },
    ] {
        assert!(states_without_return(&config).is_some_and(|states| states > 1000), "{config:?}");
    }
}

#[test]
fn a_reader_that_waits_for_an_empty_slot_goes_round_for_ever() {
    assert_eq!(states_without_return(&Config { bug: Bug::WaitForSlot, voters: 1, ..CALM }), None);
}
