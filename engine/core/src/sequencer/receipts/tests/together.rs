//! Tests of receipts that wait for each other, and of their recipients in groups.

use trunkline_storage::Position;

use super::super::super::authors;
use super::super::super::groups::Groups;
use super::super::{advance, hold};
use super::{AB, DELIVERED, NAMES, READ, Seen, WAITING, World, answer, push};
use crate::event::{Body, MOST_PARTS};
use crate::exchange::{Action, Change};
use crate::messaging::Messaging;

/// Creates a group of the first `members` of [`NAMES`]. The first one is the owner and sends a
/// message.
fn group(world: &mut World, members: usize) {
    let named = Body {
        members: NAMES[1..members].to_vec(),
        ..Body::default()
    };
    let create = Action::Group(Change::Create { all_history: true });
    world.ask((NAMES[0], 1), ENG, create, named);
    world.send((NAMES[0], 1), ENG);
    world.commit();
}

const ENG: &str = "g:eng";

#[test]
fn authors_of_newly_covered_messages_receive_the_receipt_and_nobody_else() {
    let mut world = World::new();
    group(&mut world, 4);
    world.send(("bob", 2), ENG);
    world.send(("carol", 3), ENG);
    world.commit();
    // A receipt for own messages has no other recipient.
    world.ack(("alice", 1), ENG, 1, 1);
    assert_eq!(world.commit(), [answer(1)]);
    for (marks, told) in [
        ((1, 0), &["alice"][..]),
        ((2, 0), &["bob"]),
        // Messages that were delivered before are read, and the next ones delivered.
        ((3, 1), &["alice", "carol"]),
        ((3, 3), &["bob", "carol"]),
    ] {
        world.ack(("dave", 4), ENG, marks.0, marks.1);
        let says = format!("dave {} {}", marks.0, marks.1);
        let mut expected: Vec<_> = told.iter().map(|user| push(user, &says)).collect();
        expected.push(answer(1));
        let mut found = world.commit();
        found.sort_by_key(|told| format!("{told:?}").replace("Answer", "Z"));
        assert_eq!(found, expected, "{marks:?}");
    }
    // A mark that moved before covers messages from its own place.
    world.send(("alice", 1), ENG);
    world.send(("dave", 4), ENG);
    world.commit();
    world.ack(("bob", 2), ENG, 5, 0);
    let found = world.commit();
    for user in ["alice", "carol", "dave"] {
        assert!(found.contains(&push(user, "bob 5 0")), "{user}: {found:?}");
    }
    assert_eq!(found.len(), 4);
    // An author who left the group does not receive the receipt.
    let gone = Body {
        members: vec!["dave"],
        ..Body::default()
    };
    world.ask(("alice", 1), ENG, Action::Group(Change::Remove), gone);
    world.commit();
    world.ack(("carol", 3), ENG, 5, 0);
    let found = world.commit();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(!found.contains(&push("dave", "carol 5 0")));
}

#[test]
fn several_members_are_one_record_and_each_is_told_what_concerns_them() {
    let mut world = World::waiting();
    world.others = ["bob", "dave"]
        .map(|name| world.ids.user("", name))
        .to_vec();
    group(&mut world, 4);
    world.send(("bob", 2), ENG);
    world.commit();
    world.ack(("carol", 3), ENG, 1, 0);
    world.ack(("bob", 2), ENG, 2, 2);
    world.ack(("dave", 4), ENG, 2, 0);
    world.ack(("dave", 4), ENG, 2, 1);
    assert_eq!(world.commit(), []);
    world.passed += READ;
    let expected = [
        push("alice", "carol 1 0"),
        push("bob", "bob 2 2"),
        push("alice", "bob 2 2"),
        push("dave", "dave 2 1"),
        push("bob", "dave 2 1"),
        push("alice", "dave 2 1"),
        answer(1),
        answer(2),
        answer(3),
        answer(4),
    ];
    assert_eq!(world.commit(), expected);
    assert_eq!(world.receipts(), 1);
    // Catching up gives each user the same, in the same order, and continues after any part.
    for (user, told) in [
        ("alice", &["carol 1 0", "bob 2 2", "dave 2 1"][..]),
        ("bob", &["bob 2 2", "dave 2 1"]),
        ("carol", &["carol 1 0"]),
        ("dave", &["dave 2 1"]),
    ] {
        let all = world.synced(user, Position::ZERO);
        let (positions, says): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        assert_eq!(says, told, "{user}");
        assert!(positions.is_sorted_by(|one, next| one < next));
        for (seen, position) in positions.iter().enumerate() {
            let rest = world.synced(user, *position);
            let rest: Vec<_> = rest.into_iter().map(|(_, says)| says).collect();
            assert_eq!(rest, told[seen + 1..], "{user} after {seen}");
        }
    }
}

