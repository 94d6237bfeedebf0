//! Commands that change a group.

use trunkline_proto::message::{GroupCreate, GroupLeave, GroupMembers, GroupRename, Visibility};
use trunkline_proto::names::{Conversation, MAX_CONVERSATION_BYTES, is_name};
use trunkline_proto::{ErrorCode, Str};

use super::{Ask, Asked, BAD_GROUP, Failure, check_user};
use crate::event::Body;
use crate::exchange::{Action, Change, CommandBatch, Members};

/// Users that one command may name.
const MAX_NAMED: usize = 1_000;

/// Bytes of what people call a group.
const MAX_NAME_BYTES: usize = 256;

impl Ask<'_> {
    pub(super) fn group_create(
        &self,
        create: &GroupCreate<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Asked, Failure> {
        let change = Change::Create {
            all_history: create.history == Visibility::All,
        };
        let name = create.name.as_deref();
        check_name(name.unwrap_or_default())?;
        let key = create.key.as_deref();
        self.check_key(key)?;
        self.change(&create.group, change, (name, key, &create.members), batch)
    }

    /// Adds or removes.
    pub(super) fn group_members(
        &self,
        members: &GroupMembers<'_>,
        change: Change,
        batch: &mut CommandBatch,
    ) -> Result<Asked, Failure> {
        if members.members.is_empty() {
            return Err((ErrorCode::BadRequest, "\"members\" names nobody"));
        }
        self.change(
            &members.group,
            change,
            (None, None, &members.members),
            batch,
        )
    }

    pub(super) fn group_leave(
        &self,
        leave: &GroupLeave<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Asked, Failure> {
        self.change(&leave.group, Change::Leave, (None, None, &[]), batch)
    }

    pub(super) fn group_rename(
        &self,
        rename: &GroupRename<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Asked, Failure> {
        if rename.name.is_empty() {
            return Err((ErrorCode::BadRequest, "a group's new name is not empty"));
        }
        check_name(&rename.name)?;
        let name = Some(&*rename.name);
        self.change(&rename.group, Change::Rename, (name, None, &[]), batch)
    }

    fn change(
        &self,
        group: &str,
        change: Change,
        (name, key, members): (Option<&str>, Option<&str>, &[Str<'_>]),
        batch: &mut CommandBatch,
    ) -> Result<Asked, Failure> {
        if !is_name(group) {
            return Err(BAD_GROUP);
        }
        if members.len() > MAX_NAMED {
            return Err((
                ErrorCode::LimitExceeded,
                "a command names at most 1,000 members: use several",
            ));
        }
        members.iter().try_for_each(|member| check_user(member))?;
        let mut id = [0; MAX_CONVERSATION_BYTES];
        let body = Body {
            name,
            key,
            members: members.iter().map(|member| &**member).collect(),
            ..self.body(Conversation::Group(group).write_into(&mut id))
        };
        let namespace = self.caller.names.namespace();
        let reach = (self.ids.group(namespace, group), Members::Group);
        Ok(self.queue(reach, Action::Group(change), &body, batch))
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    if name.len() > MAX_NAME_BYTES {
        return Err((
            ErrorCode::LimitExceeded,
            "a group's name has at most 256 bytes",
        ));
    }
    if name.chars().any(char::is_control) {
        let text = "a group's name is one line of text: it holds no control characters";
        return Err((ErrorCode::BadRequest, text));
    }
    Ok(())
}
