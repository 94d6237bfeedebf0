//! The conversations in which messages and pictures of groups name media that the gateway keeps.

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::refused::{CORRUPT, Refused};
use crate::event::Body;
use crate::exchange::Members;
use crate::ids::UserId;
use crate::media;
use crate::state::{self, Added, Place, Share, Shares};

const TOO_MANY_SHARES: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "these media are named in as many conversations as media may be: upload them again",
);

/// Notes that a message names media: the members of the conversation may read them.
///
/// # Errors
/// The media are named in as many conversations as may be, or the store could not be read.
pub(super) fn of_message(
    batch: &OpenBatch,
    command: Asked<'_>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let body = Body::read(command.body).ok_or(CORRUPT)?;
    let Some(id) = body.url.and_then(media::id_in) else {
        return Ok(());
    };
    add(batch, id, share(command), changes)
}

/// Notes one more conversation in which media with this id are named.
///
/// # Errors
/// The media are named in as many conversations as may be, or the store could not be read.
pub(super) fn add(
    batch: &OpenBatch,
    id: &str,
    share: Share,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().media(id);
    let mut shares: Shares = batch.decoded(key)?.unwrap_or_default();
    match shares.add(share) {
        Added::Already => {}
        Added::New => changes.push((key, state::encode(&shares))),
        Added::Full => return Err(TOO_MANY_SHARES),
    }
    Ok(())
}

/// Notes that a message with this URL is gone, or names it no more. Media that no message names any more are
/// removed.
///
/// # Errors
/// The store could not be read.
pub(super) fn remove(
    batch: &OpenBatch,
    share: Share,
    url: Option<&str>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let Some(id) = url.and_then(media::id_in) else {
        return Ok(());
    };
    let key = batch.ids().media(id);
    let mut shares: Shares = batch.decoded(key)?.unwrap_or_default();
    if shares.remove(share) {
        let value = match shares.0.is_empty() {
            true => Vec::new(),
            false => state::encode(&shares),
        };
        changes.push((key, value));
    }
    Ok(())
}

/// Returns the entry of a message in the command's conversation.
pub(super) fn share(command: Asked<'_>) -> Share {
    let other = match command.members {
        Members::Direct { other, .. } => Some(other),
        Members::Group => None,
    };
    of(command.user, other, command.conversation)
}

/// Returns the entry of a message of `author` to another user, or without one to a group.
pub(super) fn of(author: UserId, other: Option<UserId>, conversation: TimelineId) -> Share {
    let group = Place::Group(conversation.0);
    Share {
        by: author.0,
        with: other.map_or(group, |other| Place::User(other.0)),
        messages: 1,
    }
}
