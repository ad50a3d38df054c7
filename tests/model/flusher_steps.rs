//! The flusher's steps themselves; what they are for is told in [`crate::flusher`].

use crate::config::{Bug, Config};
use crate::flusher::{At, Flusher};
use crate::memcached::{Ensure, Slot, Ticket};
use crate::world::{Fate, Shared};

impl Flusher {
    pub fn step_at_database(&mut self, config: &Config, shared: &mut Shared, fate: Fate) {
        let number = usize::from(self.number);
        match self.at {
            At::Head => {
                let early = config.has(Bug::HeadAfterCounter) && self.last.is_none();
                if !early {
                    self.see_head(shared);
                }
                match self.last {
                    None => self.at = At::Lock,
                    Some(_) => self.positioned(config, shared),
                }
            }
            At::Begin => match shared.database.begin(config, number, self.transaction()) {
                true => self.at = At::Commit,
                false => self.leave_server(config, shared),
            },
            At::Commit => match fate {
                Fate::Answered => {
                    self.head = Some(self.transaction().to);
                    shared.database.commit(config, number);
                    self.at = if config.has(Bug::DeleteBeforeCommit) { At::Note } else { At::Delete };
                    if self.chunk.entries().is_empty() {
                        self.at = At::Note;
                    }
                }
                Fate::AnswerLost => {
                    shared.database.commit(config, number);
                    self.end_flush(config);
                }
                Fate::NeverSent => {
                    shared.database.roll_back(number);
                    self.end_flush(config);
                }
                Fate::Adrift => {
                    if let Some(open) = &mut shared.database.open[number] {
                        open.adrift = true;
                    }
                    self.end_flush(config);
                }
            },
            At::SpoolCommit => {
                if fate != Fate::NeverSent {
                    let spooled = (0..config.voters).filter(|ballot| shared.spool >> ballot & 1 == 1);
                    spooled.for_each(|ballot| shared.database.insert_named(config, ballot));
                    // The files that were read, as bits.
                    self.deleted = shared.spool;
                }
                match fate {
                    Fate::Answered => self.at = At::SpoolRemove,
                    _ => self.end_flush(config),
                }
            }
            _ => {
                shared.spool &= !self.deleted;
                self.end_flush(config);
            }
        }
    }

    fn see_head(&mut self, shared: &Shared) {
        self.seen = shared.database.heads[usize::from(self.server)];
        self.head = self.seen;
    }

    pub fn step_at_memcached(&mut self, config: &Config, shared: &mut Shared) {
        let index = usize::from(self.server);
        match self.at {
            At::Lock => match shared.servers[index].count_up_lock() {
                Some(_) => {
                    self.holds_lock = true;
                    self.at = if self.leaving { At::LeaveLook } else { At::Epochs };
                }
                None => self.at = At::Ensure(Ensure::Epochs),
            },
            At::Ensure(step) => {
                if step == Ensure::Epochs {
                    self.start = shared.fresh_epoch(config);
                }
                let next = step.run(&mut shared.servers[index], self.start);
                let back = if self.holds_lock { At::Counter } else { At::Lock };
                self.at = next.map_or(back, At::Ensure);
                if next.is_none() {
                    self.start = Ticket(0);
                }
            }
            At::Epochs => {
                self.unread = shared.servers[index].epochs.unwrap_or(0);
                self.at = At::Counter;
            }
            At::Counter => {
                self.last = shared.servers[index].curr;
                self.legacy = self.last.is_some_and(Ticket::is_legacy);
                self.at = match self.last {
                    None if !config.has(Bug::LeaveCounterMissing) => At::Ensure(Ensure::Epochs),
                    _ => At::Hint,
                };
            }
            At::Hint => {
                self.noted = shared.servers[index].head;
                self.at = At::Shadow;
            }
            At::Shadow => self.settle_shadow(config, shared),
            At::ShadowLook => self.take_up_shadow(shared),
            At::Unlock => {
                shared.servers[index].lock = Some(0);
                self.holds_lock = false;
                self.unlocked(config, shared);
            }
            At::SweepLook => {
                let Some(span) = self.sweep_span(config) else { return self.look_at_plan(config, shared) };
                let entries = (span.first().0..=span.last.0).map(Ticket);
                let filled = |ticket: &Ticket| match shared.servers[index].slot(span.slot(*ticket)) {
                    Slot::Filled(_) => true,
                    Slot::Closed => config.has(Bug::DeleteTombstones),
                    Slot::Empty => false,
                };
                self.deleted = entries.filter(filled).fold(0, |bits, ticket| bits | 1 << ticket.sequence());
                self.at = if self.deleted == 0 { At::SweepHint } else { At::SweepDelete };
            }
            At::SweepDelete => {
                if let Some(span) = self.sweep_span(config) {
                    let tickets = (span.first().0..=span.last.0).map(Ticket);
                    for ticket in tickets.filter(|ticket| self.deleted >> ticket.sequence() & 1 == 1) {
                        shared.servers[index].set_slot(span.slot(ticket), Slot::Empty);
                    }
                }
                self.deleted = 0;
                self.at = At::SweepHint;
            }
            At::SweepHint => {
                shared.servers[index].head = self.seen;
                self.look_at_plan(config, shared);
            }
            At::Plan => {
                self.unread = shared.servers[index].epochs.unwrap_or(0);
                self.plan(config, shared);
            }
            At::Read => self.look_at_slot(config, shared),
            At::Close => match shared.servers[index].add_slot(self.span.slot(self.next), Slot::Closed) {
                true => self.settled(config, shared),
                // Refused: read again.
                false => self.at = At::Read,
            },
            At::Delete => self.delete(config, shared),
            At::Note => {
                shared.servers[index].head = self.head;
                self.write(config, shared);
            }
            At::ForgetShadow => {
                shared.servers[index].legacy = None;
                self.shadow = None;
                self.next_span(config, shared);
            }
            _ => self.leave_legacy_epoch(shared),
        }
    }

