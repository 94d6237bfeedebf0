//! Watches of connections of a shard.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use slab::Slab;
use trunkline_core::exchange::Part;
use trunkline_core::hub::{PushFrames, UserState};
use trunkline_core::ids::UserId;
use trunkline_core::request::check_presence;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Event, Presence};

use super::super::connection::Conn;
use super::super::core::Core;
use super::Map;
use super::listeners::Listeners;
use super::tell::Worth;
use crate::metrics::Limit;
use crate::timer::{Tick, ticks};

type Failure = (ErrorCode, &'static str);

/// Users that connections of a shard watch.
#[derive(Default)]
pub(super) struct Watching {
    pub(super) users: Map<Watched>,
    /// Users of whom watchers may have to be told, and the key of the watcher who is next.
    changed: VecDeque<(UserId, u32)>,
    /// Users who may just be reconnecting, and when that is to be looked at again.
    settling: BinaryHeap<Reverse<(Tick, UserId)>>,
}

pub(super) struct Watched {
    name: CompactString,
    /// Each with the number of devices that it was told of.
    pub(super) watchers: Listeners<u32>,
    change: Change,
    is_settling: bool,
    /// When the user left, as far as it was ever known here: memory may forget it before all
    /// watchers are told.
    pub(super) left: Option<u64>,
}

/// Whether a user stands in the list of those who have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    No,
    Listed,
    /// And has changed again since the first watcher was told.
    Again,
}

impl Watching {
    pub(super) fn has_more(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Notes whose state may have changed.
    pub(super) fn changed(&mut self, users: impl Iterator<Item = UserId>) {
        for user in users {
            let Some(watched) = self.users.get_mut(&user) else {
                continue;
            };
            watched.change = match watched.change {
                Change::No => {
                    self.changed.push_back((user, 0));
                    Change::Listed
                }
                Change::Listed | Change::Again => Change::Again,
            };
        }
    }
}

impl Core {
    pub(super) fn presence(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Presence<'_>,
    ) -> Result<(), Failure> {
        let Presence {
            watch,
            unwatch,
            query,
        } = request;
        let names = watch.iter().chain(unwatch).chain(query);
        check_presence(names.map(|name| &**name))?;
        let Some(session) = conn.session() else {
            return Ok(());
        };
        let ids = self.parts.ids;
        let of = |name: &str| ids.user(session.names.namespace(), name);
        for name in unwatch {
            let user = of(name);
            let listening = self.ephemeral.listening.get_mut(&slot);
            if let Some(key) = listening.and_then(|listening| listening.watches.remove(&user)) {
                self.unlisten_user(user, key);
            }
        }
        self.check_watches(slot, watch.iter().map(|name| of(name)))?;
        let users = watch.iter().chain(query);
        let users = users.map(|name| (of(name), CompactString::from(&**name)));
        self.ask(slot, conn, id, (users.collect(), watch.len(), None));
        Ok(())
    }

    /// The contacts of a connection's user, which are watched if that was asked for.
    pub(super) fn contacts(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        (names, watch, part): (&[String], bool, &Part),
    ) -> Result<(), Failure> {
        let Some(session) = conn.session() else {
            return Ok(());
        };
        let ids = self.parts.ids;
        let of = |name: &str| ids.user(session.names.namespace(), name);
        if watch {
            self.check_watches(slot, names.iter().map(|name| of(name)))?;
        }
        let after = part.after.as_deref().unwrap_or_default();
        let (listed, others): (Vec<_>, Vec<_>) = names
            .iter()
            .map(|name| (of(name), CompactString::from(name)))
            .partition(|(_, name)| name.as_str() > after);
        let (mut listed, mut others) = (listed, others);
        let behind = listed.split_off(part.limit.min(listed.len()));
        let more = !behind.is_empty();
        others.extend(behind);
        let mut watched = 0;
        if watch {
            watched = listed.len();
            for (user, name) in others {
                self.watch_user(slot, user, &name);
            }
        }
        self.ask(slot, conn, id, (listed, watched, Some(more)));
        Ok(())
    }

    /// Whether a connection may watch these users too.
    fn check_watches(&self, slot: u32, users: impl Iterator<Item = UserId>) -> Result<(), Failure> {
        let listening = self.ephemeral.listening.get(&slot);
        let known =
            |user: &UserId| listening.is_some_and(|listening| listening.watches.contains_key(user));
        let fresh = users.filter(|user| !known(user)).count();
        let count = listening.map_or(0, |listening| listening.watches.len());
        let limits = &self.parts.limits;
        let room = self.ephemeral.has_room(fresh, limits.listenings);
        let room = room && count + fresh <= limits.watches;
        if fresh == 0 || room {
            return Ok(());
        }
        self.parts.metrics.limited(Limit::Watches);
        Err((
            ErrorCode::LimitExceeded,
            "this connection watches as many users as one may: max_watches",
        ))
    }

