//! What nodes tell each other about ephemeral state.

use std::time::Duration;

use bytes::Bytes;
use trunkline_core::hub::{Devices, STRIPES, Stretch, UserAtNode};
use trunkline_core::ids::{DeviceMark, UserId};
use trunkline_storage::TimelineId;

use super::form::{self, Input, Malformed};
use super::hash::LogId;
use super::topics::{
    Numbered, Question, Reply, push_numbered, push_push, push_question, push_reply, read_numbered,
    read_push, read_question, read_reply,
};
use crate::node::Incarnation;

const USERS: u8 = 48;
const ASK: u8 = 49;
const LEAVES: u8 = 50;
const EVENTS: u8 = 51;
const QUESTION: u8 = 52;
const REPLY: u8 = 53;

/// The bytes of a user without devices.
const USER: usize = 21;

/// The most devices of a user that a message names.
const DEVICES: usize = u8::MAX as usize;

/// A message about ephemeral state, with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The log that the sender follows.
    pub log: LogId,
    /// The sender.
    pub node: Incarnation,
    /// The message.
    pub content: AsideContent,
}

/// A message about ephemeral state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsideContent {
    /// How users are at the node, to all nodes.
    Users(Users),
    /// The sender does not know all users of the node with this incarnation number.
    Ask(u64),
    /// The node ends in order, and has no users any more.
    Leaves,
    /// Events for users of the node that it is for.
    Events(Vec<Event>),
    /// A question about a topic.
    Question(Question),
    /// The answer to a question about a topic.
    Reply(Reply),
}

/// An event for users of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The users.
    pub users: Vec<UserId>,
    /// Whether to drop the event for a connection that has other data waiting.
    pub trifle: bool,
    /// The push in JSON.
    pub json: Bytes,
    /// The push in protobuf.
    pub proto: Bytes,
}

impl Event {
    /// Returns the bytes that an event takes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        11 + 16 * self.users.len() + self.json.len() + self.proto.len()
    }
}

/// How users are at a node. An empty one is a sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// The number in the node's incarnation, from 1. A missing number is a lost message.
    pub number: u64,
    /// Whether a list of all users of the node begins here.
    pub begins: bool,
    /// Whether that list ends here.
    pub ends: bool,
    /// Users who came or left.
    pub changed: Vec<UserAtNode>,
    /// Publications that the node has numbered, in order.
    pub publications: Vec<Numbered>,
    /// Pieces of the list, each with all users of the node in a stretch.
    pub lists: Vec<(Stretch, Vec<UserAtNode>)>,
}

impl Users {
    /// Returns the bytes that a user takes in a message.
    #[must_use]
    pub fn len_of(user: &UserAtNode) -> usize {
        USER + 4 * user.devices.len().min(DEVICES)
    }
}

impl Aside {
    /// Writes the message.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut to = Vec::with_capacity(96);
        let kind = match &self.content {
            AsideContent::Users(_) => USERS,
            AsideContent::Ask(_) => ASK,
            AsideContent::Leaves => LEAVES,
            AsideContent::Events(_) => EVENTS,
            AsideContent::Question(_) => QUESTION,
            AsideContent::Reply(_) => REPLY,
        };
        form::begin(kind, &mut to);
        to.extend_from_slice(&self.log.0.to_le_bytes());
        form::push_incarnation(&self.node, &mut to);
        match &self.content {
            AsideContent::Users(users) => {
                to.extend_from_slice(&users.number.to_le_bytes());
                to.push(u8::from(users.begins) | u8::from(users.ends) << 1);
                push_users(&users.changed, &mut to);
                to.extend_from_slice(&(users.publications.len() as u32).to_le_bytes());
                { users.publications.iter() }.for_each(|one| push_numbered(one, &mut to));
                for (stretch, all) in &users.lists {
                    to.push(stretch.stripe as u8);
                    to.extend_from_slice(&stretch.ids.start().to_le_bytes());
                    to.extend_from_slice(&stretch.ids.end().to_le_bytes());
                    push_users(all, &mut to);
                }
            }
            AsideContent::Ask(number) => to.extend_from_slice(&number.to_le_bytes()),
            AsideContent::Leaves => {}
            AsideContent::Events(events) => events.iter().for_each(|it| push_event(it, &mut to)),
            AsideContent::Question(question) => push_question(question, &mut to),
            AsideContent::Reply(reply) => push_reply(reply, &mut to),
        }
        to.into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The message is none about ephemeral state, or one of a later version.
    pub fn read(message: &Bytes) -> Result<Self, Malformed> {
        let (kind, mut input) = Input::open(message)?;
        if !(USERS..=REPLY).contains(&kind) {
            return Err(Malformed::Kind(kind));
        }
        let log = LogId(input.long()?);
        let node = input.incarnation()?;
        let content = match kind {
            USERS => AsideContent::Users(read_users_message(input)?),
            ASK => {
                let number = input.long()?;
                input.close()?;
                AsideContent::Ask(number)
            }
            LEAVES => {
                input.close()?;
                AsideContent::Leaves
            }
            EVENTS => AsideContent::Events(read_events(input)?),
            QUESTION => AsideContent::Question(read_question(input)?),
            _ => AsideContent::Reply(read_reply(input)?),
        };
        Ok(Self { log, node, content })
    }
}

