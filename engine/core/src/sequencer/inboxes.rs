//! The inboxes of users: records that change a user's conversations change the inbox too.

use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::ended::Ended;
use super::refused::{CORRUPT, Refused};
use crate::ids::UserId;
use crate::state::{self, Bucket, Inbox, InboxEntry, Spread, Window};
use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

/// The maximum number of channels from which a user catches up. Each page of the user's events needs a look
/// at all of them, and the user has asked for none: others add users to groups.
const MOST_OPEN: usize = 1_000;

const TOO_MANY_CHANNELS: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "a user is in at most 1,000 groups that have more members than fanout_limit, or had within channel_stays: one of \
     the members is in as many, and has to leave one first",
);

const MORE_ENDED: Refused = Refused::new(
    ErrorCode::TooManyRequests,
    "others took the user out of hundreds of groups while the erasure ended: it tries again",
);

/// The changes of a record in the inbox of one user.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InboxChange<'a> {
    /// The conversation that the record adds to the inbox.
    pub(super) entry: Option<InboxEntry<'a>>,
    /// The change of the windows through which the user sees channels.
    pub(super) window: WindowChange,
}

/// The change of the window through which a user sees a channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum WindowChange {
    /// Nothing changes.
    #[default]
    None,
    /// The events of the channel become the user's as well.
    Open {
        /// The id of the channel.
        channel: u128,
        /// The position after which the events are the user's.
        after: u64,
        /// The sequence of the first message that the user sees. Events about earlier messages are
        /// not the user's.
        first: u64,
    },
    /// The events of the channel are no longer the user's.
    Close {
        /// The id of the channel.
        channel: u128,
        /// The position of the last event that is the user's.
        until: u64,
    },
}

/// Adds the changed inbox of a user to `changes`. One record changes an inbox once.
///
/// # Errors
/// The store could not be read.
pub(super) fn update(
    batch: &OpenBatch,
    user: UserId,
    change: InboxChange<'_>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().inbox(user);
    let value = read(batch, changes, key)?;
    let mut inbox = decode(&value)?;
    if let Some(entry) = change.entry {
        let number = inbox.chunks;
        if let Some(chunk) = inbox.enter(entry) {
            let key = batch.ids().inbox_chunk(user, number);
            changes.push((key, state::encode(&chunk)));
        }
    }
    let mut ended = Ended::new(batch, key);
    let mut windows = windows(batch, key, &mut inbox, &mut ended)?;
    match change.window {
        WindowChange::None => {}
        WindowChange::Open {
            channel,
            after,
            first,
        } => {
            let hash = Window::hash_of(channel);
            let near = windows.near(hash)?;
            if near.iter().all(|window| window.channel != channel) {
                if windows.len() >= MOST_OPEN {
                    return Err(TOO_MANY_CHANNELS);
                }
                let window = Window {
                    channel,
                    after,
                    until: 0,
                    first,
                };
                windows.insert(hash, window);
            }
        }
        WindowChange::Close { channel, until } => {
            let is_it = |window: &Window| window.channel == channel;
            if let Some(window) = windows.take(Window::hash_of(channel), is_it)? {
                ended.close(&mut inbox.closed, Window { until, ..window })?;
            }
        }
    }
    inbox.open = windows.write(changes)?;
    ended.write(changes);
    changes.push((key, state::encode(&inbox)));
    Ok(())
}

/// Returns the open windows of the inbox with this key. Takes the windows out of the inbox that an earlier
/// version kept in it or in slots. The caller stores the open ones with [`Buckets::write`], and the closed
/// ones with [`Ended::write`].
///
/// # Errors
/// The store could not be read.
fn windows<'b>(
    batch: &'b OpenBatch,
    key: TimelineId,
    inbox: &mut Inbox<'_>,
    ended: &mut Ended<'b>,
) -> Result<Buckets<'b, Window>, Refused> {
    let mut closed = Vec::new();
    for slot in 0..std::mem::take(&mut inbox.slots) {
        let slot = batch.ids().closed_slot(key, slot);
        let known: Option<Bucket<Window>> = batch.decoded(slot)?;
        closed.extend(known.into_iter().flat_map(|known| known.entries));
        ended.remove(slot);
    }
    // Slots were used again, so the oldest windows in them can be forgotten ones.
    closed.retain(|window| window.until > inbox.floor);
    closed.append(&mut inbox.kept);
    closed.sort_by_key(|window| window.until);
    for window in closed {
        ended.close(&mut inbox.closed, window)?;
    }
    if inbox.gathered.is_empty() {
        return Ok(Buckets::new(batch, key, inbox.open));
    }
    let open = std::mem::take(&mut inbox.gathered);
    Ok(Buckets::gathered(batch, key, open))
}