#[test]
fn receipts_wait_for_each_other_and_read_marks_wait_less() {
    let mut world = World::waiting();
    for _ in 0..3 {
        world.send(("alice", 1), AB);
    }
    world.commit();
    let nothing: [Seen; 0] = [];
    world.ack(("bob", 2), AB, 1, 0);
    assert_eq!(world.commit(), nothing);
    world.passed += DELIVERED - 1;
    world.ack(("bob", 2), AB, 2, 0);
    assert_eq!(world.commit(), nothing, "not yet");
    world.passed += 1;
    let one = [push("alice", "bob 2 0"), answer(1), answer(1)];
    assert_eq!(world.commit(), one, "each the first of its batch");
    // A read mark makes the receipt due earlier, counted from the first read mark.
    world.ack(("bob", 2), AB, 3, 0);
    world.passed += 10;
    world.ack(("bob", 2), AB, 3, 1);
    assert_eq!(world.commit(), nothing);
    world.passed += READ - 1;
    world.ack(("bob", 2), AB, 3, 2);
    assert_eq!(world.commit(), nothing);
    assert_eq!(
        world.sequencer.receipts.hold.next_due(),
        Some(world.passed + 1)
    );
    world.passed += 1;
    let told = world.commit();
    assert_eq!(told[0], push("alice", "bob 3 2"));
    assert_eq!(told.len(), 4);
    // An old entry in the queue makes no later receipt due early.
    world.send(("alice", 1), AB);
    world.commit();
    world.passed += DELIVERED;
    world.ack(("bob", 2), AB, 4, 2);
    assert_eq!(world.commit(), nothing);
    world.passed += DELIVERED;
    assert_eq!(world.commit().len(), 2);
    // When the gateway stops, delays end.
    world.ack(("bob", 2), AB, 4, 3);
    assert_eq!(world.commit(), nothing);
    world.sequencer.receipts.hold.hurry();
    assert_eq!(world.commit().len(), 2);
}

#[test]
fn a_repeated_waiting_mark_is_answered_with_its_receipt() {
    let mut world = World::waiting();
    world.send(("alice", 1), AB);
    world.commit();
    world.ack(("bob", 2), AB, 1, 0);
    world.commit();
    // The mark is not new, but it is not stored yet.
    world.ack(("bob", 3), AB, 1, 0);
    assert_eq!(world.commit(), []);
    world.passed += DELIVERED;
    let expected = [
        push("bob", "bob 1 0"),
        push("alice", "bob 1 0"),
        answer(1),
        answer(1),
    ];
    assert_eq!(world.commit(), expected);
}

