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
pub const SPARE: &str = "with two copies one server's restart loses nothing but what another refused";

/// Every property.
pub fn all() -> Vec<Property<Config>> {
    vec![
        Property::always(COUNTED, |config: &Config, world: &World| {
            !world.is_quiet() || {
                let shared = world.flushed(config);
                let owed = shared.acknowledged & !shared.lost;
                (0..config.ballots())
                    .all(|ballot| owed >> ballot & 1 == 0 || shared.database.tally[usize::from(ballot)] > 0)
            }
        }),
        Property::always(ONCE, |config: &Config, world: &World| {
            let once = |shared: &Shared| shared.database.tally.iter().all(|count| *count < 2);
            once(&world.shared) && (!world.is_quiet() || once(&world.flushed(config)))
        }),
        Property::always(RIGHTFUL, |_, world: &World| !world.shared.database.written_without_right),
        Property::always(FORWARD, |_, world: &World| !world.shared.database.went_back),
        Property::always(SPARE, |config: &Config, world: &World| {
            let Shared { acknowledged, lost, starved, .. } = world.shared;
            config.copies == 1 || config.restarts > 1 || acknowledged & lost & !starved == 0
        }),
        Property::always(HONEST, |_, world: &World| !world.shared.turned_away),
    ]
}
