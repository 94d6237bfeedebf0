//! Events on their way to users of other nodes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::hub::{EventElsewhere, Nodes};

use super::peers::Peers;
use super::telling::TURN;
use crate::envelope::{Event, MAX_MESSAGE};
use crate::node::NodeName;

/// The bytes of events in a message, from which on it has no room for another one.
const MESSAGE: usize = 128 << 10;

/// The bytes of a message besides its events, with room to spare.
const HEAD: usize = 256;

/// Events on their way to users of other nodes.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// The events of this turn that are in no message yet.
    left: VecDeque<EventElsewhere>,
    /// When the node looks for events next.
    turn: Duration,
    /// The events that were passed on.
    pub(super) passed: u64,
    /// The events that are too long for a message.
    pub(super) refused: u64,
}

impl Passing {
    /// Lets the next [`poll`](Self::poll) look for events at once.
    pub(super) const fn hurry(&mut self) {
        self.turn = Duration::ZERO;
    }

    /// Returns the next message: the node, and events for it.
    pub(super) fn poll(
        &mut self,
        nodes: &Nodes,
        peers: &Peers,
        now: Duration,
    ) -> Option<(NodeName, Vec<Event>)> {
        if self.left.is_empty() && now >= self.turn && nodes.has_events() {
            self.turn = now + TURN;
            self.left = nodes.take_events();
        }
        while let Some(first) = self.left.front() {
            let node = first.node;
            let mut events = Vec::new();
            let mut bytes = 0;
            // Events for other nodes keep their order.
            let (of_node, others) = { std::mem::take(&mut self.left).into_iter() }
                .partition::<VecDeque<_>, _>(|event| event.node == node);
            let mut of_node = of_node.into_iter();
            while bytes < MESSAGE
                && let Some(event) = of_node.next()
            {
                let event = carried(&event);
                if bytes + event.size() > MAX_MESSAGE - HEAD {
                    // It is too long for any message: those before it take less than a message has room for.
                    self.refused += 1;
                    continue;
                }
                bytes += event.size();
                events.push(event);
            }
            self.left = of_node.chain(others).collect();
            // The node may have ended meanwhile.
            if let Some(life) = peers.named(node)
                && !events.is_empty()
            {
                self.passed += events.len() as u64;
                return Some((life.node, events));
            }
        }
        None
    }

    /// Returns when [`poll`](Self::poll) may have something.
    pub(super) fn wake(&self, nodes: &Nodes) -> Duration {
        if !self.left.is_empty() {
            return Duration::ZERO;
        }
        if nodes.has_events() {
            return self.turn;
        }
        Duration::MAX
    }
}

fn carried(event: &EventElsewhere) -> Event {
    let [json, proto] = event.frames.messages().map(Bytes::copy_from_slice);
    Event {
        users: event.users.to_vec(),
        trifle: event.trifle,
        json,
        proto,
    }
}
