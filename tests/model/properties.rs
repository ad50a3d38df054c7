//! What must hold in every state.
//!
//! "Is counted in the end" is not left to the checker's `eventually`, which can overlook paths that join: in every state
//! in which everybody is done or dead, a flush that nothing disturbs is played to its end, and then it must be so.

use stateright::Property;

use crate::config::Config;
use crate::world::{Shared, World};

pub const COUNTED: &str = "what is acknowledged and not lost with its only server is counted";
pub const ONCE: &str = "nothing is counted twice";
pub const RIGHTFUL: &str = "a flusher that lost its right writes nothing";
pub const FORWARD: &str = "a head never goes back";
pub const HONEST: &str = "nobody is turned away who has not voted";
pub const SPARE: &str = "with two copies one server's restart loses nothing that has both";
pub const REPORTED: &str = "what a database that went back has lost is reported";
pub const QUIET: &str = "nothing is reported as lost unless the database went back";

/// How many ballots are acknowledged, not lost with their server, and not counted.
fn uncounted(config: &Config, shared: &Shared) -> usize {
    let owed = shared.acknowledged & !shared.lost;
    let is_counted = |ballot: u8| shared.database.committed.tally[usize::from(ballot)] > 0;
    (0..config.ballots()).filter(|ballot| owed >> ballot & 1 == 1 && !is_counted(*ballot)).count()
}

/// Every property.
pub fn all() -> Vec<Property<Config>> {
    vec![
        Property::always(COUNTED, |config: &Config, world: &World| {
            let may_lose = !config.keep && world.shared.database.has_gone_back;
            !world.is_quiet() || may_lose || uncounted(config, &world.flushed(config)) == 0
        }),
        Property::always(REPORTED, |config: &Config, world: &World| {
            !world.is_quiet() || !world.shared.database.has_gone_back || {
                let shared = world.flushed(config);
                usize::from(shared.database.missing()) >= uncounted(config, &shared)
            }
        }),
        Property::always(QUIET, |config: &Config, world: &World| {
            let quiet = |shared: &Shared| shared.database.has_gone_back || shared.database.missing() == 0;
            quiet(&world.shared) && (!world.is_quiet() || quiet(&world.flushed(config)))
        }),
        Property::always(ONCE, |config: &Config, world: &World| {
            let once = |shared: &Shared| shared.database.committed.tally.iter().all(|count| *count < 2);
            once(&world.shared) && (!world.is_quiet() || once(&world.flushed(config)))
        }),
        Property::always(RIGHTFUL, |_, world: &World| !world.shared.database.written_without_right),
        Property::always(FORWARD, |_, world: &World| !world.shared.database.head_went_back),
        Property::always(SPARE, |config: &Config, world: &World| {
            let Shared { acknowledged, lost, short, .. } = world.shared;
            config.copies == 1 || config.restarts > 1 || acknowledged & lost & !short == 0
        }),
        Property::always(HONEST, |_, world: &World| !world.shared.turned_away),
    ]
}
