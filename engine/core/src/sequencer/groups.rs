//! A group in the memory of the sequencer, with all its members.

mod held;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use trunkline_storage::{IdBuildHasher, TimelineId};

use super::authors::Authors;
use super::batch::{Changes, OpenBatch};
use super::counts::Running;
use super::refused::{CORRUPT, Refused};
use crate::directory::Directory;
use crate::ids::{Ids, UserId};
use crate::messaging::Messaging;
use crate::state::{self, Entry, Head, Profile, ROSTER_CHUNK, Role, Roster, Tally};

pub(super) use held::Groups;

type ById<T> = HashMap<TimelineId, T, IdBuildHasher>;

/// The number of chunks of a roster that are read together, up to 5 MiB. Chunks that changed in turns lie in two
/// long records in turns, and one after another would read each of the records again.
const CHUNKS: u32 = 512;

/// The percentage of the limit below which members catch up from their own sync timelines again.
const BACK_TO_PUSH: usize = 80;

/// A group as the batch under construction leaves it.
pub(super) struct Group {
    id: TimelineId,
    /// The id of the channel from which members of a large group catch up.
    channel: UserId,
    /// The display name.
    name: CompactString,
    /// Whether new members see messages from before they joined.
    all_history: bool,
    /// Whether members catch up from the channel instead of from their own sync timelines.
    pull: bool,
    /// The steady time at which members last began to catch up from the channel, in milliseconds since
    /// 1970 UTC.
    pulled_at: u64,
    /// Whether only owners and admins send messages.
    admins_send: bool,
    /// The roster, in chunks as it is stored.
    chunks: Vec<Vec<Seat>>,
    /// The place of each member in the chunks of the roster.
    places: ById<Seated>,
    /// The members in the order for look-ups, as they are without `changed`. `None` before the first
    /// use.
    everybody: Option<Arc<[UserId]>>,
    /// The users who joined or left since `everybody` was made. A user may be in it several times.
    changed: Vec<UserId>,
    /// The number of members who are owners.
    owners: usize,
    /// The number of chunks at the beginning of the roster that have no room.
    full: usize,
    /// A message from which on all members see all messages. Some earlier ones may be seen by all
    /// members too.
    seen_by_all: u64,
    /// The number of memberships that ever began.
    joined: u64,
    /// The sequence of the first message that any member sees.
    first: u64,
    /// The authors of the latest messages, while the group is small.
    authors: Authors,
    /// The number of messages of each author in the current stretch.
    running: Running,
}

/// A member of a group, with its name and role.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) user: UserId,
    pub(super) name: CompactString,
    pub(super) role: Role,
    /// When the user became a member, in milliseconds since 1970 UTC.
    pub(super) since: u64,
    /// The sequence of the first message that the member sees.
    pub(super) first: u64,
}

/// A member who became an owner because the group had none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heir {
    pub(super) user: UserId,
    /// The number of the chunk with the member's seat.
    pub(super) chunk: u32,
}

/// The place of a member in the chunks, and the first message that the member sees. The second
/// takes no extra memory: the key is aligned to 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Seated {
    chunk: u32,
    first: u64,
}

