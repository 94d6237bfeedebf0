//! A batch of commands as bytes, on its way to the node that decides it.
//!
//! All commands in it have names ([`Remote`]). Numbers, differences and ids are as in `bytes.rs`.
//!
//! | part | bytes |
//! |---|---|
//! | version | one byte: [`CARRIED_VERSION`] |
//! | positions of devices | how many, as a number; each: the key, and the position as a number |
//! | commands | until the end |
//!
//! A command has its number as the difference from the one before, the ids of user and conversation, its members,
//! its action, and its body as a text is written. Members are one byte: 0 a group; 1 and 2 a 1:1 conversation in which
//! the caller is the lesser or the greater side, followed by the id of the other user. An action is one byte, and what
//! [`action`] writes behind it.

use trunkline_proto::message::Role;
use trunkline_storage::Position;

use super::{Action, Change, Command, CommandBatch, EraseStep, Members, Remote, ReplyTo};
use crate::bytes::{Input, put, put_difference, put_id};
use crate::event::{Body, BodyNames};
use crate::ids::Side;

/// The version of the form.
pub const CARRIED_VERSION: u8 = 1;

/// The bytes of a position of a device, at least.
const POSITION: usize = 17;

impl CommandBatch {
    /// Appends the batch to `to`, for the node that decides it. Commands without a name stay behind: give names to all
    /// before (`Follower::forward`).
    pub fn carry(&self, to: &mut Vec<u8>) {
        to.push(CARRIED_VERSION);
        put(to, self.positions.len() as u64);
        for (key, position) in &self.positions {
            put_id(to, *key);
            put(to, position.0);
        }
        let mut last = 0;
        for command in &self.commands {
            let ReplyTo::Remote(name) = command.reply_to else {
                continue;
            };
            put_difference(to, name.number(), last);
            last = name.number();
            put_id(to, command.user);
            put_id(to, command.conversation);
            match command.members {
                Members::Group => to.push(0),
                Members::Direct { other, side } => {
                    to.push(1 + side as u8);
                    put_id(to, other);
                }
            }
            action(to, command.action);
            let body = &self.bodies[command.body.clone()];
            put(to, body.len() as u64);
            to.extend_from_slice(body);
        }
    }

    /// Reads a batch that another node carried here. `node` is the number that this process gives to the other node.
    /// Returns `None` if no node wrote the bytes, or one of another version.
    #[must_use]
    pub fn carried(bytes: &[u8], node: u16) -> Option<Box<Self>> {
        let mut input = Input(bytes);
        if input.byte()? != CARRIED_VERSION {
            return None;
        }
        let mut batch = Box::<Self>::default();
        let count = input.count(POSITION)?;
        for _ in 0..count {
            let position = (input.id()?, Position(input.number()?));
            batch.positions.push(position);
        }
        let mut last = 0;
        while !input.0.is_empty() {
            last = input.difference(last)?;
            let (user, conversation) = (input.id()?, input.id()?);
            let members = match input.byte()? {
                0 => Members::Group,
                side @ (1 | 2) => Members::Direct {
                    other: input.id()?,
                    side: if side == 1 {
                        Side::Lesser
                    } else {
                        Side::Greater
                    },
                },
                _ => return None,
            };
            let action = read_action(&mut input)?;
            let body = input.bytes()?;
            let names = BodyNames::of(&Body::read(body)?);
            let start = batch.bodies.len();
            batch.bodies.extend_from_slice(body);
            batch.push(Command {
                reply_to: ReplyTo::Remote(Remote::new(node, last)),
                user,
                conversation,
                members,
                body: start..batch.bodies.len(),
                names,
                action,
                read_at: 0,
            });
        }
        Some(batch)
    }
}

/// Appends an action.
fn action(to: &mut Vec<u8>, action: Action) {
    let mut with = |code: u8, flag: bool, seq: u64| {
        to.extend([code, flag.into()]);
        put(to, seq);
    };
    match action {
        Action::Recall { seq } => with(2, false, seq),
        Action::Edit { seq, names_media } => with(3, names_media, seq),
        Action::Delete { seq } => with(4, false, seq),
        Action::React { seq, remove } => with(5, remove, seq),
        Action::Contacts { added, watch } => with(7, watch, added as u64),
        Action::Pin { seq, remove } => with(8, remove, seq),
        Action::Block { remove } => with(10, remove, 0),
        Action::Send {
            key,
            names_media,
            has_extras,
        } => {
            let flags =
                u8::from(key.is_some()) | u8::from(names_media) << 1 | u8::from(has_extras) << 2;
            to.extend([0, flags]);
            if let Some(key) = key {
                put_id(to, key);
            }
        }
        Action::Ack { delivered, read } => {
            to.push(1);
            put(to, delivered);
            put(to, read);
        }
        Action::Group(change) => to.extend([6, change_code(change)]),
        Action::Settings => to.push(9),
        Action::Erase(step) => {
            let (code, number) = step_code(step);
            to.extend([11, code]);
            put(to, number);
        }
    }
}

