use std::sync::Arc;

use proptest::prelude::*;
use smallvec::smallvec;
use trunkline_proto::{Encoding, ErrorCode};
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Draft, Opened, Options, Position, RecordRef, Store, TimelineId};

use super::read::AckedBy;
use super::*;
use crate::cost::Cost;
use crate::event::Body;
use crate::exchange::{Call, ConnRef, Done, Outcome, ReplyConn};
use crate::ids::UserId;

const GROUP: TimelineId = TimelineId(700);
const CHANNEL: UserId = TimelineId(701);
const NODES: [Incarnation; 3] = [Incarnation(5), Incarnation(6), Incarnation(u64::MAX)];

fn user(number: u128) -> UserId {
    TimelineId(number)
}

fn open() -> Opened {
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 1 << 16,
        reserve_bytes: 0,
        background: false,
        ..Options::default()
    };
    Store::open_with(Arc::new(SimDisk::new(1)), options, &mut |_| ()).unwrap()
}

/// Appends a record of a group to the batch under construction.
fn append(opened: &mut Opened, fanout: &[UserId]) -> Position {
    let mut body = Vec::new();
    Body {
        conversation: "g:eng",
        namespace: "acme",
        ..Body::default()
    }
    .write(&mut body);
    let draft = Draft {
        timeline: GROUP,
        fanout,
        body: &body,
        ..Draft::default()
    };
    opened.writer.append_next(&draft).unwrap()
}

fn remote(node: u16, number: u64) -> ReplyTo {
    ReplyTo::Remote(Remote::new(node, number))
}

/// Returns a command of a connection of the node that writes.
fn own() -> ReplyTo {
    ReplyTo::Conn(ReplyConn {
        shard: 1,
        encoding: Encoding::Json,
        conn: ConnRef {
            slot: 3,
            generation: 4,
        },
        id: 5,
    })
}

fn decided(reply_to: ReplyTo, by: u128, outcome: Outcome, audience: Audience) -> Decided {
    Decided {
        reply_to,
        user: user(by),
        read_at: 77,
        decision: Decision {
            outcome,
            audience,
            cost: Cost::nanos(1_234),
            bytes: 99,
        },
    }
}

/// Returns what a commit tells, as bytes, and what is read from them.
fn written(opened: &Opened, told: Told<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    told.write(&opened.writer, &NODES, &mut bytes);
    bytes
}

fn by(node: usize, number: u64) -> Option<By> {
    Some(By {
        node: NODES[node],
        number,
        cost: Cost::nanos(1_234),
        bytes: 99,
    })
}

#[test]
fn a_name_of_a_command_has_two_numbers() {
    for (node, number) in [(0, 0), (1, 7), (u16::MAX, Remote::NUMBERS - 1)] {
        let name = Remote::new(node, number);
        assert_eq!((name.node(), name.number()), (node, number));
    }
    assert_eq!(Remote::new(3, Remote::NUMBERS), Remote::new(3, 0));
}

/// The records of a commit with each kind of audience.
struct Records {
    direct: Position,
    pushed: Position,
    pulled: Position,
    old: Position,
    left: Position,
    listed: Position,
    last: Position,
    receipt: Position,
}

impl Records {
    fn append(opened: &mut Opened) -> Self {
        Self {
            direct: append(opened, &[1, 2].map(user)),
            pushed: append(opened, &[user(2), user(1), user(3), user(900)]),
            pulled: append(opened, &[CHANNEL]),
            old: append(opened, &[CHANNEL]),
            left: append(opened, &[user(8), user(9), CHANNEL]),
            listed: append(opened, &[1, 4].map(user)),
            last: append(opened, &[2, 1, 3, 8].map(user)),
            receipt: append(opened, &[4, 5].map(user)),
        }
    }