fn push_users(users: &[UserAtNode], to: &mut Vec<u8>) {
    to.extend_from_slice(&(users.len() as u32).to_le_bytes());
    for user in users {
        to.extend_from_slice(&user.user.0.to_le_bytes());
        // 0 is for a time that is not known, or so long ago that nobody needs it.
        let left = user.left_ago.map_or(0, |ago| ago.as_millis() + 1);
        to.extend_from_slice(&u32::try_from(left).unwrap_or(0).to_le_bytes());
        let devices = &user.devices[..user.devices.len().min(DEVICES)];
        to.push(devices.len() as u8);
        for device in devices {
            to.extend_from_slice(&device.0);
        }
    }
}

fn push_event(event: &Event, to: &mut Vec<u8>) {
    to.push(u8::from(event.trifle));
    to.extend_from_slice(&(event.users.len() as u16).to_le_bytes());
    for user in &event.users {
        to.extend_from_slice(&user.0.to_le_bytes());
    }
    push_push([&event.json, &event.proto], to);
}

fn read_events(mut input: Input<'_>) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    while !input.is_empty() {
        let trifle = match input.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Fields),
        };
        let users = (0..input.short()?).map(|_| input.array().map(u128::from_le_bytes));
        let users: Result<Vec<_>, Malformed> = users.map(|user| user.map(TimelineId)).collect();
        let users = users?;
        let [json, proto] = read_push(&mut input)?;
        events.push(Event {
            users,
            trifle,
            json,
            proto,
        });
    }
    Ok(events)
}

fn read_users_message(mut input: Input<'_>) -> Result<Users, Malformed> {
    let number = input.long()?;
    let flags = input.byte()?;
    if flags > 3 {
        return Err(Malformed::Fields);
    }
    let changed = read_users(&mut input)?;
    let mut publications = Vec::new();
    for _ in 0..input.int()? {
        publications.push(read_numbered(&mut input)?);
    }
    let mut lists = Vec::new();
    while !input.is_empty() {
        let stripe = usize::from(input.byte()?);
        let first = u128::from_le_bytes(input.array()?);
        let last = u128::from_le_bytes(input.array()?);
        let all = read_users(&mut input)?;
        if stripe >= STRIPES {
            return Err(Malformed::Fields);
        }
        let ids = first..=last;
        lists.push((Stretch { stripe, ids }, all));
    }
    Ok(Users {
        number,
        begins: flags & 1 != 0,
        ends: flags & 2 != 0,
        changed,
        publications,
        lists,
    })
}

