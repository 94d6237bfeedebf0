//! The marks of several members of a small group as one value, under the id of the group's
//! timeline.
//!
//! One value with a few bytes for each member replaces one value under a key of 16 bytes for each
//! member.

use serde::{Deserialize, Serialize};

use super::Marks;

/// The marks of several members of a group, by the numbers of their memberships. A member without a
/// row has the marks of the member's own value. Where both exist, the further mark of the two
/// counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Advance {
    /// The membership numbers with their marks, in ascending order of the numbers.
    rows: Vec<(u64, Marks)>,
}

impl Advance {
    /// Returns the marks of the member with this number. `marks` are those of the member's own
    /// value.
    pub(crate) fn of(&self, number: u64, marks: Marks) -> Marks {
        match self.place(number) {
            Ok(row) => self.rows[row].1.further(marks),
            Err(_) => marks,
        }
    }

    /// Sets the marks of the member with this number.
    pub(crate) fn set(&mut self, number: u64, marks: Marks) {
        match self.place(number) {
            Ok(row) => self.rows[row].1 = marks,
            Err(row) => self.rows.insert(row, (number, marks)),
        }
    }

    /// Removes the row of the member with this number. Returns whether there was one.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let place = self.place(number);
        if let Ok(row) = place {
            self.rows.remove(row);
        }
        place.is_ok()
    }

    /// Returns whether there is a row of this number.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.place(number).is_ok()
    }

    /// Returns whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn place(&self, number: u64) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&number, |row| row.0)
    }
}

/// The stored form of [`Advance`]. Members of a group have similar marks at similar times, so each
/// row holds only the difference from the row before.
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
    /// The milliseconds from the time of `delivered` to the time of `read`; 0 if the member has
    /// read nothing.
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
