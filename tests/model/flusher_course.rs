//! The order in which a flusher does its work; its steps are in [`crate::flusher_steps`].

use crate::config::{Bug, Config};
use crate::flusher::{At, Flusher, Reading, Stage};
use crate::memcached::{Record, Ticket, Tickets, tickets};
use crate::world::Shared;

impl Flusher {
    /// The position is known: what is there to be read?
    pub fn plan(&mut self, config: &Config, shared: &Shared) {
        let seen = self.seen();
        let shadow = self.shadow.filter(|_| self.legacy).map(|shadow| tickets(shadow, shadow.epoch_end()));
        if let Some(shadow) = shadow {
            self.slots.forget_kept_legacy_except(shadow);
        }
        if config.has(Bug::ForgetHolesFirst) && self.legacy {
            self.forget_legacy_holes();
        }
        if config.has(Bug::AlarmByTicket) {
            self.gone_back = self.deleted.and_then(|record| record.last).map_or(0, |deleted| {
                let head = seen.filter(|head| deleted.continues(*head)).unwrap_or(deleted.epoch_start());
                head.rest_of_epoch() & tickets(deleted.epoch_start(), deleted)
            });
        } else if let Some(record) = self.deleted {
            self.missing = record.count.saturating_sub(self.slots.total);
            self.slots.total += self.missing;
        }
        let continued = self.last.zip(seen).is_some_and(|(last, seen)| last.continues(seen));
        let known = [seen, self.last].into_iter().flatten().fold(0, |bits, ticket| bits | 1 << ticket.epoch());
        let left = !continued || self.legacy && !config.has(Bug::LeaveUnread);
        if left && !config.has(Bug::IgnoreEpochs) {
            self.unread = self.begun & !known;
        }
        if !continued {
            if !config.has(Bug::NoSalvage) {
                self.old = seen.map_or(0, Ticket::rest_of_epoch);
            }
            if let Some(shadow) = self.shadow.filter(|_| !self.legacy) {
                let head = seen.filter(|head| head.continues(shadow));
                self.orphans = head.map_or(tickets(shadow, shadow.epoch_end()), Ticket::rest_of_epoch);
            }
        }
        self.stage = Stage::Due;
        self.go_on(config, shared);
    }

    /// Forgets holes of epoch 0 under another shadow, once its numbers are read anew.
    fn forget_legacy_holes(&mut self) {
        if let Some(shadow) = self.shadow {
            self.slots.forget_legacy_holes_except(tickets(shadow, shadow.epoch_end()));
        }
    }

    /// The slots after the head, up to the counter. Mirrors `Drain::main_range`.
    fn main_range(&self) -> Tickets {
        let Some(last) = self.last else { return 0 };
        let start = last.epoch_start();
        let all = match self.seen().filter(|head| last.continues(*head)) {
            Some(head) => head.rest_of_epoch(),
            None if self.legacy && self.shadow.is_some() => tickets(start, last),
            None => start.rest_of_epoch(),
        };
        all & tickets(start, last)
    }

