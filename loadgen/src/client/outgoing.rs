//! The outgoing side of the loop: connections, messages, acknowledgements, cuts.

use super::acknowledgements::Reader;
use super::commands::{CONNECT_ID, Login};
use super::sends::HeldSend;
use super::{ACTIONS, Client};
use crate::check::{Departure, Marks};
use crate::clock::Nanos;
use crate::schedule::{Action, Arrival, Cut};
use crate::stats::Metric;

/// The number of devices, from the chosen one on, among which one that can be cut is searched.
const NEAR: u32 = 32;

impl Client {
    /// Carries out what is due.
    pub(super) fn act(&mut self, now: Nanos) {
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
            self.failed(now, device, "the gateway did not open the session in time");
        }
    }

    /// Asks for the session of a device, from where the device was if it was there before.
    pub(super) fn ask_for_session(&mut self, device: u32) {
        let since = self.reconnects.since(device);
        let part = self.checker.roster().part();
        let (mut user, mut name) = (String::new(), String::new());
        if device == self.maker.device() {
            user = self.maker.user(part);
            name.push_str("d0");
        } else {
            part.write_user(part.user_of(device), &mut user);
            part.write_device(device, &mut name);
        }
        // Without a token the gateway reports what is missing.
        let token = self.signer.as_ref().and_then(|it| it.token(&user).ok());
        let login = Login {
            user: &user,
            device: &name,
            token,
            since: since.as_deref(),
        };
        self.connections
            .command(device, CONNECT_ID, login.command());
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
        let departure = self.checker.depart(now, arrival, intended);
        match departure {
            Some(departure) => self.write_send(device, departure, arrival.keyed),
            None => self.count().skipped += 1,
        }
        departure.is_some()
    }

    /// Writes the command of a send.
    pub(super) fn write_send(&mut self, device: u32, departure: Departure, keyed: bool) {
        let Departure { id, origin } = departure;
        let connections = &mut self.connections;
        self.commands.send(&self.checker, origin, keyed, |body| {
            connections.command(device, id, body);
        });
    }

    /// Acknowledges new messages as delivered, and older ones as read.
    pub(super) fn acknowledge(&mut self, now: Nanos) {
        while let Some(reader) = self.acknowledgements.next_read(now) {
            self.acknowledge_one(reader, true);
        }
        while let Some(reader) = self.acknowledgements.next_delivered(now) {
            self.acknowledge_one(reader, false);
        }
    }

    fn acknowledge_one(&mut self, reader: Reader, read: bool) {
        if !self.connections.is_open(reader.device) {
            return;
        }
        let now = self.clock.now();
        let marks = self.checker.acknowledge(now, reader.stream, read);
        if let Some(marks) = marks {
            self.write_ack(reader, marks, read);
        }
    }

    /// Writes an acknowledgement, without an id: the gateway answers only to refuse it.
    pub(super) fn write_ack(&mut self, reader: Reader, marks: Marks, read: bool) {
        let connections = &mut self.connections;
        let (checker, stream) = (&self.checker, reader.stream);
        self.commands.ack(checker, stream, marks, read, |body| {
            connections.command(reader.device, 0, body);
        });
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

    /// Writes what the turn has for its connections.
    pub(super) fn flush_all(&mut self, now: Nanos) {
        for device in self.connections.take_dirty() {
            self.flush(now, device);
        }
    }

    /// Writes waiting bytes to a device's socket.
    pub(super) fn flush(&mut self, now: Nanos, device: u32) {
        let counters = self.checker.counters_mut();
        if let Err(why) = self.connections.flush(device, counters) {
            self.failed(now, device, &why.to_string());
        }
    }
}
