//! The stored form of receipts. One record holds the marks of several members of a conversation.
//! Each member is a part, and each part has its own recipients among the users of the record.
//!
//! | part | |
//! |---|---|
//! | who | length of the name and the name; in a 1:1 conversation 0 for the lesser name's user and 65 for the other |
//! | delivered | how much further than the part before, in zigzag form |
//! | unread | delivered and not read, times two; one more if the next field is there |
//! | told | a bit for each place of the record's fan-out, if they are not those of the part before |
//!
//! Numbers are varints (LEB128). The fan-out of the record names the member of each part at the
//! part's own place. That member is always a recipient.
//!
//! In a 1:1 conversation, parts may follow for who does not see all that a member has read: they repeat the member
//! without the read mark. The user at such a part's own place, if there is one, is the other user, who is its recipient.

use trunkline_storage::{Position, Record, TimelineId};

use super::both;

/// The maximum number of parts in one record. Parts have positions of their own, which must come
/// after the position of the record before: a record takes at least 64 bytes of log.
pub const MOST_PARTS: usize = 32;
const _: () = assert!(MOST_PARTS <= 64);

/// The maximum number of users in the fan-out of a receipt's record. Each has one bit.
pub const MOST_TOLD: usize = 64;

/// The value that stands for the greater of two names. No name is that long.
const GREATER: u64 = 65;

/// The marks of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The name of the member.
    pub user: &'a str,
    /// The sequence of the last message that was delivered to the member.
    pub delivered: u64,
    /// The sequence of the last message that the member has read.
    pub read: u64,
    /// The recipients as bits: bit N is the user at place N of the record's fan-out.
    pub told: u64,
}

/// Appends the parts of a receipt, [`MOST_PARTS`] at most.
pub(super) fn write<'a>(
    out: &mut Vec<u8>,
    conversation: &str,
    parts: impl IntoIterator<Item = Part<'a>>,
) {
    let sides = both(conversation);
    let (mut delivered, mut told) = (0_u64, 0);
    for (place, part) in parts.into_iter().enumerate() {
        match sides {
            Some((lesser, _)) if lesser == part.user => number(out, 0),
            Some(_) => number(out, GREATER),
            None => {
                number(out, part.user.len() as u64);
                out.extend_from_slice(part.user.as_bytes());
            }
        }
        let further = part.delivered.wrapping_sub(delivered) as i64;
        number(out, (further << 1 ^ further >> 63) as u64);
        delivered = part.delivered;
        let unread = part.delivered - part.read;
        let own = 1 << place;
        if told | own == part.told {
            number(out, unread << 1);
        } else {
            number(out, unread << 1 | 1);
            // The own place is not stored: the next part has another one.
            told = part.told & !own;
            number(out, told);
        }
    }
}

/// An iterator over the parts that [`write`] wrote. It ends at the first bytes of another form.
#[derive(Debug, Clone)]
pub(crate) struct Parts<'a> {
    sides: Option<(&'a str, &'a str)>,
    bytes: &'a [u8],
    place: u32,
    delivered: u64,
    told: u64,
}

impl<'a> Parts<'a> {
    /// Returns an iterator over the stored parts of a conversation.
    pub(super) fn new(conversation: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            sides: both(conversation),
            bytes,
            place: 0,
            delivered: 0,
            told: 0,
        }
    }

    /// Reads the next part; `None` at the end, or if the bytes have another form.
    fn part(&mut self) -> Option<Part<'a>> {
        let who = take(&mut self.bytes)?;
        let user = match (self.sides, who) {
            (Some((lesser, _)), 0) => lesser,
            (Some((_, greater)), GREATER) => greater,
            (Some(_), _) => return None,
            (None, len) => {
                let len = usize::try_from(len).ok()?;
                let (name, rest) = self.bytes.split_at_checked(len)?;
                self.bytes = rest;
                simdutf8::basic::from_utf8(name).ok()?
            }
        };
        let further = take(&mut self.bytes)?;
        let further = (further >> 1) as i64 ^ -((further & 1) as i64);
        self.delivered = self.delivered.wrapping_add_signed(further);
        let unread = take(&mut self.bytes)?;
        if unread & 1 == 1 {
            self.told = take(&mut self.bytes)?;
        }
        let own = 1_u64.checked_shl(self.place)?;
        self.place += 1;
        Some(Part {
            user,
            delivered: self.delivered,
            read: self.delivered.checked_sub(unread >> 1)?,
            told: self.told | own,
        })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let part = self.part();
        if part.is_none() {
            self.bytes = &[];
        }
        part
    }
}

