//! The flusher's steps themselves; what they are for is told in [`crate::flusher`].

use crate::config::{Bug, Config};
use crate::database::QUEUES;
use crate::flusher::{At, Flusher, Reader};
use crate::memcached::{Memcached, Record, Slot, Ticket};
use crate::world::{Fate, Shared};

impl Flusher {
    pub fn step_at_database(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        let number = usize::from(self.number);
        match self.at {
            At::Row => {
                self.early |= fate == Fate::Early;
                self.read_row(shared);
                self.at = self.next_of(config);
            }
            At::RowAgain => {
                self.read_row(shared);
                self.go_on(config, shared);
            }
            At::Begin => match shared.database.begin(config, number, self.transaction()) {
                true => self.at = At::Commit,
                false => self.leave_server(config, shared),
            },
            At::Commit => self.commit(config, shared, fate),
            At::SpoolCommit | At::SpoolAgain => {
                if self.at == At::SpoolCommit {
                    self.files = shared.spool;
                }
                if !matches!(fate, Fate::NeverSent | Fate::Noop) {
                    let spooled = (0..config.voters).filter(|ballot| self.files >> ballot & 1 == 1);
                    spooled.for_each(|ballot| shared.database.insert_named(config, ballot));
                }
                match (fate, self.at) {
                    (Fate::AnswerLost | Fate::NeverSent, _) => self.end_flush(config),
                    (_, At::SpoolCommit) => self.at = At::SpoolAgain,
                    _ => self.at = At::SpoolRemove,
                }
            }
            _ => {
                shared.spool &= !self.files;
                self.end_flush(config);
            }
        }
    }

    /// In what order the position is read. `At::Deleted` and `At::Shadow` follow.
    fn course(config: &Config) -> [At; 3] {
        match config.bug {
            Bug::HeadAfterCounter => [At::Records, At::Counter, At::Row],
            Bug::EpochsAfterCounter => [At::Row, At::Counter, At::Records],
            _ => [At::Row, At::Records, At::Counter],
        }
    }

    fn next_of(&self, config: &Config) -> At {
        let course = Flusher::course(config);
        let place = course.iter().position(|at| *at == self.at);
        place.and_then(|place| course.get(place + 1).copied()).unwrap_or(At::Deleted)
    }

    fn read_row(&mut self, shared: &Shared) {
        // What seemed to be missing was so in the row of before.
        self.missing = 0;
        self.row = shared.database.row(self.queue);
        self.slots = self.row.map_or(crate::database::SlotMap::EMPTY, |row| row.slots);
    }

    fn commit(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        let number = usize::from(self.number);
        match fate {
            Fate::Noop => {
                self.row = Some(self.transaction().to);
                shared.database.roll_back(number);
            }
            Fate::AnswerLost => {
                shared.database.commit(config, number);
                return self.end_flush(config);
            }
            Fate::NeverSent => {
                shared.database.roll_back(number);
                return self.end_flush(config);
            }
            Fate::Adrift => {
                if let Some(open) = &mut shared.database.open[number] {
                    open.adrift = true;
                }
                return self.end_flush(config);
            }
            _ => match shared.database.commit(config, number) {
                Some(row) => (self.row, self.slots) = (Some(row), row.slots),
                // The database has gone back meanwhile.
                None => return self.end_flush(config),
            },
        }
        (self.missing, self.head, self.chunk) = (0, Ticket(0), crate::database::Chunk::EMPTY);
        match self.first {
            // The slot map by itself.
            Ticket(0) => self.go_on(config, shared),
            _ => self.write(config, shared),
        }
    }

