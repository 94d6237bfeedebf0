//! The changes of one command in a group, collected for its record.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Joining, Senders};
use trunkline_storage::{Draft, Position, TimelineId};

use super::super::ahead;
use super::super::batch::{Changes, OpenBatch};
use super::super::groups::{Group, Seat};
use super::super::inboxes::WindowChange;
use super::super::refused::{CORRUPT, Refused};
use super::super::shares;
use super::{CreationKey, GroupCommand, NOT_AN_OWNER};
use crate::event::{Body, Details, RecordKind};
use crate::exchange::Change;
use crate::ids::UserId;
use crate::media;
use crate::state::{self, Advance, Created, InboxEntry, Member, Place, Profile, Role, Share};
use crate::told::{Audience, MembersAndGone};

pub(super) const NOT_ONESELF: Refused = Refused::new(
    ErrorCode::BadRequest,
    "to leave a group yourself use group_leave",
);

pub(super) const NO_MEMBER: Refused =
    Refused::new(ErrorCode::Unknown, "this user is not a member of the group");

pub(super) const LAST_OWNER: Refused = Refused::new(
    ErrorCode::BadRequest,
    "a group has an owner: make another member an owner first",
);

/// Checks that the caller may remove these members.
///
/// # Errors
/// One of them is the caller, or is an owner or admin and the caller is no owner.
pub(super) fn check_removal(
    group: &Group,
    asked: GroupCommand<'_>,
    named: &[UserId],
) -> Result<(), Refused> {
    let caller = asked.command.user;
    let is_owner = group.role(caller) == Role::Owner;
    if named.contains(&caller) {
        return Err(NOT_ONESELF);
    }
    if !is_owner && named.iter().any(|named| group.role(*named).manages()) {
        return Err(NOT_AN_OWNER);
    }
    Ok(())
}

/// Checks that a member may get another role.
///
/// # Errors
/// The user is not a member, or the group would have no owner.
pub(super) fn check_role(group: &Group, user: UserId, role: Role) -> Result<(), Refused> {
    match group.role(user) {
        Role::Left => Err(NO_MEMBER),
        now if now != role && group.is_only_owner(user) => Err(LAST_OWNER),
        _ => Ok(()),
    }
}

/// A user whose membership a command changes.
#[derive(Clone, Copy)]
struct Named<'a> {
    user: UserId,
    name: &'a str,
}

/// The recipients of the record of a change.
pub(super) struct Recipients {
    /// The timelines that the record enters.
    pub(super) fanout: Vec<TimelineId>,
    /// The users who receive the record live.
    pub(super) audience: Audience,
}

/// The changes of a command in a group, collected for its record.
pub(super) struct Delta<'a> {
    asked: GroupCommand<'a>,
    /// The name of the group, without the prefix of a conversation.
    group: &'a str,
    /// The users whose membership changes.
    named: Vec<Named<'a>>,
    /// The member whose role changes.
    promoted: Option<Named<'a>>,
    /// Whether the name, the picture or the rules change.
    is_set: bool,
    /// The chunks of the roster that change.
    chunks: BTreeSet<u32>,
    /// The values that change.
    changes: Changes,
}

impl<'a> Delta<'a> {
    /// Returns an empty collection for a command.
    ///
    /// # Errors
    /// The command names no group.
    pub(super) fn new(asked: GroupCommand<'a>) -> Result<Self, Refused> {
        let group = asked.body.conversation.strip_prefix("g:");
        Ok(Self {
            asked,
            group: group.ok_or(CORRUPT)?,
            named: Vec::new(),
            promoted: None,
            is_set: false,
            chunks: BTreeSet::new(),
            changes: Changes::new(),
        })
    }

