//! Tests of what a hub knows of other nodes.

use trunkline_storage::{Position, TimelineId};

use super::*;
use crate::directory::Directory;
use crate::hub::{HubLimits, LaneContent};

const ALICE: UserId = TimelineId(5 << 64 | 7);
const PHONE: DeviceMark = DeviceMark([1; 4]);
const TABLET: DeviceMark = DeviceMark([2; 4]);
const B: NodeNumber = NodeNumber(1);
const C: NodeNumber = NodeNumber(2);

/// The time at which users see each other online after they left, in the tests.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

struct World {
    hub: Hub,
    directory: Arc<Directory>,
    nodes: Arc<Nodes>,
}

impl World {
    /// Returns the hub of a node whose one shard watches alice.
    fn new() -> Self {
        let directory = Arc::new(Directory::new(Position::ZERO));
        let mailbox = crate::exchange::Mailbox::new(Box::new(crate::exchange::NoSleeper));
        let hub = Hub::new(
            &HubLimits::of_tests(),
            100,
            Arc::clone(&directory),
            vec![Arc::new(mailbox)],
        );
        let nodes = hub.join(Arc::new(NoWake));
        hub.watch(ALICE, 0);
        Self {
            hub,
            directory,
            nodes,
        }
    }

    fn arrive(&self, device: DeviceMark) {
        self.directory.enter(ALICE, 0, device);
        self.hub.arrived(ALICE);
    }

    /// Lets time pass.
    fn pass(&self, time: Duration) {
        let clock = &self.hub.clock;
        let wire = Duration::from_millis(clock.now()) + time;
        clock.set(wire, clock.passed());
    }

    fn shown(&self) -> u32 {
        self.hub.state(ALICE, None).shown()
    }

    /// Returns whether the watching shard was told that alice may have changed.
    fn is_told(&self) -> bool {
        let mut content = LaneContent::default();
        self.hub.lanes.take(0, &mut content);
        content.changed.contains(&ALICE)
    }

    fn hear(&self, node: NodeNumber, devices: &[DeviceMark], left: Option<Duration>) {
        self.hub.hear(node, &at(ALICE, devices, left));
    }
}

fn at(user: UserId, devices: &[DeviceMark], left_ago: Option<Duration>) -> UserAtNode {
    UserAtNode {
        user,
        devices: devices.iter().copied().collect(),
        left_ago,
    }
}

const JUST_NOW: Option<Duration> = Some(Duration::ZERO);

#[test]
fn a_user_is_online_at_any_node_and_a_device_counts_once() {
    let world = World::new();
    assert!(world.hub.is_gone(ALICE));
    world.hear(B, &[PHONE], None);
    assert!(world.is_told() && !world.hub.is_gone(ALICE));
    world.hear(B, &[PHONE], None);
    assert!(!world.is_told(), "nothing is new");
    world.hear(C, &[PHONE, TABLET], None);
    assert_eq!(world.hub.state(ALICE, None).devices, 2);
    world.arrive(PHONE);
    assert_eq!(world.hub.state(ALICE, None).devices, 2);
    world.hear(B, &[], JUST_NOW);
    world.hear(C, &[], JUST_NOW);
    assert_eq!(world.hub.state(ALICE, None).devices, 1);
    world.hub.leave(ALICE, 0, PHONE);
    assert!(world.hub.is_gone(ALICE));
}

#[test]
fn devices_elsewhere_are_those_that_are_not_here_too() {
    let world = World::new();
    let elsewhere = |device| world.hub.devices_elsewhere(ALICE, device);
    let other = DeviceMark([3; 4]);
    assert_eq!(elsewhere(PHONE), 0);
    world.hear(B, &[PHONE, TABLET], None);
    world.hear(C, &[TABLET], None);
    assert_eq!(
        (elsewhere(PHONE), elsewhere(TABLET), elsewhere(other)),
        (1, 1, 2)
    );
    // The phone has moved: its old node has not noticed yet.
    world.arrive(PHONE);
    assert_eq!((elsewhere(PHONE), elsewhere(other)), (1, 1));
    world.hear(B, &[], JUST_NOW);
    world.hear(C, &[], JUST_NOW);
    assert_eq!(elsewhere(other), 0);
}

#[test]
fn a_user_who_comes_to_another_node_in_time_was_online_all_along() {
    let world = World::new();
    world.hear(B, &[PHONE], None);
    world.hear(B, &[], JUST_NOW);
    assert_eq!(world.shown(), 1, "the grace time runs");
    world.pass(GRACE / 2);
    assert_eq!(world.shown(), 1);
    world.hear(C, &[PHONE], None);
    world.pass(GRACE);
    assert_eq!(world.shown(), 1);
    // Less of the grace time is left for a message that comes late.
    world.hear(C, &[], Some(GRACE / 2));
    assert_eq!(world.shown(), 1);
    world.pass(GRACE / 2);
    assert_eq!(world.shown(), 0);
    // An earlier time of another node changes nothing.
    let left = world.hub.state(ALICE, None).left;
    world.hear(B, &[], Some(GRACE * 3));
    assert_eq!(world.hub.state(ALICE, None).left, left);
}