    /// Returns commands with these records.
    fn commands(&self) -> Vec<Decided> {
        let members: Arc<[UserId]> = [2, 1, 3].map(user).into();
        let all = || Audience::Members(Arc::clone(&members));
        let seeing = |seq| Audience::Channel(Arc::clone(&members), seq);
        let gone = |gone: &[u128]| {
            Audience::MembersAnd(Box::new(MembersAndGone {
                members: Arc::clone(&members),
                gone: gone.iter().copied().map(user).collect(),
            }))
        };
        let sent = Outcome::Sent;
        let done = |done, position| Outcome::Done(done, Some(position));
        let removed = done(Done::GroupRemove { members: 3 }, self.left);
        let left = done(Done::GroupLeave, self.last);
        let react = done(Done::React, self.old);
        let pin = done(Done::Pin, self.listed);
        let one = |other| Audience::One(user(other));
        vec![
            decided(remote(1, 1_000_000), 1, sent(self.direct), one(2)),
            decided(own(), 2, sent(self.pushed), all()),
            unrecorded(ReplyTo::Call(Call::new().0), 9, FAILED),
            decided(remote(2, 4), 5, sent(self.pulled), seeing(0)),
            decided(remote(1, 999_990), 3, react, seeing(17)),
            decided(remote(1, 1_000_001), 3, removed, gone(&[8, 9])),
            decided(own(), 1, pin, one(3)),
            decided(own(), 1, left, gone(&[8])),
        ]
    }

    /// Returns the parts of the receipt, behind the commands.
    fn parts(&self) -> Vec<QueuedPart> {
        let part = |part, acks| QueuedPart {
            after: 8,
            recipients: PartRecipients {
                position: self.receipt,
                part,
                reader: (part == 0).then_some(user(4)),
                device: None,
                others: smallvec![user(5), user(6)],
                acks,
            },
        };
        vec![part(0, 0..2), part(1, 1..3)]
    }
}

const FAILED: Outcome = Outcome::Failed(ErrorCode::StorageFull, "full");

const EARLIER: RecordRef = RecordRef {
    timeline: TimelineId(3),
    seq: 4,
    position: Position(5),
};

fn unrecorded(reply_to: ReplyTo, by: u128, outcome: Outcome) -> Decided {
    decided(reply_to, by, outcome, Audience::Nobody)
}

/// Returns what is told of a commit with each kind of audience, and of outcome.
fn everything(opened: &mut Opened) -> (Vec<Decided>, Vec<QueuedPart>) {
    let records = Records::append(opened);
    let mut commands = records.commands();
    let ack = Outcome::Done(Done::Ack, None);
    let contacts = Outcome::Contacts { watch: true };
    let made = Outcome::Made(TimelineId(44));
    commands.extend([
        unrecorded(remote(2, 5), 4, ack),
        unrecorded(remote(2, 9), 4, ack),
        unrecorded(remote(1, 1_000_002), 5, FAILED.of_ack()),
        unrecorded(remote(1, 1_000_003), 5, FAILED),
        unrecorded(remote(1, 1_000_004), 5, contacts),
        unrecorded(remote(1, 1_000_005), 5, made),
        unrecorded(remote(1, 1_000_006), 5, Outcome::Duplicate(EARLIER)),
    ]);
    (commands, records.parts())
}

