//! Sessions that end, and sessions that reconnect.

use super::Client;
use super::connections::{ConnectionState, Ended};
use super::dialogue::Dialogue;
use super::reconnects::{Cause, NextAttempt, Return};
use crate::check::Judge;
use crate::clock::Nanos;
use crate::stats::Metric;

/// Attempts begun per turn, so that reading never starves.
const ATTEMPTS: usize = 256;

impl<D: Dialogue> Client<D> {
    /// Handles the end of a connection.
    pub(super) fn failed(&mut self, now: Nanos, device: u32, why: &str) {
        let Some(ended) = self.connections.take(device) else {
            return;
        };
        match ended.state {
            ConnectionState::Closing => {}
            _ if self.dialogue.is_helper(device) => D::helper_failed(self, why),
            ConnectionState::Leaving => self.left(now, device, ended),
            ConnectionState::Open => {
                self.count().disconnects += 1;
                self.count().sessions -= 1;
                let chaos = self.board.is_chaos(now);
                if !self.broke(now, device, ended) {
                    self.count().gone += 1;
                    self.checker.gone(now, device);
                }
                if !chaos {
                    self.reporter.note_trouble(why);
                }
            }
            ConnectionState::Connecting
            | ConnectionState::Upgrading
            | ConnectionState::Authenticating => {
                if !self.try_again(now, device) {
                    self.count().connect_failures += 1;
                    self.reporter.note_trouble(why);
                }
            }
        }
    }

    /// Drops the socket of a session that the load generator ended. The session will continue from
    /// the last position.
    pub(super) fn leave(&mut self, now: Nanos, device: u32) {
        if let Some(ended) = self.connections.take(device) {
            self.left(now, device, ended);
        }
    }

    /// Notes that an away session gets nothing more from its last connection.
    fn left(&mut self, now: Nanos, device: u32, ended: Ended) {
        let excused = self.reconnects.ended(device, ended.position);
        self.checker.away(now, device, excused);
    }

    /// Handles an open session that the other side ended. Returns whether the session reconnects.
    fn broke(&mut self, now: Nanos, device: u32, ended: Ended) -> bool {
        let excused = self.board.is_chaos(now);
        self.count().disconnects_excused += u64::from(excused);
        let always = self.limits.comes_back;
        if self.phases.is_judging() || !self.reconnects.broke(now, device, excused, always) {
            return false;
        }
        if excused {
            self.board.one_away();
        }
        self.left(now, device, ended);
        true
    }

    /// Handles a failed attempt to open a session. Returns whether another attempt follows; if not,
    /// the session is given up. While the run breaks the gateway, other attempts follow a first one
    /// too.
    pub(super) fn try_again(&mut self, now: Nanos, device: u32) -> bool {
        if self.phases.is_judging() {
            return false;
        }
        if !self.reconnects.is_away(device) && self.board.is_chaos(now) {
            self.reconnects.first_failed(now, device);
            self.board.one_away();
        }
        match self.reconnects.failed(now, device) {
            NextAttempt::At(_) => true,
            NextAttempt::GiveUp => {
                self.give_up_on(now, device);
                true
            }
            NextAttempt::None => false,
        }
    }

    /// Gives up a session that does not come back.
    fn give_up_on(&mut self, now: Nanos, device: u32) {
        let Some(given_up) = self.reconnects.give_up(device) else {
            return;
        };
        if given_up.cause == Cause::Chaos {
            self.board.one_settled(self.clock.now());
        }
        self.count().skipped += self.sends.forget(device);
        if let Some(storm) = given_up.storm {
            self.storms.gone(storm);
        }
        if given_up.first {
            self.count().connect_failures += 1;
            return;
        }
        self.count().gone += 1;
        self.count().not_back += u64::from(given_up.cause != Cause::Requested);
        self.checker.gone(now, device);
    }

    /// Begins the attempts that are due.
    pub(super) fn come_back(&mut self, now: Nanos) {
        for _ in 0..ATTEMPTS {
            if self.connections.is_full() {
                return;
            }
            let Some(device) = self.reconnects.take_due(now) else {
                return;
            };
            // A gateway that does not answer a Close frame is not waited for.
            self.leave(now, device);
            self.connect(now, device);
        }
    }

    /// Notes that a device's session is open. Returns its return, if it was away.
    pub(super) fn returned(&mut self, now: Nanos, device: u32) -> Option<Return> {
        let returned = self.reconnects.returned(device)?;
        if returned.cause == Cause::Chaos {
            self.board.one_settled(now);
        }
        Some(returned)
    }

    /// Notes that a session is back, and sends what it could not send while it was away.
    pub(super) fn make_up(&mut self, now: Nanos, device: u32, returned: Return) {
        if let Some(storm) = returned.storm {
            let took = self.storms.back(storm, now);
            self.latencies
                .record(Metric::StormRecovery, now - took, now);
        }
        D::make_up(self, now, device);
    }

    /// Sends the messages that waited for a session.
    pub(super) fn send_held(&mut self, now: Nanos, device: u32) {
        while let Some(held) = self.sends.next_held(device) {
            self.latencies.record(Metric::Held, held.intended, now);
            self.hand_over(now, held.intended, held.arrival, device);
        }
    }

    /// The time for coming back is over.
    pub(super) fn nobody_comes_back(&mut self, now: Nanos) {
        for device in self.reconnects.end() {
            self.connections.take(device);
            self.give_up_on(now, device);
        }
    }
}
