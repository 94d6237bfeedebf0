//! The work of the loop beside the schedule: making groups, draining, reading back, closing.

use super::Client;
use super::READ_BACK;
use super::group_maker::{Cast, MakerTurn};
use super::phases::{Conditions, SETTLE, Stage};
use super::read_back::history_id;
use crate::clock::{Nanos, SECOND};
use crate::stats::Counters;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{ErrorReply, HistoryReply, ReplyBody};

/// The time without a sent or received receipt after which the receipts of groups count as
/// complete. No message waits for a receipt in a group.
const GROUP_QUIET: Nanos = SECOND / 2;

/// Whether the loop takes another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextTurn {
    Working,
    Done,
}

impl Client {
    /// Begins to make groups, or continues.
    pub(super) fn make_groups(&mut self, now: Nanos) {
        let groups = self.checker.roster().members().groups();
        match self.maker.turn(now, self.board.has_groups(), groups) {
            MakerTurn::Wait => {}
            MakerTurn::Connect => self.connect(now, self.maker.device()),
            MakerTurn::NothingToMake => self.board.made(now),
            MakerTurn::Silent => self.not_made("the gateway does not answer"),
        }
    }

    /// Ends the run, because the groups cannot be made.
    pub(super) fn not_made(&mut self, why: &str) {
        let why = format!("the run's groups cannot be made: {why}");
        self.reporter.note_trouble(&why);
        self.maker.fail();
    }

    /// The session that makes groups is open.
    pub(super) fn maker_opened(&mut self, now: Nanos) {
        let cast = Cast {
            part: self.checker.roster().part(),
            members: self.checker.roster().members(),
        };
        let device = self.maker.device();
        let connections = &mut self.connections;
        self.maker.opened(now, cast, |id, body| {
            connections.command(device, id, body);
        });
    }

    /// Handles an answer to the session that makes groups.
    pub(super) fn maker_answered(&mut self, now: Nanos, id: u32, body: &ReplyBody<'_>) {
        let cast = Cast {
            part: self.checker.roster().part(),
            members: self.checker.roster().members(),
        };
        let device = self.maker.device();
        let connections = &mut self.connections;
        let made = self.maker.answered(now, id, body, cast, |id, body| {
            connections.command(device, id, body);
        });
        match made {
            Ok(false) => {}
            Ok(true) => self.groups_made(now),
            Err(why) => self.not_made(&why),
        }
    }

    /// Notes that all groups of this thread are made. The figures of the run begin.
    fn groups_made(&mut self, now: Nanos) {
        self.connections.close(self.maker.device());
        let members = self.checker.roster().members();
        let (groups_made, group_members) = (u64::from(members.groups()), members.members());
        *self.count() = Counters {
            groups_made,
            group_members,
            ..Counters::default()
        };
        self.board.made(now);
    }

    /// Ends executors that are over, and enters the next stage after the last one.
    pub(super) fn advance(&mut self, now: Nanos) -> NextTurn {
        match self.phases.stage() {
            Stage::Executing => self.end_executors(now),
            Stage::Draining { until, look } if now >= look => self.drain(now, until),
            Stage::Draining { .. } => {}
            Stage::Reading { until, owed } => {
                self.reassign();
                let owed = now < owed && self.checker.still_owed(now);
                if (self.read_back.is_idle() && !owed) || now >= until {
                    for _ in 0..self.read_back.end_all() {
                        self.checker.not_read();
                    }
                    self.checker.finish(now);
                    let closing = Stage::closing(now, self.connections.alive());
                    self.phases.enter(closing);
                }
            }
            Stage::Closing { next, until } => {
                let turn = next.map(|from| self.connections.close_some(from));
                self.count().sessions -= turn.map_or(0, |turn| turn.sessions);
                let next = turn.and_then(|turn| turn.next);
                self.phases.enter(Stage::Closing { next, until });
                if self.connections.alive() == 0 || now >= until {
                    return NextTurn::Done;
                }
            }
        }
        NextTurn::Working
    }

