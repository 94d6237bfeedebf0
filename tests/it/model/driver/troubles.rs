//! What goes wrong with three gateways while commands are under way.

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use trunkline_tests::cluster::NODES;
use trunkline_tests::wait;

use super::super::asks::content;
use super::kinds::Kind;
use super::three::Part;
use super::{Device, Driver, USERS, answer};

/// What an error says of a command that changed nothing.
const NOTHING: &str = "nothing was stored";

/// The error of a command whose outcome is not known, or that could not be decided.
const UNAVAILABLE: u64 = 115;

/// A command that is under way.
struct Asked {
    number: usize,
    command: &'static str,
    ask: Value,
    /// The id of the command on the connection of the device; `None` if it was not sent there.
    id: Option<u32>,
    reply: Option<Value>,
    /// Whether it may have been stored without an answer that says so.
    unknown: bool,
}

impl Driver<Part<'_>> {
    /// Lets something go wrong while commands are under way. Those with keys are sent again until they are decided.
    pub(super) fn trouble(&mut self, kind: Kind) {
        self.count(kind.name());
        let is_burst = self.random.random_bool(0.7);
        let mut asked = match is_burst {
            true => self.burst(),
            false => self.one_change(),
        };
        (0..self.devices.len()).for_each(|device| self.hear(device));
        let mut witnesses = self.witnesses();
        let what = format!("--- {}", kind.name());
        self.say(&what);
        for one in &mut asked {
            self.post(one);
        }
        self.publish(&mut witnesses);
        let trouble = self.begin_trouble(kind);
        if is_burst {
            let connected = |device: &usize| {
                let Device { client, at, .. } = &self.devices[*device];
                client.is_some() && trouble.healthy.contains(at)
            };
            let more: Vec<_> = (0..self.devices.len()).filter(connected).collect();
            for number in more {
                let mut one = self.message_of(number);
                self.post(&mut one);
                asked.push(one);
            }
        }
        if self.random.random_bool(0.6) {
            for one in &mut asked {
                if trouble.healthy.contains(&self.devices[one.number].at) {
                    self.answer(one, &trouble.healthy);
                }
            }
        }
        self.say("--- the remedy");
        self.remedy(trouble.remedy);
        for one in &mut asked {
            self.answer(one, &[0, 1, 2]);
        }
        for device in &mut self.devices {
            if trouble.gone.contains(&device.at) {
                device.client = None;
            }
        }
        for at in 0..NODES.len() {
            self.place.three.cluster.is_ready(at);
        }
        self.place.three.settle();
        self.decide(asked);
        (0..self.devices.len()).for_each(|device| self.hear(device));
        self.hear_witnesses(witnesses, &trouble.gone);
        self.all_are_known();
    }

    /// Lets a device send one command. A busy machine may change the leader meanwhile.
    pub(super) fn ask(&mut self, number: usize) {
        let repeated = match self.random.random_bool(0.1) {
            true => self.place.keyed.choose(&mut self.random).cloned(),
            false => None,
        };
        if let Some((user, ask)) = repeated {
            return self.repeat(user, ask);
        }
        self.connect(number);
        let (command, mut ask) = self.command(number, false);
        if is_bare(command, &ask) {
            // It tells whether the command has been carried out.
            self.place.texts += 1;
            let (field, text) = match command {
                "send" => ("text", format!("text once {}", self.place.texts)),
                _ => ("name", format!("Name {}", self.place.texts)),
            };
            ask[field] = json!(text);
        }
        self.carry_out(Asked::new(number, command, ask));
    }

    /// Lets a device of a user repeat a message that one of them has sent.
    fn repeat(&mut self, user: &str, ask: Value) {
        let of_user = |number: &usize| self.devices[*number].user == user;
        let own: Vec<_> = (0..self.devices.len()).filter(of_user).collect();
        let number = *own.choose(&mut self.random).expect("a device");
        self.connect(number);
        self.carry_out(Asked::new(number, "send", ask));
    }

    fn carry_out(&mut self, mut asked: Asked) {
        self.post(&mut asked);
        self.answer(&mut asked, &[0, 1, 2]);
        self.decide(vec![asked]);
    }

    /// Returns messages of several devices. The devices are connected.
    fn burst(&mut self) -> Vec<Asked> {
        let mut asked = Vec::new();
        for number in 0..self.devices.len() {
            if self.random.random_bool(0.5) {
                self.connect(number);
                for _ in 0..self.random.random_range(1..4) {
                    asked.push(self.message_of(number));
                }
            }
        }
        asked
    }

    /// Returns a message whose outcome depends on no other message.
    fn message_of(&mut self, number: usize) -> Asked {
        let conversation = self.conversation(number);
        let mut ask = content(&mut self.random, 1_000_000);
        match conversation.strip_prefix("g:") {
            Some(group) => ask["group"] = json!(group),
            None => ask["user"] = json!(USERS.choose(&mut self.random)),
        }
        self.keys += 1;
        self.place.texts += 1;
        match self.random.random_bool(0.8) {
            true => ask["key"] = json!(format!("key-{}", self.keys)),
            // Its text tells whether it is stored.
            false => {
                ask = json!({"user": ask["user"], "group": ask["group"], "text": format!("once {}", self.place.texts)})
            }
        }
        Asked::new(number, "send", ask)
    }

    /// Returns a command that is no message. To send it again changes nothing.
    fn one_change(&mut self) -> Vec<Asked> {
        let number = self.random.random_range(0..self.devices.len());
        self.connect(number);
        loop {
            let (command, ask) = self.command(number, true);
            if command != "send" && !is_bare(command, &ask) {
                return vec![Asked::new(number, command, ask)];
            }
        }
    }

    fn post(&mut self, asked: &mut Asked) {
        let Asked {
            number, command, ..
        } = *asked;
        self.note(number, &format!("under way: {command} {}", asked.ask));
        let client = self.devices[number].client.as_mut();
        asked.id = client.and_then(|client| client.try_post(command, &asked.ask));
    }

    /// Waits for the answer of a command, and sends it again until there is one. Devices whose connection has ended
    /// come to one of the gateways `healthy`. What would count twice is not sent again if it may be stored.
    fn answer(&mut self, asked: &mut Asked, healthy: &[usize]) {
        let Device { user, name, .. } = self.devices[asked.number];
        if let Some(client) = &mut self.devices[asked.number].client {
            while let Some(id) = asked.id.take() {
                let reply = client.try_reply(id);
                if asked.takes(reply) {
                    asked.id = client.try_post(asked.command, &asked.ask);
                }
            }
        }
        if asked.is_over() {
            return;
        }
        let at = *healthy.choose(&mut self.random).expect("a gateway");
        let mut client = self.place.dial_to(at).connect(user, name);
        wait::until("a decision", || {
            let reply = client.ask(asked.command, &asked.ask);
            (!asked.takes(Some(reply))).then_some(())
        });
    }

    /// Looks whether something was stored whose answer did not come.
    fn find(&mut self, asked: &mut Asked) {
        if asked.reply.is_some() {
            return;
        }
        self.place.three.settle();
        let Device { user, name, .. } = self.devices[asked.number];
        let since = &self.devices[asked.number].since.0;
        let dial = self.place.dial_to(0).since(since);
        let (pushes, _) = dial.connect(user, name).caught_up();
        let is_it = |push: &&Value| match asked.command {
            "send" => push["message"]["text"] == asked.ask["text"],
            _ => push["group"]["name"] == asked.ask["name"],
        };
        let found: Vec<_> = pushes.iter().filter(is_it).collect();
        assert!(found.len() < 2, "stored twice: {found:?}");
        if let Some(push) = found.first() {
            let (message, pos) = (&push["message"], &push["pos"]);
            let (conversation, seq) = (&message["conversation"], &message["seq"]);
            asked.reply = Some(match asked.command {
                "send" => {
                    json!({"send": {"conversation": conversation, "seq": seq, "pos": pos, "duplicate": false}})
                }
                other => json!({other: {}}),
            });
        }
        let is_stored = asked.reply.is_some();
        self.say(&format!("{} was stored: {is_stored}", asked.ask));
    }

    /// Lets the model decide what the gateways have decided, in their order.
    fn decide(&mut self, mut asked: Vec<Asked>) {
        self.place.settled = false;
        asked.iter_mut().for_each(|one| self.find(one));
        for one in asked.iter().filter(|one| one.unknown) {
            // Whether the device is told of what it has no answer for is not said.
            self.devices[one.number].client = None;
        }
        asked.retain(|one| one.reply.is_some());
        asked.sort_by_key(Asked::place);
        for one in asked {
            let Device { user, name, .. } = self.devices[one.number];
            let (command, ask) = (one.command, &one.ask);
            let mut expected = self.world.decide((user, name), command, ask);
            let mut found = answer(&one.reply.expect("an answer"), command);
            let unknown = one.unknown;
            self.note(
                one.number,
                &format!("{command} {ask} is {found:?}, unknown: {unknown}"),
            );
            if found.is_ok() && ask["key"].is_string() && command == "send" {
                self.place.keyed.push((user, ask.clone()));
            }
            if unknown && command != "send" && !is_bare(command, ask) {
                // The answer is that to the second one.
                continue;
            }
            if unknown {
                for reply in [&mut expected, &mut found].into_iter().flatten() {
                    reply["duplicate"] = Value::Null;
                }
            }
            assert_eq!(found, expected, "{user} {command} {ask}");
        }
    }
}