    /// What comes next, after a piece of work is done.
    pub fn go_on(&mut self, config: &Config, shared: &Shared) {
        loop {
            let stage = self.stage;
            self.stage = match stage {
                Stage::Due => Stage::Holes,
                Stage::Holes => Stage::LegacyHoles,
                Stage::LegacyHoles => Stage::Old,
                Stage::Old => Stage::Unread,
                Stage::Unread if self.unread != 0 => Stage::Unread,
                Stage::Unread => Stage::Orphans,
                Stage::Orphans if config.has(Bug::ForgetShadowFirst) => Stage::Forget,
                Stage::Orphans => Stage::Main,
                Stage::Forget if config.has(Bug::ForgetShadowFirst) => Stage::Main,
                Stage::Forget => Stage::Leave,
                Stage::Main => Stage::Slots,
                Stage::Slots => Stage::Again,
                Stage::Again => Stage::DueAgain,
                Stage::DueAgain => Stage::SlotsAgain,
                Stage::SlotsAgain if config.has(Bug::ForgetShadowFirst) => Stage::Leave,
                Stage::SlotsAgain => Stage::Forget,
                Stage::Leave => Stage::Leave,
            };
            let left = |slots| Reading { slots, until_empty: true, ..Reading::NONE };
            let reading = match stage {
                Stage::Holes | Stage::LegacyHoles if !self.early => {
                    let legacy = stage == Stage::LegacyHoles;
                    let anew = self.shadow.filter(|_| legacy && !config.has(Bug::LegacyHolesStay));
                    let current = anew.map_or(!0, |shadow| tickets(shadow, shadow.epoch_end()));
                    Reading { slots: self.slots.holes(legacy) & current, legacy, holes: true, ..Reading::NONE }
                }
                Stage::Old => left(std::mem::take(&mut self.old)),
                Stage::Unread if self.unread != 0 => {
                    let epoch = self.unread.trailing_zeros();
                    self.unread &= self.unread - 1;
                    left(Ticket::start_of(epoch as u8).rest_of_epoch())
                }
                Stage::Orphans => Reading { legacy: true, ..left(self.orphans) },
                Stage::Main => {
                    if !config.has(Bug::LegacyHolesStay) {
                        self.forget_legacy_holes();
                    }
                    let legacy = self.legacy && self.shadow.is_some();
                    Reading { slots: self.main_range(), legacy, ..Reading::NONE }
                }
                _ => Reading::NONE,
            };
            if reading.slots != 0 {
                let first = Ticket(reading.slots.trailing_zeros() as u8);
                (self.reading, self.first, self.at) = (reading, first, At::Connect);
                (self.in_window, self.found) = (0, false);
                return;
            }
            match stage {
                Stage::Due | Stage::DueAgain => {
                    self.doomed = self.slots.due_deletions(config, self.early);
                    if self.doomed != [0; 2] {
                        self.at = self.record_deletion(config);
                        return;
                    }
                }
                Stage::Forget if self.orphans != 0 => {
                    (self.orphans, self.at) = (0, At::ForgetShadow);
                    return;
                }
                Stage::Slots | Stage::SlotsAgain => {
                    if let Some(row) = self.row.filter(|row| row.slots != self.slots) {
                        (self.head, self.at) = (row.head, At::Begin);
                        return;
                    }
                }
                Stage::Again => {
                    let leaves = self.legacy && !config.has(Bug::LeaveOnCommit);
                    if config.keep && !self.slots.keeps_legacy() && !leaves {
                        self.stage = Stage::SlotsAgain;
                    } else if !config.has(Bug::DeleteOnCommit) {
                        self.at = At::RowAgain;
                        return;
                    }
                }
                Stage::Leave if self.legacy && self.shadow.is_some() && self.rounds < 2 => {
                    let is_drained = self.seen() == self.last || config.has(Bug::LeaveOnCommit);
                    match is_drained {
                        true if config.has(Bug::LeaveUnread) => self.at = At::LeaveLook,
                        true => self.at = At::LeaveRecords,
                        false => self.another_round(config),
                    }
                    return;
                }
                Stage::Leave => return self.leave_server(config, shared),
                _ => {}
            }
        }
    }

    /// What is to be recorded of a deletion, and what comes first of the two.
    fn record_deletion(&mut self, config: &Config) -> At {
        let seen = self.seen();
        let current = |ticket: &u8| {
            let is_doomed = (self.doomed[0] | self.doomed[1]) >> *ticket & 1 == 1;
            is_doomed && seen.is_some_and(|head| head.continues(Ticket(*ticket)))
        };
        let by_ticket = config.has(Bug::AlarmByTicket);
        let last = (0..128).rev().filter(|_| by_ticket).find(current).map(Ticket);
        let count = if by_ticket { 0 } else { self.slots.count_deleted(self.early) };
        let before = self.deleted.map_or((0, None), |record| (record.count, record.last));
        let known = match (before.1, last) {
            (Some(before), Some(last)) => before.continues(last),
            (_, last) => last.is_none(),
        };
        let known = if by_ticket { known } else { before.0 >= count };
        let record = self.id.map(|id| Record { id, count, last });
        self.record = record.filter(|_| !known && !config.has(Bug::NoRecord));
        let later = by_ticket || config.has(Bug::RecordAfter);
        if self.record.is_some() && !later { At::Record } else { At::Delete }
    }
}
