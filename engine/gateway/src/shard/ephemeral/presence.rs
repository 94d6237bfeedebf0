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

/// A user whom a connection watches.
struct Watched {
    name: CompactString,
    /// The watchers, each with the number of devices that it was told.
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

/// The result of a request to watch a user.
#[derive(Debug)]
pub(super) struct Watch {
    /// The state of the user.
    pub(super) state: UserState,
    /// The key of the connection among the watchers.
    pub(super) key: u32,
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

    /// Lets a connection watch a user. `known` is the connection's key if it watches the user already.
    pub(super) fn watch(
        &mut self,
        slot: u32,
        known: Option<u32>,
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
        let told = state.shown();
        let known = known.and_then(|key| Some((key, watched.watchers.get_mut(key)?)));
        let key = match known {
            Some((key, watcher)) => {
                watcher.note = told;
                key
            }
            None => watched.watchers.add(slot, told),
        };
        if let Some(settles_in) = state.settles_in {
            self.look_again(user, settles_in, turn);
        }
        Watch { state, key }
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

    /// Notes that a watcher is being shown this state of a user.
    pub(super) fn note_shown(&mut self, user: UserId, key: u32, state: UserState) {
        if let Some(watched) = self.users.get_mut(&user) {
            watched.left = state.left;
            if let Some(watcher) = watched.watchers.get_mut(key) {
                watcher.note = state.shown();
            }
        }
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
            let Some(watcher) = watcher.filter(|watcher| walk.state.is_news(watcher.note)) else {
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
            self.watching
                .watch(slot, None, ALICE, "alice", &mut self.turn)
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
