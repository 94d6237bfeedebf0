//! The members of large groups.
//!
//! A record of a large group has the channel of the group in its fan-out, and not the members. The node finds them in
//! its own store, as they were before the batch, and follows the changes of membership from record to record of the
//! batch: who joins with a record gets no earlier one live, and who leaves gets no later one.

use std::collections::HashMap;
use std::sync::Arc;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, Record, TimelineId};

use crate::directory::Directory;
use crate::event::RecordKind;
use crate::ids::{Ids, UserId};
use crate::state::{self, Head, Member, Roster as Stored};

/// The number of members of all groups together above which groups that were not used lately are forgotten.
const MOST_SEATS: usize = 1 << 20;

/// The room that a group without members takes, in members: one that does not exist is kept too.
const EMPTY: usize = 64;

/// The number of chunks of a roster that are read together.
const CHUNKS: u32 = 512;

/// The members of the large groups that commits told something of lately.
pub(super) struct Rosters {
    ids: Ids,
    groups: HashMap<TimelineId, Roster, IdBuildHasher>,
    /// The number of commits so far.
    commits: u64,
    most: usize,
}

/// The members of a group.
#[derive(Default)]
struct Roster {
    namespace: Box<str>,
    /// The chunks as they are stored.
    chunks: Vec<Vec<Seat>>,
    /// The number of each chunk by its key.
    numbers: HashMap<TimelineId, usize, IdBuildHasher>,
    /// The members in the order for look-ups; `None` after a change.
    listed: Option<Listed>,
    /// The number of the last commit that needed them.
    used: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    user: UserId,
    /// The sequence of the first message that the member sees.
    first: u64,
}

/// The members in the order that is fastest for look-ups in the directory.
struct Listed {
    users: Arc<[UserId]>,
    /// The sequence of the first message that each of them sees.
    firsts: Box<[u64]>,
    /// A message that all members see, as they see all later ones.
    seen_by_all: u64,
}

/// A stored value of a group has another form than this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown;

/// The reason why a group is not in memory.
pub(super) enum LoadError {
    Read(ReadError),
    Unknown,
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Unknown> for LoadError {
    fn from(Unknown: Unknown) -> Self {
        Self::Unknown
    }
}

impl Rosters {
    /// Returns no groups of a store with these ids.
    pub(super) fn new(ids: Ids) -> Self {
        Self {
            ids,
            groups: HashMap::default(),
            commits: 0,
            most: MOST_SEATS,
        }
    }

    /// Loads the groups of the next commit, each with its namespace, as the store has them. Call it before the commit
    /// is applied.
    ///
    /// # Errors
    /// The store could not be read, or a value has another form.
    pub(super) fn prepare(
        &mut self,
        store: &Reader,
        groups: &[(TimelineId, &str)],
    ) -> Result<(), LoadError> {
        self.commits += 1;
        for &(id, namespace) in groups {
            if !self.groups.contains_key(&id) {
                let roster = Roster::load(&self.ids, store, (id, namespace))?;
                self.groups.insert(id, roster);
            }
            if let Some(roster) = self.groups.get_mut(&id) {
                roster.used = self.commits;
            }
        }
        Ok(())
    }

    /// Notes a record of the batch: it may change a group.
    ///
    /// # Errors
    /// A value has another form.
    pub(super) fn note(&mut self, store: &Reader, record: &Record<'_>) -> Result<(), Unknown> {
        if record.kind != RecordKind::Group as u8 {
            return Ok(());
        }
        match self.groups.get_mut(&record.timeline) {
            Some(roster) => roster.note(&self.ids, store, record),
            None => Ok(()),
        }
    }

    /// Returns the members of a group who see a message; all members with 0. A group that was not prepared has none.
    pub(super) fn members(&mut self, group: TimelineId, seeing: u64) -> Arc<[UserId]> {
        let Some(roster) = self.groups.get_mut(&group) else {
            return Arc::default();
        };
        let listed = roster.listed();
        if seeing == 0 || seeing >= listed.seen_by_all {
            return Arc::clone(&listed.users);
        }
        let all = listed.users.iter().zip(&listed.firsts);
        all.filter(|(_, first)| **first <= seeing)
            .map(|(user, _)| *user)
            .collect()
    }