fn read_users(input: &mut Input<'_>) -> Result<Vec<UserAtNode>, Malformed> {
    let count = input.int()?;
    // Takes memory only for what is there.
    let mut users = Vec::new();
    for _ in 0..count {
        let user = TimelineId(u128::from_le_bytes(input.array()?));
        let left = input.int()?;
        let devices = (0..input.byte()?).map(|_| input.array().map(DeviceMark));
        let devices: Result<Devices, Malformed> = devices.collect();
        users.push(UserAtNode {
            user,
            devices: devices?,
            left_ago: left
                .checked_sub(1)
                .map(|ago| Duration::from_millis(ago.into())),
        });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use trunkline_core::hub::Since;

    use super::super::topics::Answer;
    use super::*;

    fn user(id: u128, devices: &[u8], left: Option<u64>) -> UserAtNode {
        UserAtNode {
            user: TimelineId(id),
            devices: devices.iter().map(|n| DeviceMark([*n; 4])).collect(),
            left_ago: left.map(Duration::from_millis),
        }
    }

    fn message(content: AsideContent) -> Aside {
        Aside {
            log: LogId(7),
            node: Incarnation {
                node: "a".parse().unwrap(),
                number: 9,
            },
            content,
        }
    }

    fn publication(seq: u64) -> Numbered {
        Numbered {
            topic: TimelineId(3),
            pos: Since { epoch: 9, seq },
            json: "{}".into(),
            proto: Bytes::from_static(b"\0"),
        }
    }

    fn topics() -> Vec<AsideContent> {
        let question = |publish| {
            AsideContent::Question(Question {
                to: 1,
                number: 2,
                topic: TimelineId(3),
                publish,
            })
        };
        let reply = |answer| {
            let (to, number) = (1, 2);
            AsideContent::Reply(Reply { to, number, answer })
        };
        let pos = publication(4).pos;
        vec![
            question(None),
            question(Some(["{}".into(), Bytes::new()])),
            reply(Answer::TooMany),
            reply(Answer::Published(pos)),
            reply(Answer::State(pos, vec![publication(3), publication(4)])),
        ]
    }

    fn users() -> Users {
        let whole = Stretch {
            stripe: 63,
            ids: 0..=u128::MAX,
        };
        let half = Stretch {
            stripe: 0,
            ids: 5..=7,
        };
        Users {
            number: 3,
            begins: true,
            ends: false,
            changed: vec![user(1 << 90, &[1, 2], Some(0)), user(4, &[], Some(1_000))],
            publications: vec![publication(7)],
            lists: vec![(whole, vec![user(3, &[9], None)]), (half, Vec::new())],
        }
    }

    fn events() -> Vec<Event> {
        let one = Event {
            users: vec![TimelineId(1), TimelineId(u128::MAX)],
            trifle: true,
            json: "{}".into(),
            proto: Bytes::new(),
        };
        let other = Event {
            users: Vec::new(),
            trifle: false,
            ..one.clone()
        };
        vec![one, other]
    }

    #[test]
    fn read_back() {
        for content in [
            AsideContent::Users(Users::default()),
            AsideContent::Users(users()),
            AsideContent::Ask(u64::MAX),
            AsideContent::Leaves,
            AsideContent::Events(events()),
        ]
        .into_iter()
        .chain(topics())
        {
            let message = message(content);
            assert_eq!(Aside::read(&message.write()), Ok(message));
        }
    }

    #[test]
    fn a_part_of_a_message_and_more_than_one_are_refused() {
        let bytes = message(AsideContent::Users(users())).write();
        let lengths: Vec<_> = (0..bytes.len())
            .filter(|len| Aside::read(&bytes.slice(..*len)).is_ok())
            .collect();
        // Where a list ends, the message may end too.
        assert_eq!(lengths.len(), 2, "{lengths:?}");
        let bytes = message(AsideContent::Events(events())).write();
        let lengths = (0..bytes.len()).filter(|len| Aside::read(&bytes.slice(..*len)).is_ok());
        assert_eq!(lengths.count(), 2, "none, or one of both");
        for content in [AsideContent::Ask(1), AsideContent::Leaves] {
            let mut bytes = message(content).write().to_vec();
            bytes.push(0);
            assert_eq!(Aside::read(&bytes.into()), Err(Malformed::Fields));
        }
    }

    #[test]
    fn what_is_too_much_for_a_field_is_left_out() {
        let many: Vec<_> = (0..=255).collect();
        let long_ago = user(1, &many, Some(u64::from(u32::MAX)));
        assert_eq!(Users::len_of(&long_ago), 21 + 4 * 255);
        let users = Users {
            changed: vec![long_ago],
            ..Users::default()
        };
        let read = Aside::read(&message(AsideContent::Users(users)).write()).unwrap();
        let AsideContent::Users(users) = read.content else {
            panic!("{read:?}");
        };
        assert_eq!(users.changed[0].devices.len(), 255);
        assert_eq!(users.changed[0].left_ago, None);
    }
}
