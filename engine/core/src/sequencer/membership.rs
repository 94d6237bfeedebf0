//! Changes of groups: creation, members and names.

use std::collections::{BTreeSet, HashSet};

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Position, TimelineId};

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::decision::Decision;
use super::groups::{Group, Seat};
use super::inboxes::{self, InboxChange, WindowChange};
use super::recent::Recent;
use super::refused::{CORRUPT, Refused};
use super::route::Audience;
use crate::event::{Body, RecordKind};
use crate::exchange::{Change, Done, Outcome};
use crate::ids::UserId;
use crate::messaging::Messaging;
use crate::state::{self, Advance, Created, InboxEntry, Member, Role};

const NOT_AN_OWNER: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only owners of the group may do this",
);

const NAME_TAKEN: Refused = Refused::new(
    ErrorCode::NameTaken,
    "a group of this name exists: choose another name",
);

const KEY_REUSED: Refused = Refused::new(
    ErrorCode::KeyReused,
    "this key was used to create another group, or the same in another way: use a new key",
);

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "the group would have more members than group_members",
);

const NOT_ONESELF: Refused = Refused::new(
    ErrorCode::BadRequest,
    "to leave a group yourself use group_leave",
);

/// Decides the commands that change groups.
pub(super) struct Membership {
    rules: Messaging,
}

/// A command that changes a group, with its decoded body.
#[derive(Clone, Copy)]
pub(super) struct GroupCommand<'a> {
    pub(super) command: Asked<'a>,
    pub(super) body: &'a Body<'a>,
    pub(super) change: Change,
}

/// The idempotency key of a creation.
struct CreationKey {
    key: TimelineId,
    /// A hash of what the creation asks for.
    content: u128,
}

/// A user whose membership a command changes.
#[derive(Clone, Copy)]
struct Named<'a> {
    user: UserId,
    name: &'a str,
}

/// The recipients of the record of a change.
struct Recipients {
    /// The timelines that the record enters.
    fanout: Vec<TimelineId>,
    /// The users who receive the record live.
    audience: Vec<UserId>,
}

impl<'a> GroupCommand<'a> {
    /// Returns the id of the group.
    fn id(self) -> TimelineId {
        self.command.conversation
    }

    /// Returns the idempotency key of a creation; `None` if the command is no creation or has no
    /// key.
    fn creation_key(self, batch: &OpenBatch) -> Option<CreationKey> {
        let Change::Create { all_history } = self.change else {
            return None;
        };
        let (ids, body) = (batch.ids(), self.body);
        let key = ids.created(body.namespace, body.user, body.key?);
        let names = (body.conversation, body.name.unwrap_or_default());
        let members = (body.user, &body.members[..]);
        let content = ids.created_content(names, all_history, members);
        Some(CreationKey { key, content })
    }

    /// Returns the key of the stored creation that this command repeats; `None` for a first one.
    ///
    /// # Errors
    /// The key belongs to another creation, or the store could not be read.
    fn created_before(self, batch: &OpenBatch) -> Result<Option<TimelineId>, Refused> {
        let Some(CreationKey { key, content }) = self.creation_key(batch) else {
            return Ok(None);
        };
        let Some(value) = batch.value(key)? else {
            return Ok(None);
        };
        let created: Created<'_> = state::decode(&value).ok_or(CORRUPT)?;
        if created.content != content {
            return Err(KEY_REUSED);
        }
        Ok(Some(key))
    }
}

impl Membership {
    /// Returns the part under these rules.
    pub(super) fn new(rules: Messaging) -> Self {
        Self { rules }
    }

