//! The whole state, the steps that are possible in it, and the faults.

use stateright::{Model, Property};

use crate::config::{Config, Start};
use crate::database::{BALLOTS_MAX, Database};
use crate::flusher::{self, Flusher};
use crate::memcached::{Key, Memcached, Slot, Ticket};
use crate::properties;
use crate::script::{self, Script};
use crate::voter::{self, Voter};

/// How many take part at most.
const ACTORS_MAX: usize = 5;

/// What becomes of one exchange with memcached or the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It was done, and nobody hears of it.
    AnswerLost,
    /// It was not done. For a transaction: it is rolled back.
    NeverSent,
    /// A `COMMIT` that nobody waits for any more; the database decides later.
    Adrift,
}

/// What everybody shares, and what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shared {
    pub servers: [Memcached; 2],
    pub database: Database,
    /// Ballots in the spool, as bits; so are the next four.
    pub spool: u8,
    pub acknowledged: u8,
    /// An entry of these was stored, and its writer heard of it.
    pub taken: u8,
    /// Ballots whose last copy went with its server, or was evicted.
    pub lost: u8,
    /// Every slot that their writer got on some server was closed before it came, so they have a copy less.
    pub starved: u8,
    /// A voter was told that it had voted, and had not.
    pub turned_away: bool,
    next_epoch: u8,
}

impl Shared {
    /// Mirrors `Ticket::fresh_epoch`.
    pub fn fresh_epoch(&mut self, config: &Config) -> Ticket {
        if config.has(crate::config::Bug::TicketsRepeat) {
            return Ticket::start_of(1);
        }
        self.next_epoch += 1;
        Ticket::start_of(self.next_epoch)
    }

    /// A server has (again) an entry of this ballot.
    pub fn kept(&mut self, ballot: u8) {
        self.lost &= !(1 << ballot);
    }

    /// After a server lost something: ballots that it had and nobody has now.
    fn note_losses(&mut self, config: &Config, before: &Memcached) {
        for ballot in 0..config.ballots() {
            let elsewhere = self.servers.iter().any(|server| server.holds(ballot))
                || self.spool >> ballot & 1 == 1
                || self.database.tally[usize::from(ballot)] > 0;
            if before.holds(ballot) && !elsewhere {
                self.lost |= 1 << ballot;
            }
        }
    }
}

/// Somebody who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    Nobody,
    Voter(Voter),
    Script(Script),
    Flusher(Flusher),
}

/// Faults that may still strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    deaths: u8,
    restarts: u8,
    evictions: u8,
    cuts: u8,
    database: u8,
}

/// The state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub shared: Shared,
    actors: [Actor; ACTORS_MAX],
    faults: Faults,
}

/// Where somebody is, for the path that is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Where {
    Voter(voter::At),
    Script(script::At),
    Flusher(flusher::At),
}

/// One step of somebody, or one fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    Step(usize, Where, Fate),
    /// A voter finds its ticket too old.
    Oversleep(usize),
    Die(usize),
    Restart(u8),
    Evict(u8, Key),
    /// The database ends a transaction that was adrift.
    Resolve(usize, bool),
}

impl World {
    fn new(config: &Config) -> World {
        assert!(usize::from(config.ballots()) <= BALLOTS_MAX);
        let mut servers = [Memcached::EMPTY; 2];
        let mut next_epoch = 0;
        for server in servers.iter_mut().take(usize::from(config.servers)) {
            match config.start {
                Start::Nothing => {}
                Start::Running => {
                    next_epoch += 1;
                    server.lock = Some(0);
                    server.curr = Some(Ticket::start_of(next_epoch));
                    server.epochs = Some(1 << next_epoch);
                }
                Start::Legacy => (server.lock, server.curr) = (Some(0), Some(Ticket(0))),
            }
        }
        let voters = (0..config.voters).map(|number| Actor::Voter(Voter::new(config, number)));
        let script = |number| Script::new(config.voters + number * config.messages, config.messages);
        let scripts = (0..config.scripts).map(|number| Actor::Script(script(number)));
        let flushers = (0..config.flushers).map(|number| Actor::Flusher(Flusher::new(config, number)));
        let mut actors = [Actor::Nobody; ACTORS_MAX];
        for (place, actor) in actors.iter_mut().zip(voters.chain(scripts).chain(flushers)) {
            *place = actor;
        }
        let faults = Faults {
            deaths: config.deaths,
            restarts: config.restarts,
            evictions: config.evictions,
            cuts: config.cuts,
            database: config.database_faults,
        };
        let (database, spool, acknowledged, taken, lost, starved) = (Database::EMPTY, 0, 0, 0, 0, 0);
        let turned_away = false;
        let shared = Shared { servers, database, spool, acknowledged, taken, lost, starved, turned_away, next_epoch };
        World { shared, actors, faults }
    }

