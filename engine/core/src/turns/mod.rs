//! A queue that is fair to the users who fill it.
//!
//! Where the work of several users meets, a queue in the order of arrival makes everybody wait behind
//! the user who asks most. A [`FairQueue`] takes turns instead: by namespace, in proportion to
//! [`Weights`], and within a namespace by user. A turn is an amount of cost, not a number of entries.
//!
//! - The entries of one user keep their order.
//! - A user with nothing queued goes before the others once, for one turn. That keeps the wait of
//!   ordinary users short, however many entries of others wait.
//! - Memory is bounded, and the bound is taken from the users who hold most: the room of each user
//!   shrinks as the queue fills, and a user without entries finds room for longest.

mod round;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;
use trunkline_storage::IdBuildHasher;

use crate::cost::Cost;
use crate::ids::{NamespaceId, UserId};
use round::{Member, Round, Share, Step};

/// How much more a namespace may hold than the room that is left in the queue.
const NAMESPACE_ROOM: usize = 4;

/// The capacity of tables above which an empty queue frees them.
const KEPT: usize = 1 << 12;

/// The shares of namespaces: a namespace with weight 4 gets 4 times the work of one with weight 1,
/// while both have work waiting. The default gives each namespace weight 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    of: HashMap<NamespaceId, u16>,
    otherwise: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self::new(1, [])
    }
}

impl Weights {
    /// Returns the weights of the given namespaces, and `otherwise` for all others. A weight of 0
    /// counts as 1.
    pub fn new(otherwise: u16, of: impl IntoIterator<Item = (NamespaceId, u16)>) -> Self {
        Self {
            of: of.into_iter().collect(),
            otherwise,
        }
    }

    /// Returns the weight of a namespace; at least 1.
    pub fn of(&self, namespace: NamespaceId) -> u16 {
        let weight = self.of.get(&namespace).unwrap_or(&self.otherwise);
        (*weight).max(1)
    }
}

/// The owner of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The namespace of the user.
    pub namespace: NamespaceId,
    /// The user. The id of a user is unique among all namespaces.
    pub user: UserId,
}

/// A piece of work in a fair queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<T> {
    /// The owner, whose turn the work uses up.
    pub flow: Flow,
    /// The expected cost of the work. [`FairQueue::charge`] corrects it later.
    pub cost: Cost,
    /// The memory that the entry holds, in bytes.
    pub bytes: usize,
    /// The work.
    pub item: T,
}

/// The sizes of a fair queue.
#[derive(Debug, Clone)]
pub struct Form {
    /// The cost that a user may take in one turn. A namespace of weight 1 takes the same in one turn.
    /// An entry that costs more is served whole, and its user misses turns until it is paid for.
    pub quantum: Cost,
    /// The maximum number of entries.
    pub entries: usize,
    /// The maximum memory of all entries in bytes. An empty queue takes a larger entry.
    pub bytes: usize,
    /// The shares of namespaces.
    pub weights: Arc<Weights>,
}

/// A waiting entry, and the entry of the same user behind it.
#[derive(Debug)]
struct Waiting<T> {
    entry: Entry<T>,
    next: Option<usize>,
}

/// A user with entries, or whose turn is not over.
#[derive(Debug)]
struct User {
    id: UserId,
    namespace: usize,
    share: Share,
    first: Option<usize>,
    last: Option<usize>,
}

impl Member for User {
    fn share(&mut self) -> &mut Share {
        &mut self.share
    }
}

/// A namespace with users.
#[derive(Debug)]
struct Namespace {
    id: NamespaceId,
    share: Share,
    users: Round,
}

impl Member for Namespace {
    fn share(&mut self) -> &mut Share {
        &mut self.share
    }
}

/// A bounded queue that serves namespaces and users in turn, in proportion to the cost of their
/// entries (deficit round robin).
///
/// [`push`](Self::push) and [`charge`](Self::charge) take constant time. [`pop`](Self::pop) takes
/// constant time for each quantum of cost that it serves, on average.
#[derive(Debug)]
pub struct FairQueue<T> {
    form: Form,
    waiting: Slab<Waiting<T>>,
    users: Slab<User>,
    user_of: HashMap<UserId, usize, IdBuildHasher>,
    namespaces: Slab<Namespace>,
    namespace_of: HashMap<NamespaceId, usize>,
    round: Round,
    /// The number of users with entries.
    busy: usize,
    bytes: usize,
}

