//! How far the members of a small group have come, under the id of its timeline.
//!
//! What several members acknowledge at the same time is one value with a few bytes for each,
//! instead of one under a key of 16 bytes for each.

use serde::{Deserialize, Serialize};

use super::Marks;

/// Marks of members, by the numbers of their memberships. Members without a row, and those whose
/// own value says more, have come as far as that says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Advance {
    /// Ascending.
    rows: Vec<(u64, Marks)>,
}

impl Advance {
    /// The marks of a member, of whom another value says `marks`.
    pub(crate) fn of(&self, number: u64, marks: Marks) -> Marks {
        match self.place(number) {
            Ok(row) => self.rows[row].1.further(marks),
            Err(_) => marks,
        }
    }

    /// Sets the marks of a member.
    pub(crate) fn set(&mut self, number: u64, marks: Marks) {
        match self.place(number) {
            Ok(row) => self.rows[row].1 = marks,
            Err(row) => self.rows.insert(row, (number, marks)),
        }
    }

    /// Forgets a member; whether there was one.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let place = self.place(number);
        if let Ok(row) = place {
            self.rows.remove(row);
        }
        place.is_ok()
    }

    /// Whether nobody is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn place(&self, number: u64) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&number, |row| row.0)
    }
}

/// The same in few bytes: members of a group are about equally far at about the same time, so each
/// row says how it differs from the one before.
#[derive(Serialize, Deserialize)]
struct Stored {
    rows: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    number: u64,
    delivered: i64,
    unread: u64,
    delivered_time: i64,
    /// How much later `read` moved; 0 where nothing was read.
    later: i64,
}

impl From<Advance> for Stored {
    fn from(advance: Advance) -> Self {
        let (mut number, mut before) = (0, Marks::default());
        let rows = advance.rows.into_iter().map(|(of, marks)| {
            let later = marks.read_time.wrapping_sub(marks.delivered_time) as i64;
            let row = Row {
                number: of - number,
                delivered: marks.delivered.wrapping_sub(before.delivered) as i64,
                unread: marks.delivered - marks.read,
                delivered_time: marks.delivered_time.wrapping_sub(before.delivered_time) as i64,
                later: if marks.read == 0 { 0 } else { later },
            };
            (number, before) = (of, marks);
            row
        });
        Self {
            rows: rows.collect(),
        }
    }
}

impl From<Stored> for Advance {
    fn from(stored: Stored) -> Self {
        let (mut number, mut delivered, mut time) = (0_u64, 0_u64, 0_u64);
        let rows = stored.rows.into_iter().map(|row| {
            number = number.wrapping_add(row.number);
            delivered = delivered.wrapping_add_signed(row.delivered);
            time = time.wrapping_add_signed(row.delivered_time);
            let read = delivered.saturating_sub(row.unread);
            let read_time = time.wrapping_add_signed(row.later);
            let marks = Marks {
                delivered,
                read,
                delivered_time: time,
                read_time: if read == 0 { 0 } else { read_time },
            };
            (number, marks.acknowledged())
        });
        Self {
            rows: rows.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    const NOW: u64 = 1_767_225_600_000;

    fn marks(delivered: u64, read: u64, later: u64) -> Marks {
        Marks {
            delivered,
            read,
            delivered_time: NOW,
            read_time: if read == 0 { 0 } else { NOW + later },
        }
    }

    #[test]
    fn a_row_takes_few_bytes() {
        let mut advance = Advance::default();
        assert!(advance.is_empty());
        let mut before = encode(&advance).len();
        for (number, marks, bytes) in [
            (3, marks(5_000, 5_000, 0), 11),
            (4, marks(5_000, 5_000, 0), 5),
            (7, marks(5_001, 4_999, 60_000), 7),
            (9, marks(0, 0, 0), 6),
            (2_000, marks(u64::MAX, 1, 0), 15),
        ] {
            advance.set(number, marks);
            let value = encode(&advance);
            assert_eq!(value.len() - before, bytes, "{number}");
            assert_eq!(decode(&value).as_ref(), Some(&advance));
            assert_eq!(advance.of(number, Marks::default()), marks);
            before = value.len();
        }
    }

    #[test]
    fn rows_are_in_any_order_and_go_one_by_one() {
        let mut advance = Advance::default();
        for number in [5, 1, 9, 3] {
            advance.set(number, marks(number, 1, 0));
        }
        advance.set(3, marks(4, 4, 0));
        for (number, known) in [(1, true), (2, false), (3, true), (9, true), (9, false)] {
            assert_eq!(advance.remove(number), known, "{number}");
        }
        let own = marks(2, 2, 0);
        assert_eq!(advance.of(3, own), own, "there is no row any more");
        assert_eq!(advance.of(5, own), marks(5, 2, 0), "the further of each");
        assert!(advance.remove(5) && advance.is_empty());
    }
}