/// Returns the entries of [`everything`] as others hear them.
fn expected(commands: &[Decided], parts: &[QueuedPart]) -> Vec<Entry<'static>> {
    use HeardAudience::{Channel, ChannelAndFanOut, FanOut, List, Nobody};
    use HeardOutcome::{Contacts, Duplicate, Failed, Made, NotAcked, Sent};
    let place = HeardUser::Place;
    let id = |number| HeardUser::Id(user(number));
    let command = |number: usize, by, user, audience, outcome| Entry::Command {
        position: commands[number].decision.outcome.position(),
        by,
        user,
        audience,
        outcome,
    };
    let part = |part, acked, reader| Entry::Part {
        position: parts[0].recipients.position,
        part,
        acked,
        reader,
        others: smallvec![place(1), id(6)],
    };
    let acked = AckedBy {
        node: NODES[2],
        numbers: smallvec![5, 9],
    };
    let done = HeardOutcome::Done;
    let removed = done(Done::GroupRemove { members: 3 });
    let full = (ErrorCode::StorageFull, "full");
    let list = List(vec![user(3)]);
    let later = |number: u64| by(1, 1_000_000 + number);
    vec![
        command(0, later(0), place(0), FanOut, Sent),
        command(1, None, place(0), FanOut, Sent),
        command(3, by(2, 4), id(5), Channel(0, 0), Sent),
        command(4, by(1, 999_990), id(3), Channel(0, 17), done(Done::React)),
        command(5, later(1), id(3), ChannelAndFanOut(0), removed),
        command(6, None, place(0), list, done(Done::Pin)),
        command(7, None, place(1), FanOut, done(Done::GroupLeave)),
        part(0, Some(acked), Some(place(0))),
        part(1, None, None),
        command(8, by(2, 5), id(4), Nobody, done(Done::Ack)),
        command(9, by(2, 9), id(4), Nobody, done(Done::Ack)),
        command(10, later(2), id(5), Nobody, NotAcked(full.0, full.1)),
        command(11, later(3), id(5), Nobody, Failed(full.0, full.1)),
        command(12, later(4), id(5), Nobody, Contacts { watch: true }),
        command(13, later(5), id(5), Nobody, Made(TimelineId(44))),
        command(14, later(6), id(5), Nobody, Duplicate(EARLIER)),
    ]
}

#[test]
fn what_is_told_is_heard() {
    let mut opened = open();
    let (commands, parts) = everything(&mut opened);
    let blocks = [true, false].map(|begins| BlockChange {
        blocker: user(1),
        blocked: user(2),
        begins,
    });
    let told = Told {
        decided: &commands,
        parts: &parts,
        blocks: &blocks,
        steady: 1_767_225_600_000,
        ahead: 7_u64.wrapping_neg(),
    };
    assert_eq!(told.remote().count(), 11);
    let bytes = written(&opened, told);
    let heard = Heard::read(&bytes).unwrap();
    assert_eq!((heard.steady, heard.ahead), (told.steady, told.ahead));
    assert_eq!(heard.blocks, blocks);
    assert_eq!(heard.groups, [(GROUP, "acme")]);
    let entries: Vec<_> = heard.entries().collect();
    let expected = expected(&commands, &parts);
    assert_eq!(entries.len(), expected.len());
    for (number, (entry, expected)) in entries.iter().zip(&expected).enumerate() {
        assert_eq!(entry, expected, "{number}");
    }
}

#[test]
fn recipients_that_do_not_follow_from_the_record_are_listed() {
    let mut opened = open();
    let members: Arc<[UserId]> = [2, 1, 3].map(user).into();
    let fanouts: [(&[u128], bool); 5] = [
        (&[2, 1, 3], true),
        (&[2, 1, 3, 900], true),
        (&[2, 1, 3, 4, 5], false),
        (&[2, 1], false),
        (&[1, 2, 3], false),
    ];
    for (fanout, follows) in fanouts {
        let fanout: Vec<_> = fanout.iter().copied().map(user).collect();
        let sent = Outcome::Sent(append(&mut opened, &fanout));
        let audience = Audience::Members(Arc::clone(&members));
        let told = Told {
            decided: &[decided(own(), 1, sent, audience)],
            ..Told::default()
        };
        let bytes = written(&opened, told);
        let heard = Heard::read(&bytes).unwrap().entries().next();
        let Some(Entry::Command { audience, .. }) = heard else {
            panic!("{heard:?}");
        };
        let expected = match follows {
            true => HeardAudience::FanOut,
            false => HeardAudience::List(members.to_vec()),
        };
        assert_eq!(audience, expected, "{fanout:?}");
    }
}

