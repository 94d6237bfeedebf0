//! Who hears that somebody is writing.

use smallvec::{SmallVec, smallvec};
use trunkline_proto::ErrorCode;
use trunkline_proto::names::Conversation;
use trunkline_storage::TimelineId;

use super::Session;
use crate::ids::{Ids, UserId};

/// The other members of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recipients {
    /// These; nobody, where it is one of a user with oneself.
    Users(SmallVec<[UserId; 1]>),
    /// Those of a group: a reader knows them, and whether the caller is one.
    Group(TimelineId),
}

/// The members of a conversation beside the caller.
///
/// # Errors
/// It is no name of a conversation, or the caller is not one of the two.
pub(crate) fn recipients(
    session: &Session,
    ids: &Ids,
    conversation: &str,
) -> Result<Recipients, (ErrorCode, &'static str)> {
    let (own, namespace) = (session.names.user(), session.names.namespace());
    let name = Conversation::parse(conversation).ok_or(super::request::BAD_CONVERSATION)?;
    Ok(match name {
        Conversation::Direct(one, other) if one == own && other == own => {
            Recipients::Users(smallvec![])
        }
        Conversation::Direct(one, other) if one == own || other == own => {
            let other = if one == own { other } else { one };
            Recipients::Users(smallvec![ids.user(namespace, other)])
        }
        Conversation::Direct(..) => return Err(super::request::NOT_A_MEMBER),
        Conversation::Group(name) => Recipients::Group(ids.group(namespace, name)),
    })
}