/// Loads a group; `None` if it does not exist.
fn load(batch: &OpenBatch, namespace: &str, id: TimelineId) -> Result<Option<Group>, Refused> {
    let ids = batch.ids();
    let Some(value) = batch.value(ids.head(id))? else {
        return Ok(None);
    };
    let head: Head<'_> = state::decode(&value).ok_or(CORRUPT)?;
    let mut group = Group::new(ids, id, head.name, head.all_history);
    (group.pull, group.joined, group.first) = (head.pull, head.joined, head.first);
    group.pulled_at = head.pulled_at;
    if let Some(value) = batch.value(ids.profile(id))? {
        let profile: Profile<'_> = state::decode(&value).ok_or(CORRUPT)?;
        group.admins_send = profile.admins_send;
    }
    for number in 0..head.chunks {
        if number % CHUNKS == 0 {
            let next = number..head.chunks.min(number + CHUNKS);
            let keys: Vec<_> = next.map(|number| ids.roster(id, number)).collect();
            batch.read_ahead(&keys)?;
        }
        let value = batch.value(ids.roster(id, number))?.unwrap_or_default();
        let mut seats = Vec::new();
        if !value.is_empty() {
            let roster: Roster<'_> = state::decode(&value).ok_or(CORRUPT)?;
            let without_first = roster.members.iter().filter(|member| member.first == 0);
            let users = without_first.map(|member| ids.user(namespace, member.user));
            let keys: Vec<_> = users.map(|user| ids.member(id, user)).collect();
            batch.read_more_ahead(&keys)?;
            for member in &roster.members {
                let user = ids.user(namespace, member.user);
                let first = match member.first {
                    0 => batch.member(ids.member(id, user))?.first_seq,
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
        for seat in &seats {
            group.count_in(seat);
            group.places.insert(seat.user, seat.seated(number));
        }
        group.chunks.push(seats);
    }
    batch.forget_ahead();
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
            pulled_at: 0,
            admins_send: false,
            chunks: Vec::new(),
            places: ById::default(),
            everybody: None,
            changed: Vec::new(),
            owners: 0,
            full: 0,
            seen_by_all: 0,
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

    /// Returns the id of the group's timeline.
    pub(super) fn id(&self) -> TimelineId {
        self.id
    }

    /// Returns the id of the channel from which members of a large group catch up.
    pub(super) fn channel(&self) -> UserId {
        self.channel
    }

    /// Returns whether members catch up from the channel.
    pub(super) fn is_pull(&self) -> bool {
        self.pull
    }

    /// Returns the channel if members catch up from it; `None` if they catch up from their own
    /// sync timelines.
    pub(super) fn pull_channel(&self) -> Option<UserId> {
        self.pull.then_some(self.channel)
    }

    /// Chooses from where members catch up: from the channel if the group has more than `most`
    /// members. A group that uses the channel goes back only below [`BACK_TO_PUSH`] percent of
    /// `most`, and after the time that channels stay, so that members who join and leave do not change it
    /// each time. `now` is the steady time in milliseconds.
    pub(super) fn choose_pull(&mut self, rules: &Messaging, now: u64) {
        let most = rules.fanout_limit;
        if self.pull {
            let stayed = Duration::from_millis(now.saturating_sub(self.pulled_at));
            let has_stayed = stayed >= rules.channel_stays;
            self.pull = !has_stayed || self.len() > most * BACK_TO_PUSH / 100;
        } else if self.len() > most {
            (self.pull, self.pulled_at) = (true, now);
        }
    }

    /// Returns whether a member may send messages.
    #[inline]
    pub(super) fn may_send(&self, user: UserId) -> bool {
        !self.admins_send || self.role(user).manages()
    }

    /// Chooses whether only owners and admins send messages.
    pub(super) fn set_admins_send(&mut self, admins_send: bool) {
        self.admins_send = admins_send;
    }

    /// Returns the display name; empty if the group has none.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a user is the only owner.
    pub(super) fn is_only_owner(&self, user: UserId) -> bool {
        self.owners == 1 && self.role(user) == Role::Owner
    }

    /// Changes the role of a member. Returns the number of the member's chunk; `None` if the user is
    /// not a member.
    pub(super) fn set_role(&mut self, user: UserId, role: Role) -> Option<u32> {
        let chunk = self.places.get(&user)?.chunk;
        let seats = &mut self.chunks[chunk as usize];
        let seat = seats.iter_mut().find(|seat| seat.user == user)?;
        let was_owner = std::mem::replace(&mut seat.role, role) == Role::Owner;
        self.owners = self.owners + usize::from(role == Role::Owner) - usize::from(was_owner);
        Some(chunk)
    }

    /// Changes the display name.
    pub(super) fn rename(&mut self, name: &str) {
        self.name = name.into();
    }

    /// Returns whether the group ever had a member.
    pub(super) fn had_members(&self) -> bool {
        self.joined > 0
    }

    /// Returns the number of the next membership, and counts it.
    pub(super) fn next_number(&mut self) -> u64 {
        self.joined += 1;
        self.joined - 1
    }

    /// Notes a stored message of a member, and its author if `authors` says so. Groups in which
    /// authors receive no receipts do not keep them.
    pub(super) fn wrote(&mut self, seq: u64, user: UserId, authors: bool) {
        self.running.wrote(seq, user);
        if authors {
            self.authors.wrote(seq, user);
        }
    }

    /// Returns the tally of the messages of the stretch before `seq`; `None` if memory has not
    /// counted all of them.
    pub(super) fn counted(&self, seq: u64) -> Option<Tally> {
        self.running.counted(seq)
    }

    /// Takes a message that a member recalls out of the counts of the current stretch. `last` is the
    /// last message.
    pub(super) fn uncount(&mut self, seq: u64, last: u64, user: UserId) {
        self.running.recall(seq, last, user);
    }

    /// Returns the authors of the latest messages.
    pub(super) fn authors(&mut self) -> &mut Authors {
        &mut self.authors
    }

    /// Returns whether a user is a member and sees a message.
    pub(super) fn sees(&self, user: UserId, seq: u64) -> bool {
        self.first_of(user).is_some_and(|first| first <= seq)
    }

    /// Returns whether it is known without a look at each member that all members see a message.
    pub(super) const fn is_seen_by_all(&self, seq: u64) -> bool {
        seq >= self.seen_by_all
    }

    /// Returns the members who see a message, in the order of [`everybody`](Self::everybody).
    pub(super) fn who_see(&mut self, seq: u64) -> Arc<[UserId]> {
        let everybody = Arc::clone(self.everybody());
        if self.is_seen_by_all(seq) || everybody.iter().all(|user| self.sees(*user, seq)) {
            return everybody;
        }
        let users = everybody.iter().copied();
        users.filter(|user| self.sees(*user, seq)).collect()
    }

    /// Returns the number of members.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether a user is a member.
    pub(super) fn has(&self, user: UserId) -> bool {
        self.places.contains_key(&user)
    }

    /// Returns the role of a user; [`Role::Left`] if the user is not a member.
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
        let order = |user: &UserId| (Directory::place(*user), user.0);
        let made = match self.everybody.take() {
            Some(made) if self.changed.is_empty() => made,
            Some(made) => {
                // One pass over a list in order: sorting a large group again would take far longer.
                let mut changed = std::mem::take(&mut self.changed);
                changed.sort_unstable_by_key(order);
                changed.dedup();
                let stay = made.iter().filter(|user| self.places.contains_key(user));
                let known = |user: &UserId| made.binary_search_by_key(&order(user), order).is_ok();
                let joined = changed
                    .iter()
                    .filter(|user| self.has(**user) && !known(user));
                merged(stay, joined, order)
            }
            None => {
                self.changed = Vec::new();
                let mut all: Vec<_> = self.seats().map(|seat| seat.user).collect();
                all.sort_unstable_by_key(order);
                all.into()
            }
        };
        self.everybody.insert(made)
    }

    /// Returns whether the list of [`everybody`](Self::everybody) has been made since the last change.
    #[cfg(test)]
    pub(super) fn is_listed(&self) -> bool {
        self.everybody.is_some() && self.changed.is_empty()
    }

    /// Returns the members with their names.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.chunks.iter().flatten()
    }

    /// Adds a user who is not a member. Returns the number of the chunk that the user enters.
    pub(super) fn add(&mut self, seat: Seat) -> u32 {
        self.changed.push(seat.user);
        self.count_in(&seat);
        let is_full = |chunk: &&Vec<Seat>| chunk.len() >= ROSTER_CHUNK;
        self.full += self.chunks[self.full..].iter().take_while(is_full).count();
        let chunk = self.full;
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        self.places.insert(seat.user, seat.seated(chunk as u32));
        self.chunks[chunk].push(seat);
        chunk as u32
    }

    /// Removes a member. Returns the number of the chunk that the member was in.
    pub(super) fn remove(&mut self, user: UserId) -> Option<u32> {
        let chunk = self.places.remove(&user)?.chunk;
        self.changed.push(user);
        let seats = &mut self.chunks[chunk as usize];
        let at = seats.iter().position(|seat| seat.user == user)?;
        if seats.remove(at).role == Role::Owner {
            self.owners -= 1;
        }
        self.full = self.full.min(chunk as usize);
        Some(chunk)
    }

    /// Counts a new member.
    fn count_in(&mut self, seat: &Seat) {
        self.owners += usize::from(seat.role == Role::Owner);
        self.seen_by_all = self.seen_by_all.max(seat.first);
    }

    /// Makes the admin who joined first an owner if the group has none, or else the member who joined
    /// first. Returns that member; `None` if the group has an owner or no members.
    pub(super) fn crown(&mut self) -> Option<Heir> {
        if self.owners > 0 {
            return None;
        }
        // Of members who joined at the same time, the first one in the roster.
        let order = |seat: &&Seat| (seat.role != Role::Admin, seat.since);
        let user = self.seats().min_by_key(order)?.user;
        let chunk = self.set_role(user, Role::Owner)?;
        Some(Heir { user, chunk })
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
            pulled_at: self.pulled_at,
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

/// Returns two lists in the order of `order` as one.
fn merged<'u, K: Ord>(
    one: impl Iterator<Item = &'u UserId>,
    other: impl Iterator<Item = &'u UserId>,
    order: impl Fn(&UserId) -> K,
) -> Arc<[UserId]> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    let all = std::iter::from_fn(|| match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if order(second) < order(first) => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    });
    let all: Vec<_> = all.copied().collect();
    all.into()
}

#[cfg(test)]
mod tests;