    /// Whether somebody alive is between taking and freeing the lock.
    fn lock_is_held(&self, server: u8) -> bool {
        self.actors.iter().any(|actor| match actor {
            Actor::Script(script) => server == 0 && script.holds_lock(),
            Actor::Flusher(flusher) => flusher.server == server && flusher.holds_lock,
            _ => false,
        })
    }

    fn waits(&self, server: u8) -> bool {
        let scripts = self
            .actors
            .iter()
            .any(|actor| server == 0 && matches!(actor, Actor::Script(script) if script.holds_lock()));
        scripts
            || self.shared.servers[usize::from(server)].lock.is_some_and(|lock| lock > 0) && self.lock_is_held(server)
    }

    pub fn is_quiet(&self) -> bool {
        let done = |actor: &Actor| match actor {
            Actor::Nobody => true,
            Actor::Voter(voter) => voter.at == voter::At::Done,
            Actor::Script(script) => script.at == script::At::Done,
            Actor::Flusher(flusher) => flusher.at == flusher::At::Done,
        };
        self.actors.iter().all(done) && self.shared.database.open.iter().all(Option::is_none)
    }

    /// A flush that nothing disturbs.
    pub fn flushed(&self, config: &Config) -> Shared {
        let mut shared = self.shared;
        let mut flusher = Flusher { flushes: 2, ..Flusher::new(config, 0) };
        while flusher.at != flusher::At::Done {
            flusher.step(config, &mut shared, Fate::Answered);
        }
        shared
    }

    fn voter_steps(&self, config: &Config, index: usize, voter: &Voter, actions: &mut Vec<Action>) {
        let step = |fate| Action::Step(index, Where::Voter(voter.at), fate);
        if voter.at == voter::At::Done {
            return;
        }
        if voter.broken {
            return actions.push(step(Fate::NeverSent));
        }
        actions.push(step(Fate::Answered));
        if voter.at == voter::At::Fill
            && config.restarts + config.deaths == 0
            && !config.has(crate::config::Bug::SameTicketAgain)
        {
            actions.push(Action::Oversleep(index));
        }
        let budget = match voter.at {
            voter::At::Store => self.faults.database,
            voter::At::Spool => 0,
            _ => self.faults.cuts,
        };
        if budget > 0 {
            actions.extend([step(Fate::AnswerLost), step(Fate::NeverSent)]);
        }
    }

    fn flusher_steps(&self, index: usize, flusher: &Flusher, actions: &mut Vec<Action>) {
        use flusher::At;
        let step = |fate| Action::Step(index, Where::Flusher(flusher.at), fate);
        let adrift = self.shared.database.open[usize::from(flusher.number)].is_some_and(|open| open.adrift);
        let waits = flusher.at == At::Lock && self.waits(flusher.server);
        if flusher.at == At::Done || waits && !flusher.broken || adrift {
            return;
        }
        if flusher.broken && !flusher.is_at_the_database() {
            return actions.push(step(Fate::NeverSent));
        }
        actions.push(step(Fate::Answered));
        match flusher.at {
            At::Commit if self.faults.database > 0 => {
                actions.extend([step(Fate::AnswerLost), step(Fate::NeverSent), step(Fate::Adrift)]);
            }
            At::SpoolCommit if self.faults.database > 0 => {
                actions.extend([step(Fate::AnswerLost), step(Fate::NeverSent)]);
            }
            _ if !flusher.is_at_the_database() && self.faults.cuts > 0 => {
                actions.extend([step(Fate::AnswerLost), step(Fate::NeverSent)]);
            }
            _ => {}
        }
    }

