//! Texts of messages in groups. They differ from texts between two contacts by the mark behind the
//! run's name.

use std::fmt::Write as _;

use super::{MAX_TEXT, Texts, push_hex};
use crate::membership::Memberships;
use crate::population::Part;
use crate::random::mix;

/// The mark behind the run's name; texts between two contacts have a `.` there.
const MARK: u8 = b'@';

/// A constant that separates messages in groups from those between two contacts, whose streams have
/// the same numbers.
const APART: u64 = 0x6772_6f75_7000_0000;

/// Identifies a message in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupOrigin {
    /// The group.
    pub(crate) group: u32,
    /// The user that wrote the message.
    pub(crate) user: u32,
    /// The message's number in the group, from 1.
    pub(crate) counter: u32,
    /// The intended time of the send, in microseconds since the run's start.
    pub(crate) intended_us: u64,
}

impl Texts {
    /// Returns a number that no other message of this run has.
    fn identity_in_group(&self, global: u32, counter: u32) -> u64 {
        mix(self.seed ^ mix(APART ^ (u64::from(global) << 32 | u64::from(counter))))
    }

    /// Replaces `out` by the text of `origin`. Its group and sender belong to `part`.
    pub(crate) fn write_in_group(
        &self,
        part: &Part,
        members: &Memberships,
        origin: GroupOrigin,
        out: &mut String,
    ) {
        let group = members.global(origin.group);
        let sender = part.global(origin.user);
        let identity = self.identity_in_group(group, origin.counter);
        out.clear();
        out.push_str(&self.run);
        push_hex(out, u64::from(group), MARK);
        for number in [
            u64::from(sender),
            u64::from(origin.counter),
            origin.intended_us,
        ] {
            push_hex(out, number, b'.');
        }
        push_hex(out, checksum(identity, sender, origin.intended_us), b'.');
        out.push(':');
        let missing = self.length.of(identity).saturating_sub(out.len());
        let start = identity as usize % MAX_TEXT;
        out.push_str(&self.padding[start..start + missing]);
    }

    /// Returns the message in a group that `text` belongs to; `None` if it is not a message of
    /// `part`. Checks only the header and its checksum.
    pub(crate) fn origin_in_group(
        &self,
        part: &Part,
        members: &Memberships,
        text: &str,
    ) -> Option<GroupOrigin> {
        let rest = text.strip_prefix(self.run.as_str())?;
        let rest = rest.strip_prefix(char::from(MARK))?;
        let (header, _) = rest.split_once(':')?;
        let mut numbers = header.split('.').map(|n| u64::from_str_radix(n, 16).ok());
        let mut next = || numbers.next().flatten();
        let (group, sender, counter) = (next()?, next()?, next()?);
        let (intended_us, sum) = (next()?, next()?);
        let (group, sender) = (u32::try_from(group).ok()?, u32::try_from(sender).ok()?);
        let origin = GroupOrigin {
            group: members.local(group)?,
            user: part.local(sender)?,
            counter: u32::try_from(counter).ok()?,
            intended_us,
        };
        let identity = self.identity_in_group(group, origin.counter);
        (checksum(identity, sender, intended_us) == sum).then_some(origin)
    }

    /// Replaces `out` by the idempotency key of a message in a group.
    pub(crate) fn write_group_key(
        &self,
        members: &Memberships,
        group: u32,
        counter: u32,
        out: &mut String,
    ) {
        out.clear();
        let group = members.global(group);
        // Writing to a String cannot fail.
        let _ = write!(out, "{}-g{group:x}-{counter:x}", self.run);
    }
}

/// Returns a checksum of 32 bits. One of 2^32 changed headers passes.
fn checksum(identity: u64, sender: u32, intended_us: u64) -> u64 {
    mix(identity ^ mix(u64::from(sender)) ^ intended_us) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;
    use crate::scenario::Payload;
    use crate::schedule::text::MIN_TEXT;
    use crate::units::Bytes;

    fn origin(group: u32, user: u32, counter: u32, intended: crate::clock::Nanos) -> GroupOrigin {
        GroupOrigin {
            group,
            user,
            counter,
            intended_us: intended / 1000,
        }
    }

    /// The users, groups and texts of one thread.
    struct Scene {
        part: Part,
        members: Memberships,
        texts: Texts,
    }

    fn scene(run: &str, users: u32, bytes: u64) -> Scene {
        let population = crate::population::Population {
            run: run.into(),
            ..population(users, 1000, 8)
        };
        let part = population.part(0, 1);
        let members = Memberships::new(&part, &wanted(2.0, "exp(10)", &[]), 1);
        let payload = Payload::Const {
            bytes: Bytes(bytes),
        };
        Scene {
            part,
            members,
            texts: Texts::new(run, 9, &payload),
        }
    }

    #[test]
    fn a_text_is_as_long_as_asked_and_reads_back() {
        let Scene {
            part,
            members,
            texts,
        } = scene("t1", 1000, 120);
        let mut text = String::new();
        for (group, user, counter) in [(0, 0, 1), (members.groups() - 1, 999, u32::MAX)] {
            let origin = origin(group, user, counter, u64::MAX / 2);
            texts.write_in_group(&part, &members, origin, &mut text);
            assert_eq!(text.len(), 120);
            assert_eq!(texts.origin_in_group(&part, &members, &text), Some(origin));
            // Neither kind of text is mistaken for the other.
            assert_eq!(texts.origin(&part, &text), None);
            let direct = super::super::PairOrigin {
                stream: group,
                counter,
                intended_us: 0,
            };
            texts.write(&part, direct, &mut text);
            assert_eq!(texts.origin_in_group(&part, &members, &text), None);
        }
    }

    #[test]
    fn the_shortest_text_has_room() {
        let Scene {
            part,
            members,
            texts,
        } = scene("zzzzzz", 100_000, MIN_TEXT as u64);
        let mut text = String::new();
        // A hundred days into the run.
        let origin = origin(0, 99_999, u32::MAX, 8_640_000_000_000_000);
        texts.write_in_group(&part, &members, origin, &mut text);
        let digits = part.global(99_999).ilog2() / 4 + 1;
        // Group and sender might have eight digits each.
        let header = text.find(':').unwrap() + 1;
        assert!(header + (8 - digits as usize) + 7 <= MIN_TEXT, "{text}");
        assert_eq!(text.len(), MIN_TEXT);
    }

    #[test]
    fn a_changed_header_is_noticed() {
        let Scene {
            part,
            members,
            texts,
        } = scene("t1", 1000, 120);
        let mut text = String::new();
        let origin = origin(5, 6, 7, 8_000);
        texts.write_in_group(&part, &members, origin, &mut text);
        for at in 0..text.find(':').unwrap() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            let read = texts.origin_in_group(&part, &members, &changed);
            assert_eq!(read, None, "{changed}");
        }
    }
}
