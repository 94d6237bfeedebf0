//! Plays a random history on gateways and on the model, and compares.

mod alone;
mod erasing;
mod faults;
mod kinds;
mod looks;
mod passing;
mod three;
mod troubles;

pub(super) use faults::{DISK_FAULTS, Faults};
pub(super) use three::Three;

use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;

use super::asks::{content, creation, let_windows_pass, managing};
use super::world::{Answer, World};

pub(super) const USERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const GROUPS: [&str; 3] = ["one", "two", "three"];

/// The most members of a small group. In groups with more than one member more, members do not get
/// each other's receipts.
const FANOUT: usize = 3;

/// The time after which messages expire while the history goes on.
const SHORT: &str = "1s";

/// The words that are searched for.
const WORDS: [&str; 3] = ["text", "2", "3"];

/// The number of users of a large group who never connect: with some of the others the group has more than
/// 50 members, or just as many.
const CROWD: usize = 48;

/// Where the devices of a history connect.
pub(super) trait Place {
    /// Returns how a device connects now, and the number of the gateway to which it does.
    fn dial(&self, random: &mut StdRng) -> (usize, Dial);

    /// Waits until each gateway has everything that was acknowledged.
    fn settle(&mut self);
}

pub(super) struct Driver<P> {
    /// Whether one group may have a crowd of members.
    has_crowd: bool,
    /// Whether each edit comes after its window.
    late_edits: bool,
    random: StdRng,
    place: P,
    world: World,
    devices: Vec<Device>,
    keys: usize,
    /// The steps, which are printed if the histories differ.
    said: Vec<String>,
    began: Instant,
    /// Whether some messages expire while the history goes on.
    short_lives: bool,
    /// Whether the disk fails now and then.
    bad_disk: bool,
    /// Whether reads have failed. The index leaves out for good what it could not read.
    is_blind: bool,
    /// Whether a user is erased at the end.
    ends_erased: bool,
    faults: Faults,
}

struct Device {
    user: &'static str,
    name: &'static str,
    client: Option<Client>,
    /// The gateway to which the device is connected, or was connected last.
    at: usize,
    /// The position from which to continue, and the number of events of the log before it.
    since: (String, usize),
    /// The number of events of the log that the device got, or need not get.
    told: usize,
}

impl<P> Drop for Driver<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said.join("\n"));
        }
    }
}

impl<P: Place> Driver<P> {
    /// Makes a history that begins at this place.
    fn begin(seed: u64, place: P, late_edits: bool) -> Self {
        let devices = USERS
            .into_iter()
            .flat_map(|user| ["phone", "tablet"].map(|name| (user, name)))
            .map(|(user, name)| Device {
                user,
                name,
                client: None,
                at: 0,
                // The position before all records.
                since: ("0".into(), 0),
                told: 0,
            })
            .collect();
        Self {
            has_crowd: seed.is_multiple_of(4),
            late_edits,
            random: StdRng::seed_from_u64(seed),
            place,
            world: World::new(FANOUT + 1, late_edits),
            devices,
            keys: 0,
            said: Vec::new(),
            began: Instant::now(),
            short_lives: false,
            bad_disk: false,
            is_blind: false,
            ends_erased: false,
            faults: Faults::new(),
        }
    }

    /// Notes what happens, with the milliseconds since the history began.
    fn say(&mut self, what: &str) {
        let began = self.began.elapsed().as_millis();
        self.said.push(format!("{began} {what}"));
    }

    fn note(&mut self, device: usize, what: &str) {
        let Device { user, name, .. } = self.devices[device];
        self.say(&format!("{user}/{name}: {what}"));
    }

    /// Returns how a device connects: every other one speaks protobuf.
    fn dial(&mut self, number: usize) -> Dial {
        let (at, dial) = self.place.dial(&mut self.random);
        self.devices[number].at = at;
        match number.is_multiple_of(2) {
            true => dial.proto(),
            false => dial,
        }
    }

    /// Connects a device without the events that it has missed.
    fn connect_anew(&mut self, number: usize) {
        let dial = self.dial(number);
        let device = &mut self.devices[number];
        let client = dial.connect(device.user, device.name);
        device.since = (client.pos(), self.world.log.len());
        device.told = self.world.log.len();
        device.client = Some(client);
        let at = device.at;
        self.note(number, &format!("connects anew to gateway {at}"));
    }

    /// Connects a device if it is not connected, and checks the missed events.
    fn connect(&mut self, number: usize) {
        let fresh = self.random.random_bool(0.2);
        if self.devices[number].client.is_some() {
            return;
        }
        // A gateway without the last events would push them later, as they were when they happened.
        self.place.settle();
        if fresh {
            return self.connect_anew(number);
        }
        let dial = self.dial(number);
        self.catch_up(number, &dial);
    }

