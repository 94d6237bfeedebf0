//! The outgoing side of the loop: connections, messages, cuts.

use super::dialogue::Dialogue;
use super::sends::HeldSend;
use super::{ACTIONS, Client};
use crate::check::Judge;
use crate::clock::Nanos;
use crate::schedule::{Action, Arrival, Cut};
use crate::stats::Metric;

/// The number of devices, from the chosen one on, among which one that can be cut is searched.
const NEAR: u32 = 32;

impl<D: Dialogue> Client<D> {
    /// Carries out what is due.
    pub(super) fn act(&mut self, now: Nanos) {
        self.phases.end_sending(now, self.board.sending_ends());
        let left = self.phases.give_up(now, self.limits.drain);
        if left > 0 {
            let count = self.count();
            count.scheduled += left;
            count.skipped += left;
            count.given_up += left;
        }
        for _ in 0..ACTIONS {
            let full = self.connections.is_full();
            match self.phases.take(now, &self.board, full) {
                None => return,
                Some((at, Action::Connect { device })) => {
                    self.latencies.record(Metric::ConnectLag, at, now);
                    self.connect(now, device);
                }
                Some((at, Action::Send(arrival))) => self.send(at, arrival),
                Some((at, Action::Cut(cut))) => self.cut(at, now, cut),
            }
        }
    }

    /// Begins a device's connection.
    pub(super) fn connect(&mut self, now: Nanos, device: u32) {
        match self.reconnects.is_away(device) {
            true => self.count().reconnects += 1,
            false => self.count().connects += 1,
        }
        if let Err(why) = self.connections.begin(now, device)
            && !self.try_again(now, device)
        {
            self.count().connect_failures += 1;
            self.reporter
                .note_trouble(&format!("cannot connect: {why}"));
        }
    }

    /// Gives up connections that take too long, so that a silent gateway does not hold up a run for
    /// ever.
    pub(super) fn give_up_overdue(&mut self, now: Nanos) {
        let timeout = self.limits.connect_timeout;
        while let Some(device) = self.connections.overdue(now, timeout) {
            self.count().timed_out += 1;
            let mut why = "the gateway did not open the session in time".to_owned();
            if let Some(words) = self.dialogue.last_words() {
                why = format!("{why}; it said: {words}");
            }
            self.failed(now, device, &why);
        }
    }

    /// Sends a due message, or keeps it until its session is back.
    fn send(&mut self, intended: Nanos, arrival: Arrival) {
        self.count().scheduled += 1;
        let device = self.checker.roster().sender(arrival.stream);
        let now = self.clock.now();
        if self.connections.is_open(device) {
            if self.hand_over(now, intended, arrival, device) {
                self.sends.departs(intended);
            }
        } else if self.reconnects.is_away(device)
            && self.sends.hold(device, HeldSend { intended, arrival })
        {
            // This side was late by that much; the rest is waiting for the session.
            self.latencies.record(Metric::SendLag, intended, now);
            self.count().held += 1;
        } else {
            self.count().skipped += 1;
        }
    }

    /// Hands a message to its open session. Returns whether there was room among those under way.
    pub(super) fn hand_over(
        &mut self,
        now: Nanos,
        intended: Nanos,
        arrival: Arrival,
        device: u32,
    ) -> bool {
        let room = D::has_room(self, device);
        let departure = match room {
            true => self.checker.depart(now, arrival, intended),
            false => None,
        };
        match departure {
            Some(departure) => D::write_send(self, device, departure, arrival.keyed),
            None => self.count().skipped += 1,
        }
        departure.is_some()
    }

    /// Ends a session to open it again: with a Close frame, or abruptly like a device that loses
    /// its network. If the chosen device has no open session, takes another device nearby.
    fn cut(&mut self, at: Nanos, now: Nanos, cut: Cut) {
        let devices = self.connections.devices();
        let near = match cut.storm {
            Some(_) => 1,
            None => NEAR.min(devices),
        };
        let mut open = (0..near).map(|step| (cut.device + step) % devices);
        let Some(device) = open.find(|&device| self.connections.is_open(device)) else {
            return;
        };
        let counters = *self.checker.counters();
        let storm = cut.storm.map(|storm| self.storms.cut(at, storm, counters));
        self.count().cuts += 1;
        self.count().sessions -= 1;
        self.reconnects.cut(now, device, now + cut.away, storm);
        if cut.abrupt {
            self.connections.reset(device);
            self.leave(now, device);
        } else {
            self.connections.leave(device);
        }
    }

    /// Writes what the turn has for its connections, of which the first `with_sends` have the messages that were due. Returns the
    /// time after the last write.
    pub(super) fn flush_all(&mut self, now: Nanos, with_sends: usize) -> Nanos {
        let mut sends = self.connections.take_dirty();
        let others = sends.split_off(with_sends.min(sends.len()));
        for device in sends {
            self.flush(now, device);
        }
        let written = self.clock.now();
        self.sends.written(written, &mut self.latencies);
        if others.is_empty() {
            return written;
        }
        for device in others {
            self.flush(now, device);
        }
        self.clock.now()
    }

    /// Writes waiting bytes to a device's socket.
    pub(super) fn flush(&mut self, now: Nanos, device: u32) {
        let counters = self.checker.counters_mut();
        if let Err(why) = self.connections.flush(device, counters) {
            self.failed(now, device, &why.to_string());
        }
    }
}