/// Returns the position of a part in the order of events. `part` is its number, from 0, and `parts`
/// the number of parts of the record. The last part has the position of the record; the others come
/// directly before it. A client that has seen some parts continues with the next one.
pub(crate) fn position(record: Position, part: usize, parts: usize) -> Position {
    Position(record.0 - parts.saturating_sub(part + 1) as u64)
}

/// Returns as bits the parts that `user` receives: bit N is part N.
pub(super) fn told(record: &Record<'_>, parts: Parts<'_>, user: TimelineId) -> u64 {
    let Some(place) = record.fanout.take(MOST_TOLD).position(|id| id == user) else {
        return 0;
    };
    parts
        .enumerate()
        .filter(|(_, part)| part.told >> place & 1 == 1)
        .fold(0, |bits, (number, _)| bits | 1 << number)
}

/// Appends a varint.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a varint from the front of `bytes`; `None` if they do not begin with one.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(user: &str, delivered: u64, read: u64, told: u64) -> Part<'_> {
        Part {
            user,
            delivered,
            read,
            told,
        }
    }

    #[test]
    fn parts_read_back_and_take_few_bytes() {
        let members: Vec<_> = (1..10).map(|i| format!("m{i}")).collect();
        let crowd: Vec<_> = (0..9)
            .map(|i| part(&members[i], 300, 300, 1 << 9 | 1 << i))
            .collect();
        let longest = "x".repeat(64);
        for (conversation, parts, bytes) in [
            ("u:alice:bob", vec![part("bob", 42, 40, 3)], 4),
            (
                "u:alice:bob",
                vec![part("alice", 42, 40, 3), part("bob", 41, 41, 3)],
                8,
            ),
            ("u:alice:alice", vec![part("alice", 7, 7, 1)], 3),
            ("g:eng", vec![part("bob", 5_000, 1, 1)], 8),
            // Each member receives the own part, and a tenth user who wrote the message all parts.
            ("g:eng", crowd, 9 * 5 + 1 + 2),
            (
                "g:eng",
                vec![
                    part("a", u64::MAX >> 1, 0, u64::MAX),
                    part(&longest, 0, 0, 2),
                ],
                31 + 78,
            ),
        ] {
            let mut written = Vec::new();
            write(&mut written, conversation, parts.iter().copied());
            assert_eq!(written.len(), bytes, "{conversation} {parts:?}");
            assert_eq!(
                Parts::new(conversation, &written).collect::<Vec<_>>(),
                parts
            );
            for cut in 0..written.len() {
                let left: Vec<_> = Parts::new(conversation, &written[..cut]).collect();
                assert!(left.len() < parts.len() && parts.starts_with(&left));
            }
        }
    }

    /// A part for the other user behind those of one reader, and of two readers.
    #[test]
    fn parts_without_a_read_mark_reach_the_other_user() {
        let (alice, bob) = (part("alice", 9, 3, 1), part("bob", 8, 4, 2));
        let one = vec![alice, part("alice", 9, 0, 2)];
        let two = vec![alice, bob, part("alice", 9, 0, 2), part("bob", 8, 0, 1)];
        for (parts, to_alice, to_bob) in [(one, 0b01, 0b10), (two, 0b1001, 0b0110)] {
            let mut written = Vec::new();
            write(&mut written, "u:alice:bob", parts.iter().copied());
            let read: Vec<_> = Parts::new("u:alice:bob", &written).collect();
            for (read, part) in read.iter().zip(&parts) {
                assert_eq!((read.user, read.read), (part.user, part.read));
            }
            let told = |place: usize| {
                let told = read.iter().enumerate();
                let told = told.filter(|(_, part)| part.told >> place & 1 == 1);
                told.fold(0, |bits, (number, _)| bits | 1 << number)
            };
            assert_eq!((told(0), told(1)), (to_alice, to_bob), "{parts:?}");
        }
    }

    #[test]
    fn what_nobody_writes_is_no_part() {
        for (conversation, bytes) in [
            ("u:alice:bob", &[1, b'a', 2, 0][..]),
            ("g:eng", &[1, 0xff, 2, 0]),
            ("g:eng", &[1, b'a', 2, 4]),
            ("g:eng", &[0xff; 11]),
            ("g:eng", &[200, 1, b'a']),
        ] {
            let mut parts = Parts::new(conversation, bytes);
            assert_eq!((parts.next(), parts.next()), (None, None), "{bytes:?}");
        }
    }

    #[test]
    fn parts_are_one_behind_another_up_to_the_record() {
        let at = |part| position(Position(4_096), part, 3).0;
        assert_eq!([at(0), at(1), at(2)], [4_094, 4_095, 4_096]);
        assert_eq!(position(Position(4_096), 0, 1).0, 4_096);
    }
}
