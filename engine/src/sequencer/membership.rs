//! Groups: who is in them.

use std::collections::{BTreeSet, HashSet};

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Position, TimelineId};

use super::command::{Change, Command, Done, Outcome};
use super::groups::{Group, Seat};
use super::inboxes::{Turn, update_inbox};
use super::route::Audience;
use super::states::{Changes, States};
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::{Body, Kind};
use crate::ids::{Ids, UserId};
use crate::state::{self, Advance, Marks, Member, Place, Role};

const NOT_AN_OWNER: Outcome = Outcome::Failed(
    ErrorCode::PermissionDenied,
    "only owners of the group may do this",
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
    ) -> Result<(), Outcome> {
        let (open, close) = (
            Turn::Open(group.channel.0, before),
            Turn::Close(group.channel.0, before),
        );
        for &(user, _) in &self.named {
            let place = self.added.then_some(Place::Group(self.group));
            let turn = match (self.added, was_pull, group.pull) {
                (true, _, true) => open,
                (false, true, _) => close,
                _ => Turn::Stay,
            };
            update_inbox(states, ids, user, place, turn, &mut self.changes)?;
        }
        if was_pull == group.pull {
            return Ok(());
        }
        let turn = if group.pull { open } else { close };
        let named: HashSet<_> = self.named.iter().map(|(user, _)| *user).collect();
        let others = group.seats().filter(|seat| !named.contains(&seat.user));
        for seat in others {
            update_inbox(states, ids, seat.user, None, turn, &mut self.changes)?;
        }
        Ok(())
    }

    /// What those named are to the group from now on.
    fn write_members(&mut self, ids: &Ids, group: &mut Group, last_seq: u64) {
        for &(user, _) in &self.named {
            let member = if self.added {
                let number = group.joined;
                group.joined += 1;
                Member {
                    role: group.role(user),
                    first_seq: if group.all_history { 1 } else { last_seq + 1 },
                    number,
                    // What was said before is nobody's unread.
                    marks: Marks {
                        delivered: last_seq,
                        read: last_seq,
                        ..Marks::default()
                    },
                }
            } else {
                Member::default()
            };
            let key = ids.member(group.id, user);
            self.changes.push((key, state::encode(&member)));
        }
    }

    /// Takes those who go out of what is known of several members together.
    fn forget_marks(
        &mut self,
        (states, ids): (&States, &Ids),
        group: TimelineId,
        mut advance: Advance,
    ) -> Result<(), Outcome> {
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
        command: &Command,
        body: &[u8],
        now: u64,
        change: Change,
    ) -> Result<(Outcome, Audience), Outcome> {
        let said = Body::read(body).ok_or(CORRUPT)?;
        let id = command.conversation;
        if let Change::Create { all_history } = change {
            if self.groups.get(&self.states, said.namespace, id)?.is_some() {
                return Err(Outcome::Failed(
                    ErrorCode::BadRequest,
                    "a group of this name exists already: choose another",
                ));
            }
            let name = said.name.unwrap_or_default();
            let group = Group::new(&self.ids, id, name, all_history);
            self.groups.enter(group);
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

    fn carry_out(
        &mut self,
        command: &Command,
        said: &Body<'_>,
        now: u64,
        change: Change,
    ) -> Result<(Outcome, Audience), Outcome> {
        let mut delta = Delta {
            group: said.conversation.strip_prefix("g:").ok_or(CORRUPT)?,
            named: Vec::new(),
            added: matches!(change, Change::Create { .. } | Change::Add),
            chunks: BTreeSet::new(),
            changes: Changes::new(),
        };
        self.apply(command, said, now, change, &mut delta)?;
        let conversation = self.conversations.get(command.conversation);
        let last_seq = conversation.map_err(|error| unreadable(&error))?.last_seq();
        let before = self.writer.last_appended().0;
        let advance = self.advance(command.conversation)?;
        if !advance.is_empty() {
            delta.forget_marks((&self.states, &self.ids), command.conversation, advance)?;
        }
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
            return Err(Outcome::Failed(
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
        delta.write_members(&self.ids, group, last_seq);
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
        command: &Command,
        said: &Body<'_>,
        now: u64,
        change: Change,
        fanout: &[TimelineId],
        delta: &mut Delta<'_>,
    ) -> Result<Position, Outcome> {
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
            ..said.clone()
        }
        .write(&mut body);
        let draft = Draft {
            kind: Kind::Group as u8,
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
        command: &Command,
        said: &Body<'a>,
        now: u64,
        change: Change,
        delta: &mut Delta<'a>,
    ) -> Result<(), Outcome> {
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
                        return Err(Outcome::Failed(
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
pub(super) fn member(states: &States, key: TimelineId) -> Result<Member, Outcome> {
    let value = states.get(key).map_err(|error| unreadable(&error))?;
    match value {
        None => Ok(Member::default()),
        Some(value) => state::decode(&value).ok_or(CORRUPT),
    }
}
