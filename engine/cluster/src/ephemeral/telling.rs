//! What a node tells others about its users.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use trunkline_core::hub::{Hub, Nodes, Publication, STRIPES, Stretch, UserAtNode};
use trunkline_core::ids::UserId;
use trunkline_storage::IdBuildHasher;

use super::topics;
use crate::envelope::Users;

/// The time between two looks at users who came or left.
pub(super) const TURN: Duration = Duration::from_millis(10);

/// The longest time without a message. One is a sign of life, and shows that those before it are lost.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// The bytes of users in a message, from which on it has no room for another one.
const MESSAGE: usize = 128 << 10;

/// What a node tells others about its users: changes at once, and a list of all users when somebody asks.
#[derive(Debug)]
pub(super) struct Telling {
    /// The users of this node, as others were told, by stripe.
    here: Box<[HashSet<UserId, IdBuildHasher>]>,
    /// Users who came or left, and of whom others were not told.
    changed: VecDeque<UserId>,
    /// Publications of which others were not told.
    publications: VecDeque<Arc<Publication>>,
    /// The number of the last message.
    number: u64,
    /// The list that is being told.
    walk: Option<Walk>,
    /// Whether another list is to begin after that one.
    is_wanted: bool,
    /// When the node looks at its users next.
    turn: Duration,
    /// Whether this turn may tell a piece of the list.
    is_list_due: bool,
    /// When the last message was made.
    said: Option<Duration>,
    /// The lists that were begun.
    pub(super) lists: u64,
    /// The users of whom others were told because they came or left.
    pub(super) told: u64,
}

/// The way through all users of this node: stripe by stripe, in the order of their ids.
#[derive(Debug, Default)]
struct Walk {
    stripe: usize,
    /// The users of the stripe that are left, the last one first. `None` before its first user.
    users: Option<Vec<UserId>>,
    /// The first id that no piece has yet.
    from: u128,
}

impl Telling {
    pub(super) fn new() -> Self {
        Self {
            here: (0..STRIPES).map(|_| HashSet::default()).collect(),
            changed: VecDeque::new(),
            publications: VecDeque::new(),
            number: 0,
            walk: None,
            is_wanted: false,
            turn: Duration::ZERO,
            is_list_due: false,
            said: None,
            lists: 0,
            told: 0,
        }
    }

    /// Notes that somebody needs a list of all users.
    pub(super) const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Lets the next [`poll`](Self::poll) look at the users at once.
    pub(super) const fn hurry(&mut self) {
        self.turn = Duration::ZERO;
    }

    /// Returns the next message, if one is due.
    pub(super) fn poll(&mut self, hub: &Hub, nodes: &Nodes, now: Duration) -> Option<Users> {
        if let Some(users) = self.next_publications(nodes, now) {
            return Some(users);
        }
        if now >= self.turn && self.changed.is_empty() {
            self.turn = now + TURN;
            self.is_list_due = true;
            // Who was lost and has left is not in the list.
            self.is_wanted |= nodes.take_changed(&mut self.changed);
        }
        if self.changed.is_empty() {
            let is_due = std::mem::take(&mut self.is_list_due);
            let list = is_due.then(|| self.next_of_list(hub, now)).flatten();
            return list.or_else(|| self.beat(now));
        }
        let mut users = Users::default();
        let mut bytes = 0;
        while bytes < MESSAGE
            && let Some(user) = self.changed.pop_front()
        {
            let at = self.look(hub, user);
            bytes += Users::len_of(&at);
            users.changed.push(at);
        }
        self.told += users.changed.len() as u64;
        Some(self.numbered(users, now))
    }

    /// Returns when [`poll`](Self::poll) may have something.
    pub(super) fn wake(&self, nodes: &Nodes) -> Duration {
        if !self.changed.is_empty() || !self.publications.is_empty() || nodes.has_publications() {
            return Duration::ZERO;
        }
        if self.walk.is_some() || self.is_wanted || nodes.has_changed() {
            return self.turn;
        }
        self.said.map_or(Duration::ZERO, |said| said + BEAT)
    }

    /// Looks how a user is, and remembers whether the user is here.
    fn look(&mut self, hub: &Hub, user: UserId) -> UserAtNode {
        let at = hub.here(user);
        let here = &mut self.here[Stretch::stripe_of(user)];
        if at.devices.is_empty() {
            here.remove(&user);
        } else {
            here.insert(user);
        }
        at
    }

    /// Returns the next message with publications. They do not wait for a turn: their senders wait.
    fn next_publications(&mut self, nodes: &Nodes, now: Duration) -> Option<Users> {
        if self.publications.is_empty() && nodes.has_publications() {
            self.publications = nodes.take_publications();
        }
        let mut users = Users::default();
        let mut bytes = 0;
        while bytes < MESSAGE
            && let Some(publication) = self.publications.pop_front()
        {
            let publication = topics::numbered(&publication);
            bytes += publication.size();
            users.publications.push(publication);
        }
        (bytes > 0).then(|| self.numbered(users, now))
    }

    fn numbered(&mut self, users: Users, now: Duration) -> Users {
        self.number += 1;
        self.said = Some(now);
        let number = self.number;
        Users { number, ..users }
    }

    fn beat(&mut self, now: Duration) -> Option<Users> {
        let is_due = self.said.is_none_or(|said| now >= said + BEAT);
        is_due.then(|| self.numbered(Users::default(), now))
    }

    /// Returns the next message with a part of the list, if one is being told or wanted.
    fn next_of_list(&mut self, hub: &Hub, now: Duration) -> Option<Users> {
        let mut users = Users::default();
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None if self.is_wanted => {
                self.is_wanted = false;
                self.lists += 1;
                users.begins = true;
                Walk::default()
            }
            None => return None,
        };
        let mut bytes = 0;
        while bytes < MESSAGE && walk.stripe < STRIPES {
            let left = walk.users.get_or_insert_with(|| {
                let mut users: Vec<_> = self.here[walk.stripe].iter().copied().collect();
                users.sort_unstable_by(|one, other| other.cmp(one));
                users
            });
            let mut piece = Vec::new();
            let mut last = u128::MAX;
            while let Some(user) = left.pop() {
                let at = hub.here(user);
                if at.devices.is_empty() {
                    self.here[walk.stripe].remove(&user);
                    continue;
                }
                bytes += Users::len_of(&at);
                piece.push(at);
                if bytes >= MESSAGE {
                    last = if left.is_empty() { last } else { user.0 };
                    break;
                }
            }
            let (stripe, ids) = (walk.stripe, walk.from..=last);
            users.lists.push((Stretch { stripe, ids }, piece));
            if last == u128::MAX {
                walk = Walk {
                    stripe: stripe + 1,
                    ..Walk::default()
                };
            } else {
                walk.from = last + 1;
            }
        }
        users.ends = walk.stripe == STRIPES;
        self.walk = (!users.ends).then_some(walk);
        Some(self.numbered(users, now))
    }
}
