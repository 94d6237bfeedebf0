//! The commands of the users: for their sessions, messages and acknowledgements.

use super::super::Client;
use super::acknowledgements::Reader;
use super::commands::{CONNECT_ID, Login};
use super::{Full, command};
use crate::check::{Departure, Judge, Marks};
use crate::clock::Nanos;

impl Client<Full> {
    /// Asks for the session of a device, from where the device was if it was there before.
    pub(super) fn ask_for_session(&mut self, device: u32) {
        let since = self.reconnects.since(device);
        let part = self.checker.roster().part();
        let (mut user, mut name) = (String::new(), String::new());
        if device == self.dialogue.maker.device() {
            user = self.dialogue.maker.user(part);
            name.push_str("d0");
        } else {
            part.write_user(part.user_of(device), &mut user);
            part.write_device(device, &mut name);
        }
        // Without a token the gateway reports what is missing.
        let token = self
            .dialogue
            .signer
            .as_ref()
            .and_then(|it| it.token(&user).ok());
        let login = Login {
            user: &user,
            device: &name,
            token,
            since: since.as_deref(),
        };
        self.command(device, CONNECT_ID, login.command());
    }

    /// Writes the command of a send.
    pub(super) fn write_send(&mut self, device: u32, departure: Departure, keyed: bool) {
        let Departure { id, origin } = departure;
        let connections = &mut self.connections;
        { &mut self.dialogue.commands }.send(&self.checker, origin, keyed, |body| {
            command(connections, device, id, body);
        });
    }

    /// Repeats sends and acknowledgements whose answers left open whether they were stored.
    pub(super) fn repeat(&mut self, now: Nanos) {
        while let Some(device) = self.dialogue.again.next(now) {
            // A session that is away repeats them when it is back.
            if !self.connections.is_open(device) {
                continue;
            }
            while let Some(again) = self.checker.send_again(now, device) {
                self.write_send(device, again, true);
            }
            if self.dialogue.acknowledgements.is_wanted() {
                self.acknowledge_again(now, device);
            }
        }
    }

    /// Acknowledges new messages as delivered, and older ones as read.
    pub(super) fn acknowledge(&mut self, now: Nanos) {
        while let Some(reader) = self.dialogue.acknowledgements.next_read(now) {
            self.acknowledge_one(reader, true);
        }
        while let Some(reader) = self.dialogue.acknowledgements.next_delivered(now) {
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
        self.dialogue
            .commands
            .ack(checker, stream, marks, read, |body| {
                command(connections, reader.device, 0, body);
            });
    }

    /// Repeats the user's last acknowledgements, because they may not have arrived. The user
    /// reports messages as read after the reading time has passed again.
    pub(super) fn acknowledge_again(&mut self, now: Nanos, device: u32) {
        let roster = self.checker.roster();
        for stream in roster.streams_of(roster.part().user_of(device)) {
            if let Some(marks) = self.checker.acknowledge_again(now, stream) {
                let reader = Reader { stream, device };
                self.write_ack(reader, marks, marks.read > 0);
                self.dialogue.acknowledgements.read_later(now, reader);
            }
        }
    }
}