    fn settle_shadow(&mut self, config: &Config, shared: &mut Shared) {
        let index = usize::from(self.server);
        self.at = At::Unlock;
        if config.has(Bug::NoShadow) {
            return;
        }
        let continued = self.last.zip(self.seen).is_some_and(|(last, seen)| last.continues(seen));
        if !self.legacy && (continued || config.has(Bug::NoLegacySalvage)) {
            shared.servers[index].legacy = None;
            return;
        }
        let epoch = shared.servers[index].legacy.unwrap_or_else(|| shared.fresh_epoch(config).epoch());
        shared.servers[index].legacy = Some(epoch);
        self.at = At::ShadowLook;
    }

    fn take_up_shadow(&mut self, shared: &Shared) {
        let Some(epoch) = shared.servers[usize::from(self.server)].legacy else {
            self.at = At::Shadow;
            return;
        };
        let shadow = Ticket::start_of(epoch);
        self.shadow = Some(shadow);
        if self.legacy {
            self.last = self.last.map(|last| Ticket(shadow.0 | last.sequence()));
        }
        self.at = At::Unlock;
    }

    fn unlocked(&mut self, config: &Config, shared: &Shared) {
        if std::mem::take(&mut self.leaving) {
            let rounds = self.rounds + 1;
            if std::mem::take(&mut self.moved) {
                return self.leave_server(config, shared);
            }
            let same = Flusher::new(config, self.number);
            *self = Flusher { flushes: self.flushes, server: self.server, connected: true, rounds, ..same };
            return;
        }
        match config.has(Bug::HeadAfterCounter) {
            true => self.at = At::Head,
            false => self.positioned(config, shared),
        }
    }

    fn positioned(&mut self, config: &Config, shared: &Shared) {
        match self.sweep_span(config) {
            Some(_) => self.at = At::SweepLook,
            None => self.look_at_plan(config, shared),
        }
    }

    fn look_at_plan(&mut self, config: &Config, shared: &Shared) {
        match config.has(Bug::EpochsAfterCounter) {
            true => self.at = At::Plan,
            false => self.plan(config, shared),
        }
    }

    fn delete(&mut self, config: &Config, shared: &mut Shared) {
        let server = &mut shared.servers[usize::from(self.server)];
        if let Some((ticket, _)) = self.chunk.entries().get(usize::from(self.deleted)) {
            server.set_slot(self.span.slot(*ticket), Slot::Empty);
            self.deleted += 1;
        }
        if usize::from(self.deleted) < self.chunk.entries().len() {
            return;
        }
        if config.has(Bug::DeleteTombstones) {
            for ticket in (self.span.first().0..=self.to.0).map(Ticket) {
                if server.slot(self.span.slot(ticket)) == Slot::Closed {
                    server.set_slot(self.span.slot(ticket), Slot::Empty);
                }
            }
        }
        self.at = if config.has(Bug::DeleteBeforeCommit) { At::Begin } else { At::Note };
    }

    fn leave_legacy_epoch(&mut self, shared: &mut Shared) {
        let server = &mut shared.servers[usize::from(self.server)];
        let drained = self.last.map(|last| Ticket(last.sequence()));
        match self.at {
            At::LeaveLook => {
                self.at = if server.curr == drained { At::LeaveForget } else { At::Unlock };
            }
            At::LeaveForget => {
                server.legacy = None;
                self.at = At::LeaveMove;
            }
            At::LeaveMove => {
                self.moved = server.curr == drained;
                if self.moved {
                    server.curr = self.last;
                }
                self.at = if self.moved { At::Unlock } else { At::LeaveRestore };
            }
            _ => {
                server.legacy = server.legacy.or(self.last.map(Ticket::epoch));
                self.at = At::Unlock;
            }
        }
    }
}
