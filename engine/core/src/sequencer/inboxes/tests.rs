//! Tests of the inboxes of users.

use trunkline_storage::Draft;
use trunkline_storage::backend::Backend as _;

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

/// Appends a record with what `change` adds. Returns what it returned.
fn recorded(
    fixture: &mut Fixture,
    change: impl FnOnce(&OpenBatch, UserId, &mut Changes) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let (alice, mut changes) = (fixture.user("alice"), Changes::new());
    let done = change(&fixture.batch, alice, &mut changes);
    if !changes.is_empty() {
        let draft = Draft::default();
        fixture.batch.append(&draft, &mut changes).unwrap();
    }
    done
}

/// Returns the pieces and nodes of Alice in the store, by level and number.
fn kept(fixture: &Fixture) -> Vec<(u32, u64)> {
    let key = fixture.ids().inbox(fixture.user("alice"));
    let mut kept = Vec::new();
    for level in 0..4 {
        let numbers = (0..200).map(|number| (level, number));
        kept.extend(numbers.filter(|(level, number)| {
            let key = fixture.ids().closed(key, *level, *number);
            // What is damaged is there.
            !matches!(fixture.batch.value(key), Ok(None))
        }));
    }
    kept
}

/// Removes all closed windows as an erasure does, which finds them in the store. Returns the number of steps.
fn forget_all(fixture: &mut Fixture) -> u64 {
    fixture.commit();
    let stretches = crate::erasure::ended_windows(fixture.batch.store(), ("", "alice"));
    let stretches = stretches.unwrap();
    for stretch in (0..stretches).rev() {
        let forget = |batch: &OpenBatch, alice: UserId, changes: &mut Changes| {
            forget_ended(batch, alice, stretch, changes)
        };
        let before = fixture.batch.last_position();
        recorded(fixture, forget).unwrap();
        let after = fixture.batch.last_position();
        assert_ne!(after, before, "{stretch}");
        recorded(fixture, forget).unwrap();
        assert_eq!(fixture.batch.last_position(), after, "a repetition");
        // What is left is whole: a crash may come here.
        let pieces = kept(fixture).into_iter().filter(|(level, _)| *level == 0);
        assert!(pieces.map(|(_, piece)| piece).eq(0..stretch * 64));
    }
    stretches
}

#[test]
fn an_erasure_leaves_no_piece_and_no_node_of_closed_windows() {
    let mut fixture = Fixture::new();
    let channel = channel(&fixture, 1);
    let alice = fixture.user("alice");
    let inbox = fixture.ids().inbox(alice);
    let left = |fixture: &mut Fixture, windows: u64| {
        for _ in 0..windows {
            apply(fixture, open(channel));
            apply(fixture, close(channel));
        }
    };
    left(&mut fixture, 8 * 130 + 3);
    assert_eq!(kept(&fixture).len(), 130 + 3 + 1);
    let anew = |batch: &OpenBatch, alice: UserId, changes: &mut Changes| {
        begin_anew(batch, alice, 30, changes)
    };
    assert_eq!(recorded(&mut fixture, anew), Err(MORE_ENDED));
    recorded(&mut fixture, |batch, alice, changes| {
        forget_ended(batch, alice, 1, changes)
    })
    .unwrap();
    assert_eq!(kept(&fixture).len(), 130 + 3 + 1, "the last ones go first");
    assert_eq!(forget_all(&mut fixture), 3);
    assert_eq!(kept(&fixture), []);
    assert_eq!(forget_all(&mut fixture), 0);
    // Others go on until the erasure ends.
    left(&mut fixture, 8 * 64 + 1);
    recorded(&mut fixture, anew).unwrap();
    assert_eq!(kept(&fixture), []);
    let value = fixture.batch.value(inbox).unwrap().unwrap();
    let rest = decode(&value).unwrap().closed;
    assert_eq!(rest, state::Closed::default());
    // An erasure by an earlier version left pieces and nodes that no inbox counts.
    left(&mut fixture, 8 * 70);
    let value = fixture.batch.value(inbox).unwrap().unwrap();
    let mut old = decode(&value).unwrap();
    old.closed = state::Closed::default();
    fixture.batch.set(inbox, &state::encode(&old)).unwrap();
    assert_eq!(kept(&fixture).len(), 70 + 2 + 1);
    left(&mut fixture, 9);
    assert_eq!(forget_all(&mut fixture), 2);
    assert_eq!(kept(&fixture), []);
}

