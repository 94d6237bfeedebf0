use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Options, Position, Reader, Store, TimelineId};

use super::*;
use crate::directory::Directory;
use crate::log::Local;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::sequencer::{MIN_CONVERSATIONS, Sequencer, SequencerParts};

/// The device of every session.
const DEVICE: crate::ids::DeviceMark = crate::ids::DeviceMark([1; 4]);

/// Returns departures of a hub that stores no last-seen times.
pub(crate) fn nobody(directory: &Arc<Directory>) -> Departures {
    departures(directory, 0, Arc::default())
}

fn departures(directory: &Arc<Directory>, rate: u32, metrics: Arc<SequencerMetrics>) -> Departures {
    let limits = HubLimits {
        last_seen_rate: rate,
        ..HubLimits::of_tests()
    };
    let hub = Hub::new(&limits, MOST, Arc::clone(directory), Vec::new());
    Departures::new(Arc::new(hub), &limits, metrics)
}

/// The number of users for whom the hub of these tests has room.
const MOST: usize = 10_000;

struct World {
    disk: SimDisk,
    sequencer: Sequencer,
    store: Reader,
    hub: Arc<Hub>,
    directory: Arc<Directory>,
}

impl World {
    fn new(rate: u32) -> Self {
        let disk = SimDisk::new(1);
        let options = Options {
            segment_bytes: 1 << 20,
            max_record_bytes: 1 << 16,
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let opened = Store::open_with(Arc::new(disk.clone()), options, &mut |_| ()).unwrap();
        let directory = Arc::new(Directory::new(Position::ZERO));
        let metrics = Arc::<SequencerMetrics>::default();
        let departures = departures(&directory, rate, Arc::clone(&metrics));
        let hub = Arc::clone(&departures.hub);
        let sequencer = Sequencer::new(SequencerParts {
            writer: opened.writer,
            log: Box::new(Local),
            store: opened.reader.clone(),
            conversation_cache: MIN_CONVERSATIONS,
            rules: Messaging::of_tests(),
            directory: Arc::clone(&directory),
            departures,
            mailboxes: Vec::new(),
            weights: Arc::default(),
            metrics,
        });
        Self {
            disk,
            sequencer,
            store: opened.reader,
            hub,
            directory,
        }
    }

    fn arrive(&self, user: u128) {
        self.directory.enter(id(user), 0, DEVICE);
    }

    fn leave(&self, user: u128) {
        self.hub.leave(id(user), 0, DEVICE);
    }

    /// Takes a turn that is due. Returns the time until the next one.
    fn turn(&mut self) -> Duration {
        let now = self.hub.clock.passed();
        self.sequencer.departures.next = now;
        self.store_due();
        self.sequencer.commit_all();
        self.sequencer.departures.next - now
    }

    fn store_due(&mut self) {
        let sequencer = &mut self.sequencer;
        let now = sequencer.now();
        sequencer.departures.store(&mut sequencer.batch, now, false);
    }

    fn stored(&self, users: impl Iterator<Item = u128>) -> usize {
        users.filter(|user| self.seen(*user).is_some()).count()
    }

    /// Returns the last-seen time of a user in the store.
    fn seen(&self, user: u128) -> Option<u64> {
        let value = self.store.state(id(user)).unwrap()?;
        Some(state::decode::<LastSeen>(&value).unwrap().time)
    }
}

/// Returns the id of a user. The ids spread over the stripes.
fn id(user: u128) -> TimelineId {
    TimelineId((user << 64) | user)
}

#[test]
fn stored_once_they_are_gone() {
    let mut world = World::new(20_000);
    for user in 1..=3 {
        world.arrive(user);
        world.leave(user);
    }
    world.arrive(2);
    let known = |world: &World, user| world.hub.state(id(user), None).left;
    let left = known(&world, 1);
    assert!(left.is_some() && world.hub.unsaved.left(id(1)) == left);
    world.turn();
    assert_eq!(world.seen(1), left);
    // A user who is back is not stored: the user will leave again.
    assert_eq!(world.stored(1..=3), 2);
    assert_eq!(world.sequencer.metrics.last_seen.get(), 2);
    assert!(world.hub.unsaved.is_empty());
    world.leave(2);
    world.turn();
    assert_eq!(world.stored(1..=3), 3);
}

#[test]
fn a_turn_stores_a_limited_number_and_the_next_one_waits() {
    let mut world = World::new(1_024);
    let users = || 1..=2 * TURN as u128 + 1;
    let mut ends = Vec::new();
    for user in users() {
        world.leave(user);
    }
    for turn in 1..=2 {
        let rest = world.turn();
        assert_eq!(world.stored(users()), turn * TURN);
        assert!(rest >= Duration::from_millis(500), "{rest:?}");
        ends.push(world.sequencer.batch.last_position().0);
        // Before the next turn is due, nothing is stored.
        world.sequencer.departures.next = world.hub.clock.passed() + RETRY;
        world.store_due();
        world.sequencer.commit_all();
        assert_eq!(world.stored(users()), turn * TURN);
        assert!(!world.hub.unsaved.is_empty());
        for user in users() {
            let waits = world.hub.unsaved.left(id(user)).is_some();
            assert!(waits || world.seen(user).is_some(), "{user} is lost");
        }
    }
    // Each record has many users.
    let each = (ends[1] - ends[0]) / TURN as u64;
    assert!(each < 28, "{each} bytes");
    let rest = world.turn();
    let round = world.sequencer.departures.every;
    assert!(world.hub.unsaved.is_empty() && rest < round, "{rest:?}");
    // The rate limits a round of few users too.
    users().take(100).for_each(|user| world.leave(user));
    world.sequencer.departures.every = Duration::ZERO;
    assert!(world.turn() >= Duration::from_secs(1) * 100 / 1_024);
}

#[test]
fn the_end_stores_all_users() {
    let mut world = World::new(1);
    for user in 1..=MOST as u128 + 5 {
        world.leave(user);
    }
    // These users leave in the middle of a round.
    world.turn();
    for user in 1..=10 {
        world.leave(user);
    }
    world.sequencer.store_all_departures();
    assert_eq!(world.stored(1..=MOST as u128), MOST);
    assert_eq!(world.stored(1..=MOST as u128 + 5), MOST, "no room was left");
    assert!(world.hub.unsaved.is_empty());
}

#[test]
fn users_that_the_store_refuses_come_first_in_the_next_turn() {
    let mut world = World::new(20_000);
    let users = || 1..=MOST as u128;
    world.disk.set_capacity(0);
    // The existing segments have room left.
    while !world.sequencer.departures.refused {
        if world.hub.unsaved.is_empty() {
            users().for_each(|user| world.leave(user));
        }
        world.turn();
    }
    for user in users() {
        let waits = world.hub.unsaved.left(id(user)).is_some();
        let left = world.hub.state(id(user), None).left;
        assert!(waits || world.seen(user) == left, "{user} is lost");
    }
    let counted = world.sequencer.metrics.last_seen.get();
    let rest = world.turn();
    assert!(rest > RETRY / 2, "not at once: {rest:?}");
    assert_eq!(world.sequencer.metrics.last_seen.get(), counted);
    world.disk.set_capacity(1 << 30);
    let before = world.sequencer.batch.last_position();
    while !world.hub.unsaved.is_empty() {
        world.turn();
    }
    assert!(world.sequencer.batch.last_position() > before);
    // Each round counts each of its users once.
    assert_eq!(world.sequencer.metrics.last_seen.get() % MOST as u64, 0);
}

#[test]
fn a_rate_of_zero_stores_nothing() {
    let mut world = World::new(0);
    world.leave(1);
    world.turn();
    world.sequencer.store_all_departures();
    assert_eq!(world.stored(1..=1), 0);
    assert_eq!(
        world.sequencer.departures.rest(Duration::ZERO),
        Duration::MAX
    );
    assert_eq!(world.hub.state(id(1), None).devices, 0);
}