    fn end_executors(&mut self, now: Nanos) {
        let conditions = Conditions {
            none_opening: self.connections.connecting() == 0,
            none_away: self.reconnects.is_empty(),
            storms: &self.storms,
        };
        for number in self.phases.end_through(now, conditions) {
            self.storms.end(number, *self.checker.counters());
            self.board.end(number, now);
        }
        // Where no executor is left in any thread, nothing more is sent to anybody.
        if self.phases.all_ended() {
            self.phases.enter(Stage::Draining {
                until: now + self.limits.drain,
                look: now,
            });
        }
    }

    /// Ends the draining once everything has settled, or the time for that is over.
    fn drain(&mut self, now: Nanos, until: Nanos) {
        let last = self.checker.last_group_receipt();
        let quiet = last == 0 || now >= last + GROUP_QUIET;
        let settled = quiet
            && self.acknowledgements.is_empty()
            && (self.checker.settled(now) || self.checker.only_doubts(now));
        if !settled && now < until {
            self.phases.enter(Stage::Draining {
                until,
                look: now + SETTLE,
            });
            return;
        }
        self.phases.enter(Stage::Reading {
            until: now + READ_BACK,
            owed: until.max(now + SETTLE),
        });
        self.nobody_comes_back(now);
        self.checker.close(now);
        self.read_more();
    }

    /// Begins to read conversations back until enough are under way.
    fn read_more(&mut self) {
        while self.read_back.has_room() {
            let conversations = self.checker.roster().conversations();
            let Some(conversation) = self.read_back.next(conversations) else {
                return;
            };
            if !self.checker.has_messages(conversation) {
                continue;
            }
            match self.member_of(conversation) {
                Some(device) => {
                    let place = self.read_back.begin(conversation, device);
                    self.ask_page(place);
                }
                None => self.checker.not_read(),
            }
        }
    }

    /// Hands what a session was reading when it ended to the session of another member.
    fn reassign(&mut self) {
        for place in self.read_back.places() {
            let Some(open) = self.read_back.at(place) else {
                continue;
            };
            let (conversation, device) = (open.reading.conversation, open.device);
            if self.connections.is_open(device) {
                continue;
            }
            let other = self.member_of(conversation);
            if let (Some(other), Some(open)) = (other, self.read_back.at(place)) {
                open.device = other;
                self.ask_page(place);
            } else {
                self.checker.not_read();
                self.read_back.end(place);
                self.read_more();
            }
        }
    }

    /// Returns a device of a conversation's members with an open session.
    fn member_of(&self, conversation: u32) -> Option<u32> {
        let roster = self.checker.roster();
        (0..roster.size(conversation)).find_map(|nth| {
            let user = roster.member(conversation, nth);
            { roster.devices(user) }.find(|&device| self.connections.is_open(device))
        })
    }

    fn ask_page(&mut self, place: usize) {
        let Some(open) = self.read_back.at(place) else {
            return;
        };
        let (device, connections) = (open.device, &mut self.connections);
        self.commands.history(&self.checker, &open.reading, |body| {
            connections.command(device, history_id(place), body);
        });
    }

    /// Handles a page of history.
    pub(super) fn page_came(&mut self, now: Nanos, place: usize, page: &HistoryReply<'_>) {
        let Some(open) = self.read_back.at(place) else {
            return;
        };
        if self.checker.read_back(now, &mut open.reading, page) {
            return self.ask_page(place);
        }
        self.checker.read_whole(now, &open.reading);
        self.read_back.end(place);
        self.read_more();
    }

    /// Handles the refusal of a page of history.
    pub(super) fn page_refused(&mut self, now: Nanos, place: usize, error: &ErrorReply<'_>) {
        let Some(open) = self.read_back.at(place) else {
            return;
        };
        let why = format!("{} {}: {}", error.code, error.name, error.message);
        match error.code == ErrorCode::Unknown.code() {
            true => self.checker.not_known(now, &open.reading, &why),
            false => self.checker.not_readable(now, &open.reading, &why),
        }
        self.read_back.end(place);
        self.read_more();
    }
}