    pub fn step_at_memcached(&mut self, config: &Config, shared: &mut Shared, no_memory: bool) {
        let index = usize::from(self.server);
        match self.at {
            At::Server => {
                self.id = if no_memory { None } else { Some(shared.id_of(index)) };
                self.queue = self.id.unwrap_or(self.server);
                self.at = Flusher::course(config)[0];
            }
            At::Records => {
                self.begun = shared.servers[index].recorded_epochs().0;
                self.at = self.next_of(config);
            }
            At::Counter => {
                self.last = shared.servers[index].curr;
                self.legacy = self.last.is_some_and(Ticket::is_legacy);
                self.at = self.next_of(config);
            }
            At::Deleted => {
                let own = |record: &Record| Some(record.id) == self.id || config.has(Bug::RecordWithoutId);
                self.deleted = shared.servers[index].head.filter(own);
                self.at = At::Shadow;
            }
            At::Shadow => {
                self.settle_shadow(config, shared, no_memory);
                self.plan(config, shared);
            }
            At::Delete => self.delete(config, shared),
            At::Record => {
                // A store that is refused removes what was there.
                self.deleted = self.record.take();
                shared.servers[index].head = self.deleted.filter(|_| !no_memory);
                match self.doomed {
                    [0, 0] => self.deleted(config, shared),
                    _ => self.at = At::Delete,
                }
            }
            At::Connect => match self.id {
                Some(_) if no_memory => self.leave_server(config, shared),
                Some(id) if shared.id_of(index) != id => self.leave_server(config, shared),
                _ => (self.reader, self.at) = (Reader::Sound, At::Read),
            },
            At::Read => self.look_at_slot(config, shared),
            At::Close => {
                let slot = self.slot_of(self.next_ticket());
                let server = &mut shared.servers[index];
                if no_memory {
                    server.set_slot(slot, Slot::Empty);
                    return self.settled(config, shared);
                }
                match server.add_slot(slot, Slot::Closed) {
                    true => self.settled(config, shared),
                    // Refused: read again.
                    false => self.at = At::Read,
                }
            }
            At::DeleteFirst => {
                let slots = self.chunk;
                for (ticket, _) in slots.entries() {
                    shared.servers[index].set_slot(self.slot_of(*ticket), Slot::Empty);
                }
                self.at = At::Begin;
            }
            At::ForgetShadow => {
                shared.servers[index].legacy = None;
                self.go_on(config, shared);
            }
            _ => self.leave_legacy_epoch(config, shared, no_memory),
        }
    }

    fn settle_shadow(&mut self, config: &Config, shared: &mut Shared, no_memory: bool) {
        let index = usize::from(self.server);
        if config.has(Bug::NoShadow) {
            return;
        }
        let continued = self.last.zip(self.seen()).is_some_and(|(last, seen)| last.continues(seen));
        if !self.legacy && (continued || config.has(Bug::NoLegacySalvage)) {
            shared.servers[index].legacy = None;
            return;
        }
        let epoch = shared.servers[index].legacy.unwrap_or_else(|| shared.fresh_epoch(config).epoch());
        if !no_memory {
            shared.servers[index].legacy = Some(epoch);
        }
        let shadow = Ticket::start_of(epoch);
        self.shadow = Some(shadow);
        if self.legacy {
            self.last = self.last.map(|last| Ticket(shadow.0 | last.sequence()));
        }
    }

    fn delete(&mut self, config: &Config, shared: &mut Shared) {
        let legacy = self.doomed[0] == 0;
        let doomed = &mut self.doomed[usize::from(legacy)];
        let ticket = Ticket(doomed.trailing_zeros() as u8);
        *doomed &= *doomed - 1;
        let slot = if legacy { Ticket(ticket.sequence()) } else { ticket };
        shared.servers[usize::from(self.server)].set_slot(slot, Slot::Empty);
        if self.doomed != [0; 2] {
            return;
        }
        match self.record {
            Some(_) => self.at = At::Record,
            None => self.deleted(config, shared),
        }
    }

    fn deleted(&mut self, config: &Config, shared: &Shared) {
        self.slots.deleted(self.early);
        self.go_on(config, shared);
    }

    fn leave_legacy_epoch(&mut self, config: &Config, shared: &mut Shared, no_memory: bool) {
        let server: &mut Memcached = &mut shared.servers[usize::from(self.server)];
        let drained = self.last.map(|last| Ticket(last.sequence()));
        match self.at {
            At::LeaveRecords => match server.recorded_epochs().0 & !self.begun {
                0 => self.at = At::LeaveLook,
                _ => self.another_round(config),
            },
            At::LeaveLook if server.curr == drained => self.at = At::LeaveForget,
            At::LeaveLook => self.another_round(config),
            At::LeaveForget => {
                server.legacy = None;
                self.at = At::LeaveMove;
            }
            At::LeaveMove if server.curr == drained && !no_memory => {
                server.curr = self.last;
                self.leave_server(config, shared);
            }
            At::LeaveMove => self.at = At::LeaveRestore,
            _ if no_memory => self.leave_server(config, shared),
            _ => {
                server.legacy = server.legacy.or(self.last.map(Ticket::epoch));
                self.another_round(config);
            }
        }
    }

    pub fn another_round(&mut self, config: &Config) {
        let Flusher { flushes, server, id, queue, early, .. } = *self;
        let rounds = self.rounds + 1;
        let (connected, broken) = (self.connected, self.broken);
        let fresh = Flusher::new(config, self.number);
        let at = Flusher::course(config)[0];
        *self = Flusher { at, flushes, server, id, queue, early, rounds, connected, broken, ..fresh };
        assert!(usize::from(queue) < QUEUES, "the model has too few queues for this configuration");
    }
}
