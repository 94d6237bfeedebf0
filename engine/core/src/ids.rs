//! The store's ids for the names of the protocol.
//!
//! Each is a keyed hash, so that no client can choose names that collide. The namespace is part
//! of every id: users of one organisation cannot name anything of another.

use trunkline_storage::{StoreKey, TimelineId};

/// A part of the id of a device, which tells the devices of one user apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceMark(pub [u8; 4]);

/// Which member of a 1:1 conversation, by the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The member whose name is less, bytewise.
    Lesser = 0,
    /// The other member.
    Greater = 1,
}

/// A user, and the user's sync timeline.
pub type UserId = TimelineId;

const USER: u8 = 1;
const DIRECT: u8 = 2;
const GROUP: u8 = 3;
const KEY: u8 = 4;
const CHANNEL: u8 = 5;
const ROSTER: u8 = 6;
const MEMBER: u8 = 7;
const INBOX: u8 = 8;
const INBOX_CHUNK: u8 = 9;
const REACTIONS: u8 = 10;
const HIDDEN: u8 = 11;
const DEVICE: u8 = 12;
const TOPIC: u8 = 13;
const CONTACTS: u8 = 14;
const HEAD: u8 = 15;
const CREATED: u8 = 30;
const CREATED_CONTENT: u8 = 31;
const TALLY: u8 = 32;
const CLOCK: u8 = 40;

/// Hashes names under one store's key.
#[derive(Debug, Clone, Copy)]
pub struct Ids(pub StoreKey);

impl Ids {
    /// Returns a user's id.
    pub fn user(&self, namespace: &str, name: &str) -> UserId {
        self.0.id(USER, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// The conversation between two users, the lesser name first.
    pub fn direct(&self, namespace: &str, lesser: &str, greater: &str) -> TimelineId {
        self.0.id(
            DIRECT,
            &[namespace.as_bytes(), lesser.as_bytes(), greater.as_bytes()],
        )
    }

    /// What makes two sends of one user the same send.
    pub fn key(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let parts = [namespace.as_bytes(), user.as_bytes(), key.as_bytes()];
        self.0.id(KEY, &parts)
    }

    /// What makes two creations of a group by one user the same.
    pub fn created(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let parts = [namespace.as_bytes(), user.as_bytes(), key.as_bytes()];
        self.0.id(CREATED, &parts)
    }

    /// What a creation of a group asks for: members in any order, and any number of times. The
    /// creator is one, named or not.
    pub fn created_content(
        &self,
        (group, name): (&str, &str),
        all_history: bool,
        (creator, members): (&str, &[&str]),
    ) -> u128 {
        let mut members = members.to_vec();
        members.retain(|member| *member != creator);
        members.sort_unstable();
        members.dedup();
        let fixed = [group.as_bytes(), name.as_bytes(), &[u8::from(all_history)]];
        let members = members.iter().map(|member| member.as_bytes());
        let parts: Vec<_> = fixed.into_iter().chain(members).collect();
        self.0.id(CREATED_CONTENT, &parts).0
    }

    /// Returns a topic's id.
    pub fn topic(&self, namespace: &str, name: &str) -> TimelineId {
        self.0.id(TOPIC, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// Returns a group's id.
    pub fn group(&self, namespace: &str, name: &str) -> TimelineId {
        self.0.id(GROUP, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// The timeline that members of a large group catch up from: as a user's is.
    pub fn channel(&self, group: TimelineId) -> UserId {
        self.of(CHANNEL, &[group], 0)
    }

    /// What the store knows of the time.
    pub fn clock(&self) -> TimelineId {
        self.0.id(CLOCK, &[])
    }

    /// A group's name and rules.
    pub fn head(&self, group: TimelineId) -> TimelineId {
        self.of(HEAD, &[group], 0)
    }

    /// A chunk of a group's roster.
    pub fn roster(&self, group: TimelineId, number: u32) -> TimelineId {
        self.of(ROSTER, &[group], number.into())
    }

    /// What a user is to a group.
    pub fn member(&self, group: TimelineId, user: UserId) -> TimelineId {
        self.of(MEMBER, &[group, user], 0)
    }

    /// Where a user takes part.
    pub fn inbox(&self, user: UserId) -> TimelineId {
        self.of(INBOX, &[user], 0)
    }

    /// Where a user took part before.
    pub fn inbox_chunk(&self, user: UserId, number: u32) -> TimelineId {
        self.of(INBOX_CHUNK, &[user], number.into())
    }

    /// The reactions to a message.
    pub fn reactions(&self, conversation: TimelineId, seq: u64) -> TimelineId {
        self.of(REACTIONS, &[conversation], seq)
    }

    /// Who wrote the messages of a stretch of a conversation, by the number of the stretch.
    pub(crate) fn tally(&self, conversation: TimelineId, number: u64) -> TimelineId {
        self.of(TALLY, &[conversation], number)
    }

    /// What a user deleted in a stretch of a conversation.
    pub fn hidden(&self, user: UserId, conversation: TimelineId, stretch: u64) -> TimelineId {
        self.of(HIDDEN, &[user, conversation], stretch)
    }

    /// The position kept for a device.
    pub fn device(&self, user: UserId, device: &str) -> TimelineId {
        self.0
            .id(DEVICE, &[&user.0.to_le_bytes(), device.as_bytes()])
    }

    /// What tells a device from the others of its user.
    pub fn device_mark(&self, user: UserId, device: &str) -> DeviceMark {
        let [a, b, c, d, ..] = self.device(user, device).0.to_le_bytes();
        DeviceMark([a, b, c, d])
    }

    /// A user's contacts.
    pub fn contacts(&self, user: UserId) -> TimelineId {
        self.of(CONTACTS, &[user], 0)
    }

    fn of(&self, domain: u8, ids: &[TimelineId], number: u64) -> TimelineId {
        let mut parts = [[0; 16]; 3];
        let bytes = ids.iter().map(|id| id.0.to_le_bytes());
        let number = [u128::from(number).to_le_bytes()];
        for (part, bytes) in parts.iter_mut().zip(bytes.chain(number)) {
            *part = bytes;
        }
        let [first, second, third] = &parts;
        self.0.id(domain, &[first, second, third])
    }
}