    pub(super) fn watch_user(&mut self, slot: u32, user: UserId, name: &str) -> UserState {
        let listening = self.ephemeral.listening.get(&slot);
        let known = listening
            .and_then(|listening| listening.watches.get(&user))
            .copied();
        let watching = &mut self.ephemeral.watching;
        let watched = watching.users.entry(user).or_insert_with(|| {
            self.parts.hub.watch(user, self.parts.index);
            Watched {
                name: name.into(),
                watchers: Listeners::default(),
                change: Change::No,
                is_settling: false,
                left: None,
            }
        });
        let state = self.parts.hub.state(user, watched.left);
        watched.left = state.left;
        let told = state.shown();
        match known.and_then(|key| watched.watchers.get_mut(key)) {
            Some(watcher) => watcher.note = told,
            None => {
                let key = watched.watchers.add(slot, told);
                let listening = self.ephemeral.listening.entry(slot).or_default();
                listening.watches.insert(user, key);
                self.ephemeral.listenings += 1;
            }
        }
        if let Some(settles_in) = state.settles_in {
            self.look_again(user, settles_in);
        }
        state
    }

    /// A connection does not watch a user any more.
    pub(super) fn unlisten_user(&mut self, user: UserId, key: u32) {
        let Some(watched) = self.ephemeral.watching.users.get_mut(&user) else {
            return;
        };
        watched.watchers.remove(key);
        self.ephemeral.listenings -= 1;
        if watched.watchers.is_empty() {
            self.ephemeral.watching.users.remove(&user);
            self.parts.hub.unwatch(user, self.parts.index);
        }
    }

    /// Looks at a user's state again once it has settled.
    fn look_again(&mut self, user: UserId, settles_in: Duration) {
        let watching = &mut self.ephemeral.watching;
        let Some(watched) = watching.users.get_mut(&user) else {
            return;
        };
        if !std::mem::replace(&mut watched.is_settling, true) {
            // Not before the time is over, of which this tick is a part.
            let at = self.turn.now() + ticks(settles_in) + 1;
            watching.settling.push(Reverse((at, user)));
            self.turn.wake_at(at);
        }
    }

    /// Notes the users whose time to come back is over.
    pub(super) fn settle(&mut self) {
        let watching = &mut self.ephemeral.watching;
        while let Some(&Reverse((at, user))) = watching.settling.peek()
            && at <= self.turn.now()
        {
            watching.settling.pop();
            if let Some(watched) = watching.users.get_mut(&user) {
                watched.is_settling = false;
            }
            watching.changed(std::iter::once(user));
        }
    }

    /// Tells watchers how the users are now that have changed, as far as there are tellings left.
    pub(super) fn tell_presence(&mut self, conns: &mut Slab<Conn>, left: &mut usize) {
        while *left > 0
            && let Some((user, next)) = self.ephemeral.watching.changed.pop_front()
        {
            let Some(watched) = self.ephemeral.watching.users.get_mut(&user) else {
                continue;
            };
            if next == 0 {
                watched.change = Change::Listed;
            }
            let state = self.parts.hub.state(user, watched.left);
            watched.left = state.left;
            if let Some(settles_in) = state.settles_in {
                self.look_again(user, settles_in);
            }
            if let Some(next) = self.tell_watchers(conns, user, next, state, left) {
                // Behind those who wait: one with many watchers does not hold up the others.
                self.ephemeral.watching.changed.push_back((user, next));
            }
        }
    }

    /// Tells watchers from a key on; where to go on, if there was not enough left for all.
    fn tell_watchers(
        &mut self,
        conns: &mut Slab<Conn>,
        user: UserId,
        mut next: u32,
        state: UserState,
        left: &mut usize,
    ) -> Option<u32> {
        let mut frames = None;
        loop {
            let watched = self.ephemeral.watching.users.get_mut(&user)?;
            if next >= watched.watchers.end() {
                let again = watched.change == Change::Again;
                watched.change = if again { Change::Listed } else { Change::No };
                return again.then_some(0);
            }
            if *left == 0 {
                return Some(next);
            }
            *left -= 1;
            let watcher = watched.watchers.get_mut(next);
            next += 1;
            let Some(watcher) = watcher.filter(|watcher| state.is_news(watcher.note)) else {
                continue;
            };
            watcher.note = state.devices;
            let slot = watcher.slot;
            let (name, now) = (&watched.name, self.parts.hub.clock.now());
            let frames = frames
                .get_or_insert_with(|| PushFrames::new(Event::Presence(state.shown_as(name, now))));
            if let Some(conn) = conns.get_mut(slot as usize) {
                self.tell(slot, conn, frames, Worth::Asked);
            }
        }
    }
}
