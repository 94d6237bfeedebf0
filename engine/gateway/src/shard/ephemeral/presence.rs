//! The users that connections of a shard watch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use trunkline_core::hub::{Hub, PushFrames, UserState};
use trunkline_core::ids::UserId;
use trunkline_proto::message::Event;

use super::super::turn::Turn;
use super::Map;
use super::listeners::Listeners;
use crate::shared::SharedPush;
use crate::timer::{Tick, ticks};

/// The users that connections of a shard watch, and those whose watchers have to be told.
///
/// The hub knows of each user in `users` that this shard watches it.
pub(super) struct Watching {
    hub: Arc<Hub>,
    shard: usize,
    users: Map<Watched>,
    /// Users whose state may have changed.
    changed: VecDeque<Changed>,
    /// Users who may be about to reconnect, by the tick at which the shard looks at them again.
    settling: BinaryHeap<Reverse<(Tick, UserId)>>,
}

/// A user whose state may have changed.
#[derive(Debug, Clone, Copy)]
struct Changed {
    user: UserId,
    /// The key of the next watcher to tell.
    next: u32,
}

/// What a watcher was told, if the user blocks the watcher: nothing, until the block ends.
const HIDDEN: u32 = u32::MAX;

/// What a watcher was told, while the store is asked whether the user blocks the watcher: nothing.
const CHECKING: u32 = u32::MAX - 1;

/// What a watcher was told, if the store said that the user blocks the watcher. A later answer of the store
/// may say otherwise.
const FOUND_BLOCKED: u32 = u32::MAX - 2;

/// What a watcher was told, if that is not known: it is told how the user is now.
const UNKNOWN: u32 = u32::MAX - 3;

/// A connection that watches a user.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher {
    /// The slot of the connection.
    pub(super) slot: u32,
    /// The user of the connection.
    pub(super) user: UserId,
    /// The key of the connection among the watchers, if it watches the user already.
    pub(super) known: Option<u32>,
}

/// A user whom a connection watches.
struct Watched {
    name: CompactString,
    /// The watchers, each with the number of devices that it was told, or one of the constants above.
    watchers: Listeners<u32>,
    change: Change,
    is_settling: bool,
    /// The last time at which the user left, if this shard ever learned of one. The hub may forget it
    /// before all watchers are told.
    left: Option<u64>,
}

/// Whether the watchers of a user have to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// All watchers know the state.
    No,
    /// The user stands in the list of those who have changed.
    Listed,
    /// The user stands in the list, and has changed again since the first watcher was told.
    Again,
}

/// The way through the watchers of one user whose state has changed.
pub(super) struct PresenceWalk {
    user: UserId,
    state: UserState,
    next: u32,
    push: Option<SharedPush>,
}

impl PresenceWalk {
    /// The push for the watchers. `None` before the first watcher that has to be told.
    pub(super) const fn push(&mut self) -> Option<&mut SharedPush> {
        self.push.as_mut()
    }
}

/// What the store answered about a user whom a connection watches.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreAnswer {
    /// Whether the user blocks the watcher.
    pub(super) blocks: bool,
    /// Whether the connection is shown the state. Otherwise a push tells it.
    pub(super) is_shown: bool,
}

/// The result of a request to watch a user.
#[derive(Debug)]
pub(super) struct Watch {
    /// The state of the user.
    pub(super) state: UserState,
    /// The key of the connection among the watchers.
    pub(super) key: u32,
    /// Whether the user may block the watcher. The watcher is told nothing until
    /// [`Watching::note_shown`] says how it is.
    pub(super) may_block: bool,
}

impl Watching {
    /// Makes the state of a shard whose connections watch nobody.
    pub(super) fn new(hub: Arc<Hub>, shard: usize) -> Self {
        Self {
            hub,
            shard,
            users: Map::default(),
            changed: VecDeque::new(),
            settling: BinaryHeap::new(),
        }
    }

