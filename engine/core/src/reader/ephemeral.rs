//! Look-ups for ephemeral commands: the recipients of a typing event, contacts, and last-seen
//! times.

use trunkline_proto::Str;
use trunkline_proto::message::{BlockedReply, ReplyBody};

use super::failure::failure;
use super::reading::Reading;
use super::sets;
use crate::exchange::{Access, BLOCKED, Failure, Finding, Listing, Part, PresenceQuery};
use crate::ids::UserId;
use crate::paging::ListPage;
use crate::state::LastSeen;

/// The maximum number of members of a group that are told when somebody is typing in it.
const TYPING_MEMBERS: u64 = 500;

/// Returns the other members of the caller's group; nobody if the group has more than
/// [`TYPING_MEMBERS`] members.
///
/// # Errors
/// The errors of [`Reading::check`].
pub(super) async fn typing(
    reading: &Reading,
    access: Access,
    listing: &Listing,
    stop: bool,
) -> Result<Finding, Failure> {
    reading.check(access)?;
    let group = reading.group(access.conversation)?;
    let mut users = Vec::new();
    if group.members <= TYPING_MEMBERS {
        for number in 0..group.chunks {
            if let Some(chunk) = reading.roster(access.conversation, number)? {
                let members = chunk.members()?;
                reading.count_listed(members.len());
                let ids = members
                    .iter()
                    .map(|member| reading.ids().user(&listing.namespace, member.user));
                users.extend(ids.filter(|user| *user != access.user));
            }
            reading.pause_if_due().await;
        }
    }
    Ok(Finding::Typing {
        conversation: listing.name.clone(),
        users,
        stop,
    })
}

/// Returns the names of a user's contacts, ordered bytewise.
///
/// # Errors
/// The store could not be read, or holds contacts of another form.
pub(super) fn contacts(reading: &Reading, user: UserId) -> Result<Vec<String>, Failure> {
    let names = sets::users(reading, reading.ids().contacts(user));
    names.map_err(|error| failure(&error))
}

/// Returns a part of the list of users whom a user blocks, ordered bytewise.
///
/// # Errors
/// The store could not be read, or holds a list of another form.
pub(super) fn blocked(
    reading: &Reading,
    user: UserId,
    part: &Part,
) -> Result<ReplyBody<'static>, Failure> {
    let names = sets::users(reading, reading.ids().blocked(user));
    let names = names.map_err(|error| failure(&error))?;
    reading.count_listed(names.len());
    let after = part.after.as_deref().unwrap_or_default();
    let page = ListPage::behind(after, part.limit, names, |name| name);
    Ok(ReplyBody::Blocked(BlockedReply {
        users: page.entries.into_iter().map(Str::from).collect(),
        more: page.more,
    }))
}

/// Checks that the user `to` accepts an event of the user `from`.
///
/// # Errors
/// The user is blocked, or the store could not be read.
pub(super) fn check_pass(reading: &Reading, from: UserId, to: UserId) -> Result<(), Failure> {
    match reading.bytes(reading.ids().block(to, from))? {
        Some(_) => Err(BLOCKED),
        None => Ok(()),
    }
}

/// Fills in when users were last seen who left so long ago that memory may have forgotten it, and which
/// users block the one who asks. The result says so if the store cannot be read, or has a time of another
/// form.
pub(super) async fn last_seen(
    reading: &Reading,
    mut asked: PresenceQuery,
) -> Result<Finding, Failure> {
    asked.failed = fill(reading, &mut asked).await.err();
    Ok(Finding::LastSeen { asked })
}

async fn fill(reading: &Reading, asked: &mut PresenceQuery) -> Result<(), Failure> {
    let mut unknown: Vec<_> = asked.users.iter_mut().filter(|user| user.unknown).collect();
    let keys: Vec<_> = unknown.iter().map(|user| user.id).collect();
    let times = reading.values::<LastSeen>(&keys).await?;
    for (user, seen) in unknown.iter_mut().zip(times) {
        user.left = seen.map(|seen| seen.time);
    }
    let by = asked.by;
    for user in asked.users.iter_mut().filter(|user| user.may_block) {
        let value = reading.bytes(reading.ids().block(user.id, by))?;
        user.blocks = value.is_some();
        reading.pause_if_due().await;
    }
    Ok(())
}
