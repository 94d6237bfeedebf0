//! The authors of the latest messages of a small group. They receive the receipts of the members who
//! read these messages.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use smallvec::SmallVec;
use trunkline_storage::{Order, Page, TimelineId};

use super::batch::OpenBatch;
use super::refused::{CORRUPT, Stop, unreadable};
use crate::event::Body;
use crate::ids::UserId;

/// The number of latest messages of a group whose authors the sequencer knows. A receipt for an
/// older message goes to all members: the sequencer does not read further back.
pub(super) const KNOWN_AUTHORS: u64 = 64;

/// The number of messages to read at a time for their authors.
const PAGE: usize = 8;

/// The authors of a group's latest messages, without a gap.
#[derive(Debug, Default)]
pub(super) struct Authors {
    /// The authors, each once. Some may have written none of the latest messages.
    users: Vec<UserId>,
    /// For each message, the oldest first, the index of its author in `users`.
    written: VecDeque<u8>,
    /// The sequence of the last message.
    last: u64,
}

/// A list of authors, each once.
pub(super) type Found = SmallVec<[UserId; 4]>;

impl Authors {
    /// Notes the author of a stored message.
    pub(super) fn wrote(&mut self, seq: u64, user: UserId) {
        if seq != self.last + 1 {
            // The authors between are unknown, and the list must not have a gap.
            self.written.clear();
        }
        self.last = seq;
        let user = self.number(user);
        self.written.push_back(user);
        if self.written.len() as u64 > KNOWN_AUTHORS {
            self.written.pop_front();
        }
    }

    /// Makes the authors of the messages from `from` to `last` known. `last` is the group's last
    /// message. Reads authors from the store if the group was not in memory when the messages were
    /// sent. Authors of messages that are no longer kept stay unknown.
    ///
    /// # Errors
    /// The store could not be read, or the batch must be committed first.
    pub(super) fn know(
        &mut self,
        batch: &OpenBatch,
        group: TimelineId,
        from: u64,
        last: u64,
    ) -> Result<(), Stop> {
        self.begin(last);
        if self.first() <= from {
            return Ok(());
        }
        batch.check_committed()?;
        let mut page = Page::default();
        while self.first() > from {
            let first = self.first();
            page.clear();
            let store = batch.store();
            store
                .range(group, from..=first - 1, PAGE, Order::Descending, &mut page)
                .map_err(|error| unreadable(&error))?;
            let records: Vec<_> = page.records().collect();
            for record in records.iter().rev() {
                if record.seq + 1 != self.first() {
                    break;
                }
                batch.count_read(record.body.len());
                let body = Body::read(record.body).ok_or(CORRUPT)?;
                self.wrote_before(batch.ids().user(body.namespace, body.user));
            }
            if self.first() == first {
                break;
            }
        }
        Ok(())
    }

    /// Notes the author of the message before the first known one.
    fn wrote_before(&mut self, user: UserId) {
        let user = self.number(user);
        self.written.push_front(user);
    }

    /// Forgets all authors, unless `last` is the last known message, and continues after it.
    fn begin(&mut self, last: u64) {
        if self.last != last {
            self.written.clear();
            self.last = last;
        }
    }

    /// Returns the sequence of the first message with a known author, or of the next message if
    /// there is none.
    fn first(&self) -> u64 {
        self.last + 1 - self.written.len() as u64
    }

    /// Adds the authors of these messages to `found`. Their authors must be known.
    pub(super) fn of(&self, seqs: RangeInclusive<u64>, found: &mut Found) {
        let first = self.first();
        for seq in seqs {
            let written = seq.checked_sub(first).and_then(|at| {
                let at = usize::try_from(at).ok()?;
                self.written.get(at)
            });
            if let Some(&user) = written {
                let user = self.users[usize::from(user)];
                if !found.contains(&user) {
                    found.push(user);
                }
            }
        }
    }

    fn number(&mut self, user: UserId) -> u8 {
        if let Some(number) = self.users.iter().position(|one| *one == user) {
            return number as u8;
        }
        if self.users.len() > usize::from(u8::MAX) {
            self.forget_others();
        }
        self.users.push(user);
        (self.users.len() - 1) as u8
    }

    /// Removes users who wrote none of the known messages. Fewer than 256 remain.
    fn forget_others(&mut self) {
        let mut users = Vec::new();
        for written in &mut self.written {
            let user = self.users[usize::from(*written)];
            let place = users.iter().position(|one| *one == user);
            *written = place.unwrap_or_else(|| {
                users.push(user);
                users.len() - 1
            }) as u8;
        }
        self.users = users;
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::super::fixture::{ENG, Fixture};
    use super::*;

    fn of(authors: &Authors, seqs: RangeInclusive<u64>) -> Vec<u128> {
        let mut found = Found::new();
        authors.of(seqs, &mut found);
        found.iter().map(|user| user.0).collect()
    }

    #[test]
    fn so_many_are_known_and_each_is_found_once() {
        let mut authors = Authors::default();
        assert_eq!((authors.first(), of(&authors, 0..=9)), (1, vec![]));
        for seq in 1..=1_000 {
            authors.wrote(seq, TimelineId(u128::from(seq) / 3));
            assert_eq!(authors.first(), seq.saturating_sub(KNOWN_AUTHORS) + 1);
        }
        assert_eq!(of(&authors, 994..=1_000), [331, 332, 333]);
        assert_eq!(of(&authors, 900..=937), [312], "only the last is known");
        assert_eq!(of(&authors, 1_000..=2_000), [333]);
    }

    #[test]
    fn what_was_before_is_put_before_and_a_gap_begins_anew() {
        let mut authors = Authors::default();
        authors.begin(7);
        assert_eq!(authors.first(), 8);
        authors.wrote(8, TimelineId(8));
        for seq in [7, 6] {
            authors.wrote_before(TimelineId(seq));
        }
        assert_eq!((authors.first(), of(&authors, 1..=9)), (6, vec![6, 7, 8]));
        authors.begin(8);
        assert_eq!(authors.first(), 6, "there is no gap");
        authors.wrote(10, TimelineId(10));
        assert_eq!((authors.first(), of(&authors, 1..=10)), (10, vec![10]));
    }

    #[test]
    fn unknown_authors_are_read_from_the_store() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        for user in ["alice", "bob", "bob"] {
            fixture.send(user, ENG).unwrap();
        }
        let group = fixture.ids().group("", "eng");
        let mut authors = Authors::default();
        let stop = authors.know(&fixture.batch, group, 2, 3);
        assert_eq!(stop, Err(Stop::CommitFirst), "the store does not show them");
        fixture.commit();
        authors.know(&fixture.batch, group, 2, 3).unwrap();
        assert_eq!(authors.first(), 2);
        assert_eq!(of(&authors, 2..=3), [fixture.user("bob").0]);
        authors.know(&fixture.batch, group, 1, 3).unwrap();
        let both = ["bob", "alice"].map(|name| fixture.user(name).0);
        assert_eq!(of(&authors, 1..=3), [both[1], both[0]]);
        // A message that the store no longer has stays unknown.
        authors
            .know(&fixture.batch, fixture.ids().group("", "none"), 1, 9)
            .unwrap();
        assert_eq!(authors.first(), 10);
    }
}