    /// Connects a device that is not connected, and checks the missed events.
    fn catch_up(&mut self, number: usize, dial: &Dial) {
        let device = &mut self.devices[number];
        let mut client = dial
            .clone()
            .since(&device.since.0)
            .connect(device.user, device.name);
        for event in device.since.1..self.world.log.len() {
            if let Some(expected) = self.world.event(event, device.user) {
                let push = client.push();
                device.since = (position(&push), event + 1);
                assert_eq!(essence(&push), expected, "what {} missed", device.user);
            }
        }
        device.told = self.world.log.len();
        device.client = Some(client);
        let at = self.devices[number].at;
        self.note(number, &format!("connects to gateway {at}"));
    }

    /// Checks the events that were pushed to a device.
    fn hear(&mut self, number: usize) {
        let device = &mut self.devices[number];
        let Some(client) = &mut device.client else {
            return;
        };
        for event in device.told..self.world.log.len() {
            let entry = &self.world.log[event];
            let own = entry.by == (device.user.to_owned(), device.name.to_owned());
            if let Some(expected) = entry
                .live
                .as_ref()
                .filter(|_| entry.concerns(device.user) && !own)
            {
                let push = client.push();
                device.since = (position(&push), event + 1);
                assert_eq!(essence(&push), *expected, "what {} is told", device.user);
            }
        }
        device.told = self.world.log.len();
    }

    fn disconnect(&mut self, number: usize) {
        if self.random.random_bool(0.7) {
            self.hear(number);
        }
        if let Some(client) = self.devices[number].client.take() {
            if self.random.random_bool(0.5) {
                client.close();
            }
            self.note(number, "disconnects");
        }
    }

    fn forget_clients(&mut self) {
        for device in &mut self.devices {
            device.client = None;
        }
    }

    /// Lets a device send one command, or several commands in one frame.
    fn act(&mut self, number: usize) {
        self.connect(number);
        let count = if self.random.random_bool(0.3) { 4 } else { 1 };
        let mut asked = Vec::new();
        for _ in 0..count {
            let (command, ask) = self.command(number, false);
            let is_late = command == "edit" && self.late_edits;
            let is_short = ask["ttl"] == SHORT;
            if (is_late || is_short) && !asked.is_empty() {
                break;
            }
            let Device { user, name, .. } = self.devices[number];
            let expected = self.world.decide((user, name), command, &ask);
            self.note(number, &format!("{command} {ask} is to be {expected:?}"));
            asked.push((command, ask, expected));
            if command == "ack" {
                // The receipt follows the events that are stored with it, together with similar
                // receipts.
                break;
            }
            if is_late {
                let_windows_pass();
            }
            if is_late || is_short {
                break;
            }
        }
        let short = asked.last().and_then(|(_, ask, expected)| {
            let sent = expected.as_ref().ok().filter(|_| ask["ttl"] == SHORT)?;
            if sent["duplicate"] == true {
                return None;
            }
            Some((
                sent["conversation"].as_str()?.to_owned(),
                sent["seq"].as_u64()?,
            ))
        });
        let Some(client) = &mut self.devices[number].client else {
            return;
        };
        // The commands of a frame are decided in their order.
        let ids: Vec<_> = asked
            .iter()
            .map(|(command, ask, _)| client.post(command, ask))
            .collect();
        for (id, (command, ask, expected)) in ids.into_iter().zip(asked) {
            let reply = client.reply(id);
            assert_eq!(answer(&reply, command), expected, "{command} {ask}");
        }
        if let Some((conversation, seq)) = short {
            self.let_expire(number, &conversation, seq as usize);
        }
    }

    /// Lets devices of several users acknowledge messages of one conversation without waiting for
    /// each other. The events must be in the order of the acknowledgements, even if some share a
    /// receipt.
    fn read_together(&mut self) {
        let conversation = self.conversation(0);
        let mut asking = Vec::new();
        for pair in 0..USERS.len() {
            if self.random.random_bool(0.8) {
                asking.push(2 * pair + usize::from(self.random.random_bool(0.5)));
            }
        }
        // Before the first acknowledgement, because waiting receipts are not events yet.
        for &number in &asking {
            self.connect(number);
        }
        let mut asked = Vec::new();
        for number in asking {
            let mark = if self.random.random_bool(0.5) {
                "read"
            } else {
                "delivered"
            };
            let seq = self.random.random_range(1..8);
            let ask = json!({"conversation": conversation, mark: seq});
            let Device { user, name, .. } = self.devices[number];
            let expected = self.world.decide((user, name), "ack", &ask);
            self.note(number, &format!("together: {ask} is to be {expected:?}"));
            let Some(client) = &mut self.devices[number].client else {
                continue;
            };
            let id = client.post("ack", &ask);
            // After its reply, so that the sequencer has it before the next one is sent.
            client.ping();
            asked.push((number, id, expected));
        }
        for (number, id, expected) in asked {
            let Some(client) = &mut self.devices[number].client else {
                continue;
            };
            let reply = client.reply(id);
            assert_eq!(answer(&reply, "ack"), expected, "{conversation}");
        }
    }

