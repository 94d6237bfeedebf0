//! What the store knows that ephemeral commands need: contacts, when users were last seen, and
//! who is told that a member of a group is writing.

use trunkline_storage::Reader;

use super::access;
use super::answer::{Failure, failure};
use crate::exchange::{Access, Asked, Finding, Listing, Part};
use crate::ids::{Ids, UserId};
use crate::state::{self, Contacts, LastSeen};

/// Members of a group up to which they are told that somebody writes.
const TYPING_MEMBERS: u64 = 500;

/// The other members of a group that the caller is in; nobody, where there are too many to tell.
pub(super) fn typing(
    sources: (&Reader, &Ids),
    access: Access,
    listing: &Listing,
) -> Result<Finding, Failure> {
    let (store, ids) = sources;
    access.check(store, ids)?;
    let (members, chunks) = access::with_head((store, ids), access.conversation, |head| {
        (head.members, head.chunks)
    })?;
    let mut users = Vec::new();
    if members <= TYPING_MEMBERS {
        let roster = access::roster(sources, access.conversation, chunks)?;
        let ids = roster
            .iter()
            .map(|member| ids.user(&listing.namespace, &member.name));
        users.extend(ids.filter(|user| *user != access.user));
    }
    Ok(Finding::Typing {
        conversation: listing.name.clone(),
        users,
    })
}

/// A user's contacts.
pub(super) fn contacts(
    (store, ids): (&Reader, &Ids),
    user: UserId,
    (watch, part): (bool, &Part),
) -> Result<Finding, Failure> {
    let value = store
        .state(ids.contacts(user))
        .map_err(|error| failure(&error))?;
    let contacts = match value.as_deref() {
        Some(value) => state::decode::<Contacts<'_>>(value).ok_or(access::CORRUPT)?,
        None => Contacts::default(),
    };
    let names = contacts.users.into_iter().map(str::to_owned).collect();
    Ok(Finding::Contacts {
        names,
        watch,
        part: part.clone(),
    })
}

/// When users were last seen who left so long ago that only the store may know it.
pub(super) fn last_seen(store: &Reader, asked: &Asked) -> Result<Finding, Failure> {
    let mut asked = asked.clone();
    for user in asked.users.iter_mut().filter(|user| user.unknown) {
        let value = store.state(user.id).map_err(|error| failure(&error))?;
        user.left = match value.as_deref() {
            Some(value) => Some(
                state::decode::<LastSeen>(value)
                    .ok_or(access::CORRUPT)?
                    .time,
            ),
            None => None,
        };
    }
    Ok(Finding::LastSeen { asked })
}
