//! Mentions: messages that name members, so that these notice them.

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::recent::Recent;
use super::refused::Refused;
use super::series;
use crate::event::Extras;
use crate::exchange::Members;
use crate::ids::UserId;
use crate::state::{self, Series};

/// The number of members of a group above which only owners and admins mention all.
const SMALL_GROUP: usize = 50;

const NOT_MEMBERS: Refused = Refused::new(
    ErrorCode::BadRequest,
    "mentions name only members of the conversation, or \"*\"",
);

const NOT_ALL: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "in a group of more than 50 members only owners and admins mention \"*\"",
);

/// Checks that the caller may mention whom the message mentions.
///
/// # Errors
/// Somebody is no member, the caller may not mention all, or the store could not be read.
pub(super) fn check(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    extras: &Extras<'_>,
) -> Result<(), Refused> {
    let users = named(batch, command, extras)?;
    let is_of_all = extras.mentions.contains(&Extras::ALL);
    match command.members {
        Members::Direct { other, .. } => {
            let mut users = users.iter();
            if users.any(|user| *user != command.user && *user != other) {
                return Err(NOT_MEMBERS);
            }
        }
        Members::Group => {
            let group = recent.group_of(batch, command)?;
            if !users.iter().all(|user| group.has(*user)) {
                return Err(NOT_MEMBERS);
            }
            if is_of_all && group.len() > SMALL_GROUP && !group.role(command.user).manages() {
                return Err(NOT_ALL);
            }
        }
    }
    Ok(())
}

/// Returns the users whom a message names, without all that `*` stands for.
fn named(
    batch: &OpenBatch,
    command: Asked<'_>,
    extras: &Extras<'_>,
) -> Result<Vec<UserId>, Refused> {
    let namespace = command.namespace()?;
    batch.name(extras.mentions.len());
    let names = extras.mentions.iter().filter(|name| **name != Extras::ALL);
    let mut users: Vec<TimelineId> = names
        .map(|name| batch.ids().user(namespace, name))
        .collect();
    users.sort_unstable();
    users.dedup();
    Ok(users)
}

/// Enters a message into the indexes of those whom it mentions. `seq` is the sequence that it gets. A
/// message that mentions all is in one index only, however many members there are.
///
/// # Errors
/// The store could not be read.
pub(super) fn index(
    batch: &OpenBatch,
    command: Asked<'_>,
    extras: &Extras<'_>,
    seq: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    if extras.mentions.is_empty() {
        return Ok(());
    }
    let (ids, conversation) = (batch.ids(), command.conversation);
    let all = ids.mentions_of_all(conversation);
    if extras.mentions.contains(&Extras::ALL) {
        return series::add(batch, all, seq, changes);
    }
    if batch.value(all)?.is_none() {
        changes.push((all, state::encode(&Series::default())));
    }
    for user in named(batch, command, extras)? {
        if user != command.user {
            series::add(batch, ids.mentions(conversation, user), seq, changes)?;
        }
    }
    Ok(())
}
