//! Where users take part: kept up to date by the records that change it.

use trunkline_storage::TimelineId;

use super::refused::Refused;
use super::states::{Changes, States};
use super::{CORRUPT, unreadable};
use crate::ids::{Ids, UserId};
use crate::state::{self, Inbox, InboxEntry};

/// What becomes of a group timeline in a user's events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    Stay,
    /// Its events after a position are the user's as well, but for those about messages before the
    /// first that the user sees.
    Open(u128, u64, u64),
    /// Those after a position no longer are.
    Close(u128, u64),
}

/// Enters a conversation into a user's inbox, or changes what the user catches up from.
///
/// # Errors
/// The store could not be read.
pub(super) fn update_inbox(
    states: &States,
    ids: &Ids,
    user: UserId,
    place: Option<InboxEntry<'_>>,
    turn: Turn,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = ids.inbox(user);
    let value = read(states, changes, key)?;
    let mut inbox = inbox(&value)?;
    if let Some(place) = place {
        let number = inbox.chunks;
        if let Some(chunk) = inbox.enter(place) {
            changes.push((ids.inbox_chunk(user, number), state::encode(&chunk)));
        }
    }
    match turn {
        Turn::Stay => {}
        Turn::Open(channel, after, first) => inbox.open(channel, after, first),
        Turn::Close(channel, until) => inbox.close(channel, until),
    }
    changes.push((key, state::encode(&inbox)));
    Ok(())
}

/// Notes that a user deletes messages in the own view: only then is it worth a look.
///
/// # Errors
/// The store could not be read.
pub(super) fn mark_hiding(
    states: &States,
    ids: &Ids,
    user: UserId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = ids.inbox(user);
    let value = read(states, changes, key)?;
    let mut inbox = inbox(&value)?;
    if !inbox.hides {
        inbox.hides = true;
        changes.push((key, state::encode(&inbox)));
    }
    Ok(())
}

/// An inbox that cannot be read must not be written over with an empty one.
fn inbox(value: &[u8]) -> Result<Inbox<'_>, Refused> {
    if value.is_empty() {
        return Ok(Inbox::default());
    }
    state::decode(value).ok_or(CORRUPT)
}

fn read(
    states: &States,
    changes: &[(TimelineId, Vec<u8>)],
    key: TimelineId,
) -> Result<Vec<u8>, Refused> {
    debug_assert!(
        changes.iter().all(|(changed, _)| *changed != key),
        "twice in one record"
    );
    let value = states.get(key).map_err(|error| unreadable(&error))?;
    Ok(value.unwrap_or_default())
}
