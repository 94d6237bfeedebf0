//! The inboxes of users: records that change a user's conversations change the inbox too.

use super::batch::{Changes, OpenBatch};
use super::refused::{CORRUPT, Refused};
use crate::ids::UserId;
use crate::state::{self, Inbox, InboxEntry};
use trunkline_storage::TimelineId;

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
    match change.window {
        WindowChange::None => {}
        WindowChange::Open {
            channel,
            after,
            first,
        } => inbox.open(channel, after, first),
        WindowChange::Close { channel, until } => inbox.close(channel, until),
    }
    changes.push((key, state::encode(&inbox)));
    Ok(())
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
        changes.push((key, state::encode(&inbox)));
    }
    Ok(())
}

/// Decodes an inbox. A damaged inbox is an error: an empty one must not replace it.
fn decode(value: &[u8]) -> Result<Inbox<'_>, Refused> {
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
mod tests {
    use trunkline_storage::Draft;

    use super::super::fixture::Fixture;
    use super::*;

    /// Changes the inbox of Alice with a record of its own.
    fn apply(fixture: &mut Fixture, change: InboxChange<'_>) {
        let mut changes = Changes::new();
        let alice = fixture.user("alice");
        update(&fixture.batch, alice, change, &mut changes).unwrap();
        let draft = Draft::default();
        fixture.batch.append(&draft, &mut changes).unwrap();
    }

    #[test]
    fn records_add_conversations_and_windows() {
        let mut fixture = Fixture::new();
        let key = fixture.ids().inbox(fixture.user("alice"));
        for entry in [InboxEntry::Direct("bob"), InboxEntry::Group("eng")] {
            let entry = Some(entry);
            apply(
                &mut fixture,
                InboxChange {
                    entry,
                    ..InboxChange::default()
                },
            );
        }
        let window = |window| InboxChange {
            entry: None,
            window,
        };
        let open = WindowChange::Open {
            channel: 5,
            after: 10,
            first: 3,
        };
        apply(&mut fixture, window(open));
        let value = fixture.batch.value(key).unwrap().unwrap();
        let inbox = decode(&value).unwrap();
        assert_eq!(
            inbox.places,
            [InboxEntry::Direct("bob"), InboxEntry::Group("eng")]
        );
        let [opened] = inbox.windows[..] else {
            panic!("{inbox:?}");
        };
        assert_eq!((opened.after, opened.until, opened.first), (10, 0, 3));
        let close = WindowChange::Close {
            channel: 5,
            until: 20,
        };
        apply(&mut fixture, window(close));
        let value = fixture.batch.value(key).unwrap().unwrap();
        assert_eq!(decode(&value).unwrap().windows[0].until, 20);
        assert_eq!(decode(b"\xff"), Err(CORRUPT), "a damaged inbox stays");
    }

    #[test]
    fn hiding_is_marked_once() {
        let mut fixture = Fixture::new();
        for expected in [1, 0] {
            let mut changes = Changes::new();
            mark_hiding(&fixture.batch, fixture.user("alice"), &mut changes).unwrap();
            assert_eq!(changes.len(), expected);
            fixture
                .batch
                .append(&Draft::default(), &mut changes)
                .unwrap();
        }
    }
}
