//! Groups: who is in them.

use std::collections::{BTreeSet, HashSet};

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Position, TimelineId};

use super::asked::Asked;
use super::groups::{Group, Seat};
use super::inboxes::{Turn, update_inbox};
use super::refused::Refused;
use super::route::Audience;
use super::states::{Changes, States};
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::{Body, RecordKind};
use crate::exchange::{Change, Done, Outcome};
use crate::ids::{Ids, UserId};
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

/// A pull group goes back to push where it has so many percent of the limit left: members that
/// come and go at the limit must not make it change all the time.
const BACK_TO_PUSH: usize = 80;

/// What a command changes in a group, as it is carried out.
struct Delta<'a> {
    group: &'a str,
    /// Whose membership changed.
    named: Vec<(UserId, &'a str)>,
    added: bool,
    /// Chunks of the roster that changed.
    chunks: BTreeSet<u32>,
    changes: Changes,
}

impl Delta<'_> {
    /// From where everybody catches up from now on, and whose conversation it is.
    fn turn_inboxes(
        &mut self,
        (states, ids): (&States, &Ids),
        group: &Group,
        was_pull: bool,
        before: u64,
    ) -> Result<(), Refused> {
        let channel = group.channel.0;
        let open = |user| Turn::Open(channel, before, group.first_of(user).unwrap_or_default());
        let close = Turn::Close(channel, before);
        for &(user, _) in &self.named {
            let place = self.added.then_some(InboxEntry::Group(self.group));
            let turn = match (self.added, was_pull, group.pull) {
                (true, _, true) => open(user),
                (false, true, _) => close,
                _ => Turn::Stay,
            };
            update_inbox(states, ids, user, place, turn, &mut self.changes)?;
        }
        if was_pull == group.pull {
            return Ok(());
        }
        let named: HashSet<_> = self.named.iter().map(|(user, _)| *user).collect();
        let others = group.seats().filter(|seat| !named.contains(&seat.user));
        for seat in others {
            let turn = if group.pull { open(seat.user) } else { close };
            update_inbox(states, ids, seat.user, None, turn, &mut self.changes)?;
        }
        Ok(())
    }

    /// What those named are to the group from now on.
    fn write_members(
        &mut self,
        (states, ids): (&States, &Ids),
        group: &mut Group,
        last_seq: u64,
        advance: &Advance,
    ) -> Result<(), Refused> {
        let nobody_was = group.joined == 0;
        for &(user, _) in &self.named {
            let key = ids.member(group.id, user);
            let known = if nobody_was {
                Member::default()
            } else {
                member(states, key)?
            };
            // What was acknowledged stays so. Joining acknowledges nothing.
            let marks = advance.of(known.number, known.marks);
            let member = if self.added {
                let number = group.joined;
                group.joined += 1;
                Member {
                    role: group.role(user),
                    first_seq: group.first_of(user).ok_or(CORRUPT)?,
                    number,
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

    /// Takes those who go out of what is known of several members together.
    fn forget_marks(
        &mut self,
        (states, ids): (&States, &Ids),
        group: TimelineId,
        mut advance: Advance,
    ) -> Result<(), Refused> {
        let mut known = false;
        for &(user, _) in self.named.iter().filter(|_| !self.added) {
            known |= advance.remove(member(states, ids.member(group, user))?.number);
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

    /// Whose timelines the change enters, and who gets it pushed: those who left as well.
    fn reach(&self, group: &mut Group, was_pull: bool) -> (Vec<TimelineId>, Vec<UserId>) {
        let named = self.named.iter().map(|(user, _)| *user);
        let everybody = group.everybody().iter().copied();
        let gone = named.clone().filter(|_| !self.added);
        let audience: Vec<_> = everybody.chain(gone).collect();
        let fanout = if was_pull && group.pull {
            named.chain([group.channel]).collect()
        } else {
            // Whoever changes from one way to the other must find it in between.
            audience.clone()
        };
        (fanout, audience)
    }
}

impl Sequencer {
    pub(super) fn change_group(
        &mut self,
        command: Asked<'_>,
        now: u64,
        change: Change,
    ) -> Result<(Outcome, Audience), Refused> {
        let said = Body::read(command.body).ok_or(CORRUPT)?;
        let id = command.conversation;
        if let Change::Create { all_history } = change {
            if let Some(key) = self.created_before(&said, all_history)? {
                return Ok((Outcome::Made(key), Audience::Nobody));
            }
            self.begin_group(command, &said, all_history)?;
        } else {
            let (states, user) = (&self.states, command.user);
            let group = self.groups.of_member(states, said.namespace, id, user)?;
            match (change, group.role(user)) {
                (Change::Leave, _) | (_, Role::Owner) => {}
                (Change::Add, _) if self.rules.members_add => {}
                _ => return Err(NOT_AN_OWNER),
            }
        }
        // It may change whose marks these are, and who is told.
        self.store_held_of(id);
        let done = self.carry_out(command, &said, now, change);
        if done.is_err() {
            // It may be half changed.
            self.groups.forget(id);
        }
        done
    }

    /// The key of a creation that came before, if it is the same.
    fn created_before(
        &self,
        said: &Body<'_>,
        all_history: bool,
    ) -> Result<Option<TimelineId>, Refused> {
        let Some((key, content)) = self.creation(said, all_history) else {
            return Ok(None);
        };
        let value = self.states.get(key).map_err(|error| unreadable(&error))?;
        let Some(value) = value else {
            return Ok(None);
        };
        let created: Created<'_> = state::decode(&value).ok_or(CORRUPT)?;
        if created.content != content {
            return Err(KEY_REUSED);
        }
        Ok(Some(key))
    }

    /// The key of a creation that has one, and a hash of what it asks for.
    fn creation(&self, said: &Body<'_>, all_history: bool) -> Option<(TimelineId, u128)> {
        let key = self.ids.created(said.namespace, said.user, said.key?);
        let names = (said.conversation, said.name.unwrap_or_default());
        let members = (said.user, &said.members[..]);
        let content = self.ids.created_content(names, all_history, members);
        Some((key, content))
    }

    /// A group with nobody in it yet, under a name that nobody uses.
    fn begin_group(
        &mut self,
        command: Asked<'_>,
        said: &Body<'_>,
        all_history: bool,
    ) -> Result<(), Refused> {
        let id = command.conversation;
        let conversation = self.conversations.get(id);
        let last = conversation.map_err(|error| unreadable(&error))?.last_seq();
        let name = said.name.unwrap_or_default();
        let group = match self.groups.get(&self.states, said.namespace, id)? {
            None => Group::new(&self.ids, id, name, all_history),
            Some(group) if group.len() == 0 => group.renewed(&self.ids, name, all_history, last),
            Some(_) => return Err(NAME_TAKEN),
        };
        self.groups.enter(group);
        Ok(())
    }

    fn carry_out(
        &mut self,
        command: Asked<'_>,
        said: &Body<'_>,
        now: u64,
        change: Change,
    ) -> Result<(Outcome, Audience), Refused> {
        let mut delta = Delta {
            group: said.conversation.strip_prefix("g:").ok_or(CORRUPT)?,
            named: Vec::new(),
            added: matches!(change, Change::Create { .. } | Change::Add),
            chunks: BTreeSet::new(),
            changes: Changes::new(),
        };
        let conversation = self.conversations.get(command.conversation);
        let last_seq = conversation.map_err(|error| unreadable(&error))?.last_seq();
        self.apply(command, said, (now, last_seq), change, &mut delta)?;
        let before = self.writer.last_appended().0;
        let advance = self.advance(command.conversation)?;
        let creation = match change {
            Change::Create { all_history } => self.creation(said, all_history),
            _ => None,
        };
        let group = self
            .groups
            .get(&self.states, said.namespace, command.conversation)?
            .ok_or(CORRUPT)?;
        let members = group.len() as u64;
        let done = match change {
            Change::Create { .. } => Done::GroupCreate { members },
            Change::Add => Done::GroupAdd { members },
            Change::Remove => Done::GroupRemove { members },
            Change::Leave => Done::GroupLeave,
            Change::Rename => Done::GroupRename,
        };
        if delta.named.is_empty() && change != Change::Rename {
            return Ok((Outcome::Done(done, None), Audience::Nobody));
        }
        if delta.added && group.len() > self.rules.group_members {
            return Err(Refused::new(
                ErrorCode::LimitExceeded,
                "the group would have more members than group_members",
            ));
        }
        let was_pull = group.pull;
        group.pull = if was_pull {
            group.len() > self.rules.fanout_limit * BACK_TO_PUSH / 100
        } else {
            group.len() > self.rules.fanout_limit
        };
        delta.turn_inboxes((&self.states, &self.ids), group, was_pull, before)?;
        let stored = (&self.states, &self.ids);
        delta.write_members(stored, group, last_seq, &advance)?;
        if !advance.is_empty() {
            delta.forget_marks(stored, command.conversation, advance)?;
        }
        if let Some((key, content)) = creation {
            let created = Created {
                conversation: said.conversation,
                members,
                content,
            };
            delta.changes.push((key, state::encode(&created)));
        }
        group.write_head(&self.ids, &mut delta.changes);
        for &chunk in &delta.chunks {
            group.write_chunk(&self.ids, chunk, &mut delta.changes);
        }
        let (fanout, audience) = delta.reach(group, was_pull);
        let position = self.append_change(command, said, now, change, &fanout, &mut delta)?;
        let outcome = Outcome::Done(done, Some(position));
        Ok((outcome, Audience::Members(audience.into())))
    }

    fn append_change(
        &mut self,
        command: Asked<'_>,
        said: &Body<'_>,
        now: u64,
        change: Change,
        fanout: &[TimelineId],
        delta: &mut Delta<'_>,
    ) -> Result<Position, Refused> {
        let mut body = Vec::new();
        Body {
            change: Some(match change {
                Change::Create { .. } => "created",
                Change::Add => "added",
                Change::Remove => "removed",
                Change::Leave => "left",
                Change::Rename => "renamed",
            }),
            members: delta.named.iter().map(|(_, name)| *name).collect(),
            name: match change {
                Change::Create { .. } | Change::Rename => said.name,
                _ => None,
            },
            key: None,
            ..said.clone()
        }
        .write(&mut body);
        let draft = Draft {
            kind: RecordKind::Group as u8,
            time: now,
            timeline: command.conversation,
            fanout,
            body: &body,
            ..Draft::default()
        };
        self.append(&draft, &mut delta.changes)
    }

    /// Changes the group in memory.
    fn apply<'a>(
        &mut self,
        command: Asked<'_>,
        said: &Body<'a>,
        (now, last_seq): (u64, u64),
        change: Change,
        delta: &mut Delta<'a>,
    ) -> Result<(), Refused> {
        let ids = self.ids;
        let group = self
            .groups
            .get(&self.states, said.namespace, command.conversation)?;
        let group = group.ok_or(CORRUPT)?;
        let named = said
            .members
            .iter()
            .map(|&name| (ids.user(said.namespace, name), name));
        match change {
            Change::Create { .. } | Change::Add => {
                let founder =
                    matches!(change, Change::Create { .. }).then_some((command.user, said.user));
                for (user, name) in founder.into_iter().chain(named) {
                    if group.has(user) {
                        continue;
                    }
                    let seat = Seat {
                        user,
                        name: name.into(),
                        role: if founder.is_some() && user == command.user {
                            Role::Owner
                        } else {
                            Role::Member
                        },
                        since: now,
                        first: group.first_for_new(last_seq),
                    };
                    delta.chunks.insert(group.add(seat));
                    delta.named.push((user, name));
                }
            }
            Change::Remove | Change::Leave => {
                let own = (change == Change::Leave).then_some((command.user, said.user));
                let gone: Vec<_> = match own {
                    Some(own) => vec![own],
                    None => named.collect(),
                };
                for (user, name) in gone {
                    if change == Change::Remove && user == command.user {
                        return Err(Refused::new(
                            ErrorCode::BadRequest,
                            "to leave a group yourself use group_leave",
                        ));
                    }
                    if let Some(chunk) = group.remove(user) {
                        delta.chunks.insert(chunk);
                        delta.named.push((user, name));
                    }
                }
                if let Some((user, chunk)) = group.crown() {
                    let key = ids.member(group.id, user);
                    let mut heir = member(&self.states, key)?;
                    heir.role = Role::Owner;
                    delta.changes.push((key, state::encode(&heir)));
                    delta.chunks.insert(chunk);
                }
            }
            Change::Rename => group.name = said.name.unwrap_or_default().into(),
        }
        Ok(())
    }
}

/// What a user is to a group.
pub(super) fn member(states: &States, key: TimelineId) -> Result<Member, Refused> {
    let value = states.get(key).map_err(|error| unreadable(&error))?;
    match value {
        None => Ok(Member::default()),
        Some(value) => state::decode(&value).ok_or(CORRUPT),
    }
}
