//! Checks the commands that change a group.

use trunkline_proto::message::{
    GroupCreate, GroupLeave, GroupMembers, GroupRename, GroupRole, GroupSet, MessageRef, Visibility,
};
use trunkline_proto::names::{Conversation, is_name};
use trunkline_proto::{ErrorCode, Str};

use super::{Ask, BAD_GROUP, Failure, Prepared, Target, check_user};
use crate::event::{Body, Details};
use crate::exchange::{Action, Change, CommandBatch, Members};

/// The maximum number of users that one command names.
const MAX_NAMED: usize = 1_000;

/// The maximum length of a group's display name in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The maximum length of the URL of a group's picture in bytes.
const MAX_PICTURE_BYTES: usize = 2_048;

/// The content of a change of a group. What a change does not have is empty.
#[derive(Default)]
struct ChangeContent<'a> {
    /// The display name.
    name: Option<&'a str>,
    /// The idempotency key.
    key: Option<&'a str>,
    /// The users whose membership changes.
    members: &'a [Str<'a>],
    /// What the change sets, in stored form.
    details: Option<&'a [u8]>,
}

impl Ask<'_> {
    /// Checks the creation of a group.
    pub(super) fn group_create(
        &self,
        create: &GroupCreate<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let change = Change::Create {
            all_history: create.history == Visibility::All,
        };
        let name = create.name.as_deref();
        check_name(name.unwrap_or_default())?;
        let key = create.key.as_deref();
        self.check_key(key)?;
        let content = ChangeContent {
            name,
            key,
            members: &create.members,
            details: None,
        };
        self.change(&create.group, change, content, batch)
    }

    /// Checks a change that adds or removes members.
    pub(super) fn group_members(
        &self,
        members: &GroupMembers<'_>,
        change: Change,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        if members.members.is_empty() {
            return Err((ErrorCode::BadRequest, "\"members\" names nobody"));
        }
        let content = ChangeContent {
            members: &members.members,
            ..ChangeContent::default()
        };
        self.change(&members.group, change, content, batch)
    }

    /// Checks the end of the caller's own membership.
    pub(super) fn group_leave(
        &self,
        leave: &GroupLeave<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let content = ChangeContent::default();
        self.change(&leave.group, Change::Leave, content, batch)
    }

    /// Checks that the caller names a group to join.
    pub(super) fn group_join(
        &self,
        group: &str,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        self.change(group, Change::Join, ChangeContent::default(), batch)
    }

    /// Checks another role of a member.
    pub(super) fn group_role(
        &self,
        role: &GroupRole<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let details = Details {
            role: Some(role.role),
            ..Details::default()
        };
        let content = ChangeContent {
            members: std::slice::from_ref(&role.user),
            details: Some(&details.bytes()),
            ..ChangeContent::default()
        };
        self.change(&role.group, Change::Role(role.role), content, batch)
    }

    /// Checks another name, picture and other rules of a group.
    pub(super) fn group_set(
        &self,
        set: &GroupSet<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let GroupSet {
            group,
            name,
            picture,
            send,
            join,
        } = set;
        if name.is_none() && picture.is_none() && send.is_none() && join.is_none() {
            let text = "group_set needs one of \"name\", \"picture\", \"send\" and \"join\"";
            return Err((ErrorCode::BadRequest, text));
        }
        let (name, picture) = (name.as_deref(), picture.as_deref());
        check_name(name.unwrap_or_default())?;
        check_picture(picture.unwrap_or_default())?;
        let details = Details {
            picture,
            send: *send,
            join: *join,
            ..Details::default()
        };
        let content = ChangeContent {
            name,
            details: Some(&details.bytes()),
            ..ChangeContent::default()
        };
        self.change(group, Change::Set, content, batch)
    }

    /// Checks that a message of a group is to be pinned, or with `remove` no longer.
    pub(super) fn pin(
        &self,
        message: &MessageRef<'_>,
        remove: bool,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let (conversation, seq) = (&*message.conversation, message.seq);
        if let Some(Conversation::Direct(..)) = Conversation::parse(conversation) {
            let text = "only messages of groups are pinned: \"conversation\" is g:<group>";
            return Err((ErrorCode::BadRequest, text));
        }
        let body = Body {
            seq,
            change: Some(if remove { "unpinned" } else { "pinned" }),
            ..self.body(conversation)
        };
        self.about(conversation, Action::Pin { seq, remove }, &body, batch)
    }

    /// Checks a new display name of a group.
    pub(super) fn group_rename(
        &self,
        rename: &GroupRename<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        if rename.name.is_empty() {
            return Err((ErrorCode::BadRequest, "a group's new name is not empty"));
        }
        check_name(&rename.name)?;
        let content = ChangeContent {
            name: Some(&*rename.name),
            ..ChangeContent::default()
        };
        self.change(&rename.group, Change::Rename, content, batch)
    }

    /// Puts a change into the batch, with its content.
    fn change(
        &self,
        group: &str,
        change: Change,
        content: ChangeContent<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let ChangeContent {
            name,
            key,
            members,
            details,
        } = content;
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
        let conversation = Conversation::Group(group).text();
        let body = Body {
            name,
            key,
            members: members.iter().map(|member| &**member).collect(),
            details,
            ..self.body(&conversation)
        };
        let namespace = self.caller.names.namespace();
        let target = Target {
            conversation: self.ids.group(namespace, group),
            members: Members::Group,
        };
        Ok(self.queue(target, Action::Group(change), &body, batch))
    }
}

/// Checks the URL of a group's picture.
fn check_picture(picture: &str) -> Result<(), Failure> {
    if picture.len() > MAX_PICTURE_BYTES {
        let text = "the URL of a group's picture has at most 2,048 bytes";
        return Err((ErrorCode::LimitExceeded, text));
    }
    if picture.chars().any(char::is_control) {
        let text = "a group's picture is a URL: it holds no control characters";
        return Err((ErrorCode::BadRequest, text));
    }
    Ok(())
}

/// Checks the display name of a group.
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
