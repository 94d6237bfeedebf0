//! Turns of users: room that many users share, of which nobody gets all.
//!
//! Who finds no room waits. Users who wait take turns, so one with much to do delays others by no more than
//! one turn each.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Room that users of keys `K` share.
#[derive(Debug)]
pub(crate) struct Turns<K>(Arc<Mutex<State<K>>>);

#[derive(Debug)]
struct State<K> {
    free: usize,
    /// The most room of one user.
    share: usize,
    /// The users who have room or wait for it.
    users: HashMap<K, User>,
    /// The users who wait, in the order of their turns.
    order: VecDeque<K>,
    /// Whether somebody waits for free room, and not for room of the own share.
    is_short: bool,
}

#[derive(Debug, Default)]
struct User {
    held: usize,
    waiting: VecDeque<(usize, oneshot::Sender<()>)>,
}

/// Room that is taken. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash + Copy> {
    key: K,
    amount: usize,
    state: Arc<Mutex<State<K>>>,
}

/// A place among those who wait.
struct Place<K: Eq + Hash + Copy> {
    key: K,
    amount: usize,
    told: oneshot::Receiver<()>,
    state: Arc<Mutex<State<K>>>,
}

impl<K: Eq + Hash + Copy> Turns<K> {
    /// Makes room of this size, of which one user gets `share` at most.
    pub(crate) fn new(size: usize, share: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: size,
            share,
            users: HashMap::new(),
            order: VecDeque::new(),
            is_short: false,
        })))
    }

    /// Takes room for a user, and waits until there is some. An amount beyond the share of a user stands
    /// for the share. The place among those who wait is taken at once, before anybody polls the future.
    ///
    /// The caller bounds the number of those who wait.
    pub(crate) fn take(&self, key: K, amount: usize) -> impl Future<Output = Turn<K>> + use<K> {
        let mut place = self.stand(key, amount);
        async move {
            // The other end is dropped with a place only.
            let _ = (&mut place.told).await;
            Turn {
                key,
                amount: place.amount,
                state: Arc::clone(&place.state),
            }
        }
    }

    /// Returns whether a user has room or waits for it.
    pub(crate) fn has(&self, key: K) -> bool {
        let state = self.0.lock();
        state.users.get(&key).is_some_and(|user| {
            user.held > 0 || user.waiting.iter().any(|(_, one)| !one.is_closed())
        })
    }

    /// Takes a place among those who wait.
    fn stand(&self, key: K, amount: usize) -> Place<K> {
        let (tell, told) = oneshot::channel();
        let mut state = self.0.lock();
        let amount = amount.min(state.share);
        state.stand(key, amount, tell);
        drop(state);
        Place {
            key,
            amount,
            told,
            state: Arc::clone(&self.0),
        }
    }
}

impl<K: Eq + Hash + Copy> State<K> {
    /// Gives room to a user, or a place among those who wait. Looks at others only if they wait for free room.
    fn stand(&mut self, key: K, amount: usize, tell: oneshot::Sender<()>) {
        let user = self.users.entry(key).or_default();
        let has_share = user.held + amount <= self.share;
        let is_next = user.waiting.is_empty() && has_share && amount <= self.free;
        if is_next && !self.is_short {
            // The other end is there: it is about to be returned.
            let _ = tell.send(());
            user.held += amount;
            self.free -= amount;
            return;
        }
        user.waiting.push_back((amount, tell));
        if user.waiting.len() == 1 {
            self.order.push_back(key);
        }
        if has_share || self.is_short {
            self.serve();
        }
    }

    /// Gives the free room to those who wait, each user in turn.
    fn serve(&mut self) {
        // The users in a row who get nothing.
        let mut passed = 0;
        self.is_short = false;
        while passed < self.order.len() {
            let Some(key) = self.order.pop_front() else {
                return;
            };
            let Some(user) = self.users.get_mut(&key) else {
                continue;
            };
            // Those who gave up.
            while user.waiting.front().is_some_and(|(_, one)| one.is_closed()) {
                user.waiting.pop_front();
            }
            let Some((amount, _)) = user.waiting.front() else {
                self.forget(key);
                continue;
            };
            if user.held + amount > self.share {
                self.order.push_back(key);
                passed += 1;
                continue;
            }
            if *amount > self.free {
                // Its turn comes before that of others who need less.
                self.order.push_front(key);
                self.is_short = true;
                return;
            }
            if let Some((amount, tell)) = user.waiting.pop_front()
                && tell.send(()).is_ok()
            {
                user.held += amount;
                self.free -= amount;
                passed = 0;
            }
            if user.waiting.is_empty() {
                self.forget(key);
            } else {
                self.order.push_back(key);
            }
        }
    }