    /// Forgets all groups.
    pub(super) fn forget(&mut self) {
        self.groups = HashMap::default();
    }

    /// Forgets the groups that were not used lately, if there are too many members in memory.
    pub(super) fn trim(&mut self) {
        let mut seats: usize = self.groups.values().map(Roster::len).sum();
        if seats <= self.most {
            return;
        }
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .map(|(id, one)| (one.used, *id))
            .collect();
        groups.sort_unstable();
        for (_, id) in groups {
            if seats <= self.most / 2 {
                break;
            }
            seats -= self.groups.remove(&id).map_or(0, |one| one.len());
        }
    }
}

impl Roster {
    /// Loads a group with its namespace. One that does not exist has no members.
    fn load(ids: &Ids, store: &Reader, group: (TimelineId, &str)) -> Result<Self, LoadError> {
        let (id, namespace) = group;
        let mut roster = Self {
            namespace: namespace.into(),
            ..Self::default()
        };
        let Some(head) = store.state(ids.head(id))? else {
            return Ok(roster);
        };
        let head: Head<'_> = state::decode(&head).ok_or(Unknown)?;
        roster.resize(ids, id, head.chunks);
        for first in (0..head.chunks).step_by(CHUNKS as usize) {
            let numbers = first..head.chunks.min(first + CHUNKS);
            let keys: Vec<_> = numbers.map(|number| ids.roster(id, number)).collect();
            for (value, number) in store.states(&keys)?.iter().zip(first as usize..) {
                let value = value.as_deref().unwrap_or_default();
                roster.chunks[number] = seats(ids, store, (id, namespace), value)?;
            }
        }
        Ok(roster)
    }

    /// Gives the roster this number of chunks.
    fn resize(&mut self, ids: &Ids, group: TimelineId, chunks: u32) {
        let known = self.chunks.len() as u32;
        for number in known..chunks {
            self.numbers
                .insert(ids.roster(group, number), number as usize);
            self.chunks.push(Vec::new());
        }
    }

    /// Notes what a record changes.
    fn note(&mut self, ids: &Ids, store: &Reader, record: &Record<'_>) -> Result<(), Unknown> {
        let group = record.timeline;
        let head = ids.head(group);
        if let Some(head) = record.states().find(|state| state.key == head) {
            let head: Head<'_> = state::decode(head.value).ok_or(Unknown)?;
            self.resize(ids, group, head.chunks);
        }
        for state in record.states() {
            if let Some(&number) = self.numbers.get(&state.key) {
                let group = (group, &*self.namespace);
                let read = seats(ids, store, group, state.value);
                self.chunks[number] = read.map_err(|_| Unknown)?;
                self.listed = None;
            }
        }
        Ok(())
    }

    /// Returns the room that the group takes, in members.
    fn len(&self) -> usize {
        EMPTY + self.chunks.iter().map(Vec::len).sum::<usize>()
    }

    fn listed(&mut self) -> &Listed {
        let chunks = &self.chunks;
        self.listed.get_or_insert_with(|| {
            let mut seats: Vec<_> = chunks.iter().flatten().copied().collect();
            seats.sort_by_key(|seat| (Directory::place(seat.user), seat.user.0));
            Listed {
                users: seats.iter().map(|seat| seat.user).collect(),
                firsts: seats.iter().map(|seat| seat.first).collect(),
                seen_by_all: seats
                    .iter()
                    .map(|seat| seat.first)
                    .max()
                    .unwrap_or_default(),
            }
        })
    }
}

/// Reads a chunk of a roster of a group with its namespace.
fn seats(
    ids: &Ids,
    store: &Reader,
    (group, namespace): (TimelineId, &str),
    value: &[u8],
) -> Result<Vec<Seat>, LoadError> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let stored: Stored<'_> = state::decode(value).ok_or(Unknown)?;
    let mut seats = Vec::with_capacity(stored.members.len());
    for member in stored.members {
        let user = ids.user(namespace, member.user);
        let first = match member.first {
            // An earlier version kept it with the member alone.
            0 => match store.state(ids.member(group, user))? {
                Some(value) => state::decode::<Member>(&value).ok_or(Unknown)?.first_seq,
                None => 0,
            },
            first => first,
        };
        seats.push(Seat { user, first });
    }
    Ok(seats)
}

#[cfg(test)]
mod tests;
