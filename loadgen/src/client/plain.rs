//! The dialogue with a server that passes texts on: messages, their acknowledgements, pings.
//!
//! Receipts, history, groups and positions are not here, so nothing of them is checked.

use std::collections::VecDeque;

use super::Client;
use super::dialogue::Dialogue;
use super::reconnects::Return;
use crate::check::{Departure, Judge, PlainChecker};
use crate::clock::Nanos;
use crate::driver::Driver;
use crate::driver::text::{Heard, Outgoing, TextDriver};

/// What a thread needs to play a scenario with a driver of texts.
#[derive(Debug)]
pub(crate) struct PlainPlay<D> {
    pub(crate) checker: PlainChecker,
    pub(crate) driver: D,
}

/// The dialogue with a server that passes texts on.
#[derive(Debug)]
pub(super) struct Plain<D> {
    pings: Pings,
    /// Names and texts, in buffers that are used again.
    user: String,
    peer: String,
    text: String,
    /// The last thing that no pattern knows, of sessions that are being opened.
    last_words: Option<String>,
    driver: std::marker::PhantomData<D>,
}

/// The next pings of a thread's sessions, all with the same time between two.
#[derive(Debug)]
struct Pings {
    every: Option<Nanos>,
    /// Devices in the order of their next pings. An entry counts if it is the last of its device.
    next: VecDeque<(Nanos, u32)>,
    /// The time of the next ping, by device; 0 without one.
    of: Vec<Nanos>,
}

impl Pings {
    fn new(every: Option<Nanos>, devices: usize) -> Self {
        Self {
            every,
            next: VecDeque::new(),
            of: vec![0; if every.is_some() { devices } else { 0 }],
        }
    }

    /// Plans the next ping of a device. An earlier plan does not count any more.
    fn plan(&mut self, now: Nanos, device: u32) {
        if let Some(every) = self.every {
            let at = now + every;
            self.of[device as usize] = at;
            self.next.push_back((at, device));
        }
    }

    /// Takes a device whose ping is due.
    fn take(&mut self, now: Nanos) -> Option<u32> {
        while let Some((at, device)) = self.next.pop_front_if(|(at, _)| *at <= now) {
            if self.of[device as usize] == at {
                return Some(device);
            }
        }
        None
    }

    fn due(&self) -> Option<Nanos> {
        self.next.front().map(|(at, _)| *at)
    }
}

impl<D: TextDriver> Plain<D> {
    /// Makes the dialogue of a thread, with what judges it and what drives its connections.
    pub(super) fn new(play: PlainPlay<D>) -> (Self, PlainChecker, D) {
        let devices = play.checker.roster().part().devices() as usize;
        let plain = Self {
            pings: Pings::new(play.driver.ping_every(), devices),
            user: String::new(),
            peer: String::new(),
            text: String::new(),
            last_words: None,
            driver: std::marker::PhantomData,
        };
        (plain, play.checker, play.driver)
    }
}

impl<D: TextDriver> Client<Plain<D>> {
    /// Puts the name of a device's user into the dialogue.
    fn name(&mut self, device: u32) {
        let part = self.checker.roster().part();
        self.dialogue.user.clear();
        part.write_user(part.user_of(device), &mut self.dialogue.user);
    }

    /// Opens a device's session; `said`: the server says that it is open.
    fn is_open(&mut self, now: Nanos, device: u32, said: bool) {
        self.dialogue.pings.plan(now, device);
        self.opened(now, device, said);
    }