/// Returns the numbers of the buckets of open windows that the changes of a step set, in order.
fn buckets_set(fixture: &mut Fixture) -> Vec<u32> {
    let mut keys = Vec::new();
    recorded(fixture, |batch, alice, changes| {
        forget_ended(batch, alice, 0, changes)?;
        keys.extend(changes.iter().map(|(key, _)| *key));
        Ok(())
    })
    .unwrap();
    let inbox = fixture.ids().inbox(fixture.user("alice"));
    let bucket = |number: &u32| keys.contains(&fixture.ids().bucket(inbox, *number));
    (0..1_000).filter(bucket).collect()
}

/// The record of the step has the key of each bucket that there ever was, and no window of a member goes.
#[test]
fn an_erasure_sets_all_buckets_of_open_windows_anew() {
    let mut fixture = Fixture::new();
    let inbox = fixture.ids().inbox(fixture.user("alice"));
    let all = Spread::most_buckets(MOST_OPEN);
    assert!(
        buckets_set(&mut fixture).is_empty(),
        "she was in no large group"
    );
    for _ in 0..2 {
        for n in 0..MOST_OPEN as u64 {
            let change = open(channel(&fixture, n));
            apply(&mut fixture, change);
        }
        let value = fixture.batch.value(inbox).unwrap().unwrap();
        assert!(decode(&value).unwrap().open.buckets() <= all);
        for n in 100..MOST_OPEN as u64 {
            let change = close(channel(&fixture, n));
            apply(&mut fixture, change);
        }
        recorded(&mut fixture, |batch, alice, changes| {
            forget_ended(batch, alice, 1, changes)
        })
        .unwrap();
        let before = opened(&fixture);
        assert_eq!(before.len(), 100);
        for _ in 0..2 {
            assert!(buckets_set(&mut fixture).into_iter().eq(0..all));
            assert_eq!(opened(&fixture), before, "they stay");
        }
        for n in 0..100 {
            let change = close(channel(&fixture, n));
            apply(&mut fixture, change);
        }
        assert!(buckets_set(&mut fixture).into_iter().eq(0..all));
        assert!(buckets_set(&mut fixture).is_empty(), "a repetition");
        assert_eq!(opened(&fixture), []);
    }
}

/// Nobody can read what is damaged, and an erasure removes it.
#[test]
fn an_erasure_does_not_wait_for_the_repair_of_closed_windows() {
    for counted in [true, false] {
        let mut fixture = Fixture::new();
        let channel = channel(&fixture, 1);
        let inbox = fixture.ids().inbox(fixture.user("alice"));
        let left = |fixture: &mut Fixture, pieces: usize| {
            for _ in 0..8 * pieces {
                apply(fixture, open(channel));
                apply(fixture, close(channel));
            }
            fixture.commit();
        };
        left(&mut fixture, 11);
        let piece = fixture.ids().closed(inbox, 0, 10);
        let value = fixture.batch.value(piece).unwrap().unwrap();
        let mut names = fixture.disk.list().unwrap();
        names.retain(|name| name.ends_with(".seg"));
        let name = names.pop().unwrap();
        let bytes = fixture.disk.contents(&name).unwrap();
        // All pieces have the same bytes. This one was written last.
        let at = bytes.windows(value.len()).rposition(|part| part == value);
        left(&mut fixture, 59);
        if !counted {
            let value = fixture.batch.value(inbox).unwrap().unwrap();
            let mut old = decode(&value).unwrap();
            old.closed = state::Closed::default();
            fixture.batch.set(inbox, &state::encode(&old)).unwrap();
            fixture.commit();
        }
        fixture.disk.flip(&name, at.unwrap() * 8);
        let stored = fixture.batch.store().state(piece);
        assert!(stored.is_err(), "{stored:?} is damaged");
        assert_eq!(forget_all(&mut fixture), 2);
        assert_eq!(kept(&fixture), []);
    }
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