    fn give_back(&mut self, key: K, amount: usize) {
        self.free += amount;
        let mut waits = false;
        if let Some(user) = self.users.get_mut(&key) {
            user.held -= amount;
            waits = !user.waiting.is_empty();
        }
        // Otherwise nobody waits for this room.
        if waits || self.is_short {
            self.serve();
        }
        self.forget(key);
    }

    /// Forgets a user who has nothing and waits for nothing.
    fn forget(&mut self, key: K) {
        let idle = |user: &User| user.held == 0 && user.waiting.is_empty();
        if self.users.get(&key).is_some_and(idle) {
            self.users.remove(&key);
        }
    }
}

impl<K: Eq + Hash + Copy> Drop for Turn<K> {
    fn drop(&mut self) {
        self.state.lock().give_back(self.key, self.amount);
    }
}

impl<K: Eq + Hash + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        // It may have had its turn without noticing. Whoever took the turn has emptied the channel.
        self.told.close();
        if self.told.try_recv().is_ok() {
            self.state.lock().give_back(self.key, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    fn is_empty(turns: &Turns<u32>, size: usize) -> bool {
        let state = turns.0.lock();
        // A user who gave up may stand in the order until it is looked at.
        state.free == size && state.users.values().all(|user| user.held == 0)
    }

    #[test]
    fn nobody_gets_more_than_a_share_and_others_do_not_wait_for_it() {
        let turns = Turns::new(4, 2);
        let first = poll(pin!(turns.take(1, 1))).unwrap();
        let _second = poll(pin!(turns.take(1, 9))).is_none();
        let mut third = pin!(turns.take(1, 1));
        let mut fourth = pin!(turns.take(1, 1));
        let third_turn = poll(third.as_mut()).unwrap();
        assert!(poll(fourth.as_mut()).is_none());
        let others = [2, 3].map(|key| poll(pin!(turns.take(key, 1))).unwrap());
        drop(first);
        assert!(poll(fourth.as_mut()).is_some());
        drop((third_turn, others));
        assert!(is_empty(&turns, 4));
    }

    #[test]
    fn who_asks_first_is_first_whoever_is_polled_first() {
        let turns = Turns::new(2, 1);
        assert!(!turns.has(1));
        let (mut first, mut second) = (pin!(turns.take(1, 1)), pin!(turns.take(1, 1)));
        assert!(turns.has(1) && !turns.has(2));
        assert!(poll(second.as_mut()).is_none());
        drop(poll(first.as_mut()).unwrap());
        assert!(turns.has(1));
        drop(poll(second.as_mut()).unwrap());
        assert!(!turns.has(1));
    }

    #[test]
    fn users_who_wait_take_turns() {
        let turns = Turns::new(1, 1);
        let held = poll(pin!(turns.take(9, 1))).unwrap();
        let mut many: Vec<_> = (0..3).map(|_| Box::pin(turns.take(1, 1))).collect();
        for one in &mut many {
            assert!(poll(one.as_mut()).is_none());
        }
        let mut other = pin!(turns.take(2, 1));
        assert!(poll(other.as_mut()).is_none());
        drop(held);
        let turn = poll(many[0].as_mut()).unwrap();
        assert!(poll(many[1].as_mut()).is_none() && poll(other.as_mut()).is_none());
        drop(turn);
        // The second one of the first user waits for the other user.
        assert!(poll(many[1].as_mut()).is_none());
        drop(poll(other.as_mut()).unwrap());
        drop(poll(many[1].as_mut()).unwrap());
        drop(poll(many[2].as_mut()).unwrap());
        assert!(is_empty(&turns, 1));
        assert!(turns.0.lock().users.is_empty() && turns.0.lock().order.is_empty());
    }

    #[test]
    fn large_amounts_are_not_passed_by_and_who_gives_up_takes_nothing() {
        let turns = Turns::new(4, 4);
        let held = poll(pin!(turns.take(1, 2))).unwrap();
        let mut large = Box::pin(turns.take(2, 4));
        assert!(poll(large.as_mut()).is_none());
        let mut small = pin!(turns.take(3, 1));
        assert!(poll(small.as_mut()).is_none());
        drop(held);
        // The large one has its turn and does not know of it yet: the room comes back with it.
        assert!(poll(small.as_mut()).is_none());
        drop(large);
        drop(poll(small.as_mut()).unwrap());
        assert!(is_empty(&turns, 4));
    }
}