#[test]
fn a_part_names_no_more_acknowledgements_than_there_is_room_for() {
    for (count, named) in [(MOST_ACKS, Some(MOST_ACKS)), (MOST_ACKS + 1, None)] {
        let mut opened = open();
        let records = Records::append(&mut opened);
        let done = |number| unrecorded(remote(2, number), 4, Outcome::Done(Done::Ack, None));
        let commands: Vec<_> = (0..count as u64).map(done).collect();
        let mut part = records.parts().remove(0);
        (part.after, part.recipients.acks) = (0, 0..count);
        let told = Told {
            decided: &commands,
            parts: &[part],
            ..Told::default()
        };
        let bytes = written(&opened, told);
        let heard = Heard::read(&bytes).unwrap();
        let acked = heard.entries().find_map(|entry| match entry {
            Entry::Part { acked, .. } => Some(acked),
            Entry::Command { .. } => None,
        });
        let acked = acked.expect("the part");
        assert_eq!(acked.map(|acked| acked.numbers.len()), named);
    }
    // Somebody else may write what he likes: a part that names 65 acknowledgements of the first other node.
    let part = [&[0, 0, 0, 1][..], &[9; 8], &[65], &[0; 65], &[0]].concat();
    let bytes = [&[VERSION, 0, 0, 0][..], &part].concat();
    assert_eq!(Heard::read(&bytes).err(), Some(HeardError::Form));
}

#[test]
fn a_place_needs_a_record() {
    let head = [VERSION, 0, 0, 0];
    // Done, of the first other node, number 0.
    let command = [&[3, 1][..], &[9; 8], &[0]].concat();
    let rest = [0, 0, 0];
    let id = [&[0][..], &[7; 16]].concat();
    for (user, is_whole) in [(&id[..], true), (&[1], false)] {
        let bytes = [&head[..], &command, user, &rest].concat();
        assert_eq!(Heard::read(&bytes).is_ok(), is_whole, "{user:?}");
    }
}

/// The common case takes few bytes: in a group the record says who receives it.
#[test]
fn a_message_takes_few_bytes() {
    let mut opened = open();
    let fanout: Vec<_> = (1..=200).map(user).collect();
    let members: Arc<[UserId]> = fanout.as_slice().into();
    let commands: Vec<_> = (0..100)
        .map(|number| {
            let position = append(&mut opened, &fanout);
            let audience = Audience::Members(Arc::clone(&members));
            decided(
                remote(1, 5_000 + number),
                100,
                Outcome::Sent(position),
                audience,
            )
        })
        .collect();
    let told = Told {
        decided: &commands,
        ..Told::default()
    };
    let bytes = written(&opened, told);
    assert!(bytes.len() < 100 * 12, "{}", bytes.len());
}

#[test]
fn a_later_version_and_damage_are_said() {
    let read = |bytes: &[u8]| Heard::read(bytes).map(|_| ()).unwrap_err();
    assert_eq!(read(&[VERSION + 1, 0, 0, 0]), HeardError::Version(2));
    assert!(read(&[2]).to_string().contains("version 2"));
    assert_eq!(read(&[]), HeardError::Form);
    assert_eq!(read(&[VERSION]), HeardError::Form);
    assert_eq!(read(&vec![VERSION; MOST_BYTES + 1]), HeardError::Form);
    let mut opened = open();
    let (decided, parts) = everything(&mut opened);
    let told = Told {
        decided: &decided,
        parts: &parts,
        ..Told::default()
    };
    let bytes = written(&opened, told);
    // A few lengths end between two entries.
    let whole = (0..bytes.len()).filter(|len| Heard::read(&bytes[..*len]).is_ok());
    assert_eq!(whole.count(), 16, "of {}", bytes.len());
}

proptest! {
    /// Whatever comes is read or refused.
    #[test]
    fn no_bytes_are_dangerous(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut opened = open();
        let (decided, parts) = everything(&mut opened);
        let told = Told { decided: &decided, parts: &parts, ..Told::default() };
        let mut bytes = written(&opened, told);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(heard) = Heard::read(&bytes) {
            prop_assert!(heard.entries().count() <= bytes.len());
        }
    }
}
