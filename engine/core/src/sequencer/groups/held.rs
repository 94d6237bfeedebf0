//! The groups that the sequencer holds in memory: the recently used ones.

use std::collections::{HashMap, hash_map};

use trunkline_storage::{IdBuildHasher, TimelineId};

use super::{Group, load};
use crate::ids::UserId;
use crate::sequencer::batch::OpenBatch;
use crate::sequencer::refused::{CORRUPT, NOT_A_MEMBER, Refused};

type Half = HashMap<TimelineId, Group, IdBuildHasher>;

/// The milliseconds after which the younger half replaces the older one, full or not. So a group
/// leaves memory when it was unused for once to twice this time.
const AGE: u64 = 30_000;

/// The number of members of dropped groups that are freed per commit. The last group may have more.
const FREED: usize = 16_384;

/// The number of members that a smaller group counts as when it is freed.
const SMALL: usize = 64;

/// The groups in memory, in two halves. When the younger half is full or old enough, it replaces
/// the older one, which is dropped.
pub(in crate::sequencer) struct Groups {
    /// The maximum number of members of all groups in one half. One larger group fills a half
    /// alone.
    capacity: usize,
    /// The number of members of the groups in the younger half.
    held: usize,
    young: Half,
    old: Half,
    /// The groups of dropped halves, which are freed a few at a time.
    dropped: hash_map::IntoValues<TimelineId, Group>,
    /// The monotonic time in milliseconds at which the younger half is old enough.
    due: u64,
}

impl Groups {
    /// Returns an empty collection for groups with at most `most` members together.
    pub(in crate::sequencer) fn new(most: usize) -> Self {
        Self {
            capacity: most / 2,
            held: 0,
            young: Half::default(),
            old: Half::default(),
            dropped: Half::default().into_values(),
            due: 0,
        }
    }

    /// Returns a group as the batch leaves it; `None` if it does not exist.
    ///
    /// # Errors
    /// The store could not be read.
    pub(in crate::sequencer) fn get(
        &mut self,
        batch: &OpenBatch,
        namespace: &str,
        id: TimelineId,
    ) -> Result<Option<&mut Group>, Refused> {
        if !self.young.contains_key(&id) {
            let group = match self.old.remove(&id) {
                Some(group) => group,
                None => match load(batch, namespace, id)? {
                    Some(group) => {
                        // Each member is hashed, which takes longer than to read the chunks.
                        batch.name(group.len());
                        group
                    }
                    None => return Ok(None),
                },
            };
            self.enter(group);
        }
        Ok(self.young.get_mut(&id))
    }

    /// Returns a group if a user is a member of it.
    ///
    /// For a user who is not a member, the cost is one look-up of a membership, whether the group
    /// is in memory, in the store only, or does not exist. So neither the answer nor its time
    /// reveals a group.
    ///
    /// # Errors
    /// The user is not a member, or the store could not be read.
    pub(in crate::sequencer) fn of_member(
        &mut self,
        batch: &OpenBatch,
        namespace: &str,
        id: TimelineId,
        user: UserId,
    ) -> Result<&mut Group, Refused> {
        let held = self.young.get(&id).or_else(|| self.old.get(&id));
        if !held.is_some_and(|group| group.has(user)) {
            let key = batch.ids().member(id, user);
            if !batch.member(key)?.is_in() {
                return Err(NOT_A_MEMBER);
            }
        }
        let group = self.get(batch, namespace, id)?.ok_or(CORRUPT)?;
        if !group.has(user) {
            return Err(CORRUPT);
        }
        Ok(group)
    }

    /// Returns a group if it is in memory.
    pub(in crate::sequencer) fn held(&mut self, id: TimelineId) -> Option<&mut Group> {
        match self.young.get_mut(&id) {
            Some(group) => Some(group),
            None => self.old.get_mut(&id),
        }
    }

    /// Adds a group.
    pub(in crate::sequencer) fn enter(&mut self, group: Group) {
        if self.held > 0 && self.held + group.len() > self.capacity {
            self.turn();
        }
        self.held += group.len();
        self.young.insert(group.id, group);
    }

    /// Lets the younger half replace the older one.
    fn turn(&mut self) {
        let young = std::mem::take(&mut self.young);
        let old = std::mem::replace(&mut self.old, young);
        // What is left of an earlier half is freed at once: dropped groups take no more than a half.
        self.dropped = old.into_values();
        self.held = 0;
    }

    /// Drops groups that were unused for a while, and frees a part of the dropped ones. Call it
    /// after a commit: the batch under construction may have changes of groups. `passed` is the
    /// monotonic time in milliseconds.
    pub(in crate::sequencer) fn age(&mut self, passed: u64) {
        if passed >= self.due {
            self.due = passed + AGE;
            self.turn();
        }
        let mut freed = 0;
        while freed < FREED
            && let Some(group) = self.dropped.next()
        {
            freed += group.len().max(SMALL);
        }
    }

    /// Drops all groups from memory, because some have changes of a batch that was given up.
    pub(in crate::sequencer) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
        self.held = 0;
    }

    /// Drops a group from memory, because its state differs from the store's.
    pub(in crate::sequencer) fn forget(&mut self, id: TimelineId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }

    /// Returns the number of groups in memory, without the dropped ones.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Returns the number of dropped groups that are not freed yet.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> usize {
        self.dropped.len()
    }
}