#[test]
fn authors_are_known_behind_a_restart_and_everybody_is_told_where_they_are_not() {
    let mut world = World::new();
    group(&mut world, 4);
    // Alice wrote the first message and Bob the second. Carol wrote all others.
    for seq in 2..=authors::KNOWN_AUTHORS + 1 {
        world.send((if seq == 2 { "bob" } else { "carol" }, 2), ENG);
    }
    world.commit();
    let last = authors::KNOWN_AUTHORS + 1;
    for (restarted, reader, read) in [
        (false, "dave", &["bob", "carol"][..]),
        (true, "bob", &["carol"]),
    ] {
        if restarted {
            world.sequencer.recent.replace_groups(Groups::new(1_000));
        }
        let everybody: Vec<_> = NAMES[..4].iter().filter(|name| **name != reader).collect();
        for (marks, expected) in [
            ((1, 0), None),
            ((2, 1), None),
            ((last, 1), Some(&["carol"][..])),
            ((last, last), Some(read)),
        ] {
            world.ack((reader, 4), ENG, marks.0, marks.1);
            let mut told = world.commit();
            assert_eq!(told.pop(), Some(answer(1)));
            let mut users: Vec<_> = told
                .iter()
                .filter_map(|told| match told {
                    Seen::Push(user, _) => Some(*user),
                    Seen::Answer(..) => None,
                })
                .collect();
            users.sort_unstable();
            match expected {
                None => assert!(users.iter().eq(everybody.iter().copied()), "{users:?}"),
                Some(expected) => assert_eq!(users, expected, "{reader} {marks:?}"),
            }
        }
    }
}

#[test]
fn authors_of_messages_of_the_same_commit_are_found_without_the_group() {
    let mut world = World::new();
    group(&mut world, 4);
    let others = ["g:two", "g:three"];
    for other in others {
        let named = Body {
            members: vec!["bob"],
            ..Body::default()
        };
        let create = Action::Group(Change::Create { all_history: true });
        world.ask(("alice", 1), other, create, named);
    }
    world.commit();
    // Only one group fits: a message to the others drops the first from memory.
    world.sequencer.recent.replace_groups(Groups::new(2));
    for conversation in [ENG, ENG].into_iter().chain(others) {
        world.send(("bob", 2), conversation);
    }
    world.ack(("dave", 4), ENG, 3, 3);
    let told = world.commit();
    for user in ["alice", "bob"] {
        assert!(told.contains(&push(user, "dave 3 3")), "{user}: {told:?}");
    }
}

#[test]
fn members_of_larger_groups_tell_nobody_else_and_share_a_record() {
    let mut world = World::waiting();
    world.others = NAMES.iter().map(|name| world.ids.user("", name)).collect();
    group(&mut world, 6);
    for (number, user) in (2..).zip(&NAMES[1..]) {
        world.ack((user, number), ENG, 1, 1);
    }
    assert_eq!(world.commit(), []);
    world.passed += READ;
    let told = world.commit();
    for user in &NAMES[1..] {
        assert!(told.contains(&push(user, &format!("{user} 1 1"))));
    }
    assert_eq!((told.len(), world.receipts()), (10, 1));
    assert_eq!(world.synced("alice", Position::ZERO), []);
}

/// Returns the stored marks of a user, from either form.
fn marks(world: &World, user: &str) -> (u64, u64) {
    let (group, user) = (world.ids.group("", "eng"), world.ids.user("", user));
    let batch = &world.sequencer.batch;
    let own = batch.member(world.ids.member(group, user)).unwrap();
    let advance = advance(batch, group).unwrap();
    let marks = advance.of(own.number, own.marks);
    (marks.delivered, marks.read)
}

