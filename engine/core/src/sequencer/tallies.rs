//! Who wrote how many messages: counted as they are stored, so that unread messages need not be read.
//!
//! The sequencer counts in memory, and the message that ends a stretch carries the count of it. What
//! memory does not know is read from the store then: once for a stretch, and only of conversations
//! that fell out of memory meanwhile, or in which something was recalled.

use trunkline_storage::{Order, Page, TimelineId};

use super::asked::Asked;
use super::refused::Refused;
use super::states::Changes;
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::Body;
use crate::exchange::Members;
use crate::ids::{Side, UserId};
use crate::state::{self, Level, STRETCH, Tally};

/// Messages of the stretch that a 1:1 conversation is in, by the side of their author.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sides([u16; 2]);

/// The same of a group.
#[derive(Debug, Default)]
pub(super) struct Running {
    tally: Tally,
    counted: u64,
}

/// How many messages of its stretch come before one.
const fn before(seq: u64) -> u64 {
    (seq - 1) % STRETCH
}

impl Sides {
    /// Whether all before this message are counted.
    fn knows(self, seq: u64) -> bool {
        let counted = self.0.map(u64::from).iter().sum::<u64>();
        before(seq) == 0 || counted == before(seq)
    }

    /// A message was stored.
    pub(super) fn wrote(&mut self, seq: u64, side: Side) {
        if before(seq) == 0 {
            self.0 = [0; 2];
        }
        if self.knows(seq) {
            self.0[side as usize] += 1;
        }
    }

    /// One was recalled: which one the store knows.
    pub(super) fn forget(&mut self) {
        self.0 = [u16::MAX; 2];
    }
}

impl Running {
    fn knows(&self, seq: u64) -> bool {
        before(seq) == 0 || self.counted == before(seq)
    }

    /// A message was stored.
    pub(super) fn wrote(&mut self, seq: u64, user: UserId) {
        if before(seq) == 0 {
            *self = Self::default();
        }
        if self.knows(seq) {
            self.tally.add(user, 1);
            self.counted += 1;
        }
    }

    /// One was recalled: which one the store knows.
    pub(super) fn forget(&mut self) {
        self.tally = Tally::default();
        self.counted = u64::MAX;
    }
}

impl Sequencer {
    /// Adds the counts of the stretches that a message ends to the values of its record.
    pub(super) fn end_stretch(
        &mut self,
        command: Asked<'_>,
        seq: u64,
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        if !Level::Short.ends_with(seq) {
            return Ok(());
        }
        let known = match command.members {
            Members::Direct { other, side } => self.sides(command, (other, side), seq)?,
            Members::Group => self.running(command, seq)?,
        };
        let mut tally = match known {
            Some(tally) => tally,
            None => self.count(command.conversation, seq)?,
        };
        tally.add(command.user, 1);
        let stretch = Level::Short.stretch(seq);
        let key = Level::Short.key(&self.ids, command.conversation, stretch);
        changes.push((key, state::encode(&tally)));
        if Level::Long.ends_with(seq)
            && let Some(tally) = self.long(command.conversation, seq, tally)?
        {
            let stretch = Level::Long.stretch(seq);
            let key = Level::Long.key(&self.ids, command.conversation, stretch);
            changes.push((key, state::encode(&tally)));
        }
        Ok(())
    }

    fn sides(
        &mut self,
        command: Asked<'_>,
        (other, side): (UserId, Side),
        seq: u64,
    ) -> Result<Option<Tally>, Refused> {
        let conversation = self.conversations.get(command.conversation);
        let sides = conversation.map_err(|error| unreadable(&error))?.sides;
        if !sides.knows(seq) {
            return Ok(None);
        }
        let mut tally = Tally::default();
        let [own, others] = match side {
            Side::Lesser => sides.0,
            Side::Greater => [sides.0[1], sides.0[0]],
        };
        tally.add(command.user, own.into());
        tally.add(other, others.into());
        Ok(Some(tally))
    }

    fn running(&mut self, command: Asked<'_>, seq: u64) -> Result<Option<Tally>, Refused> {
        let namespace = command.namespace()?;
        let (id, user) = (command.conversation, command.user);
        let group = self.groups.of_member(&self.states, namespace, id, user)?;
        let running = &group.running;
        Ok(running.knows(seq).then(|| running.tally.clone()))
    }