/// Reads what [`action`] wrote.
fn read_action(input: &mut Input<'_>) -> Option<Action> {
    let code = input.byte()?;
    Some(match code {
        0 => {
            let flags = input.byte()?;
            Action::Send {
                key: match flags & 1 {
                    0 => None,
                    _ => Some(input.id()?),
                },
                names_media: flags & 2 != 0,
                has_extras: flags & 4 != 0,
            }
        }
        1 => Action::Ack {
            delivered: input.number()?,
            read: input.number()?,
        },
        6 => Action::Group(change_of(input.byte()?)?),
        9 => Action::Settings,
        11 => Action::Erase(step_of(input.byte()?, input.number()?)?),
        _ => {
            let (flag, seq) = (input.byte()? != 0, input.number()?);
            match code {
                2 => Action::Recall { seq },
                3 => Action::Edit {
                    seq,
                    names_media: flag,
                },
                4 => Action::Delete { seq },
                5 => Action::React { seq, remove: flag },
                7 => Action::Contacts {
                    added: usize::try_from(seq).ok()?,
                    watch: flag,
                },
                8 => Action::Pin { seq, remove: flag },
                10 => Action::Block { remove: flag },
                _ => return None,
            }
        }
    })
}

/// Returns the byte of a change of a group.
const fn change_code(change: Change) -> u8 {
    match change {
        Change::Create { all_history: false } => 0,
        Change::Create { all_history: true } => 1,
        Change::Add => 2,
        Change::Remove => 3,
        Change::Leave => 4,
        Change::Rename => 5,
        Change::Set => 6,
        Change::Join => 7,
        Change::Role(Role::Member) => 8,
        Change::Role(Role::Admin) => 9,
        Change::Role(Role::Owner) => 10,
    }
}

/// Returns the change of a group that has a byte.
const fn change_of(code: u8) -> Option<Change> {
    Some(match code {
        0 => Change::Create { all_history: false },
        1 => Change::Create { all_history: true },
        2 => Change::Add,
        3 => Change::Remove,
        4 => Change::Leave,
        5 => Change::Rename,
        6 => Change::Set,
        7 => Change::Join,
        8 => Change::Role(Role::Member),
        9 => Change::Role(Role::Admin),
        10 => Change::Role(Role::Owner),
        _ => return None,
    })
}

/// Returns the byte of a step of an erasure, and the number that belongs to it.
fn step_code(step: EraseStep) -> (u8, u64) {
    match step {
        EraseStep::Begin => (0, 0),
        EraseStep::Message { seq } => (1, seq),
        EraseStep::Reaction { seq } => (2, seq),
        EraseStep::Hidden { seq } => (3, seq),
        EraseStep::Conversation => (4, 0),
        EraseStep::Leave => (5, 0),
        EraseStep::Membership => (6, 0),
        EraseStep::Device => (7, 0),
        EraseStep::Windows { stretch } => (8, stretch),
        EraseStep::Contacts => (9, 0),
        EraseStep::Unblock => (10, 0),
        EraseStep::Phase { complete } => (11, complete.into()),
        EraseStep::End => (12, 0),
    }
}

