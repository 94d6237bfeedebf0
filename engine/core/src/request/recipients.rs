//! The users who learn that a user is typing.

use smallvec::{SmallVec, smallvec};
use trunkline_proto::names::Conversation;
use trunkline_storage::TimelineId;

use super::{BAD_CONVERSATION, Caller};
use crate::exchange::{Failure, NOT_A_MEMBER};
use crate::ids::{Ids, UserId};

/// The members of a conversation other than the caller.
#[derive(Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The other user of a 1:1 conversation; empty for notes to oneself.
    Users(SmallVec<[UserId; 1]>),
    /// The members of this group. A reader looks them up, and checks that the caller is one.
    Group(TimelineId),
}

/// Returns the members of a conversation other than the caller.
///
/// # Errors
/// The name of the conversation is not valid, or the caller is not one of its two users.
pub fn recipients(
    caller: Caller<'_>,
    ids: &Ids,
    conversation: &str,
) -> Result<Recipients, Failure> {
    let (own, namespace) = (caller.names.user(), caller.names.namespace());
    let name = Conversation::parse(conversation).ok_or(BAD_CONVERSATION)?;
    Ok(match name {
        Conversation::Direct(one, other) if one == own && other == own => {
            Recipients::Users(smallvec![])
        }
        Conversation::Direct(one, other) if one == own || other == own => {
            let other = if one == own { other } else { one };
            Recipients::Users(smallvec![ids.user(namespace, other)])
        }
        Conversation::Direct(..) => return Err(NOT_A_MEMBER),
        Conversation::Group(name) => Recipients::Group(ids.group(namespace, name)),
    })
}
