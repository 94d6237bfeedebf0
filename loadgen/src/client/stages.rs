//! The work of the loop beside the schedule: draining, judging, closing.

use super::Client;
use super::dialogue::Dialogue;
use super::phases::{Conditions, SETTLE, Stage};
use crate::check::Judge;
use crate::clock::Nanos;

/// Whether the loop takes another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextTurn {
    Working,
    Done,
}

impl<D: Dialogue> Client<D> {
    /// Ends executors that are over, and enters the next stage after the last one.
    pub(super) fn advance(&mut self, now: Nanos) -> NextTurn {
        match self.phases.stage() {
            Stage::Executing => self.end_executors(now),
            Stage::Draining { until, look } if now >= look => self.drain(now, until),
            Stage::Draining { .. } => {}
            Stage::Reading { until, owed } => D::read(self, now, until, owed),
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
        if !D::is_settled(self, now) && now < until {
            let look = now + SETTLE;
            return self.phases.enter(Stage::Draining { until, look });
        }
        D::judge(self, now, until);
    }

    /// Judges what is left, and begins to close the sessions.
    pub(super) fn finish(&mut self, now: Nanos) {
        self.checker.finish(now);
        let closing = Stage::closing(now, self.connections.alive());
        self.phases.enter(closing);
    }
}
