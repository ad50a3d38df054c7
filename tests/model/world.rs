//! The whole state, the steps that are possible in it, and the faults.

use stateright::{Model, Property};

use crate::config::{Config, Start};
use crate::database::{BALLOTS_MAX, Database, QUEUES};
use crate::flusher::{self, Flusher};
use crate::memcached::{Key, Memcached, Ticket};
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
    /// memcached has no memory for what is to be stored.
    NoMemory,
    /// `COMMIT` answers OK and nothing is committed.
    Noop,
    /// A flush that comes before anything is due to be deleted or read again.
    Early,
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
    /// Their writer was told that they have fewer copies than asked for.
    pub short: u8,
    /// A voter was told that it had voted, and had not.
    pub turned_away: bool,
    next_epoch: u8,
    next_id: u8,
}

impl Shared {
    /// Mirrors `queue::server_id`: the id of a server, which the first caller creates.
    pub fn id_of(&mut self, server: usize) -> u8 {
        let next = self.next_id;
        let id = *self.servers[server].id.get_or_insert(next);
        if id == next {
            assert!(usize::from(id) < QUEUES, "the model has too few queues for this configuration");
            self.next_id += 1;
        }
        id
    }

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
    pub fn note_losses(&mut self, config: &Config, before: &Memcached) {
        for ballot in 0..config.ballots() {
            let elsewhere = self.servers.iter().any(|server| server.holds(ballot))
                || self.spool >> ballot & 1 == 1
                || self.database.committed.tally[usize::from(ballot)] > 0;
            if before.holds(ballot) && !elsewhere {
                self.lost |= 1 << ballot;
            }
        }
    }
}

/// Somebody who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "a state is copied whole")]
pub enum Actor {
    Nobody,
    Voter(Voter),
    Script(Script),
    Flusher(Flusher),
}

/// Faults that may still strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    pub deaths: u8,
    pub restarts: u8,
    pub evictions: u8,
    pub cuts: u8,
    pub no_memory: u8,
    pub database: u8,
    pub noop_commits: u8,
    pub goes_back: bool,
}

/// The state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub shared: Shared,
    pub actors: [Actor; ACTORS_MAX],
    pub faults: Faults,
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
    /// The database will be put back to what it is now.
    Snapshot,
    GoBack,
    /// The database ends a transaction that was adrift.
    Resolve(usize, bool),
}

impl World {
    fn new(config: &Config) -> World {
        assert!(usize::from(config.ballots()) <= BALLOTS_MAX);
        let mut servers = [Memcached::EMPTY; 2];
        // Those before are the queues of servers without an id.
        let (mut next_epoch, mut next_id) = (0, servers.len() as u8);
        for server in servers.iter_mut().take(usize::from(config.servers)) {
            match config.start {
                Start::Nothing => {}
                Start::Running => {
                    next_epoch += 1;
                    server.lock = Some(0);
                    server.curr = Some(Ticket::start_of(next_epoch));
                    server.epochs[0] = next_epoch;
                    server.id = Some(next_id);
                    next_id += 1;
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
            no_memory: config.no_memory,
            database: config.database_faults,
            noop_commits: config.noop_commits,
            goes_back: config.goes_back,
        };
        let (database, spool, acknowledged, taken, lost, short) = (Database::EMPTY, 0, 0, 0, 0, 0);
        let turned_away = false;
        let shared =
            Shared { servers, database, spool, acknowledged, taken, lost, short, turned_away, next_epoch, next_id };
        World { shared, actors, faults }
    }

    /// Whether a script is between taking and freeing the lock.
    fn lock_is_held(&self) -> bool {
        self.actors.iter().any(|actor| matches!(actor, Actor::Script(script) if script.holds_lock()))
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
        if voter.may_oversleep(config) {
            actions.push(Action::Oversleep(index));
        }
        if self.faults.no_memory > 0 && voter.needs_memory(config, &self.shared) {
            actions.push(step(Fate::NoMemory));
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

    fn flusher_steps(&self, config: &Config, index: usize, flusher: &Flusher, actions: &mut Vec<Action>) {
        use flusher::At;
        let mut add = |fate| actions.push(Action::Step(index, Where::Flusher(flusher.at), fate));
        let adrift = self.shared.database.open[usize::from(flusher.number)].is_some_and(|open| open.adrift);
        if flusher.at == At::Done || adrift {
            return;
        }
        if !flusher.is_at_the_database() && flusher.is_broken() {
            return add(Fate::NeverSent);
        }
        add(Fate::Answered);
        let server = &self.shared.servers[usize::from(flusher.server.min(config.servers - 1))];
        let needs_memory = match flusher.at {
            At::Server | At::Connect => server.id.is_none(),
            At::Shadow => server.legacy.is_none(),
            At::LeaveRestore => server.legacy.is_none(),
            At::Record | At::Close | At::LeaveMove => true,
            _ => false,
        };
        if needs_memory && self.faults.no_memory > 0 {
            add(Fate::NoMemory);
        }
        match flusher.at {
            At::Row if config.keep && flusher.rounds == 0 => add(Fate::Early),
            At::Commit | At::SpoolCommit | At::SpoolAgain => {
                if self.faults.database > 0 {
                    [Fate::AnswerLost, Fate::NeverSent].into_iter().for_each(&mut add);
                }
                if self.faults.database > 0 && flusher.at == At::Commit {
                    add(Fate::Adrift);
                }
                if self.faults.noop_commits > 0 {
                    add(Fate::Noop);
                }
            }
            _ if !flusher.is_at_the_database() && self.faults.cuts > 0 => {
                [Fate::AnswerLost, Fate::NeverSent].into_iter().for_each(add);
            }
            _ => {}
        }
    }

    fn evictable(&self, config: &Config, key: Key) -> bool {
        // Without a lock or a counter a script begins the numbers anew, over whatever is queued: the notes' own.
        !matches!(key, Key::Lock | Key::Curr | Key::Legacy) || config.scripts == 0
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
                    let waits = script.at == script::At::Lock && world.lock_is_held();
                    let step = |fate| Action::Step(index, Where::Script(script.at), fate);
                    if script.at != script::At::Done && !waits {
                        actions.push(step(Fate::Answered));
                    }
                    if script.at == script::At::Fill && world.faults.no_memory > 0 {
                        actions.push(step(Fate::NoMemory));
                    }
                }
                Actor::Flusher(flusher) => world.flusher_steps(self, index, flusher, actions),
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
        let database = &world.shared.database;
        // Only before a commit does it make a difference when it is taken.
        if world.faults.goes_back && database.open.iter().any(Option::is_some) {
            actions.push(Action::Snapshot);
        }
        if database.snapshot.is_some_and(|snapshot| snapshot != database.committed) {
            actions.push(Action::GoBack);
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
        world.after(self, action)
    }

    fn properties(&self) -> Vec<Property<Config>> {
        properties::all()
    }
}