#[test]
fn marks_are_the_same_however_they_are_kept_while_a_group_grows_and_shrinks() {
    let mut world = World::waiting();
    group(&mut world, 4);
    let mut last = 1;
    let mut expected = [("bob", (1, 1)), ("carol", (1, 1)), ("dave", (1, 1))];
    let named = |name| Body {
        members: vec![name],
        ..Body::default()
    };
    let mut read = |world: &mut World, users: &[&str], expected: &mut [(&str, (u64, u64))]| {
        world.send(("alice", 1), ENG);
        world.commit();
        last += 1;
        for user in users {
            world.ack((user, 9), ENG, last, 0);
            world.ack((user, 9), ENG, last, last - 1);
        }
        world.passed += READ;
        world.commit();
        world.passed += READ;
        world.commit();
        for (_, marks) in expected.iter_mut().filter(|one| users.contains(&one.0)) {
            *marks = (last, last - 1);
        }
        for (user, expected) in expected.iter() {
            assert_eq!(marks(world, user), *expected, "{user} at {last}");
        }
    };
    let all = ["bob", "carol", "dave"];
    for user in all {
        world.ack((user, 9), ENG, 1, 1);
    }
    world.passed += READ;
    world.commit();
    // All members together, one alone, and all together again.
    read(&mut world, &all, &mut expected);
    read(&mut world, &["carol"], &mut expected);
    read(&mut world, &all, &mut expected);
    // The group grows beyond the members among whom authors receive receipts.
    world.ask(("alice", 1), ENG, Action::Group(Change::Add), named("erin"));
    world.commit();
    read(&mut world, &["bob", "carol"], &mut expected);
    // The group shrinks again, and one of the leaving members has a row of marks.
    for gone in ["erin", "dave"] {
        world.ask(
            ("alice", 1),
            ENG,
            Action::Group(Change::Remove),
            named(gone),
        );
    }
    world.commit();
    let dave = expected[2].1;
    let (rest, _) = expected.split_at_mut(2);
    read(&mut world, &["bob", "carol"], rest);
    // A member who comes back has the marks from before, and no others.
    world.ask(("alice", 1), ENG, Action::Group(Change::Add), named("dave"));
    world.commit();
    assert_eq!(marks(&world, "dave"), dave);
    let group = world.ids.group("", "eng");
    let key = world.ids.member(group, world.ids.user("", "dave"));
    let number = world.sequencer.batch.member(key).unwrap().number;
    assert_eq!(number, 5, "of six memberships the last");
    // The rows of members who left are removed.
    let rows = |world: &World| world.sequencer.batch.value(group).unwrap();
    assert!(rows(&world).is_some());
    for gone in ["bob", "carol"] {
        world.ask(
            ("alice", 1),
            ENG,
            Action::Group(Change::Remove),
            named(gone),
        );
    }
    world.commit();
    assert_eq!(rows(&world), None);
}

#[test]
fn a_limited_number_of_acknowledgements_waits() {
    let mut world = World::waiting();
    world.send(("alice", 1), AB);
    world.commit();
    for _ in 1..hold::MOST_HELD {
        world.ack(("bob", 2), AB, 1, 0);
    }
    assert_eq!(world.commit(), []);
    assert_eq!(world.sequencer.receipts.hold.len(), hold::MOST_HELD - 1);
    world.ack(("bob", 2), AB, 1, 0);
    let told = world.commit();
    assert_eq!((told.len(), world.receipts()), (hold::MOST_HELD + 1, 1));
    assert_eq!(world.sequencer.receipts.hold.len(), 0);
}

#[test]
fn a_record_has_a_limited_number_of_members_and_the_next_has_the_others() {
    let names: Vec<_> = (0..2 * MOST_PARTS).map(|i| format!("m{i:02}")).collect();
    let mut world = World::with(Messaging {
        receipt_fanout: 64,
        ..WAITING
    });
    let named = Body {
        members: names[1..].iter().map(String::as_str).collect(),
        ..Body::default()
    };
    let create = Action::Group(Change::Create { all_history: true });
    world.ask((&names[0], 1), ENG, create, named);
    for name in &names[..2] {
        world.send((name, 1), ENG);
    }
    world.commit();
    for name in &names[2..] {
        world.ack((name, 1), ENG, 2, 2);
    }
    world.commit();
    world.passed += READ;
    world.commit();
    assert_eq!(
        (
            world.receipts(),
            world.sequencer.metrics.receipt_marks.get()
        ),
        (2, 62)
    );
    for author in &names[..2] {
        let (positions, says): (Vec<_>, Vec<_>) =
            world.synced(author, Position::ZERO).into_iter().unzip();
        let expected: Vec<_> = names[2..]
            .iter()
            .map(|name| format!("{name} 2 2"))
            .collect();
        assert_eq!(says, expected);
        assert!(positions.is_sorted_by(|one, next| one < next));
        let rest = world.synced(author, positions[40]);
        assert_eq!(rest.len(), 62 - 41, "some of the second record");
    }
    for reader in &names[2..] {
        assert_eq!(marks(&world, reader), (2, 2));
    }
}
