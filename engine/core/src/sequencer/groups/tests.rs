//! Tests of groups in memory.

use super::super::fixture::Fixture;
use super::*;

fn seat(user: u128, role: Role, first: u64) -> Seat {
    Seat {
        user: TimelineId(user << 60 | user),
        name: user.to_string().into(),
        role,
        since: user as u64,
        first,
    }
}

/// Returns the members as a sort of all of them gives.
fn sorted(group: &Group) -> Vec<UserId> {
    let mut all: Vec<_> = group.seats().map(|seat| seat.user).collect();
    all.sort_unstable_by_key(|user| (Directory::place(*user), user.0));
    all
}

#[test]
fn the_list_of_members_follows_changes_and_is_shared_between_them() {
    let ids = Fixture::new().ids();
    let mut group = Group::new(&ids, TimelineId(1), "", false);
    for user in 0..400 {
        group.add(seat(user, Role::Member, 1));
    }
    let first = Arc::clone(group.everybody());
    assert_eq!(*first, *sorted(&group));
    assert!(Arc::ptr_eq(&first, group.everybody()), "nothing changed");
    // Some leave, some join, some leave and come back, some join and leave.
    for user in (0..400).step_by(7) {
        group.remove(seat(user, Role::Member, 1).user);
    }
    for user in (0..400).step_by(21).chain(400..450) {
        group.add(seat(user, Role::Member, 1));
    }
    group.remove(seat(420, Role::Member, 1).user);
    let expected = sorted(&group);
    assert_eq!(**group.everybody(), *expected);
    assert_eq!(expected.len(), group.len());
}

#[test]
fn who_needs_a_group_that_is_not_in_memory_pays_for_its_members() {
    let mut fixture = Fixture::new();
    fixture.create_group(&["alice", "bob", "carol"]);
    fixture.commit();
    let id = fixture.ids().group("", "eng");
    for (is_dropped, names) in [(true, 3), (false, 0)] {
        if is_dropped {
            fixture.recent.forget_all();
        }
        fixture.batch.take_work();
        fixture.recent.group(&fixture.batch, "", id).unwrap();
        assert_eq!(fixture.batch.take_work().names, names);
    }
}

#[test]
fn new_members_take_the_first_free_places() {
    let ids = Fixture::new().ids();
    let mut group = Group::new(&ids, TimelineId(1), "", false);
    let room = ROSTER_CHUNK as u128;
    for user in 0..3 * room {
        let chunk = group.add(seat(user, Role::Member, 1));
        assert_eq!(u128::from(chunk), user / room);
    }
    for user in [2 * room, 5, room + 1] {
        group.remove(seat(user, Role::Member, 1).user);
    }
    let places = (0..4).map(|n| group.add(seat(1_000 + n, Role::Member, 1)));
    assert_eq!(places.collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn members_who_joined_later_do_not_see_earlier_messages() {
    let ids = Fixture::new().ids();
    let mut group = Group::new(&ids, TimelineId(1), "", false);
    group.add(seat(1, Role::Owner, 1));
    group.add(seat(2, Role::Member, 10));
    assert_eq!(group.who_see(9).len(), 1);
    for seq in [10, 11] {
        assert!(Arc::ptr_eq(&group.who_see(seq), group.everybody()));
    }
    group.remove(seat(2, Role::Member, 10).user);
    assert!(Arc::ptr_eq(&group.who_see(9), group.everybody()));
    assert_eq!(group.crown(), None, "there is an owner");
    group.remove(seat(1, Role::Owner, 1).user);
    group.add(seat(3, Role::Member, 12));
    assert_eq!(group.crown().unwrap().user, seat(3, Role::Member, 12).user);
    assert_eq!(group.crown(), None);
}

#[test]
fn an_unused_group_leaves_memory_and_is_loaded_again() {
    use crate::sequencer::fixture::ENG;
    let mut fixture = Fixture::new();
    fixture.create_group(&["alice", "bob"]);
    fixture.commit();
    let mut unused_until = |passed| {
        fixture.recent.age(passed);
        fixture.recent.groups().count()
    };
    assert_eq!(unused_until(1), 1);
    assert_eq!(unused_until(30_000), 1, "too early");
    assert_eq!(unused_until(30_001), 0, "unused since the last look");
    fixture.send("bob", ENG).unwrap();
    fixture.recent.age(60_001);
    fixture.send("bob", ENG).unwrap();
    fixture.recent.age(90_001);
    assert_eq!(fixture.recent.groups().count(), 1, "in use");
}

#[test]
fn dropped_groups_are_freed_a_few_at_a_time() {
    let ids = Fixture::new().ids();
    let mut groups = Groups::new(1_000_000);
    for id in 0..600 {
        groups.enter(Group::new(&ids, TimelineId(id), "", false));
    }
    groups.age(0);
    groups.age(60_000);
    let mut left = vec![groups.dropped()];
    while groups.dropped() > 0 {
        groups.age(60_000);
        left.push(groups.dropped());
    }
    assert_eq!(left, [344, 88, 0]);
}