    /// Whether watchers may have to be told something.
    pub(super) fn has_more(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Notes users whose state may have changed.
    pub(super) fn changed(&mut self, users: impl Iterator<Item = UserId>) {
        for user in users {
            let Some(watched) = self.users.get_mut(&user) else {
                continue;
            };
            watched.change = match watched.change {
                Change::No => {
                    self.changed.push_back(Changed { user, next: 0 });
                    Change::Listed
                }
                Change::Listed | Change::Again => Change::Again,
            };
        }
    }

    /// Returns the state of a user, as far as memory knows it.
    pub(super) fn state(&self, user: UserId) -> UserState {
        let watched = self.users.get(&user);
        self.hub
            .state(user, watched.and_then(|watched| watched.left))
    }

    /// Lets a connection watch a user.
    pub(super) fn watch(
        &mut self,
        watcher: Watcher,
        user: UserId,
        name: &str,
        turn: &mut Turn,
    ) -> Watch {
        let watched = self.users.entry(user).or_insert_with(|| {
            self.hub.watch(user, self.shard);
            Watched {
                name: name.into(),
                watchers: Listeners::default(),
                change: Change::No,
                is_settling: false,
                left: None,
            }
        });
        let state = self.hub.state(user, watched.left);
        watched.left = state.left;
        let Watcher { slot, known, .. } = watcher;
        // After the shard has entered itself as watching: it learns of all later blocks.
        let may_block = self.hub.blocks.may_block(user, watcher.user);
        let told = if may_block { CHECKING } else { state.shown() };
        let known = known.and_then(|key| Some((key, watched.watchers.get_mut(key)?)));
        let key = match known {
            Some((key, watcher)) => {
                // What the shard learned of a block is newer than any answer of the store. Once the store
                // has answered, the shard learns of each block: if the store fails this time, the
                // watch goes on.
                let is_open = matches!(watcher.note, CHECKING | FOUND_BLOCKED);
                if watcher.note != HIDDEN && (is_open || !may_block) {
                    watcher.note = told;
                }
                key
            }
            None => watched.watchers.add(slot, told),
        };
        if let Some(settles_in) = state.settles_in {
            self.look_again(user, settles_in, turn);
        }
        Watch {
            state,
            key,
            may_block,
        }
    }

    /// Ends a watch. `key` is the connection's key among the watchers.
    pub(super) fn unwatch(&mut self, user: UserId, key: u32) {
        let Some(watched) = self.users.get_mut(&user) else {
            return;
        };
        watched.watchers.remove(key);
        if watched.watchers.is_empty() {
            self.users.remove(&user);
            self.hub.unwatch(user, self.shard);
        }
    }

    /// Notes that a watcher is being shown this state of a user, as the store answered. Returns whether the
    /// user blocks the watcher: then the state must not be shown.
    pub(super) fn note_shown(
        &mut self,
        user: UserId,
        key: u32,
        state: UserState,
        answer: StoreAnswer,
    ) -> bool {
        let StoreAnswer { blocks, is_shown } = answer;
        let Some(watched) = self.users.get_mut(&user) else {
            return blocks;
        };
        watched.left = state.left;
        let Some(watcher) = watched.watchers.get_mut(key) else {
            return blocks;
        };
        // What the shard learned since the store was asked is newer than the answer.
        let told = watcher.note;
        let hidden = match told {
            HIDDEN => true,
            CHECKING | FOUND_BLOCKED => blocks,
            _ => false,
        };
        watcher.note = match (hidden, is_shown) {
            (true, _) if told == HIDDEN => HIDDEN,
            (true, _) => FOUND_BLOCKED,
            (false, true) => state.shown(),
            (false, false) => UNKNOWN,
        };
        if !hidden && !is_shown {
            self.changed(std::iter::once(user));
        }
        hidden
    }

    /// Notes that a user blocks a watcher from now on, or no longer. Returns the push for the watcher, who
    /// sees the user leave.
    pub(super) fn block_changed(
        &mut self,
        user: UserId,
        key: u32,
        begins: bool,
    ) -> Option<SharedPush> {
        let watched = self.users.get_mut(&user)?;
        let watcher = watched.watchers.get_mut(key)?;
        let told = watcher.note;
        if begins {
            watcher.note = HIDDEN;
            let now = self.hub.clock.now();
            let shown = UserState::HIDDEN.shown_as(&watched.name, now);
            let saw_devices = (1..FOUND_BLOCKED).contains(&told);
            return saw_devices.then(|| {
                let frames = PushFrames::new(Event::Presence(shown));
                SharedPush::new(Arc::new(frames))
            });
        }
        if matches!(told, HIDDEN | CHECKING | FOUND_BLOCKED) {
            watcher.note = 0;
            self.changed(std::iter::once(user));
        }
        None
    }

    /// Looks at a user's state again once its grace time is over.
    fn look_again(&mut self, user: UserId, settles_in: Duration, turn: &mut Turn) {
        let Some(watched) = self.users.get_mut(&user) else {
            return;
        };
        if !std::mem::replace(&mut watched.is_settling, true) {
            // One tick more: a part of this tick has passed already.
            let at = turn.now() + ticks(settles_in) + 1;
            self.settling.push(Reverse((at, user)));
            turn.wake_at(at);
        }
    }

    /// Notes the users whose grace time is over at `now`.
    pub(super) fn settle(&mut self, now: Tick) {
        while let Some(&Reverse((at, user))) = self.settling.peek()
            && at <= now
        {
            self.settling.pop();
            if let Some(watched) = self.users.get_mut(&user) {
                watched.is_settling = false;
            }
            self.changed(std::iter::once(user));
        }
    }

    /// Begins or continues the walk through the watchers of the next user who has changed.
    pub(super) fn next_walk(&mut self, turn: &mut Turn) -> Option<PresenceWalk> {
        loop {
            let Changed { user, next } = self.changed.pop_front()?;
            let Some(watched) = self.users.get_mut(&user) else {
                continue;
            };
            if next == 0 {
                watched.change = Change::Listed;
            }
            let state = self.hub.state(user, watched.left);
            watched.left = state.left;
            if let Some(settles_in) = state.settles_in {
                self.look_again(user, settles_in, turn);
            }
            return Some(PresenceWalk {
                user,
                state,
                next,
                push: None,
            });
        }
    }

    /// Returns the slot of the next watcher that has to be told. Takes one off `left` for each watcher
    /// it looks at. Returns `None` at the end of the walk, and where nothing is left: the walk then
    /// goes on later, behind the other users who have changed.
    pub(super) fn next_watcher(
        &mut self,
        walk: &mut PresenceWalk,
        left: &mut usize,
    ) -> Option<u32> {
        loop {
            let user = walk.user;
            let watched = self.users.get_mut(&user)?;
            if walk.next >= watched.watchers.end() {
                let again = watched.change == Change::Again;
                watched.change = if again { Change::Listed } else { Change::No };
                if again {
                    self.changed.push_back(Changed { user, next: 0 });
                }
                return None;
            }
            if *left == 0 {
                let next = walk.next;
                self.changed.push_back(Changed { user, next });
                return None;
            }
            *left -= 1;
            let watcher = watched.watchers.get_mut(walk.next);
            walk.next += 1;
            let is_told = |told: u32| told < FOUND_BLOCKED && walk.state.is_news(told);
            let Some(watcher) = watcher.filter(|watcher| is_told(watcher.note)) else {
                continue;
            };
            watcher.note = walk.state.devices;
            let slot = watcher.slot;
            if walk.push.is_none() {
                let shown = walk.state.shown_as(&watched.name, self.hub.clock.now());
                let frames = PushFrames::new(Event::Presence(shown));
                walk.push = Some(SharedPush::new(Arc::new(frames)));
            }
            return Some(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use trunkline_core::ids::DeviceMark;
    use trunkline_core::store::TimelineId;

    use super::super::tests::{HubOfTests, hub};
    use super::*;

    const ALICE: UserId = TimelineId(7);
    const BOB: UserId = TimelineId(8);

    struct World {
        hub: HubOfTests,
        watching: Watching,
        turn: Turn,
    }

    fn world() -> World {
        let hub = hub();
        World {
            watching: Watching::new(Arc::clone(&hub.hub), 0),
            hub,
            turn: Turn::new(Instant::now()),
        }
    }

    impl World {
        fn watch(&mut self, slot: u32) -> Watch {
            let watcher = Watcher {
                slot,
                user: BOB,
                known: None,
            };
            self.watching.watch(watcher, ALICE, "alice", &mut self.turn)
        }

        fn device_comes(&mut self, device: u8) {
            let mark = DeviceMark([device; 4]);
            self.hub.directory.enter(ALICE, 0, mark);
            self.watching.changed(std::iter::once(ALICE));
        }

        /// The slots that are told, with `left` tellings for each walk.
        fn told(&mut self, mut left: usize) -> Vec<u32> {
            let mut told = Vec::new();
            if let Some(mut walk) = self.watching.next_walk(&mut self.turn) {
                while let Some(slot) = self.watching.next_watcher(&mut walk, &mut left) {
                    assert!(walk.push().is_some());
                    told.push(slot);
                }
            }
            told
        }
    }

    #[test]
    fn each_watcher_is_told_of_a_change_once() {
        let mut world = world();
        let watch = world.watch(3);
        assert_eq!((watch.state.devices, world.told(9)), (0, vec![]));
        world.device_comes(1);
        assert_eq!(world.watch(4).state.devices, 1, "told in the reply");
        assert_eq!(world.told(9), [3]);
        assert!(!world.watching.has_more());
        assert_eq!(world.told(9), [0; 0]);
        world.watching.unwatch(ALICE, watch.key);
        world.device_comes(2);
        assert_eq!(world.told(9), [4]);
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped_and_begins_again_after_another_change() {
        let mut world = world();
        for slot in 0..5 {
            world.watch(slot);
        }
        world.device_comes(1);
        assert_eq!(world.told(2), [0, 1]);
        assert!(world.watching.has_more());
        world.device_comes(2);
        assert_eq!(world.told(2), [2, 3]);
        assert_eq!(world.told(2), [4]);
        assert_eq!(world.told(9), [0, 1], "the others saw the second change");
        assert!(!world.watching.has_more());
    }

    #[test]
    fn who_is_blocked_is_told_nothing_until_the_block_ends() {
        let mut world = world();
        let watch = world.watch(3);
        assert!(!watch.may_block);
        let changed = |world: &mut World, begins| {
            let push = world.watching.block_changed(ALICE, watch.key, begins);
            push.is_some()
        };
        assert!(!changed(&mut world, true), "nothing was seen");
        world.device_comes(1);
        assert_eq!(world.told(9), [0; 0]);
        assert!(!changed(&mut world, false));
        assert_eq!(world.told(9), [3]);
        assert!(changed(&mut world, true), "the user seems to leave");
        world.device_comes(2);
        assert_eq!(world.told(9), [0; 0]);
        // What the store said before the block changes nothing.
        let state = world.watching.state(ALICE);
        let shown = |world: &mut World, blocks, is_shown| {
            let answer = StoreAnswer { blocks, is_shown };
            world.watching.note_shown(ALICE, watch.key, state, answer)
        };
        assert!(shown(&mut world, false, true));
        assert!(!changed(&mut world, false));
        assert!(!shown(&mut world, true, true));
        assert_eq!(world.told(9), [0; 0], "shown in the reply");
        // Whom the answer does not show is told by a push.
        assert!(!shown(&mut world, false, false));
        assert_eq!(world.told(9), [3]);
    }

    #[test]
    fn a_user_that_nobody_watches_is_forgotten() {
        let mut world = world();
        let (one, two) = (world.watch(3), world.watch(4));
        world.watching.unwatch(ALICE, one.key);
        assert!(world.watching.users.contains_key(&ALICE));
        world.watching.unwatch(ALICE, two.key);
        assert!(world.watching.users.is_empty());
        world.device_comes(1);
        assert!(!world.watching.has_more());
    }

    #[test]
    fn a_user_in_the_grace_time_is_looked_at_once_it_is_over() {
        let mut world = world();
        world.device_comes(1);
        let mark = DeviceMark([1; 4]);
        world.hub.hub.leave(ALICE, 0, mark);
        let watch = world.watch(3);
        assert_eq!((watch.state.devices, watch.state.shown()), (0, 1));
        let Some(&Reverse((at, _))) = world.watching.settling.peek() else {
            panic!("nobody looks again");
        };
        world.watching.settle(at - 1);
        assert!(!world.watching.has_more());
        world.watching.settle(at);
        assert!(world.watching.has_more());
    }
}