    fn heard(&mut self, now: Nanos, device: u32, heard: Heard<'_>) -> Result<(), String> {
        match heard {
            Heard::Opened if !self.connections.is_open(device) => self.is_open(now, device, true),
            Heard::Opened => {}
            Heard::Pinged => self.count().pings += 1,
            Heard::Pushed(text) => {
                if let Some(intended) = self.checker.arrived(now, device, &text) {
                    self.record_arrival(now, device, intended, true);
                }
            }
            Heard::Acked(id) => {
                if let Some(intended) = self.checker.acknowledged(now, id) {
                    self.record_ack(now, device, intended);
                }
            }
            Heard::Refused { why, .. } if !self.connections.is_open(device) => {
                return Err(format!("the server refuses the session: {why}"));
            }
            Heard::Refused { id, why } => {
                self.reporter.note_trouble(&why);
                if !self.checker.refused(now, id) {
                    self.count().command_errors += 1;
                }
            }
            Heard::Strange(what) if self.connections.is_open(device) => {
                self.count().strange += 1;
                let why = format!("a message that [protocol] does not describe: {what}");
                self.reporter.note_trouble(&why);
            }
            Heard::Strange(what) => self.dialogue.last_words = Some(what),
        }
        Ok(())
    }
}

impl<D: TextDriver> Dialogue for Plain<D> {
    type Driver = D;
    type Judge = PlainChecker;

    fn connected(client: &mut Client<Self>, device: u32) {
        client.name(device);
        let user = &client.dialogue.user;
        client
            .connections
            .write(device, |driver, line| driver.connect(line, user));
    }

    fn ready(client: &mut Client<Self>, now: Nanos, device: u32) {
        client.name(device);
        let user = &client.dialogue.user;
        let connections = &mut client.connections;
        let open = connections.write(device, |driver, line| driver.open(line, user));
        if open == Some(true) {
            client.is_open(now, device, false);
        }
    }

    fn said(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        mut said: <D as Driver>::Said<'_>,
    ) -> Result<(), String> {
        loop {
            let connections = &mut client.connections;
            let heard = connections.answer(device, |driver, line| driver.hear(line, &mut said));
            match heard.transpose()?.flatten() {
                Some(heard) => client.heard(now, device, heard)?,
                None => return Ok(()),
            }
        }
    }

    fn enter(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        _returned: Option<Return>,
        said: bool,
    ) {
        client.checker.opened(now, device, said);
    }

    fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    fn has_room(client: &mut Client<Self>, device: u32) -> bool {
        client.connections.has_room(device)
    }

    fn write_send(client: &mut Client<Self>, device: u32, departure: Departure, _keyed: bool) {
        client.name(device);
        let Some(peer) = client.checker.recipient(departure.origin.stream) else {
            return;
        };
        let Self {
            user,
            peer: to,
            text,
            ..
        } = &mut client.dialogue;
        to.clear();
        { client.checker.roster().part() }.write_user(peer, to);
        client.checker.write_text(departure.origin, text);
        let message = Outgoing {
            id: departure.id,
            user,
            peer: to,
            text,
        };
        client
            .connections
            .write(device, |driver, line| driver.send(line, &message));
    }

    fn turn(client: &mut Client<Self>, now: Nanos) {
        while let Some(device) = client.dialogue.pings.take(now) {
            if client.connections.is_open(device) {
                client.name(device);
                let user = &client.dialogue.user;
                client
                    .connections
                    .write(device, |driver, line| driver.ping(line, user));
                client.dialogue.pings.plan(now, device);
            }
        }
    }

    fn due(&self) -> Option<Nanos> {
        self.pings.due()
    }

    fn is_settled(client: &mut Client<Self>, _now: Nanos) -> bool {
        client.checker.is_settled()
    }

    fn judge(client: &mut Client<Self>, now: Nanos, _until: Nanos) {
        client.nobody_comes_back(now);
        client.checker.close();
        client.finish(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_pings_again_and_again_and_only_since_its_last_opening() {
        let mut pings = Pings::new(Some(10), 2);
        pings.plan(0, 0);
        pings.plan(5, 1);
        pings.plan(7, 0);
        assert_eq!((pings.take(9), pings.due()), (None, Some(10)));
        assert_eq!(
            pings.take(15),
            Some(1),
            "the first plan of device 0 is over"
        );
        assert_eq!((pings.take(16), pings.take(17)), (None, Some(0)));
        assert_eq!(pings.due(), None);
        let mut none = Pings::new(None, 2);
        none.plan(0, 1);
        assert_eq!(none.due(), None);
    }
}