    /// Returns whether the record would change nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self.asked.change {
            Change::Rename => false,
            Change::Role(_) => self.promoted.is_none(),
            Change::Set => !self.is_set,
            _ => self.named.is_empty(),
        }
    }

    /// Adds the answer to a creation with an idempotency key, for repetitions.
    pub(super) fn write_creation(&mut self, batch: &OpenBatch, members: u64) {
        if let Some(CreationKey { key, content }) = self.asked.creation_key(batch) {
            let created = Created {
                conversation: self.asked.body.conversation,
                members,
                content,
            };
            self.changes.push((key, state::encode(&created)));
        }
    }

    /// Adds the head of the group, if something of it changes, and the changed chunks of its roster.
    pub(super) fn write_group(&mut self, batch: &OpenBatch, group: &Group, was_pull: bool) {
        // Any change can be the one with which members catch up from somewhere else.
        if !matches!(self.asked.change, Change::Role(_)) || group.is_pull() != was_pull {
            group.write_head(batch.ids(), &mut self.changes);
        }
        for &chunk in &self.chunks {
            group.write_chunk(batch.ids(), chunk, &mut self.changes);
        }
    }

    /// Returns whether the command adds the named users. Otherwise it removes them.
    pub(super) fn adds(&self) -> bool {
        matches!(
            self.asked.change,
            Change::Create { .. } | Change::Add | Change::Join
        )
    }

    /// Changes the group in memory. `last_seq` is its last message.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn apply(
        &mut self,
        batch: &OpenBatch,
        group: &mut Group,
        last_seq: u64,
    ) -> Result<(), Refused> {
        let GroupCommand {
            command,
            body,
            change,
        } = self.asked;
        let caller = Named {
            user: command.user,
            name: body.user,
        };
        let named = body.members.iter().map(|&name| Named {
            user: batch.ids().user(body.namespace, name),
            name,
        });
        match change {
            Change::Create { .. } => {
                if group.had_members() {
                    // What an earlier group of this name has left.
                    for key in [
                        batch.ids().profile(group.id()),
                        batch.ids().pins(group.id()),
                    ] {
                        self.changes.push((key, Vec::new()));
                    }
                }
                self.add(batch, group, caller, Role::Owner, last_seq);
                for named in named {
                    self.add(batch, group, named, Role::Member, last_seq);
                }
            }
            Change::Add => {
                for named in named {
                    self.add(batch, group, named, Role::Member, last_seq);
                }
            }
            Change::Remove => {
                for named in named {
                    self.remove(group, named);
                }
                self.crown(batch, group)?;
            }
            Change::Leave => {
                self.remove(group, caller);
                self.crown(batch, group)?;
            }
            Change::Rename => group.rename(body.name.unwrap_or_default()),
            Change::Role(role) => {
                for named in named {
                    self.promote(batch, group, named, role.into())?;
                }
            }
            Change::Set => self.set(batch, group)?,
            Change::Join => self.add(batch, group, caller, Role::Member, last_seq),
        }
        Ok(())
    }

    /// Gives a member another role.
    ///
    /// # Errors
    /// The user is not a member, or the group would have no owner.
    fn promote(
        &mut self,
        batch: &OpenBatch,
        group: &mut Group,
        named: Named<'a>,
        role: Role,
    ) -> Result<(), Refused> {
        if group.role(named.user) == role {
            return Ok(());
        }
        let chunk = group.set_role(named.user, role).ok_or(NO_MEMBER)?;
        self.change_member(batch, group, named.user, role)?;
        self.chunks.insert(chunk);
        self.promoted = Some(named);
        Ok(())
    }

    /// Adds the membership of a member with another role to the changes.
    fn change_member(
        &mut self,
        batch: &OpenBatch,
        group: &Group,
        user: UserId,
        role: Role,
    ) -> Result<(), Refused> {
        let key = batch.ids().member(group.id(), user);
        let mut member = batch.member(key)?;
        member.role = role;
        self.changes.push((key, state::encode(&member)));
        Ok(())
    }

    /// Changes the name, the picture and the rules of the group.
    ///
    /// # Errors
    /// The picture is shared in too many conversations, or the store could not be read.
    fn set(&mut self, batch: &OpenBatch, group: &mut Group) -> Result<(), Refused> {
        let GroupCommand { command, body, .. } = self.asked;
        let details = Details::read(body.details.unwrap_or_default()).ok_or(CORRUPT)?;
        let key = batch.ids().profile(group.id());
        let value = batch.value(key)?.unwrap_or_default();
        let before: Profile<'_> = match &*value {
            [] => Profile::default(),
            value => state::decode(value).ok_or(CORRUPT)?,
        };
        let after = Profile {
            picture: details.picture.unwrap_or(before.picture),
            admins_send: details
                .send
                .map_or(before.admins_send, |send| send == Senders::Admins),
            open: details
                .join
                .map_or(before.open, |join| join == Joining::Open),
        };
        if after != before {
            self.is_set = true;
            let value = if after == Profile::default() {
                Vec::new()
            } else {
                state::encode(&after)
            };
            self.changes.push((key, value));
            group.set_admins_send(after.admins_send);
            if let Some(id) = details.picture.and_then(media::id_in) {
                let share = Share {
                    by: command.user.0,
                    with: Place::Group(group.id().0),
                    messages: 1,
                };
                shares::add(batch, id, share, &mut self.changes)?;
            }
        }
        if let Some(name) = body.name.filter(|name| *name != group.name()) {
            self.is_set = true;
            group.rename(name);
        }
        Ok(())
    }

    /// Adds a user to the group, unless the user is a member.
    fn add(
        &mut self,
        batch: &OpenBatch,
        group: &mut Group,
        named: Named<'a>,
        role: Role,
        last_seq: u64,
    ) {
        if group.has(named.user) {
            return;
        }
        let seat = Seat {
            user: named.user,
            name: named.name.into(),
            role,
            since: batch.moment().wire,
            first: group.first_for_new(last_seq),
        };
        self.chunks.insert(group.add(seat));
        self.named.push(named);
    }

    /// Removes a user from the group, if the user is a member.
    fn remove(&mut self, group: &mut Group, named: Named<'a>) {
        if let Some(chunk) = group.remove(named.user) {
            self.chunks.insert(chunk);
            self.named.push(named);
        }
    }

    /// Makes a member an owner if the group has none.
    fn crown(&mut self, batch: &OpenBatch, group: &mut Group) -> Result<(), Refused> {
        if let Some(heir) = group.crown() {
            self.change_member(batch, group, heir.user, Role::Owner)?;
            self.chunks.insert(heir.chunk);
        }
        Ok(())
    }

    /// Adds the group to the inboxes of new members, and changes from where members catch up.
    pub(super) fn change_inboxes(
        &mut self,
        batch: &OpenBatch,
        group: &Group,
        was_pull: bool,
    ) -> Result<(), Refused> {
        let channel = group.channel().0;
        let before = batch.last_position().0;
        let open = |user| WindowChange::Open {
            channel,
            after: before,
            first: group.first_of(user).unwrap_or_default(),
        };
        let close = WindowChange::Close {
            channel,
            until: before,
        };
        let added = self.adds();
        let entry = added.then_some(InboxEntry::Group(self.group));
        let window = |user| match (added, was_pull, group.is_pull()) {
            (true, _, true) => open(user),
            (false, true, _) => close,
            _ => WindowChange::None,
        };
        let named: Vec<_> = self.named.iter().map(|named| named.user).collect();
        ahead::update_inboxes(batch, &named, entry, window, &mut self.changes)?;
        if was_pull == group.is_pull() {
            return Ok(());
        }
        let named: HashSet<_> = named.into_iter().collect();
        let others = group.seats().map(|seat| seat.user);
        let others: Vec<_> = others.filter(|user| !named.contains(user)).collect();
        let window = |user| if group.is_pull() { open(user) } else { close };
        ahead::update_inboxes(batch, &others, None, window, &mut self.changes)
    }

    /// Adds the memberships of the named users to the changes. Their marks stay as they are: what a
    /// user has acknowledged stays acknowledged, and joining acknowledges nothing.
    pub(super) fn write_members(
        &mut self,
        batch: &OpenBatch,
        group: &mut Group,
        last_seq: u64,
        advance: &Advance,
    ) -> Result<(), Refused> {
        let had_members = group.had_members();
        if had_members && self.named.len() > 1 {
            let users = self.named.iter().map(|named| named.user);
            let keys = users.map(|user| batch.ids().member(group.id(), user));
            batch.read_ahead(&keys.collect::<Vec<_>>())?;
        }
        for &Named { user, .. } in &self.named {
            let key = batch.ids().member(group.id(), user);
            let known = if had_members {
                batch.member(key)?
            } else {
                Member::default()
            };
            let marks = advance.of(known.number, known.marks);
            let member = if self.adds() {
                Member {
                    role: group.role(user),
                    first_seq: group.first_of(user).ok_or(CORRUPT)?,
                    number: new_number(group, advance),
                    joined_at: last_seq,
                    marks: known.marks,
                }
            } else {
                Member {
                    marks,
                    ..Member::default()
                }
            };
            self.changes.push((key, state::encode(&member)));
        }
        Ok(())
    }

    /// Removes the marks of users who leave from the value that holds the marks of several members.
    pub(super) fn forget_marks(
        &mut self,
        batch: &OpenBatch,
        mut advance: Advance,
    ) -> Result<(), Refused> {
        if self.adds() {
            return Ok(());
        }
        let group = self.asked.id();
        let mut known = false;
        for &Named { user, .. } in &self.named {
            let member = batch.member(batch.ids().member(group, user))?;
            known |= advance.remove(member.number);
        }
        if known {
            let left = if advance.is_empty() {
                Vec::new()
            } else {
                state::encode(&advance)
            };
            self.changes.push((group, left));
        }
        Ok(())
    }

    /// Returns the recipients of the record. Users who leave receive it too. If the group changes
    /// between channel and timelines, the record enters the timelines of all members, so that they
    /// find it either way.
    pub(super) fn recipients(&self, group: &mut Group, was_pull: bool) -> Recipients {
        let named = self.named.iter().map(|named| named.user);
        let everybody = Arc::clone(group.everybody());
        let gone: Box<[_]> = named.clone().filter(|_| !self.adds()).collect();
        let channel = group.pull_channel().filter(|_| was_pull);
        let fanout = match channel {
            Some(channel) => named.chain([channel]).collect(),
            None => everybody.iter().chain(&gone).copied().collect(),
        };
        let audience = if gone.is_empty() {
            match channel {
                Some(_) => Audience::Channel(everybody, 0),
                None => Audience::Members(everybody),
            }
        } else {
            Audience::MembersAnd(Box::new(MembersAndGone {
                members: everybody,
                gone,
            }))
        };
        Recipients { fanout, audience }
    }

    /// Appends the record. Its body names the users whose membership changed.
    pub(super) fn append(
        &mut self,
        batch: &mut OpenBatch,
        fanout: &[TimelineId],
    ) -> Result<Position, Refused> {
        let GroupCommand { body, change, .. } = self.asked;
        let mut bytes = Vec::new();
        Body {
            change: Some(match change {
                Change::Create { .. } => "created",
                Change::Add => "added",
                Change::Remove => "removed",
                Change::Leave => "left",
                Change::Rename => "renamed",
                Change::Role(_) => "role",
                Change::Set => "set",
                Change::Join => "joined",
            }),
            members: self
                .named
                .iter()
                .chain(&self.promoted)
                .map(|named| named.name)
                .collect(),
            name: match change {
                Change::Create { .. } | Change::Rename | Change::Set => body.name,
                _ => None,
            },
            key: None,
            ..body.clone()
        }
        .write(&mut bytes);
        let draft = Draft {
            kind: RecordKind::Group as u8,
            timeline: self.asked.id(),
            fanout,
            body: &bytes,
            ..Draft::default()
        };
        batch.append(&draft, &mut self.changes)
    }
}

/// Returns a number for a new membership. A repair can have lost the last value that counts them, so numbers
/// that have marks are left out: the marks are another member's.
fn new_number(group: &mut Group, advance: &Advance) -> u64 {
    loop {
        let number = group.next_number();
        if !advance.has(number) {
            return number;
        }
    }
}