    /// Checks that the caller may change the group. A creation puts an empty group into memory. A
    /// repeated creation is decided at once; `None` for all other commands, which
    /// [`change`](Self::change) decides.
    ///
    /// # Errors
    /// The caller may not change the group, the name or the key is taken, or the store could not be
    /// read.
    pub(super) fn admit(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Option<Decision>, Refused> {
        if let Change::Create { all_history } = asked.change {
            if let Some(key) = asked.created_before(batch)? {
                return Ok(Some(Decision::private(Outcome::Made(key))));
            }
            begin_group(batch, recent, asked, all_history)?;
            return Ok(None);
        }
        let (namespace, user) = (asked.body.namespace, asked.command.user);
        let groups = recent.groups();
        let group = groups.of_member(batch, namespace, asked.id(), user)?;
        match (asked.change, group.role(user)) {
            (Change::Leave, _) | (_, Role::Owner) => Ok(None),
            (Change::Add, _) if self.rules.members_add => Ok(None),
            _ => Err(NOT_AN_OWNER),
        }
    }

    /// Changes a group, after [`admit`](Self::admit).
    ///
    /// # Errors
    /// The group would have too many members, the store could not be read, or it took no record.
    /// The group is out of memory then, because it may be half changed.
    pub(super) fn change(
        &self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Decision, Refused> {
        let decision = self.carry_out(batch, recent, asked);
        if decision.is_err() {
            recent.groups().forget(asked.id());
        }
        decision
    }

    fn carry_out(
        &self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Decision, Refused> {
        let last_seq = recent.conversation(asked.id())?.last_seq();
        let group = recent.group(batch, asked.body.namespace, asked.id())?;
        let mut delta = Delta::new(asked)?;
        delta.apply(batch, group, last_seq)?;
        let members = group.len() as u64;
        let done = match asked.change {
            Change::Create { .. } => Done::GroupCreate { members },
            Change::Add => Done::GroupAdd { members },
            Change::Remove => Done::GroupRemove { members },
            Change::Leave => Done::GroupLeave,
            Change::Rename => Done::GroupRename,
        };
        if delta.named.is_empty() && asked.change != Change::Rename {
            return Ok(Decision::unchanged(done));
        }
        if delta.adds() && group.len() > self.rules.group_members {
            return Err(TOO_MANY);
        }
        let was_pull = group.is_pull();
        group.choose_pull(self.rules.fanout_limit);
        delta.change_inboxes(batch, group, was_pull)?;
        let advance: Advance = batch.decoded(asked.id())?.unwrap_or_default();
        delta.write_members(batch, group, last_seq, &advance)?;
        if !advance.is_empty() {
            delta.forget_marks(batch, advance)?;
        }
        if let Some(CreationKey { key, content }) = asked.creation_key(batch) {
            let created = Created {
                conversation: asked.body.conversation,
                members,
                content,
            };
            delta.changes.push((key, state::encode(&created)));
        }
        group.write_head(batch.ids(), &mut delta.changes);
        for &chunk in &delta.chunks {
            group.write_chunk(batch.ids(), chunk, &mut delta.changes);
        }
        let recipients = delta.recipients(group, was_pull);
        let position = delta.append(batch, &recipients.fanout)?;
        let audience = Audience::Members(recipients.audience.into());
        Ok(Decision::done(done, position, audience))
    }
}

/// Puts a group without members into memory, under a name that no group with members has.
///
/// # Errors
/// The name is taken, or the store could not be read.
fn begin_group(
    batch: &OpenBatch,
    recent: &mut Recent,
    asked: GroupCommand<'_>,
    all_history: bool,
) -> Result<(), Refused> {
    let (ids, id) = (batch.ids(), asked.id());
    let last = recent.conversation(id)?.last_seq();
    let name = asked.body.name.unwrap_or_default();
    let groups = recent.groups();
    let group = match groups.get(batch, asked.body.namespace, id)? {
        None => Group::new(ids, id, name, all_history),
        Some(group) if group.len() == 0 => group.renewed(ids, name, all_history, last),
        Some(_) => return Err(NAME_TAKEN),
    };
    groups.enter(group);
    Ok(())
}

/// What a command changes in a group, collected for its record.
struct Delta<'a> {
    asked: GroupCommand<'a>,
    /// The name of the group, without the prefix of a conversation.
    group: &'a str,
    /// The users whose membership changes.
    named: Vec<Named<'a>>,
    /// The chunks of the roster that change.
    chunks: BTreeSet<u32>,
    /// The values that change.
    changes: Changes,
}

impl<'a> Delta<'a> {
    fn new(asked: GroupCommand<'a>) -> Result<Self, Refused> {
        let group = asked.body.conversation.strip_prefix("g:");
        Ok(Self {
            asked,
            group: group.ok_or(CORRUPT)?,
            named: Vec::new(),
            chunks: BTreeSet::new(),
            changes: Changes::new(),
        })
    }

    /// Returns whether the command adds the named users. Otherwise it removes them.
    fn adds(&self) -> bool {
        matches!(self.asked.change, Change::Create { .. } | Change::Add)
    }

    /// Changes the group in memory. `last_seq` is its last message.
    ///
    /// # Errors
    /// The caller removes the own account, or the store could not be read.
    fn apply(
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
                    if named.user == caller.user {
                        return Err(NOT_ONESELF);
                    }
                    self.remove(group, named);
                }
                self.crown(batch, group)?;
            }
            Change::Leave => {
                self.remove(group, caller);
                self.crown(batch, group)?;
            }
            Change::Rename => group.rename(body.name.unwrap_or_default()),
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
            let key = batch.ids().member(group.id(), heir.user);
            let mut member = batch.member(key)?;
            member.role = Role::Owner;
            self.changes.push((key, state::encode(&member)));
            self.chunks.insert(heir.chunk);
        }
        Ok(())
    }

    /// Adds the group to the inboxes of new members, and changes from where members catch up.
    fn change_inboxes(
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
        for &Named { user, .. } in &self.named {
            let change = InboxChange {
                entry: added.then_some(InboxEntry::Group(self.group)),
                window: match (added, was_pull, group.is_pull()) {
                    (true, _, true) => open(user),
                    (false, true, _) => close,
                    _ => WindowChange::None,
                },
            };
            inboxes::update(batch, user, change, &mut self.changes)?;
        }
        if was_pull == group.is_pull() {
            return Ok(());
        }
        let named: HashSet<_> = self.named.iter().map(|named| named.user).collect();
        let others = group.seats().filter(|seat| !named.contains(&seat.user));
        for seat in others {
            let change = InboxChange {
                entry: None,
                window: if group.is_pull() {
                    open(seat.user)
                } else {
                    close
                },
            };
            inboxes::update(batch, seat.user, change, &mut self.changes)?;
        }
        Ok(())
    }

    /// Adds the memberships of the named users to the changes. Their marks stay as they are: what a
    /// user has acknowledged stays acknowledged, and joining acknowledges nothing.
    fn write_members(
        &mut self,
        batch: &OpenBatch,
        group: &mut Group,
        last_seq: u64,
        advance: &Advance,
    ) -> Result<(), Refused> {
        let had_members = group.had_members();
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
                    number: group.next_number(),
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
    fn forget_marks(&mut self, batch: &OpenBatch, mut advance: Advance) -> Result<(), Refused> {
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
    fn recipients(&self, group: &mut Group, was_pull: bool) -> Recipients {
        let named = self.named.iter().map(|named| named.user);
        let everybody = group.everybody().iter().copied();
        let gone = named.clone().filter(|_| !self.adds());
        let audience: Vec<_> = everybody.chain(gone).collect();
        let fanout = match group.pull_channel() {
            Some(channel) if was_pull => named.chain([channel]).collect(),
            _ => audience.clone(),
        };
        Recipients { fanout, audience }
    }

    /// Appends the record. Its body names the users whose membership changed.
    fn append(
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
            }),
            members: self.named.iter().map(|named| named.name).collect(),
            name: match change {
                Change::Create { .. } | Change::Rename => body.name,
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
