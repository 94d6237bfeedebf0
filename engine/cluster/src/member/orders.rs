//! Orders of operators from the node that got them to the others.
//!
//! An order goes to all nodes whose heartbeats were heard of late, or to one. Each carries it out and answers. Nothing is
//! sent again: the node that gave the order tells which nodes have not answered, and the operator gives it again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use thiserror::Error;

use super::log::now;
use super::node::Node;
use super::wake::Knock;
use crate::envelope::{Ordered, Sender as From};
use crate::nats::{Lane, RECORD_MAX, To};
use crate::node::{Incarnation, NodeName};

/// The time for which a node that is silent is asked all the same: its clients may still be connected to it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The most orders that wait at any place.
const MOST: usize = 64;

/// The longest order in bytes.
const ORDER_MAX: usize = 16 << 10;

/// The most bytes of an answer.
pub const ANSWER_MAX: usize = RECORD_MAX - 1_024;

/// What came of an order.
#[derive(Debug, Default)]
pub struct Answers {
    /// The answers, by node.
    pub answers: Vec<(NodeName, Bytes)>,
    /// The nodes that did not answer in time.
    pub missing: Vec<NodeName>,
}

/// The reason why an order was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotGiven {
    /// As many orders as there may be are under way.
    #[error("too many orders to other nodes are under way: try again")]
    Busy,
    /// The order is too long.
    #[error("an order to other nodes has at most {ORDER_MAX} bytes")]
    TooLong,
    /// The thread of the node has ended, or does not answer.
    #[error("the thread of the cluster does not take an order: try again, or ask another node")]
    Ended,
}

/// The orders of a node: those that it gives, and those that others give to it.
#[derive(Debug, Clone)]
pub struct Orders {
    shared: Arc<Shared>,
    knock: Arc<Knock>,
}

#[derive(Debug)]
pub(super) struct Shared {
    me: Incarnation,
    leaving: Mutex<VecDeque<Leaving>>,
    waiting: Mutex<Waiting>,
    came: (Sender<Order>, Receiver<Order>),
}

/// Orders of this node without all their answers.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    asked: HashMap<u64, Sender<Heard>>,
}

/// What the thread of the node tells one that waits for answers.
#[derive(Debug)]
enum Heard {
    /// The order is for these nodes.
    Nodes(Vec<NodeName>),
    Answer(NodeName, Bytes),
}

/// What is to leave.
#[derive(Debug)]
enum Leaving {
    Order {
        to: Option<NodeName>,
        number: u64,
        bytes: Bytes,
    },
    Answer {
        to: Incarnation,
        number: u64,
        bytes: Bytes,
    },
    /// Which nodes there are.
    Nodes(Sender<Heard>),
}

/// An order of another node.
#[derive(Debug)]
pub struct Order {
    /// The node that gives it.
    pub from: Incarnation,
    /// What is in it.
    pub bytes: Bytes,
    number: u64,
}