    fn evictable(&self, config: &Config, key: Key) -> bool {
        // Without a lock or a counter a script begins the numbers anew, over whatever is queued: the notes' own.
        let Key::Slot(ticket) = key else {
            return !matches!(key, Key::Lock | Key::Curr | Key::Legacy) || config.scripts == 0;
        };
        // A tombstone lasts longer than anybody holds a ticket: that much the protocol asks of the server.
        let held = |actor: &Actor| matches!(actor, Actor::Voter(voter) if voter.holds() == Some(ticket));
        let closed = self.shared.servers.iter().any(|server| server.slot(ticket) == Slot::Closed);
        config.has(crate::config::Bug::TicketsLiveForever) || !(closed && self.actors.iter().any(held))
    }

    fn restart(&mut self, config: &Config, server: u8) {
        let before = std::mem::replace(&mut self.shared.servers[usize::from(server)], Memcached::EMPTY);
        self.shared.note_losses(config, &before);
        for actor in &mut self.actors {
            match actor {
                Actor::Voter(voter) if voter.connected && voter.server(config) == Some(server) => voter.broken = true,
                Actor::Flusher(flusher) if flusher.connected && flusher.server == server => flusher.broken = true,
                Actor::Script(script) if script.at != script::At::Lock => script.end(),
                _ => {}
            }
        }
    }
}

impl Model for Config {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (index, actor) in world.actors.iter().enumerate() {
            let before = actions.len();
            match actor {
                Actor::Nobody => {}
                Actor::Voter(voter) => world.voter_steps(self, index, voter, actions),
                Actor::Script(script) => {
                    let waits = script.at == script::At::Lock && world.waits(0);
                    if script.at != script::At::Done && !waits {
                        actions.push(Action::Step(index, Where::Script(script.at), Fate::Answered));
                    }
                }
                Actor::Flusher(flusher) => world.flusher_steps(index, flusher, actions),
            }
            if actions.len() > before && world.faults.deaths > 0 {
                actions.push(Action::Die(index));
            }
        }
        for (index, open) in world.shared.database.open.iter().enumerate() {
            if open.is_some_and(|open| open.adrift) {
                actions.extend([Action::Resolve(index, true), Action::Resolve(index, false)]);
            }
        }
        for (number, server) in (0..self.servers).zip(&world.shared.servers) {
            if world.faults.restarts > 0 && *server != Memcached::EMPTY {
                actions.push(Action::Restart(number));
            }
            if world.faults.evictions > 0 {
                let keys = server.keys().filter(|key| world.evictable(self, *key));
                actions.extend(keys.map(|key| Action::Evict(number, key)));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        match action {
            Action::Step(index, _, fate) => {
                let World { shared, actors, faults } = &mut next;
                let budget = match &mut actors[index] {
                    Actor::Nobody => return None,
                    Actor::Voter(voter) => {
                        let budget = match voter.at {
                            voter::At::Store => Some(&mut faults.database),
                            _ => (!voter.broken).then_some(&mut faults.cuts),
                        };
                        voter.step(self, shared, fate);
                        budget
                    }
                    Actor::Script(script) => {
                        script.step(shared);
                        None
                    }
                    Actor::Flusher(flusher) => {
                        let budget = match flusher.is_at_the_database() {
                            true => Some(&mut faults.database),
                            false => (!flusher.broken).then_some(&mut faults.cuts),
                        };
                        flusher.step(self, shared, fate);
                        budget
                    }
                };
                if let Some(budget) = budget.filter(|_| fate != Fate::Answered) {
                    *budget -= 1;
                }
            }
            Action::Oversleep(index) => {
                if let Actor::Voter(voter) = &mut next.actors[index] {
                    voter.another_ticket(self, &mut next.shared);
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
                        flusher.end_flush(self);
                    }
                }
            }
            Action::Restart(server) => {
                next.faults.restarts -= 1;
                next.restart(self, server);
            }
            Action::Evict(server, key) => {
                next.faults.evictions -= 1;
                let before = next.shared.servers[usize::from(server)];
                next.shared.servers[usize::from(server)].forget(key);
                next.shared.note_losses(self, &before);
            }
            Action::Resolve(index, commits) => match commits {
                true => next.shared.database.commit(self, index),
                false => next.shared.database.roll_back(index),
            },
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Config>> {
        properties::all()
    }
}
