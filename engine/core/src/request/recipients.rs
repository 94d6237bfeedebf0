//! Who hears that somebody is writing.

use smallvec::{SmallVec, smallvec};
use trunkline_proto::names::Conversation;
use trunkline_storage::TimelineId;

use super::{BAD_CONVERSATION, Caller};
use crate::exchange::{Failure, NOT_A_MEMBER};
use crate::ids::{Ids, UserId};

/// The other members of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub enum Recipients {
    /// These; nobody, where it is one of a user with oneself.
    Users(SmallVec<[UserId; 1]>),
    /// Those of a group: a reader knows them, and whether the caller is one.
    Group(TimelineId),
}

/// The members of a conversation beside the caller.
///
/// # Errors
/// It is no name of a conversation, or the caller is not one of the two.
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