impl<T> FairQueue<T> {
    /// Returns an empty queue.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            waiting: Slab::new(),
            users: Slab::new(),
            user_of: HashMap::default(),
            namespaces: Slab::new(),
            namespace_of: HashMap::new(),
            round: Round::default(),
            busy: 0,
            bytes: 0,
        }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the memory of all entries in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of users with entries.
    pub fn users(&self) -> usize {
        self.busy
    }

    /// Changes the shares of namespaces. Namespaces with waiting entries keep their share until none
    /// is left.
    pub fn set_weights(&mut self, weights: Arc<Weights>) {
        self.form.weights = weights;
    }

    /// Returns whether the user may queue an entry of this many bytes now.
    ///
    /// A user may hold as much as is free in the whole queue, and a namespace 4 times as much. So one
    /// user gets half of the queue at most, two a third each, and a namespace four fifths. A user
    /// without entries finds room until the queue is full. An empty queue has room for any entry.
    pub fn has_room(&self, flow: Flow, bytes: usize) -> bool {
        if self.is_empty() {
            return true;
        }
        let entries = self.form.entries.saturating_sub(self.len());
        let free = self.form.bytes.saturating_sub(self.bytes);
        if entries == 0 || free < bytes {
            return false;
        }
        let within = |share: &Share, times: usize| {
            share.entries < entries.saturating_mul(times)
                && share.bytes < free.saturating_mul(times)
        };
        let user = self.user_of.get(&flow.user).map(|at| &self.users[*at]);
        let namespace = self.namespace_of.get(&flow.namespace);
        let namespace = namespace.map(|at| &self.namespaces[*at]);
        user.is_none_or(|user| within(&user.share, 1))
            && namespace.is_none_or(|namespace| within(&namespace.share, NAMESPACE_ROOM))
    }

    /// Adds an entry behind the user's other entries, if the user has room.
    ///
    /// # Errors
    /// The user holds its share of the queue: [`has_room`](Self::has_room) is false. The error is the
    /// entry. Others may still have room.
    pub fn try_push(&mut self, entry: Entry<T>) -> Result<(), Entry<T>> {
        if self.has_room(entry.flow, entry.bytes) {
            self.push(entry);
            Ok(())
        } else {
            Err(entry)
        }
    }

    /// Adds an entry behind the user's other entries, whether or not there is room. For callers that
    /// bound the queue in another way.
    pub fn push(&mut self, entry: Entry<T>) {
        let (flow, bytes) = (entry.flow, entry.bytes);
        let user = self.user(flow);
        let at = self.waiting.insert(Waiting { entry, next: None });
        let user = &mut self.users[user];
        match user.last.replace(at) {
            Some(last) => self.waiting[last].next = Some(at),
            None => user.first = Some(at),
        }
        self.busy += usize::from(user.share.entries == 0);
        user.share.enter(bytes);
        self.namespaces[user.namespace].share.enter(bytes);
        self.bytes += bytes;
    }

    /// Returns the place of a user, who may be new.
    fn user(&mut self, flow: Flow) -> usize {
        if let Some(user) = self.user_of.get(&flow.user) {
            return *user;
        }
        let namespace = self.namespace(flow.namespace);
        let user = self.users.insert(User {
            id: flow.user,
            namespace,
            share: Share::new(self.form.quantum),
            first: None,
            last: None,
        });
        self.user_of.insert(flow.user, user);
        self.namespaces[namespace].users.add(user);
        user
    }

    /// Returns the place of a namespace, which may be new.
    fn namespace(&mut self, id: NamespaceId) -> usize {
        if let Some(namespace) = self.namespace_of.get(&id) {
            return *namespace;
        }
        let weight = usize::from(self.form.weights.of(id));
        let namespace = self.namespaces.insert(Namespace {
            id,
            share: Share::new(self.form.quantum.times(weight)),
            users: Round::default(),
        });
        self.namespace_of.insert(id, namespace);
        self.round.add(namespace);
        namespace
    }

    /// Takes the next entry; `None` if there is none. Its expected cost is paid by its user and its
    /// namespace.
    pub fn pop(&mut self) -> Option<Entry<T>> {
        let namespace = self.next_namespace()?;
        let user = self.next_user(namespace)?;
        let at = self.users[user].first?;
        let Waiting { entry, next } = self.waiting.remove(at);
        let (owner, space) = (&mut self.users[user], &mut self.namespaces[namespace]);
        owner.first = next;
        if next.is_none() {
            owner.last = None;
        }
        owner.share.leave(entry.bytes);
        self.busy -= usize::from(owner.share.entries == 0);
        space.share.leave(entry.bytes);
        self.bytes -= entry.bytes;
        space.users.served(user, &mut owner.share, entry.cost);
        self.round.served(namespace, &mut space.share, entry.cost);
        if self.waiting.is_empty() {
            self.rest();
        }
        Some(entry)
    }

    /// Lets a user pay for work beyond its expected cost. Does nothing if nothing of the user waits
    /// and its next turn has come.
    pub fn charge(&mut self, user: UserId, cost: Cost) {
        if let Some(user) = self.user_of.get(&user) {
            let user = &mut self.users[*user];
            user.share.pay(cost);
            self.namespaces[user.namespace].share.pay(cost);
        }
    }

    /// Removes the entries of a user for which `keep` is false. Takes time in proportion to the number
    /// of the user's entries.
    pub fn retain(&mut self, user: UserId, mut keep: impl FnMut(&T) -> bool) {
        let Some(&user) = self.user_of.get(&user) else {
            return;
        };
        let user = &mut self.users[user];
        let mut next = user.first.take();
        user.last = None;
        while let Some(at) = next {
            next = self.waiting[at].next.take();
            if keep(&self.waiting[at].entry.item) {
                match user.last.replace(at) {
                    Some(last) => self.waiting[last].next = Some(at),
                    None => user.first = Some(at),
                }
            } else {
                let bytes = self.waiting.remove(at).entry.bytes;
                user.share.leave(bytes);
                self.busy -= usize::from(user.share.entries == 0);
                self.namespaces[user.namespace].share.leave(bytes);
                self.bytes -= bytes;
            }
        }
        if self.waiting.is_empty() {
            self.rest();
        }
    }

    /// Returns the namespace to serve next, and forgets those that have nothing more.
    fn next_namespace(&mut self) -> Option<usize> {
        loop {
            match self.round.next(&mut self.namespaces, self.form.quantum)? {
                Step::Serve(namespace) => return Some(namespace),
                Step::Forget(namespace) => {
                    let gone = self.namespaces.remove(namespace);
                    self.namespace_of.remove(&gone.id);
                    for user in gone.users.members() {
                        self.forget_user(user);
                    }
                }
            }
        }
    }

    /// Returns the user of a namespace to serve next, and forgets those who have nothing more.
    fn next_user(&mut self, namespace: usize) -> Option<usize> {
        loop {
            let users = &mut self.namespaces[namespace].users;
            match users.next(&mut self.users, self.form.quantum)? {
                Step::Serve(user) => return Some(user),
                Step::Forget(user) => self.forget_user(user),
            }
        }
    }

    fn forget_user(&mut self, user: usize) {
        let gone = self.users.remove(user);
        self.user_of.remove(&gone.id);
        let (left, room) = (self.user_of.len(), self.user_of.capacity());
        if room > KEPT && left < room / 8 {
            self.user_of.shrink_to(2 * left);
        }
    }

    /// Forgets everybody, because nothing waits. Frees large tables.
    fn rest(&mut self) {
        let is_large = self.waiting.capacity() > KEPT
            || self.user_of.capacity() > KEPT
            || self.users.capacity() > KEPT
            || self.namespace_of.capacity() > KEPT;
        if is_large {
            *self = Self::new(self.form.clone());
            return;
        }
        self.users.clear();
        self.user_of.clear();
        self.namespaces.clear();
        self.namespace_of.clear();
        self.round.clear();
    }
}
