//! The inboxes of users: records that change a user's conversations change the inbox too.

use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::ended::Ended;
use super::refused::{CORRUPT, Refused};
use crate::ids::UserId;
use crate::state::{self, Bucket, Closed, Inbox, InboxEntry, Window};
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
/// own view.
///
/// # Errors
/// The store could not be read.
pub(super) fn begin_anew(
    batch: &OpenBatch,
    user: UserId,
    position: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().inbox(user);
    let value = read(batch, changes, key)?;
    let mut inbox = decode(&value)?;
    renew(batch, key, &mut inbox, changes)?;
    // All of them end before the new floor. Pieces and nodes are written anew from the first on.
    inbox.closed = Closed::default();
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
mod tests {
    use trunkline_storage::Draft;

    use super::super::fixture::{Fixture, most};
    use super::*;

    /// Changes the inbox of Alice with a record of its own.
    fn apply(fixture: &mut Fixture, change: InboxChange<'_>) {
        let mut changes = Changes::new();
        let alice = fixture.user("alice");
        update(&fixture.batch, alice, change, &mut changes).unwrap();
        let draft = Draft::default();
        fixture.batch.append(&draft, &mut changes).unwrap();
    }

    /// Returns the open windows of Alice.
    fn opened(fixture: &Fixture) -> Vec<Window> {
        let key = fixture.ids().inbox(fixture.user("alice"));
        let value = fixture.batch.value(key).unwrap().unwrap();
        let mut inbox = decode(&value).unwrap();
        let mut ended = Ended::new(&fixture.batch, key);
        let windows = windows(&fixture.batch, key, &mut inbox, &mut ended);
        windows.unwrap().all().unwrap()
    }

    fn open(channel: u128) -> InboxChange<'static> {
        InboxChange {
            entry: None,
            window: WindowChange::Open {
                channel,
                after: 10,
                first: 3,
            },
        }
    }

    fn close(channel: u128) -> InboxChange<'static> {
        let window = WindowChange::Close { channel, until: 20 };
        InboxChange {
            entry: None,
            window,
        }
    }

    /// Returns ids as they are for channels: spread evenly.
    fn channel(fixture: &Fixture, n: u64) -> u128 {
        fixture.ids().channel(TimelineId(n.into())).0
    }

    #[test]
    fn one_more_group_costs_the_same_for_users_with_many_groups() {
        let mut fixture = Fixture::new();
        let mut work = Vec::new();
        for n in 0..1_000 {
            fixture.batch.take_work();
            let change = open(channel(&fixture, n));
            apply(&mut fixture, change);
            work.push(fixture.batch.take_work());
        }
        let ((few, few_bytes), (many, many_bytes)) = (most(&work[..20]), most(&work[980..1_000]));
        assert!(many <= few + 2, "{few} {many}");
        assert!(many_bytes < 3 * few_bytes, "{few_bytes} {many_bytes}");
        assert_eq!(opened(&fixture).len(), 1_000);
        for n in 0..1_000 {
            let change = close(channel(&fixture, n));
            apply(&mut fixture, change);
            assert_eq!(opened(&fixture).len(), 999 - n as usize);
        }
    }

    #[test]
    fn windows_have_an_end() {
        let mut fixture = Fixture::new();
        for n in 0..MOST_OPEN as u64 {
            let change = open(channel(&fixture, n));
            apply(&mut fixture, change);
        }
        let alice = fixture.user("alice");
        let (known, new) = (channel(&fixture, 7), channel(&fixture, 5_000));
        let mut changes = Changes::new();
        let one_more = update(&fixture.batch, alice, open(new), &mut changes);
        assert_eq!(one_more, Err(TOO_MANY_CHANNELS));
        apply(&mut fixture, open(known));
        apply(&mut fixture, close(known));
        apply(&mut fixture, open(new));
        assert_eq!(opened(&fixture).len(), MOST_OPEN);
    }

    #[test]
    fn one_more_end_costs_the_same_for_users_who_left_many_groups() {
        let mut fixture = Fixture::new();
        let channel = channel(&fixture, 1);
        let mut work = Vec::new();
        for _ in 0..2_000 {
            apply(&mut fixture, open(channel));
            fixture.batch.take_work();
            apply(&mut fixture, close(channel));
            work.push(fixture.batch.take_work());
        }
        let ((_, few), (_, many)) = (most(&work[500..1_000]), most(&work[1_500..]));
        assert!(many <= few + 16, "{few} {many}");
        let sum = |work: &[_]| work.iter().map(|one| most(&[*one]).1).sum::<u32>();
        let (few, many) = (sum(&work[..512]), sum(&work[1_024..1_536]));
        assert!(many <= few + few / 4, "{few} {many}");
        let key = fixture.ids().inbox(fixture.user("alice"));
        let value = fixture.batch.value(key).unwrap().unwrap();
        let inbox = decode(&value).unwrap();
        assert_eq!((inbox.floor, inbox.closed.pieces), (0, 250));
    }

    #[test]
    fn a_user_who_begins_anew_has_no_ended_windows() {
        let mut fixture = Fixture::new();
        let channel = channel(&fixture, 1);
        let (alice, mut kept) = (fixture.user("alice"), Vec::new());
        for _ in 0..2 {
            for _ in 0..3 * 8 + 1 {
                apply(&mut fixture, open(channel));
                apply(&mut fixture, close(channel));
            }
            let value = fixture.batch.value(fixture.ids().inbox(alice));
            let value = value.unwrap().unwrap();
            kept.push(decode(&value).unwrap().closed);
            let mut changes = Changes::new();
            begin_anew(&fixture.batch, alice, 30, &mut changes).unwrap();
            fixture
                .batch
                .append(&Draft::default(), &mut changes)
                .unwrap();
        }
        assert_eq!(kept[0].pieces, 3);
        assert_eq!(kept[0], kept[1]);
    }

    #[test]
    fn windows_of_an_earlier_version_move_and_none_is_lost() {
        let mut fixture = Fixture::new();
        let key = fixture.ids().inbox(fixture.user("alice"));
        let windows: Vec<_> = (0..100)
            .map(|n| (channel(&fixture, n), 10_u64, 20 * u64::from(n == 50), 3_u64))
            .collect();
        let places = [InboxEntry::Direct("bob")].as_slice();
        let before = (0_u32, places, &windows[..], 7_u64, true);
        let value = postcard::to_extend(&before, vec![18]).unwrap();
        fixture.batch.set(key, &value).unwrap();
        let change = open(channel(&fixture, 3));
        apply(&mut fixture, change);
        assert_eq!(opened(&fixture).len(), 99, "it is open already");
        let change = open(channel(&fixture, 100));
        apply(&mut fixture, change);
        let change = close(channel(&fixture, 60));
        apply(&mut fixture, change);
        let mut left: Vec<_> = opened(&fixture).iter().map(|one| one.channel).collect();
        let ends = [50, 60];
        let mut expected: Vec<_> = (0..=100)
            .filter(|n| !ends.contains(n))
            .map(|n| channel(&fixture, n))
            .collect();
        left.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left, expected);
        let value = fixture.batch.value(key).unwrap().unwrap();
        let inbox = decode(&value).unwrap();
        let closed = inbox.closed.rest.iter().map(|one| one.channel);
        assert!(closed.eq(ends.map(|n| channel(&fixture, n))));
        assert_eq!((inbox.places.as_slice(), inbox.floor), (places, 7));
        for n in 0..=100 {
            let change = close(channel(&fixture, n));
            apply(&mut fixture, change);
        }
        assert_eq!(opened(&fixture), []);
        for number in 0..100 {
            let key = fixture.ids().bucket(key, number);
            assert_eq!(fixture.batch.value(key), Ok(None), "{number}");
        }
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
        let [found] = opened(&fixture)[..] else {
            panic!("{inbox:?}");
        };
        assert_eq!((found.after, found.until, found.first), (10, 0, 3));
        let close = WindowChange::Close {
            channel: 5,
            until: 20,
        };
        apply(&mut fixture, window(close));
        let value = fixture.batch.value(key).unwrap().unwrap();
        assert_eq!(decode(&value).unwrap().closed.rest[0].until, 20);
        assert_eq!(opened(&fixture), []);
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