/// Returns the step of an erasure that has a byte and a number.
fn step_of(code: u8, number: u64) -> Option<EraseStep> {
    Some(match code {
        0 => EraseStep::Begin,
        1 => EraseStep::Message { seq: number },
        2 => EraseStep::Reaction { seq: number },
        3 => EraseStep::Hidden { seq: number },
        4 => EraseStep::Conversation,
        5 => EraseStep::Leave,
        6 => EraseStep::Membership,
        7 => EraseStep::Device,
        8 => EraseStep::Windows { stretch: number },
        9 => EraseStep::Contacts,
        10 => EraseStep::Unblock,
        11 => EraseStep::Phase {
            complete: number.try_into().ok()?,
        },
        12 => EraseStep::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    fn actions() -> Vec<Action> {
        let changes = (0..=10).map(|code| Action::Group(change_of(code).unwrap()));
        let steps = (0..=12).map(|code| Action::Erase(step_of(code, 200).unwrap()));
        let mut all: Vec<_> = changes.chain(steps).collect();
        for flag in [false, true] {
            let seq = 1 << 40;
            all.extend([
                Action::Send {
                    key: flag.then_some(TimelineId(9)),
                    names_media: flag,
                    has_extras: !flag,
                },
                Action::Ack {
                    delivered: 7,
                    read: u64::from(flag),
                },
                Action::Recall { seq },
                Action::Edit {
                    seq,
                    names_media: flag,
                },
                Action::Delete { seq },
                Action::React { seq, remove: flag },
                Action::Contacts {
                    added: 3,
                    watch: flag,
                },
                Action::Pin { seq, remove: flag },
                Action::Settings,
                Action::Block { remove: flag },
            ]);
        }
        all
    }

    /// Returns a batch with a command for each action.
    fn batch() -> CommandBatch {
        let mut batch = CommandBatch::default();
        batch.positions = vec![
            (TimelineId(5), Position(1_000)),
            (TimelineId(6), Position(7)),
        ];
        for (number, action) in (0..).zip(actions()) {
            let body = Body {
                conversation: "u:ada:bob",
                user: if number % 2 == 0 { "ada" } else { "bob" },
                text: Some("hi"),
                ..Body::default()
            };
            let start = batch.bodies.len();
            body.write(&mut batch.bodies);
            let side = if number % 2 == 0 {
                Side::Lesser
            } else {
                Side::Greater
            };
            batch.push(Command {
                reply_to: ReplyTo::Remote(Remote::new(0, 1_000 - number)),
                user: TimelineId(number.into()),
                conversation: TimelineId(77),
                members: match number % 3 {
                    0 => Members::Group,
                    _ => Members::Direct {
                        other: TimelineId(8),
                        side,
                    },
                },
                body: start..batch.bodies.len(),
                names: BodyNames::of(&body),
                action,
                read_at: 0,
            });
        }
        batch
    }

    /// Returns a batch as text, with `node` as its origin.
    fn text(batch: &CommandBatch, node: u16) -> String {
        let commands = batch.commands.iter().map(|command| {
            let ReplyTo::Remote(name) = command.reply_to else {
                panic!("{command:?}");
            };
            let body = &batch.bodies[command.body.clone()];
            let name = Remote::new(node, name.number());
            format!(
                "{name:?} {:?} {:?} {:?} {:?} {body:?} {:?}",
                command.user, command.conversation, command.members, command.action, command.names
            )
        });
        let commands: Vec<_> = commands.collect();
        format!("{:?}\n{}", batch.positions, commands.join("\n"))
    }

    #[test]
    fn a_batch_arrives_as_it_left() {
        let batch = batch();
        let mut bytes = Vec::new();
        batch.carry(&mut bytes);
        let carried = CommandBatch::carried(&bytes, 3).unwrap();
        assert_eq!(text(&carried, 3), text(&batch, 3));
        assert_eq!(carried.is_uneven(), batch.is_uneven());
    }

    #[test]
    fn batches_that_become_one_keep_their_commands_and_their_order() {
        let (mut all, mut second) = (batch(), batch());
        all.append(&mut second);
        assert!(second.commands.is_empty() && second.bodies.is_empty());
        assert_eq!(
            all.positions,
            [batch().positions, batch().positions].concat()
        );
        let lines = |batch| {
            let text = text(&batch, 0);
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(all), [lines(batch()), lines(batch())].concat());
    }

    #[test]
    fn a_part_of_a_batch_or_another_version_is_none() {
        let mut bytes = Vec::new();
        batch().carry(&mut bytes);
        let whole =
            (0..bytes.len()).filter(|len| CommandBatch::carried(&bytes[..*len], 3).is_some());
        // Behind the positions, and behind each command but the last.
        assert_eq!(whole.count(), actions().len());
        bytes[0] += 1;
        assert!(CommandBatch::carried(&bytes, 3).is_none());
        assert!(CommandBatch::carried(&[], 3).is_none());
    }

    #[test]
    fn changed_bytes_are_no_danger() {
        let mut bytes = Vec::new();
        batch().carry(&mut bytes);
        for place in 0..bytes.len() {
            for change in [1, 0x80, 0xFF] {
                let mut bytes = bytes.clone();
                bytes[place] ^= change;
                if let Some(carried) = CommandBatch::carried(&bytes, 3) {
                    assert!(carried.commands.len() <= bytes.len());
                }
            }
        }
    }
}
