//! The details of changes of groups and of settings: fields within one field of a body.

use trunkline_proto::message::{Joining, Role, Senders};

use super::fields::{field, number, varint};

/// What a change of a group or of settings sets. What it does not set is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Details<'a> {
    /// The role of the named member.
    pub role: Option<Role>,
    /// The URL of the group's picture; empty if the group has none any more.
    pub picture: Option<&'a str>,
    /// Who may send messages to the group.
    pub send: Option<Senders>,
    /// How users become members of the group.
    pub join: Option<Joining>,
    /// The time until which a user mutes the conversation, in milliseconds since 1970 UTC; 0 if it is
    /// not muted.
    pub muted_until: Option<u64>,
    /// Whether the user keeps the conversation at the top of the list.
    pub pinned: Option<bool>,
    /// Whether the user has put the conversation away.
    pub archived: Option<bool>,
}

// The tags are part of the disk format: never reuse one.
const ROLE: u8 = 1;
const PICTURE: u8 = 2;
const SEND: u8 = 3;
const JOIN: u8 = 4;
const MUTED_UNTIL: u8 = 5;
const PINNED: u8 = 6;
const ARCHIVED: u8 = 7;

impl<'a> Details<'a> {
    /// Returns the fields that are set, for [`Body::details`](super::Body::details).
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let flag = |flag: bool| u64::from(flag);
        let numbers = [
            (ROLE, self.role.map(role_number)),
            (SEND, self.send.map(|send| flag(send == Senders::Admins))),
            (JOIN, self.join.map(|join| flag(join == Joining::Open))),
            (MUTED_UNTIL, self.muted_until),
            (PINNED, self.pinned.map(flag)),
            (ARCHIVED, self.archived.map(flag)),
        ];
        for (tag, value) in numbers {
            if let Some(value) = value {
                number(&mut out, tag, value);
            }
        }
        if let Some(picture) = self.picture {
            field(&mut out, PICTURE, picture.as_bytes());
        }
        out
    }

    /// Reads what [`bytes`](Self::bytes) returned. Skips fields of later versions. `None` if the bytes
    /// are no fields.
    pub fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut details = Self::default();
        while let Some((&tag, rest)) = bytes.split_first() {
            let (len, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(len)?;
            bytes = rest;
            let number = || {
                let mut bytes = [0; 8];
                bytes.get_mut(..value.len())?.copy_from_slice(value);
                Some(u64::from_le_bytes(bytes))
            };
            match tag {
                ROLE => details.role = role_of(number()?),
                PICTURE => details.picture = Some(std::str::from_utf8(value).ok()?),
                SEND => {
                    details.send = Some(match number()? {
                        0 => Senders::All,
                        _ => Senders::Admins,
                    });
                }
                JOIN => {
                    details.join = Some(match number()? {
                        0 => Joining::Invite,
                        _ => Joining::Open,
                    });
                }
                MUTED_UNTIL => details.muted_until = Some(number()?),
                PINNED => details.pinned = Some(number()? != 0),
                ARCHIVED => details.archived = Some(number()? != 0),
                _ => {}
            }
        }
        Some(details)
    }
}

const fn role_number(role: Role) -> u64 {
    match role {
        Role::Member => 0,
        Role::Owner => 1,
        Role::Admin => 2,
    }
}

const fn role_of(number: u64) -> Option<Role> {
    match number {
        0 => Some(Role::Member),
        1 => Some(Role::Owner),
        2 => Some(Role::Admin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_read_as_they_were_written() {
        let all = Details {
            role: Some(Role::Admin),
            picture: Some("https://example.org/p.png"),
            send: Some(Senders::Admins),
            join: Some(Joining::Invite),
            muted_until: Some(u64::MAX),
            pinned: Some(false),
            archived: Some(true),
        };
        let mut bytes = all.bytes();
        field(&mut bytes, 99, b"of a later version");
        assert_eq!(Details::read(&bytes), Some(all));
        let none = Details::default();
        assert_eq!((none.bytes(), Details::read(&[])), (Vec::new(), Some(none)));
        let empty = Details {
            picture: Some(""),
            ..none
        };
        assert_eq!(Details::read(&empty.bytes()), Some(empty));
        assert_eq!(Details::read(&[PICTURE, 9, 1]), None);
        for role in [Role::Member, Role::Owner, Role::Admin] {
            assert_eq!(role_of(role_number(role)), Some(role));
        }
    }
}
