//! The other nodes, as their messages about ephemeral state show them.

use std::collections::HashMap;
use std::time::Duration;

use trunkline_core::hub::{Hub, Living, NodeNumber};

use super::topics;
use crate::envelope::Users;
use crate::node::Incarnation;

/// The most lives of other nodes.
const MOST: usize = 128;

/// The time without a message after which a node counts as dead.
pub(super) const LIFE: Duration = Duration::from_secs(3);

/// The time after which a node asks again for a list, unless parts of it come.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The other nodes. A life that has ended is there until it has been silent for [`LIFE`], also if the same node lives
/// again: which of two lives is the later one cannot be told by their numbers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: HashMap<Incarnation, Peer>,
    /// The number that was given last.
    last: u8,
    /// Whether nodes began or ended since the last look at them.
    has_changed: bool,
    /// When nodes were looked at last.
    looked: Duration,
    /// The messages that did not come.
    pub(super) missed: u64,
}

/// A life of another node.
#[derive(Debug)]
struct Peer {
    node: NodeNumber,
    /// When its last message came.
    heard: Duration,
    /// The number of that message.
    number: u64,
    knowledge: Knowledge,
}

/// What this node knows of the users of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// All of them.
    Whole,
    /// Some of them. A list has been asked for at this time, if ever.
    Part { asked: Option<Duration> },
    /// Some of them, and a list is coming: its last part came at this time.
    Coming { since: Duration },
}

impl Peers {
    /// Returns the number of other nodes.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the nodes that live, if others did at the last call.
    pub(super) fn living(&mut self) -> Option<Vec<Living>> {
        let living = |(life, peer): (&Incarnation, &Peer)| Living {
            life: life.number,
            node: Some(peer.node),
        };
        std::mem::take(&mut self.has_changed).then(|| self.all.iter().map(living).collect())
    }

    /// Returns the number of a life.
    pub(super) fn number_of(&self, life: Incarnation) -> Option<NodeNumber> {
        self.all.get(&life).map(|peer| peer.node)
    }

    /// Returns the life of a node with this number.
    pub(super) fn named(&self, node: NodeNumber) -> Option<Incarnation> {
        let mut all = self.all.iter();
        all.find_map(|(life, peer)| (peer.node == node).then_some(*life))
    }

    /// Takes a message of another node.
    pub(super) fn hear(&mut self, hub: &Hub, from: Incarnation, users: &Users, now: Duration) {
        let Some(peer) = self.meet(from, now, users.number) else {
            return;
        };
        if users.number <= peer.number {
            return;
        }
        let missed = users.number - peer.number - 1;
        peer.number = users.number;
        peer.heard = now;
        if missed > 0 {
            let asked = match peer.knowledge {
                Knowledge::Part { asked } => asked,
                Knowledge::Whole | Knowledge::Coming { .. } => None,
            };
            peer.knowledge = Knowledge::Part { asked };
        }
        let is_coming = matches!(peer.knowledge, Knowledge::Coming { .. });
        if users.begins && peer.knowledge != Knowledge::Whole || is_coming && has_list(users) {
            peer.knowledge = Knowledge::Coming { since: now };
        }
        let node = peer.node;
        if missed > 0 {
            hub.doubt_topics(node);
        }
        for numbered in &users.publications {
            hub.hear_publication(node, &topics::publication(numbered));
        }
        for at in &users.changed {
            hub.hear(node, at);
        }
        for (stretch, all) in &users.lists {
            hub.hear_all(node, stretch, all);
        }
        if users.ends && matches!(peer.knowledge, Knowledge::Coming { .. }) {
            peer.knowledge = Knowledge::Whole;
        }
        self.missed += missed;
    }

    /// Returns a life of another node. One that is new begins with the message of this number. `None` if there are too
    /// many.
    fn meet(&mut self, from: Incarnation, now: Duration, number: u64) -> Option<&mut Peer> {
        if !self.all.contains_key(&from) {
            let node = self.free_number()?;
            let peer = Peer {
                node,
                heard: now,
                number: number.saturating_sub(1),
                knowledge: Knowledge::Part { asked: None },
            };
            self.all.insert(from, peer);
            self.has_changed = true;
        }
        self.all.get_mut(&from)
    }

    /// Returns a number that no life has. The one that was free for longest comes first.
    fn free_number(&mut self) -> Option<NodeNumber> {
        if self.all.len() >= MOST {
            return None;
        }
        loop {
            self.last = (self.last + 1) % u8::MAX;
            let node = NodeNumber(self.last);
            if self.all.values().all(|peer| peer.node != node) {
                return Some(node);
            }
        }
    }

    /// Notes that a life of a node has ended for good.
    pub(super) fn leaves(&mut self, hub: &Hub, from: Incarnation, now: Duration) {
        if let Some(peer) = self.all.remove(&from) {
            hub.node_ended(peer.node, now.saturating_sub(peer.heard));
            hub.doubt_topics(peer.node);
            self.has_changed = true;
        }
    }

    /// Forgets the nodes that have not been heard for [`LIFE`].
    pub(super) fn look(&mut self, hub: &Hub, now: Duration) {
        let pause = now.saturating_sub(self.looked);
        self.looked = now;
        // This process did not run meanwhile: what came for it may come now.
        if pause > LIFE / 2 {
            for peer in self.all.values_mut() {
                peer.heard = now;
            }
        }
        self.all.retain(|_, peer| {
            let silence = now.saturating_sub(peer.heard);
            let lives = silence < LIFE;
            if !lives {
                hub.node_ended(peer.node, silence);
                hub.doubt_topics(peer.node);
                self.has_changed = true;
            }
            lives
        });
    }

    /// Returns a node to ask for a list of its users, if one is needed.
    pub(super) fn next_to_ask(&mut self, now: Duration) -> Option<Incarnation> {
        let (node, peer) = self.all.iter_mut().find(|(_, peer)| peer.is_to_ask(now))?;
        peer.knowledge = Knowledge::Part { asked: Some(now) };
        Some(*node)
    }
}

impl Peer {
    fn is_to_ask(&self, now: Duration) -> bool {
        match self.knowledge {
            Knowledge::Whole => false,
            Knowledge::Part { asked } => asked.is_none_or(|asked| now >= asked + ASK_AGAIN),
            Knowledge::Coming { since } => now >= since + ASK_AGAIN,
        }
    }
}

fn has_list(users: &Users) -> bool {
    !users.lists.is_empty()
}