impl Orders {
    pub(super) fn new(me: Incarnation, knock: &Arc<Knock>) -> Self {
        let shared = Shared {
            me,
            leaving: Mutex::default(),
            waiting: Mutex::default(),
            came: channel::bounded(MOST),
        };
        Self {
            shared: Arc::new(shared),
            knock: Arc::clone(knock),
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Returns the name of this node.
    #[must_use]
    pub fn me(&self) -> NodeName {
        self.shared.me.node
    }

    /// Lets other nodes carry out an order: `to`, or all that were heard within a minute. Waits for their answers, at
    /// most for the time `within`.
    ///
    /// # Errors
    /// The order was not given.
    pub fn give(
        &self,
        to: Option<NodeName>,
        bytes: Bytes,
        within: Duration,
    ) -> Result<Answers, NotGiven> {
        if bytes.len() > ORDER_MAX {
            return Err(NotGiven::TooLong);
        }
        let until = now() + within;
        // Each node answers once.
        let (tell, heard) = channel::unbounded();
        let number = self.shared.enter(tell)?;
        let asked = Asked {
            shared: &self.shared,
            number,
        };
        self.leave(Leaving::Order { to, number, bytes })?;
        let mut answers = Answers {
            missing: nodes(&heard, within)?,
            ..Answers::default()
        };
        while !answers.missing.is_empty() {
            let left = until.saturating_duration_since(now());
            match heard.recv_timeout(left) {
                Ok(Heard::Answer(from, bytes)) => {
                    if let Some(at) = answers.missing.iter().position(|it| *it == from) {
                        answers.missing.swap_remove(at);
                        answers.answers.push((from, bytes));
                    }
                }
                Ok(Heard::Nodes(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(asked);
        answers.missing.sort_unstable();
        Ok(answers)
    }

    /// Returns the names of the other nodes that were heard within a minute, in their order.
    ///
    /// # Errors
    /// The thread of the node has ended, or does not answer in time.
    pub fn others(&self, within: Duration) -> Result<Vec<NodeName>, NotGiven> {
        let (tell, heard) = channel::bounded(1);
        self.leave(Leaving::Nodes(tell))?;
        nodes(&heard, within)
    }

    /// Waits for the next order of another node, at most for the time `within`.
    #[must_use]
    pub fn next(&self, within: Duration) -> Option<Order> {
        self.shared.came.1.recv_timeout(within).ok()
    }

    /// Answers an order. An answer with more than [`ANSWER_MAX`] bytes, or for which there is no room, is left out: the
    /// other node says that this one did not answer.
    pub fn answer(&self, order: &Order, bytes: Bytes) {
        if bytes.len() <= ANSWER_MAX {
            let answer = Leaving::Answer {
                to: order.from,
                number: order.number,
                bytes,
            };
            let _ = self.leave(answer);
        }
    }

    fn leave(&self, what: Leaving) -> Result<(), NotGiven> {
        let mut leaving = self.shared.leaving.lock();
        if leaving.len() >= 2 * MOST {
            return Err(NotGiven::Busy);
        }
        leaving.push_back(what);
        drop(leaving);
        self.knock.ring();
        Ok(())
    }
}

/// Waits for the nodes that an order is for.
fn nodes(heard: &Receiver<Heard>, within: Duration) -> Result<Vec<NodeName>, NotGiven> {
    match heard.recv_timeout(within) {
        Ok(Heard::Nodes(nodes)) => Ok(nodes),
        // The nodes are told before the order leaves.
        Ok(Heard::Answer(..)) | Err(_) => Err(NotGiven::Ended),
    }
}

/// An order without all its answers. Nobody waits for them once it is dropped.
struct Asked<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().asked.remove(&self.number);
    }
}

impl Shared {
    fn enter(&self, tell: Sender<Heard>) -> Result<u64, NotGiven> {
        let mut waiting = self.waiting.lock();
        if waiting.asked.len() >= MOST {
            return Err(NotGiven::Busy);
        }
        waiting.last += 1;
        let number = waiting.last;
        waiting.asked.insert(number, tell);
        Ok(number)
    }

    fn tell(&self, number: u64, heard: Heard) {
        if let Some(asked) = self.waiting.lock().asked.get(&number) {
            let _ = asked.send(heard);
        }
    }

    /// Takes a message of another node.
    pub(super) fn take(&self, message: Ordered) {
        let Ordered {
            from,
            answers,
            number,
            bytes,
        } = message;
        let from = from.node;
        match answers {
            Some(to) if to == self.me.number => {
                self.tell(number, Heard::Answer(from.node, bytes));
            }
            // For the life of this node before.
            Some(_) => {}
            None if from.node == self.me.node => {}
            None => {
                let order = Order {
                    from,
                    bytes,
                    number,
                };
                if let Err(TrySendError::Full(_)) = self.came.0.try_send(order) {
                    tracing::warn!(%from, "an order of an operator is left out: too many wait");
                }
            }
        }
    }
}

impl Node {
    /// Sends the orders of this node, and its answers to others.
    pub(super) fn look_at_orders(&mut self, now: Duration) {
        let orders = Arc::clone(&self.orders);
        loop {
            let Some(leaving) = orders.leaving.lock().pop_front() else {
                return;
            };
            match leaving {
                Leaving::Nodes(tell) => {
                    let _ = tell.send(Heard::Nodes(self.others.names(REMEMBERED, now)));
                }
                Leaving::Order { to, number, bytes } => {
                    let nodes =
                        to.map_or_else(|| self.others.names(REMEMBERED, now), |to| vec![to]);
                    orders.tell(number, Heard::Nodes(nodes));
                    self.say_order(to, None, (number, bytes));
                }
                Leaving::Answer { to, number, bytes } => {
                    self.say_order(Some(to.node), Some(to.number), (number, bytes));
                }
            }
        }
    }

    /// Takes an order of another node, or its answer to one. A node that has stopped carries out orders too: it has
    /// sessions.
    pub(super) fn take_order(&self, bytes: &Bytes) {
        let Ok(message) = Ordered::read(bytes) else {
            return;
        };
        let log = self.chain.mark().map(|mark| mark.log);
        if log == Some(message.from.log) {
            self.orders.take(message);
        }
    }

    fn say_order(&self, to: Option<NodeName>, answers: Option<u64>, (number, bytes): (u64, Bytes)) {
        let Some(mark) = self.chain.mark() else {
            return;
        };
        let message = Ordered {
            from: From {
                log: mark.log,
                epoch: self.lease.epoch().0,
                node: self.me,
            },
            answers,
            number,
            bytes,
        };
        let to = to.as_ref().map_or(To::All, |name| To::Node(name.as_str()));
        // What is lost has no answer.
        let _ = self.lanes.say(Lane::Orders, to, message.write());
    }
}
