//! The groups that the sequencer holds in memory, each with all its members.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use trunkline_storage::{IdBuildHasher, TimelineId};

use super::receipts::Authors;
use super::refused::Refused;
use super::states::{Changes, States};
use super::tallies::Running;
use super::{CORRUPT, NOT_A_MEMBER, unreadable};
use crate::directory::Directory;
use crate::ids::{Ids, UserId};
use crate::state::{self, Entry, Head, ROSTER_CHUNK, Role, Roster};

type ById<T> = HashMap<TimelineId, T, IdBuildHasher>;

/// The groups in memory, in two halves. When the younger half is full, the sequencer drops the
/// older one.
pub(super) struct Groups {
    ids: Ids,
    /// The maximum number of members of all groups in one half. One larger group fills a half
    /// alone.
    capacity: usize,
    held: usize,
    young: ById<Group>,
    old: ById<Group>,
}

/// A group as the batch under construction leaves it.
pub(super) struct Group {
    pub(super) id: TimelineId,
    /// The id of the channel from which members of a large group catch up.
    pub(super) channel: UserId,
    pub(super) name: CompactString,
    pub(super) all_history: bool,
    pub(super) pull: bool,
    chunks: Vec<Vec<Seat>>,
    /// The place of each member in the chunks of the roster.
    places: ById<Seated>,
    everybody: Option<Arc<[UserId]>>,
    /// The number of memberships that ever began.
    pub(super) joined: u64,
    /// The sequence of the first message that any member sees.
    pub(super) first: u64,
    /// The authors of the latest messages, while the group is small.
    pub(super) authors: Authors,
    /// The number of messages of each author in the current stretch.
    pub(super) running: Running,
}

/// A member of a group, with its name and role.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) user: UserId,
    pub(super) name: CompactString,
    pub(super) role: Role,
    pub(super) since: u64,
    /// The first message that the member sees.
    pub(super) first: u64,
}

/// The place of a member in the chunks, and the first message that the member sees. The second
/// takes no extra memory: the key is aligned to 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Seated {
    chunk: u32,
    first: u64,
}

impl Groups {
    /// Returns an empty collection for groups with at most `most` members together.
    pub(super) fn new(ids: Ids, most: usize) -> Self {
        Self {
            ids,
            capacity: most / 2,
            held: 0,
            young: ById::default(),
            old: ById::default(),
        }
    }

    /// Returns a group; `None` if it does not exist.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn get(
        &mut self,
        states: &States,
        namespace: &str,
        id: TimelineId,
    ) -> Result<Option<&mut Group>, Refused> {
        if !self.young.contains_key(&id) {
            let group = match self.old.remove(&id) {
                Some(group) => group,
                None => match load(states, &self.ids, namespace, id)? {
                    Some(group) => group,
                    None => return Ok(None),
                },
            };
            self.enter(group);
        }
        Ok(self.young.get_mut(&id))
    }

    /// Returns a group of which a user is a member.
    ///
    /// For a user who is not a member, the cost is one look-up of a membership, whether the group
    /// is in memory, in the store only, or does not exist. So neither the answer nor its time
    /// reveals a group.
    ///
    /// # Errors
    /// The user is not a member, or the store could not be read.
    pub(super) fn of_member(
        &mut self,
        states: &States,
        namespace: &str,
        id: TimelineId,
        user: UserId,
    ) -> Result<&mut Group, Refused> {
        let held = self.young.get(&id).or_else(|| self.old.get(&id));
        if !held.is_some_and(|group| group.has(user)) {
            let key = self.ids.member(id, user);
            if !super::membership::member(states, key)?.is_in() {
                return Err(NOT_A_MEMBER);
            }
        }
        let group = self.get(states, namespace, id)?.ok_or(CORRUPT)?;
        if !group.has(user) {
            return Err(CORRUPT);
        }
        Ok(group)
    }

    /// Adds a group.
    pub(super) fn enter(&mut self, group: Group) {
        if self.held > 0 && self.held + group.len() > self.capacity {
            self.old = std::mem::take(&mut self.young);
            self.held = 0;
        }
        self.held += group.len();
        self.young.insert(group.id, group);
    }

    /// Drops all groups. Some have changes of a batch that was given up.
    pub(super) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
        self.held = 0;
    }

    /// Drops a group whose state in memory differs from the store's.
    pub(super) fn forget(&mut self, id: TimelineId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }
}

fn load(
    states: &States,
    ids: &Ids,
    namespace: &str,
    id: TimelineId,
) -> Result<Option<Group>, Refused> {
    let read = |key| states.get(key).map_err(|error| unreadable(&error));
    let Some(value) = read(ids.head(id))? else {
        return Ok(None);
    };
    let head: Head<'_> = state::decode(&value).ok_or(CORRUPT)?;
    let mut group = Group::new(ids, id, head.name, head.all_history);
    (group.pull, group.joined, group.first) = (head.pull, head.joined, head.first);
    for number in 0..head.chunks {
        let value = read(ids.roster(id, number))?.unwrap_or_default();
        let mut seats = Vec::new();
        if !value.is_empty() {
            let roster: Roster<'_> = state::decode(&value).ok_or(CORRUPT)?;
            for member in &roster.members {
                let user = ids.user(namespace, member.user);
                let first = match member.first {
                    0 => super::membership::member(states, ids.member(id, user))?.first_seq,
                    first => first,
                };
                seats.push(Seat {
                    user,
                    name: member.user.into(),
                    role: member.role,
                    since: member.since,
                    first,
                });
            }
        }
        let places = seats.iter().map(|seat| (seat.user, seat.seated(number)));
        group.places.extend(places);
        group.chunks.push(seats);
    }
    Ok(Some(group))
}

