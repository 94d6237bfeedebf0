//! The stored state of a 1:1 conversation, under the id of its timeline.

use serde::{Deserialize, Serialize};

/// The watermarks of one member of a conversation. `read` is never beyond `delivered`, and neither
/// mark goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Marks {
    /// The sequence up to which all messages have arrived on one of the member's devices.
    pub(crate) delivered: u64,
    /// The sequence up to which the member has read all messages.
    pub(crate) read: u64,
    /// When `delivered` moved last, in milliseconds since 1970 UTC.
    pub(crate) delivered_time: u64,
    /// When `read` moved last, in milliseconds since 1970 UTC.
    pub(crate) read_time: u64,
}

/// The stored form of [`Marks`], which every receipt carries. The two sequences are close to each
/// other, and so are the two times: the form holds differences, which take few bytes.
#[derive(Serialize, Deserialize)]
struct Stored {
    delivered: u64,
    /// The number of messages that are delivered and not read.
    unread: u64,
    delivered_time: u64,
    /// The milliseconds from the time of `delivered` to the time of `read`; 0 if the member has
    /// read nothing.
    later: i64,
}

impl From<Marks> for Stored {
    fn from(marks: Marks) -> Self {
        let later = marks.read_time.wrapping_sub(marks.delivered_time) as i64;
        Self {
            delivered: marks.delivered,
            unread: marks.delivered - marks.read,
            delivered_time: marks.delivered_time,
            later: if marks.read == 0 { 0 } else { later },
        }
    }
}

impl From<Stored> for Marks {
    fn from(stored: Stored) -> Self {
        let read = stored.delivered.saturating_sub(stored.unread);
        let read_time = stored.delivered_time.wrapping_add_signed(stored.later);
        Self {
            delivered: stored.delivered,
            read,
            delivered_time: stored.delivered_time,
            read_time: if read == 0 { 0 } else { read_time },
        }
    }
}

/// The marks that a member acknowledges. 0 says nothing about a mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// The sequence of the last delivered message.
    pub(crate) delivered: u64,
    /// The sequence of the last read message.
    pub(crate) read: u64,
}

impl Marks {
    /// Returns, for each mark, the further of two values of one member, with its time.
    pub(crate) fn further(self, other: Self) -> Self {
        let delivered = (self.delivered, self.delivered_time);
        let read = (self.read, self.read_time);
        let (delivered, delivered_time) = delivered.max((other.delivered, other.delivered_time));
        let (read, read_time) = read.max((other.read, other.read_time));
        Self {
            delivered,
            read,
            delivered_time,
            read_time,
        }
    }

    /// Returns only the marks that a member acknowledged. Earlier versions started with marks that
    /// no member set; those have no time.
    pub(crate) fn acknowledged(self) -> Self {
        let since = |mark, time| if time == 0 { 0 } else { mark };
        Self {
            delivered: since(self.delivered, self.delivered_time),
            read: since(self.read, self.read_time),
            ..self
        }
    }

    /// Returns the marks after an acknowledgement in a conversation with `last` messages. A mark that
    /// moves gets the time `now`, in milliseconds since 1970 UTC. Marks never move back and never
    /// beyond the last message. `None` if the acknowledgement moves neither mark.
    pub(crate) fn acked(self, last: u64, acked: Acked, now: u64) -> Option<Self> {
        let Acked { delivered, read } = acked;
        let read = read.min(last).max(self.read);
        let delivered = delivered.min(last).max(self.delivered).max(read);
        let mut moved = Self {
            delivered,
            read,
            ..self
        };
        if moved == self {
            return None;
        }
        if delivered != self.delivered {
            moved.delivered_time = now;
        }
        if read != self.read {
            moved.read_time = now;
        }
        Some(moved)
    }
}

/// The marks of both members of a 1:1 conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Direct {
    /// The marks of the member with the lesser name, then those of the other member.
    pub(crate) marks: [Marks; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    #[test]
    fn marks_only_advance_and_stay_within_the_conversation() {
        let mut marks = Marks::default();
        let mut now = 10;
        for ((delivered, read), expect) in [
            ((2, 0), Some((2, 0))),
            ((1, 0), None),
            ((0, 3), Some((3, 3))),
            ((99, 0), Some((5, 3))),
            ((99, 99), Some((5, 5))),
            ((0, 0), None),
        ] {
            now += 1;
            let moved = marks.acked(5, Acked { delivered, read }, now);
            assert_eq!(moved.map(|m| (m.delivered, m.read)), expect);
            let Some(moved) = moved else { continue };
            let time = |same: bool, old| if same { old } else { now };
            assert_eq!(
                (moved.delivered_time, moved.read_time),
                (
                    time(moved.delivered == marks.delivered, marks.delivered_time),
                    time(moved.read == marks.read, marks.read_time),
                )
            );
            marks = moved;
        }
        let state = Direct {
            marks: [marks, Marks::default()],
        };
        let bytes = encode(&state);
        assert_eq!(decode(&bytes), Some(state));
        assert_eq!(decode::<Direct>(&bytes[1..]), None, "of another form");
        assert_eq!(decode::<Direct>(&[]), None, "no value");
    }

    #[test]
    fn marks_take_few_bytes() {
        const NOW: u64 = 1_767_225_600_000;
        let marks = |delivered, read, delivered_time, read_time| Marks {
            delivered,
            read,
            delivered_time,
            read_time,
        };
        for (marks, bytes) in [
            (Marks::default(), 4),
            (marks(100, 100, 0, 0), 4),
            (marks(100, 0, NOW, 0), 9),
            (marks(100, 100, NOW, NOW), 9),
            (marks(300, 299, NOW, NOW - 2_000), 11),
            (marks(300, 300, NOW, NOW + 60_000), 12),
            (marks(300, 299, NOW, 0), 15),
        ] {
            let written = postcard::to_extend(&marks, Vec::new()).unwrap();
            assert_eq!(written.len(), bytes, "{marks:?}");
            assert_eq!(postcard::from_bytes(&written), Ok(marks));
        }
    }
}