#[test]
fn who_is_not_in_a_list_has_left() {
    let world = World::new();
    let [near, far] = [TimelineId(5 << 64 | 9), TimelineId(6 << 64 | 9)];
    for user in [near, far] {
        world.hub.hear(B, &at(user, &[PHONE], None));
    }
    world.hear(B, &[PHONE], None);
    world.hear(C, &[TABLET], None);
    assert!(world.is_told());
    let stretch = |ids| Stretch { stripe: 5, ids };
    // The list of other users says nothing of her, nor does that of another stripe.
    world.hub.hear_all(B, &stretch(near.0..=near.0), &[]);
    assert!(world.hub.is_gone(near) && !world.is_told());
    let list = [at(near, &[PHONE], None)];
    world.hub.hear_all(B, &stretch(0..=u128::MAX), &list);
    assert!(!world.hub.is_gone(near) && !world.hub.is_gone(far));
    assert!(world.is_told());
    assert_eq!(world.hub.state(ALICE, None).devices, 1, "at the other node");
    world.hub.hear_all(C, &stretch(0..=u128::MAX), &[]);
    assert_eq!(world.hub.state(ALICE, None).devices, 0);
    assert_eq!(world.shown(), 1, "since now");
    assert_eq!(world.nodes.devices(), 2);
}

#[test]
fn the_users_of_a_node_that_has_ended_left_when_it_was_heard_last() {
    let world = World::new();
    world.hear(B, &[PHONE], None);
    world.hear(C, &[TABLET], None);
    assert!(world.is_told());
    world.hub.node_ended(B, GRACE / 2);
    assert!(world.is_told());
    assert_eq!(world.shown(), 1, "at the other node");
    world.hub.node_ended(C, GRACE / 2);
    assert_eq!(world.shown(), 1, "the grace time runs");
    world.pass(GRACE / 2);
    assert_eq!((world.shown(), world.nodes.devices()), (0, 0));
}

#[test]
fn who_leaves_another_node_waits_to_be_stored_until_somebody_has_stored_it() {
    let world = World::new();
    let waits = || world.hub.unsaved.left(ALICE);
    world.hear(B, &[PHONE], None);
    assert_eq!(waits(), None);
    world.hear(B, &[], JUST_NOW);
    let left = waits().expect("a time");
    world.hub.last_seen_stored(ALICE, left - 2 * DIFFERENCE);
    assert_eq!(waits(), Some(left), "an earlier time was stored");
    world.hub.last_seen_stored(ALICE, left);
    assert_eq!(waits(), None);
    // Who is back will leave again.
    world.pass(GRACE);
    world.hear(B, &[PHONE], None);
    world.hear(B, &[], JUST_NOW);
    world.hear(C, &[PHONE], None);
    assert!(waits().is_some());
    let mut stripe = 0;
    for _ in 0..STRIPES {
        stripe = world.hub.drop_returned(stripe);
    }
    assert_eq!(waits(), None);
}

#[test]
fn what_happens_here_is_for_other_nodes() {
    let world = World::new();
    let mut taken = VecDeque::new();
    world.arrive(TABLET);
    world.arrive(PHONE);
    world.hub.leave(ALICE, 0, PHONE);
    assert!(!world.nodes.take_changed(&mut taken));
    assert_eq!(taken, [ALICE]);
    let here = world.hub.here(ALICE);
    assert_eq!(
        (&here.devices[..], here.left_ago.is_some()),
        (&[TABLET][..], true)
    );
    // What other nodes say is not told back.
    world.hear(B, &[PHONE], None);
    assert!(!world.nodes.has_changed());
    assert_eq!(world.hub.here(ALICE).devices[..], [TABLET]);
}

#[test]
fn an_event_goes_to_the_nodes_that_have_devices_of_its_users() {
    let world = World::new();
    let bob = TimelineId(6 << 64 | 9);
    let pass = |users: &[UserId]| {
        let frames = PushFrames::typing("u:alice:bob", "carol", false);
        world.hub.pass(users, frames, true)
    };
    assert!(!pass(&[ALICE, bob]).any);
    assert!(world.nodes.take_events().is_empty());
    world.hear(B, &[PHONE], None);
    world.hear(C, &[PHONE], None);
    world.hub.hear(C, &at(bob, &[TABLET], None));
    let passed = pass(&[ALICE, bob]);
    assert!(passed.any && passed.refused == 0);
    let events = world.nodes.take_events();
    let to: Vec<_> = { events.iter() }
        .map(|event| (event.node, event.users.to_vec()))
        .collect();
    assert_eq!(to, [(B, vec![ALICE]), (C, vec![ALICE, bob])]);
    // The other node passes it to the shards of these users.
    let there = World::new();
    there.arrive(PHONE);
    let [json, proto] = events[0].frames.messages();
    let frames = PushFrames::of_messages(json, proto);
    assert_eq!(frames.size(), events[0].frames.size());
    assert_eq!(there.hub.pass_here(&[ALICE, bob], frames, true), 0);
    let mut content = LaneContent::default();
    there.hub.lanes.take(0, &mut content);
    assert_eq!(content.events.len(), 1);
    assert!(there.nodes.take_events().is_empty(), "it goes no further");
}