    /// Counts the messages of a stretch before its last one, which is `end`.
    fn count(&mut self, conversation: TimelineId, end: u64) -> Result<Tally, Refused> {
        if self.writer.batch_bytes() > 0 {
            // They may be in the batch, where the store does not show them yet.
            self.commit_batch();
        }
        let (mut tally, mut page) = (Tally::default(), Page::default());
        let mut next = end - before(end);
        while next < end {
            page.clear();
            let seqs = next..=end - 1;
            let store = self.states.store();
            store
                .range(
                    conversation,
                    seqs,
                    STRETCH as usize,
                    Order::Ascending,
                    &mut page,
                )
                .map_err(|error| unreadable(&error))?;
            let Some(last) = page.records().last().map(|record| record.seq) else {
                break;
            };
            for record in page.records() {
                let body = Body::read(record.body).ok_or(CORRUPT)?;
                let author = self.ids.user(body.namespace, body.user);
                tally.add(author, u32::from(!body.recalled));
            }
            next = last + 1;
        }
        Ok(tally)
    }

    /// The count of a long stretch, of which `tally` is that of the last short one; `None` where
    /// others are missing, or there are too many authors.
    fn long(
        &self,
        conversation: TimelineId,
        end: u64,
        tally: Tally,
    ) -> Result<Option<Tally>, Refused> {
        let first = end + 1 - Level::Long.messages();
        let stretches = Level::Short.stretch(first)..Level::Short.stretch(end);
        let mut all = Some(tally);
        for stretch in stretches {
            let key = Level::Short.key(&self.ids, conversation, stretch);
            let short = self.tally(key)?;
            all = match (all, short) {
                (Some(all), Some(short)) => all.with(&short),
                _ => return Ok(None),
            };
        }
        Ok(all)
    }

    /// Takes a message that its author recalls out of the counts.
    pub(super) fn uncount(&mut self, command: Asked<'_>, seq: u64) -> Result<Changes, Refused> {
        let mut changes = Changes::new();
        for level in Level::ALL {
            let stretch = level.stretch(seq);
            let key = level.key(&self.ids, command.conversation, stretch);
            if let Some(mut tally) = self.tally(key)?
                && tally.take(command.user)
            {
                changes.push((key, state::encode(&tally)));
            }
        }
        match command.members {
            Members::Direct { .. } => {
                let conversation = self.conversations.get(command.conversation);
                let conversation = conversation.map_err(|error| unreadable(&error))?;
                conversation.sides.forget();
            }
            Members::Group => {
                let namespace = command.namespace()?;
                let (id, user) = (command.conversation, command.user);
                let group = self.groups.of_member(&self.states, namespace, id, user)?;
                group.running.forget();
            }
        }
        Ok(changes)
    }

    fn tally(&self, key: TimelineId) -> Result<Option<Tally>, Refused> {
        let value = self.states.get(key).map_err(|error| unreadable(&error))?;
        match value {
            None => Ok(None),
            Some(value) => state::decode(&value).map(Some).ok_or(CORRUPT),
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn what_was_counted_from_the_beginning_of_a_stretch_is_known() {
        let mut sides = Sides::default();
        let mut running = Running::default();
        for seq in 1..=3 * STRETCH {
            assert!(sides.knows(seq) && running.knows(seq), "{seq}");
            let side = if seq % 3 == 0 {
                Side::Lesser
            } else {
                Side::Greater
            };
            sides.wrote(seq, side);
            running.wrote(seq, TimelineId(u128::from(seq % 3)));
        }
        // Of the last stretch: every third.
        assert_eq!(sides.0, [86, 170]);
        assert_eq!(running.tally.of_others(TimelineId(0)), 170);
        // From the middle of a stretch on nothing is known of it.
        let (mut sides, mut running) = (Sides::default(), Running::default());
        for seq in 5..=STRETCH {
            assert!(!sides.knows(seq) && !running.knows(seq), "{seq}");
            sides.wrote(seq, Side::Lesser);
            running.wrote(seq, TimelineId(1));
        }
        sides.wrote(STRETCH + 1, Side::Lesser);
        running.wrote(STRETCH + 1, TimelineId(1));
        assert!(sides.knows(STRETCH + 2) && running.knows(STRETCH + 2));
        sides.forget();
        running.forget();
        for seq in STRETCH + 2..=2 * STRETCH {
            assert!(!sides.knows(seq) && !running.knows(seq), "{seq}");
            sides.wrote(seq, Side::Lesser);
            running.wrote(seq, TimelineId(1));
        }
    }
}
