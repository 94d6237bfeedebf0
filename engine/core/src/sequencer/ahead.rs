//! Reads that a change of many users needs, all together before the change.
//!
//! A record of a thousand members is long, and what a user's inbox is made of lies in several of them. One
//! user after another would read each of the records once for each user.

use trunkline_storage::TimelineId;

use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::inboxes::{self, InboxChange, WindowChange};
use super::refused::Refused;
use crate::ids::UserId;
use crate::state::{Closed, InboxEntry, NODE, Spread, Window};

/// The number of users whose values are read together. Their values stay in memory until the next are read.
const TOGETHER: usize = 512;

/// Changes the inboxes of users: a conversation enters them, or what they see of one channel.
///
/// # Errors
/// As of [`inboxes::update`].
pub(super) fn update_inboxes(
    batch: &OpenBatch,
    users: &[UserId],
    entry: Option<InboxEntry<'_>>,
    window: impl Fn(UserId) -> WindowChange,
    changes: &mut Changes,
) -> Result<(), Refused> {
    for users in users.chunks(TOGETHER) {
        if let [first, _, ..] = users {
            read_inboxes(batch, users, window(*first))?;
        }
        for &user in users {
            let window = window(user);
            inboxes::update(batch, user, InboxChange { entry, window }, changes)?;
        }
    }
    Ok(())
}

/// Reads what [`inboxes::update`] needs of these users, at most [`TOGETHER`], for this change of their windows.
///
/// # Errors
/// The store could not be read, or holds a value of another form.
fn read_inboxes(batch: &OpenBatch, users: &[UserId], window: WindowChange) -> Result<(), Refused> {
    let inboxes: Vec<_> = users.iter().map(|user| batch.ids().inbox(*user)).collect();
    batch.read_ahead(&inboxes)?;
    let mut parts = Vec::new();
    for &key in &inboxes {
        let value = batch.known(key).flatten().unwrap_or_default();
        let inbox = inboxes::decode(&value)?;
        // What an earlier version stored in another form is read once, when it changes.
        if inbox.gathered.is_empty() {
            windows(batch, key, inbox.open, window, &mut parts);
        }
        if matches!(window, WindowChange::Close { .. }) {
            nodes(batch, key, &inbox.closed, &mut parts);
        }
    }
    batch.read_more_ahead(&parts)
}

/// Adds the keys of the open windows that a change reads.
fn windows(
    batch: &OpenBatch,
    key: TimelineId,
    open: Spread,
    window: WindowChange,
    parts: &mut Vec<TimelineId>,
) {
    let (channel, added, removed) = match window {
        WindowChange::None => return,
        WindowChange::Open { channel, .. } => (channel, 1, 0),
        WindowChange::Close { channel, .. } => (channel, 0, 1),
    };
    let hash = Window::hash_of(channel);
    parts.extend(Buckets::<Window>::keys(
        batch,
        key,
        open,
        hash,
        (added, removed),
    ));
}

/// Adds the keys of the nodes that a window reads which is the next to end.
fn nodes(batch: &OpenBatch, key: TimelineId, closed: &Closed, parts: &mut Vec<TimelineId>) {
    let Some(mut number) = closed.fills_next() else {
        return;
    };
    for level in 1.. {
        let place = number % NODE;
        number /= NODE;
        if place > 0 {
            parts.push(batch.ids().closed(key, level, number));
        }
        if place + 1 < NODE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::told::Told;
    use trunkline_storage::Draft;

    /// After a read ahead, a change of the inboxes reads nothing from the store.
    #[test]
    fn a_change_finds_all_that_it_needs() {
        let mut fixture = Fixture::new();
        let users: Vec<_> = (0..7).map(|n| fixture.user(&format!("u{n}"))).collect();
        let mut position = 1;
        let change = |fixture: &mut Fixture, entry, window| {
            fixture.batch.commit(Told::default()).unwrap();
            let before = fixture.batch.looks();
            let mut changes = Changes::new();
            let of_all = |_| window;
            update_inboxes(&fixture.batch, &users, entry, of_all, &mut changes).unwrap();
            assert_eq!(fixture.batch.looks(), before, "{window:?}");
            let draft = Draft {
                timeline: TimelineId(9),
                ..Draft::default()
            };
            fixture.batch.append(&draft, &mut changes).unwrap();
        };
        // Enough to split and merge buckets, and to fill pieces and a node of the second level.
        for round in 0..3_u128 {
            for group in 0..300_u128 {
                let channel = round << 64 | (group + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                position += 1;
                let open = WindowChange::Open {
                    channel,
                    after: position,
                    first: 1,
                };
                let entry = Some(InboxEntry::Group("some"));
                change(&mut fixture, entry, open);
            }
            for group in 0..300_u128 {
                let channel = round << 64 | (group + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                position += 1;
                let until = position + 10_000;
                change(&mut fixture, None, WindowChange::Close { channel, until });
            }
        }
    }
}
