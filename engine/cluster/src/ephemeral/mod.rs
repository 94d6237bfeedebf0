//! What nodes tell each other about presence, and events for each other's users.
//!
//! # Presence
//!
//! A node numbers its messages about users, and sends all of them to all nodes:
//!
//! - **changes**: how users who came or left are now, at most every 10 ms, and an empty message every 500 ms
//!   without one;
//! - **lists**: all users of the node, in pieces, when a node asks for it. A node asks if it meets another one, or if a
//!   number is missing.
//!
//! A message says how a user is, not what happened. So a change that comes late in the list, or twice, does no harm, and
//! a node that has a whole list without a gap in the numbers since its beginning knows all users.
//!
//! Lists go to all nodes too, although one asked. So they come in order with the changes, and after a break of the
//! connection one list of each node serves all that missed something.
//!
//! A node that is silent for 3 seconds, or says that it ends, has no users any more. Its users left when it was heard
//! last: others see them online until the grace time is over, and do not see those leave who come to another node
//! meanwhile.
//!
//! # Events
//!
//! Typing and signals go to the nodes that have devices of the users they are for, as the node of the sender knows it, and
//! not to all. They go at most once, in their order, and are not repeated.
//!
//! # Topics
//!
//! One of the living nodes numbers the publications of a topic: the one that a hash of its life and the topic chooses. The
//! others ask it to number what their clients publish. It sends each publication to all nodes with its changes, so a
//! subscriber gets it from its own node, and each node has the latest ones. That is what stored messages cost too: each
//! node has them all. A node asks for the state of a topic that it does not know before its first subscriber begins.
//!
//! If a number of the node is missing, or the node ends, all nodes doubt their copies of its topics: subscribers get a
//! `gap`. The next node to number a topic begins a new epoch.

mod passing;
mod peers;
mod telling;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::exchange::Wake;
use trunkline_core::hub::{Hub, Living, Nodes, PushFrames};

use crate::envelope::{Aside, AsideContent, LogId};
use crate::node::{Incarnation, NodeName};
use passing::Passing;
use peers::Peers;
use telling::Telling;
use topics::Topics;

/// The numbers of ephemeral state, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EphemeralNumbers {
    /// The other nodes that are there.
    pub nodes: u64,
    /// The devices that users have at other nodes.
    pub devices: u64,
    /// The devices at other nodes that found no room.
    pub devices_lost: u64,
    /// The users of whom other nodes were told because they came or left.
    pub told: u64,
    /// The lists of all users that were told.
    pub lists: u64,
    /// The messages of other nodes that did not come.
    pub missed: u64,
    /// The events for users of other nodes that were passed on.
    pub passed: u64,
    /// The events of other nodes that came.
    pub heard: u64,
    /// The times that an event found no room, on its way to other nodes or from them.
    pub refused: u64,
    /// The questions about topics to other nodes that got no answer.
    pub topics_failed: u64,
}

/// The exchange of ephemeral state between one node and the others.
pub struct Ephemeral {
    me: Incarnation,
    log: LogId,
    hub: Arc<Hub>,
    nodes: Arc<Nodes>,
    telling: Telling,
    peers: Peers,
    passing: Passing,
    topics: Topics,
    /// The events of other nodes that came.
    heard: u64,
    /// The shards of this node that had no room for one of them.
    refused: u64,
}

impl Ephemeral {
    /// Returns the exchange of a node that has met no other one. No session of `hub` has begun. `wake` wakes the thread
    /// that calls [`poll`](Self::poll).
    #[must_use]
    pub fn new(me: Incarnation, log: LogId, hub: Arc<Hub>, wake: Arc<dyn Wake>) -> Self {
        let nodes = hub.join(wake);
        Self {
            me,
            log,
            hub,
            nodes,
            telling: Telling::new(),
            peers: Peers::default(),
            passing: Passing::default(),
            topics: Topics::default(),
            heard: 0,
            refused: 0,
        }
    }