impl Asked {
    fn new(number: usize, command: &'static str, ask: Value) -> Self {
        Self {
            number,
            command,
            ask,
            id: None,
            reply: None,
            unknown: false,
        }
    }

    /// Returns the place of what was stored in the log, which is a part of its position; 0 if nothing was stored.
    fn place(&self) -> u64 {
        let reply = self.reply.as_ref().expect("an answer");
        let Some(pos) = reply[self.command]["pos"].as_str() else {
            return 0;
        };
        let number = pos
            .split_once('-')
            .and_then(|(_, number)| number.parse().ok());
        number.unwrap_or_else(|| panic!("another form of a position: {pos}"))
    }

    /// Returns whether nothing more is to be done.
    fn is_over(&self) -> bool {
        self.reply.is_some() || self.unknown && is_bare(self.command, &self.ask)
    }

    /// Takes an answer, or the end of the connection without one. Returns whether the command is to be sent again.
    fn takes(&mut self, reply: Option<Value>) -> bool {
        match reply {
            Some(reply) if reply["error"]["code"] == UNAVAILABLE => {
                let text = reply["error"]["message"].as_str().unwrap_or_default();
                self.unknown |= !text.contains(NOTHING);
                !self.is_over()
            }
            Some(reply) => {
                self.reply = Some(reply);
                false
            }
            None => {
                self.unknown = true;
                false
            }
        }
    }
}

/// Returns whether a command counts twice if it is sent again.
fn is_bare(command: &str, ask: &Value) -> bool {
    command == "group_rename" || command == "send" && ask["key"].is_null()
}