/// Brings the windows of an inbox that an earlier version stored into the form of this one.
///
/// # Errors
/// The store could not be read.
fn renew(
    batch: &OpenBatch,
    key: TimelineId,
    inbox: &mut Inbox<'_>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let mut ended = Ended::new(batch, key);
    inbox.open = windows(batch, key, inbox, &mut ended)?.write(changes)?;
    ended.write(changes);
    Ok(())
}

/// Adds the removal of closed windows of a user to `changes`: those of a stretch of pieces, and those that are in
/// no piece. No event so far is the user's after that. Nothing changes if there are pieces behind the stretch. The first
/// stretch comes last, and with it all buckets of open windows are set anew: where others took the user out of a group,
/// no record of the user has the key under which the window was. Windows that are open stay.
///
/// # Errors
/// The store could not be read.
pub(super) fn forget_ended(
    batch: &OpenBatch,
    user: UserId,
    stretch: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().inbox(user);
    let value = read(batch, changes, key)?;
    let mut inbox = decode(&value)?;
    let mut ended = Ended::new(batch, key);
    forget_earlier(batch, key, &mut inbox, &mut ended);
    let before = inbox.closed.clone();
    if !ended.forget(&mut inbox.closed, stretch) {
        return Ok(());
    }
    let opened = stretch == 0 && inbox.open.buckets() > 0;
    if ended.is_unchanged() && inbox.closed == before && inbox.kept.is_empty() && !opened {
        return Ok(());
    }
    inbox.kept.clear();
    ended.write(changes);
    let mut ended = Ended::new(batch, key);
    let mut windows = windows(batch, key, &mut inbox, &mut ended)?;
    if opened {
        windows.renew_all(Spread::most_buckets(MOST_OPEN))?;
    }
    inbox.open = windows.write(changes)?;
    ended.write(changes);
    inbox.floor = inbox.floor.max(batch.last_position().0);
    changes.push((key, state::encode(&inbox)));
    Ok(())
}

/// Takes the slots in which an earlier version kept closed windows out of an inbox.
fn forget_earlier(
    batch: &OpenBatch,
    key: TimelineId,
    inbox: &mut Inbox<'_>,
    ended: &mut Ended<'_>,
) {
    for slot in 0..std::mem::take(&mut inbox.slots) {
        ended.remove(batch.ids().closed_slot(key, slot));
    }
}

/// Notes in the inbox that a user deletes messages from the own view, and adds the inbox to
/// `changes` if that is new. Readers look for deleted messages only if an inbox says so.
///
/// # Errors
/// The store could not be read.
pub(super) fn mark_hiding(
    batch: &OpenBatch,
    user: UserId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().inbox(user);
    let value = read(batch, changes, key)?;
    let mut inbox = decode(&value)?;
    if !inbox.hides {
        inbox.hides = true;
        renew(batch, key, &mut inbox, changes)?;
        changes.push((key, state::encode(&inbox)));
    }
    Ok(())
}

/// Adds an inbox to `changes` in which no event up to `position` is left, and no message is deleted from the
/// own view. [`forget_ended`] has removed the closed windows before, all but a few.
///
/// # Errors
/// The store could not be read, or holds more pieces of closed windows than one record removes.
pub(super) fn begin_anew(
    batch: &OpenBatch,
    user: UserId,
    position: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().inbox(user);
    let value = read(batch, changes, key)?;
    let mut inbox = decode(&value)?;
    let mut ended = Ended::new(batch, key);
    forget_earlier(batch, key, &mut inbox, &mut ended);
    inbox.kept.clear();
    if !ended.forget(&mut inbox.closed, 0) {
        return Err(MORE_ENDED);
    }
    ended.write(changes);
    renew(batch, key, &mut inbox, changes)?;
    inbox.floor = inbox.floor.max(position);
    inbox.hides = false;
    changes.push((key, state::encode(&inbox)));
    Ok(())
}

/// Decodes an inbox. A damaged inbox is an error: an empty one must not replace it.
pub(super) fn decode(value: &[u8]) -> Result<Inbox<'_>, Refused> {
    if value.is_empty() {
        return Ok(Inbox::default());
    }
    state::decode(value).ok_or(CORRUPT)
}

fn read(batch: &OpenBatch, changes: &Changes, key: TimelineId) -> Result<Vec<u8>, Refused> {
    debug_assert!(
        changes.iter().all(|(changed, _)| *changed != key),
        "one record changes an inbox twice"
    );
    Ok(batch.value(key)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