    /// Takes a message. Those of other logs, and those that cannot be read, change nothing.
    pub fn hear(&mut self, message: &Bytes, now: Duration) {
        let Ok(Aside { log, node, content }) = Aside::read(message) else {
            return;
        };
        if log != self.log || node == self.me {
            return;
        }
        match content {
            AsideContent::Users(users) => {
                self.peers.hear(&self.hub, node, &users, now);
                self.look_at_living();
            }
            AsideContent::Ask(to) if to == self.me.number => self.telling.want(),
            AsideContent::Ask(_) => {}
            AsideContent::Leaves => self.peers.leaves(&self.hub, node, now),
            AsideContent::Question(question) if question.to == self.me.number => {
                self.topics.question(&self.hub, node, &question);
            }
            AsideContent::Reply(reply) if reply.to == self.me.number => {
                if let Some(number) = self.peers.number_of(node) {
                    self.topics.reply(&self.hub, number, reply);
                }
            }
            AsideContent::Question(_) | AsideContent::Reply(_) => {}
            AsideContent::Events(events) => {
                self.heard += events.len() as u64;
                for event in events {
                    let frames = PushFrames::of_messages(&event.json, &event.proto);
                    self.refused += self.hub.pass_here(&event.users, frames, event.trifle);
                }
            }
        }
    }

    /// Lets time pass: forgets nodes that are silent. Call it after [`hear`](Self::hear) had all that came.
    pub fn look(&mut self, now: Duration) {
        self.peers.look(&self.hub, now);
        self.look_at_living();
        self.topics.look(&self.hub, &self.peers, now);
    }

    /// Lets the hub know the nodes that live, if they are others.
    fn look_at_living(&mut self) {
        if let Some(mut living) = self.peers.living() {
            living.push(Living {
                life: self.me.number,
                node: None,
            });
            self.nodes.set_living(living);
        }
    }

    /// Returns the next message to send, to one node or to all; `None` if none is due.
    pub fn poll(&mut self, now: Duration) -> Option<(Option<NodeName>, Bytes)> {
        let hub = (&*self.hub, &*self.nodes);
        if let Some((node, content)) = self.topics.poll(hub, &self.peers, now) {
            return Some((Some(node), self.message(content)));
        }
        if let Some((node, events)) = self.passing.poll(&self.nodes, &self.peers, now) {
            return Some((Some(node), self.message(AsideContent::Events(events))));
        }
        if let Some(users) = self.telling.poll(&self.hub, &self.nodes, now) {
            return Some((None, self.message(AsideContent::Users(users))));
        }
        let other = self.peers.next_to_ask(now)?;
        let ask = self.message(AsideContent::Ask(other.number));
        Some((Some(other.node), ask))
    }

    /// Lets [`poll`](Self::poll) have all that is new at once, before the node ends.
    pub const fn hurry(&mut self) {
        self.telling.hurry();
        self.passing.hurry();
    }

    /// Returns the last message of a node that ends in order. No session is left, and all messages of
    /// [`poll`](Self::poll) have been sent.
    #[must_use]
    pub fn end(&self) -> Bytes {
        self.message(AsideContent::Leaves)
    }

    /// Returns the time from `now` until [`poll`](Self::poll) may have something, or until time must pass.
    #[must_use]
    pub fn rest(&self, now: Duration) -> Duration {
        let wake = self.telling.wake(&self.nodes);
        let wake = wake.min(self.passing.wake(&self.nodes));
        if self.topics.is_ready(&self.nodes) {
            return Duration::ZERO;
        }
        wake.saturating_sub(now).min(telling::BEAT)
    }

    /// Returns the numbers for metrics.
    #[must_use]
    pub fn numbers(&self) -> EphemeralNumbers {
        EphemeralNumbers {
            nodes: self.peers.len() as u64,
            devices: self.nodes.devices() as u64,
            devices_lost: self.nodes.lost(),
            told: self.telling.told,
            lists: self.telling.lists,
            missed: self.peers.missed,
            passed: self.passing.passed,
            heard: self.heard,
            refused: self.refused + self.passing.refused + self.nodes.events_refused(),
            topics_failed: self.topics.failed,
        }
    }

    fn message(&self, content: AsideContent) -> Bytes {
        let (log, node) = (self.log, self.me);
        Aside { log, node, content }.write()
    }
}
