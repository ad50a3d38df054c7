//! What the world is after a step of somebody, or after a fault.

use crate::config::Config;
use crate::flusher::Reader;
use crate::memcached::Memcached;
use crate::script;
use crate::voter;
use crate::world::{Action, Actor, Fate, World};

impl World {
    /// The state after an action.
    pub fn after(&self, config: &Config, action: Action) -> Option<World> {
        let mut next = *self;
        match action {
            Action::Step(index, _, fate) => {
                let World { shared, actors, faults } = &mut next;
                let (at_database, broken) = match &actors[index] {
                    Actor::Voter(voter) => (voter.at == voter::At::Store, voter.broken),
                    Actor::Flusher(flusher) => (flusher.is_at_the_database(), flusher.is_broken()),
                    Actor::Nobody | Actor::Script(_) => (false, false),
                };
                match &mut actors[index] {
                    Actor::Nobody => return None,
                    Actor::Voter(voter) => voter.step(config, shared, fate),
                    Actor::Script(script) => script.step(shared, fate == Fate::NoMemory),
                    Actor::Flusher(flusher) => flusher.step(config, shared, fate),
                }
                match fate {
                    Fate::Answered | Fate::Early => {}
                    Fate::NoMemory => faults.no_memory -= 1,
                    Fate::Noop => faults.noop_commits -= 1,
                    _ if at_database => faults.database -= 1,
                    _ if broken => {}
                    _ => faults.cuts -= 1,
                }
            }
            Action::Oversleep(index) => {
                if let Actor::Voter(voter) = &mut next.actors[index] {
                    voter.another_ticket(config, &mut next.shared);
                }
            }
            Action::Die(index) => {
                next.faults.deaths -= 1;
                match &mut next.actors[index] {
                    Actor::Nobody => {}
                    Actor::Voter(voter) => voter.end(),
                    Actor::Script(script) => script.end(),
                    Actor::Flusher(flusher) => {
                        next.shared.database.roll_back(usize::from(flusher.number));
                        flusher.flushes = 0;
                        flusher.end_flush(config);
                    }
                }
            }
            Action::Restart(server) => {
                next.faults.restarts -= 1;
                next.restart(config, server);
            }
            Action::Evict(server, key) => {
                next.faults.evictions -= 1;
                let before = next.shared.servers[usize::from(server)];
                next.shared.servers[usize::from(server)].forget(key);
                next.shared.note_losses(config, &before);
            }
            Action::Snapshot => {
                next.faults.goes_back = false;
                next.shared.database.take_snapshot();
            }
            Action::GoBack => next.shared.database.go_back(),
            Action::Resolve(index, true) => {
                next.shared.database.commit(config, index);
            }
            Action::Resolve(index, false) => next.shared.database.roll_back(index),
        }
        Some(next)
    }

    fn restart(&mut self, config: &Config, server: u8) {
        let before = std::mem::replace(&mut self.shared.servers[usize::from(server)], Memcached::EMPTY);
        self.shared.note_losses(config, &before);
        for actor in &mut self.actors {
            match actor {
                Actor::Voter(voter) if voter.connected && voter.server(config) == Some(server) => voter.broken = true,
                Actor::Flusher(flusher) if flusher.server == server => {
                    flusher.broken |= flusher.connected;
                    if flusher.reader != Reader::None {
                        flusher.reader = Reader::Broken;
                    }
                }
                Actor::Script(script) if script.at != script::At::Lock => script.end(),
                _ => {}
            }
        }
    }
}