    fn conversation(&mut self, number: usize) -> String {
        if self.random.random_bool(0.6) {
            return format!("g:{}", GROUPS.choose(&mut self.random).expect("not empty"));
        }
        // Sometimes a conversation of two other users.
        let one = if self.random.random_bool(0.8) {
            self.devices[number].user
        } else {
            *USERS.choose(&mut self.random).expect("not empty")
        };
        let other = *USERS.choose(&mut self.random).expect("not empty");
        let (one, other) = if one < other {
            (one, other)
        } else {
            (other, one)
        };
        format!("u:{one}:{other}")
    }

    /// Returns a random command. With `keyed`, the command can be sent again.
    fn command(&mut self, number: usize, keyed: bool) -> (&'static str, Value) {
        let conversation = self.conversation(number);
        let random = &mut self.random;
        let group = *GROUPS.choose(random).expect("not empty");
        let seq = random.random_range(1..8);
        let members: Vec<_> = USERS
            .into_iter()
            .filter(|_| random.random_bool(0.5))
            .map(str::to_owned)
            .collect();
        match random.random_range(0..130) {
            100.. => managing(random, group, &conversation, seq),
            7..40 => {
                let mut ask = content(random, 1_000_000);
                match conversation.strip_prefix("g:") {
                    Some(group) => ask["group"] = json!(group),
                    None => ask["user"] = json!(USERS.choose(random)),
                }
                if random.random_bool(0.3) {
                    ask["reply_to"] = json!(seq);
                }
                if random.random_bool(0.2) {
                    let names: Vec<_> = ["*"].iter().chain(&USERS).collect();
                    ask["mentions"] = json!([names.choose(random), names.choose(random)]);
                }
                if random.random_bool(0.1) {
                    // Much longer than the test takes.
                    ask["ttl"] = json!("30h");
                }
                if random.random_bool(0.2) {
                    ask["kind"] = json!("text.markdown");
                    ask["meta"] = json!({"n": seq, "deep": [null, true]});
                }
                if keyed || random.random_bool(0.3) {
                    // Sometimes the key of an earlier command.
                    self.keys += usize::from(keyed || random.random_bool(0.7));
                    ask["key"] = json!(format!("key-{}", self.keys));
                }
                // A command that is sent again later waits for nothing meanwhile.
                if !keyed && self.short_lives && random.random_bool(0.2) {
                    ask["ttl"] = json!(SHORT);
                }
                ("send", ask)
            }
            40..60 => {
                let mark = if random.random_bool(0.5) {
                    "read"
                } else {
                    "delivered"
                };
                ("ack", json!({"conversation": conversation, mark: seq}))
            }
            0..7 => {
                // Some change nothing.
                let mut ask = content(random, 4);
                ask["conversation"] = json!(conversation);
                ask["seq"] = json!(seq);
                if random.random_bool(0.3) {
                    ask["meta"] = json!({"edit": seq % 2});
                }
                ("edit", ask)
            }
            60..66 => ("recall", json!({"conversation": conversation, "seq": seq})),
            66..70 => ("delete", json!({"conversation": conversation, "seq": seq})),
            70..80 => {
                let reaction = ["like", "heart"].choose(random);
                let remove = random.random_bool(0.3);
                (
                    "react",
                    json!({"conversation": conversation, "seq": seq, "reaction": reaction, "remove": remove}),
                )
            }
            80..86 => {
                let crowd = match self.has_crowd && group == "three" {
                    true => CROWD,
                    false => 0,
                };
                creation(random, group, members, crowd)
            }
            86..92 if !members.is_empty() => {
                ("group_add", json!({"group": group, "members": members}))
            }
            92..96 if !members.is_empty() => {
                ("group_remove", json!({"group": group, "members": members}))
            }
            96..98 => (
                "group_rename",
                json!({"group": group, "name": format!("Name {seq}")}),
            ),
            _ => ("group_leave", json!({"group": group})),
        }
    }
}

fn position(push: &Value) -> String {
    push["pos"]
        .as_str()
        .expect("an event has a position")
        .to_owned()
}

/// Returns an event or answer without the fields that the model does not know: positions, times,
/// cursors.
fn essence(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !["pos", "time", "since", "cursor"].contains(&name.as_str()))
            .map(|(name, value)| match name.as_str() {
                // The time is not known, but there is one.
                "edited" | "expires" => (name.clone(), Value::Bool(value.is_u64())),
                _ => (name.clone(), essence(value)),
            })
            .collect(),
        Value::Array(values) => values.iter().map(essence).collect(),
        other => other.clone(),
    }
}

fn answer(reply: &Value, command: &str) -> Answer {
    match reply["error"]["code"].as_u64() {
        Some(code) => Err(code),
        None => Ok(essence(&reply[command])),
    }
}