impl Seat {
    fn seated(&self, chunk: u32) -> Seated {
        Seated {
            chunk,
            first: self.first,
        }
    }
}

impl Group {
    /// Returns a new group without members.
    pub(super) fn new(ids: &Ids, id: TimelineId, name: &str, all_history: bool) -> Self {
        Self {
            id,
            channel: ids.channel(id),
            name: name.into(),
            all_history,
            pull: false,
            chunks: Vec::new(),
            places: ById::default(),
            everybody: None,
            joined: 0,
            first: 1,
            authors: Authors::default(),
            running: Running::default(),
        }
    }

    /// Returns a new group with the name of this one, after all members have left. `last` is the
    /// last message of this group. Nobody sees messages up to it. Sequences and numbers of
    /// memberships continue.
    pub(super) fn renewed(&self, ids: &Ids, name: &str, all_history: bool, last: u64) -> Self {
        Self {
            chunks: vec![Vec::new(); self.chunks.len()],
            joined: self.joined,
            first: last + 1,
            ..Self::new(ids, self.id, name, all_history)
        }
    }

    /// Returns the sequence of the first message that a new member sees. `last` is the group's last
    /// message.
    pub(super) fn first_for_new(&self, last: u64) -> u64 {
        if self.all_history {
            self.first
        } else {
            last + 1
        }
    }

    /// Returns the sequence of the first message that a member sees; `None` if the user is not a
    /// member.
    pub(super) fn first_of(&self, user: UserId) -> Option<u64> {
        self.places.get(&user).map(|seated| seated.first)
    }

    /// Returns whether a user is a member and sees a message.
    pub(super) fn sees(&self, user: UserId, seq: u64) -> bool {
        self.first_of(user).is_some_and(|first| first <= seq)
    }

    /// Returns the members who see a message, in the order of [`everybody`](Self::everybody).
    pub(super) fn who_see(&mut self, seq: u64) -> Arc<[UserId]> {
        let everybody = Arc::clone(self.everybody());
        if everybody.iter().all(|user| self.sees(*user, seq)) {
            return everybody;
        }
        let users = everybody.iter().copied();
        users.filter(|user| self.sees(*user, seq)).collect()
    }

    /// Returns the number of members.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn has(&self, user: UserId) -> bool {
        self.places.contains_key(&user)
    }

    pub(super) fn role(&self, user: UserId) -> Role {
        self.seat(user).map_or(Role::Left, |seat| seat.role)
    }

    fn seat(&self, user: UserId) -> Option<&Seat> {
        let chunk = self.places.get(&user)?.chunk;
        self.chunks[chunk as usize]
            .iter()
            .find(|seat| seat.user == user)
    }

    /// Returns all members, in the order that is fastest for look-ups in the directory.
    pub(super) fn everybody(&mut self) -> &Arc<[UserId]> {
        self.everybody.get_or_insert_with(|| {
            let mut all: Vec<_> = self.chunks.iter().flatten().map(|seat| seat.user).collect();
            all.sort_unstable_by_key(|user| Directory::place(*user));
            all.into()
        })
    }

    /// Returns the members with their names.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.chunks.iter().flatten()
    }

    /// Adds a user who is not a member. Returns the number of the chunk that the user enters.
    pub(super) fn add(&mut self, seat: Seat) -> u32 {
        self.everybody = None;
        let free = self
            .chunks
            .iter()
            .position(|chunk| chunk.len() < ROSTER_CHUNK);
        let chunk = free.unwrap_or_else(|| {
            self.chunks.push(Vec::new());
            self.chunks.len() - 1
        });
        self.places.insert(seat.user, seat.seated(chunk as u32));
        self.chunks[chunk].push(seat);
        chunk as u32
    }

    /// Removes a member. Returns the number of the chunk that the member was in.
    pub(super) fn remove(&mut self, user: UserId) -> Option<u32> {
        let chunk = self.places.remove(&user)?.chunk;
        self.everybody = None;
        self.chunks[chunk as usize].retain(|seat| seat.user != user);
        Some(chunk)
    }

    /// Makes the member of longest standing an owner if the group has none. Returns that member and
    /// the number of its chunk.
    pub(super) fn crown(&mut self) -> Option<(UserId, u32)> {
        if self.seats().any(|seat| seat.role == Role::Owner) {
            return None;
        }
        // The first of those who came at the same time.
        let heir = self.seats().min_by_key(|seat| seat.since)?.user;
        let chunk = self.places.get(&heir)?.chunk;
        let seats = &mut self.chunks[chunk as usize];
        seats.iter_mut().find(|seat| seat.user == heir)?.role = Role::Owner;
        Some((heir, chunk))
    }

    /// Adds the stored head of the group to `changes`.
    pub(super) fn write_head(&self, ids: &Ids, changes: &mut Changes) {
        let head = Head {
            name: &self.name,
            all_history: self.all_history,
            pull: self.pull,
            members: self.len() as u64,
            chunks: self.chunks.len() as u32,
            joined: self.joined,
            first: self.first,
        };
        changes.push((ids.head(self.id), state::encode(&head)));
    }

    /// Adds the stored form of a chunk to `changes`.
    pub(super) fn write_chunk(&self, ids: &Ids, number: u32, changes: &mut Changes) {
        let seats = &self.chunks[number as usize];
        let value = if seats.is_empty() {
            Vec::new()
        } else {
            let members = seats.iter().map(|seat| Entry {
                user: &seat.name,
                role: seat.role,
                since: seat.since,
                first: seat.first,
            });
            state::encode(&Roster {
                members: members.collect(),
            })
        };
        changes.push((ids.roster(self.id, number), value));
    }
}
