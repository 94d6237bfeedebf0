//! The commands that wait for their turn, and the positions that wait for the store.
//!
//! What waits is usually less than one commit takes, and is decided in the order of its arrival
//! without passing through here. Only what is more, or what is dear, waits here and takes turns by
//! user. So a user who sends many or dear commands waits behind them alone.

use std::sync::Arc;

use trunkline_storage::{Position, TimelineId};

use super::asked::Asked;
use super::price;
use crate::cost::Cost;
use crate::exchange::{Command, CommandBatch, ReplyTo};
use crate::ids::{Ids, UserId};
use crate::turns::{Entry, FairQueue, Flow, Form, Weights};

/// The cost that one user may take while others wait.
const QUANTUM: Cost = Cost::micros(200);

/// The maximum number of positions that one commit stores.
const POSITIONS: usize = 64;

/// The number of waiting positions above which the unused memory of their list is freed.
const KEPT_POSITIONS: usize = 1 << 12;

/// The bytes that a waiting command takes besides its body: itself and its place in the queue.
const BESIDES_BODY: usize = size_of::<Entry<Queued>>() + 64;

/// The number of commands that are taken out together.
const TAKEN_COMMANDS: usize = 1_024;

/// The bytes of commands at which no more are taken out together.
const TAKEN_BYTES: usize = 256 << 10;

/// Commands in turns by user, and positions.
pub(super) struct Intake {
    ids: Ids,
    waiting: FairQueue<Queued>,
    positions: Vec<(TimelineId, Position)>,
}

/// A command that waits for its turn. It has its body, so that the batch that it came in can go.
pub(super) struct Queued {
    command: Command,
    body: Box<[u8]>,
}

impl Queued {
    /// Returns the command with its body.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            command: &self.command,
            body: &self.body,
        }
    }
}

impl Intake {
    /// Returns an empty intake. Namespaces take turns by these weights.
    pub(super) fn new(ids: Ids, weights: Arc<Weights>) -> Self {
        Self {
            ids,
            waiting: FairQueue::new(Form {
                quantum: QUANTUM,
                // The queue to the sequencer bounds what waits here too.
                entries: usize::MAX,
                bytes: usize::MAX,
                weights,
            }),
            positions: Vec::new(),
        }
    }

    /// Returns whether nothing waits, neither commands nor positions.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.positions.is_empty()
    }

    /// Returns whether commands wait.
    pub(super) fn has_commands(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the number of waiting commands.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Lets the commands of a batch from number `from` on wait for their turn. Removes them from the
    /// batch. Returns the memory that they take here in bytes.
    pub(super) fn queue(&mut self, batch: &mut CommandBatch, from: usize) -> usize {
        let before = self.waiting.bytes();
        for command in batch.commands.drain(from..) {
            let body: Box<[u8]> = batch.bodies[command.body.clone()].into();
            let namespace = command.names.namespace(&body).unwrap_or_default();
            self.waiting.push(Entry {
                flow: Flow {
                    namespace: self.ids.namespace(namespace),
                    user: command.user,
                },
                cost: price::estimate(&command.action, body.len()),
                bytes: BESIDES_BODY + body.len(),
                item: Queued { command, body },
            });
        }
        self.waiting.bytes() - before
    }

    /// Takes the next command whose turn it is; `None` without commands.
    pub(super) fn next(&mut self) -> Option<Entry<Queued>> {
        self.waiting.pop()
    }

    /// Removes commands that take turns, as many as a batch has, and all positions. Returns them, and the memory that the
    /// commands took here in bytes; `None` if nothing waits. Commands of other nodes go: their nodes give them to the one
    /// who decides next.
    pub(super) fn take_batch(&mut self) -> Option<(Box<CommandBatch>, usize)> {
        if self.is_empty() {
            return None;
        }
        let (mut batch, mut bytes) = (Box::<CommandBatch>::default(), 0);
        batch.positions = std::mem::take(&mut self.positions);
        while batch.commands.len() < TAKEN_COMMANDS
            && batch.bodies.len() < TAKEN_BYTES
            && let Some(entry) = self.waiting.pop()
        {
            bytes += entry.bytes;
            let Queued { mut command, body } = entry.item;
            if matches!(command.reply_to, ReplyTo::Remote(_)) {
                continue;
            }
            let start = batch.bodies.len();
            batch.bodies.extend_from_slice(&body);
            command.body = start..batch.bodies.len();
            batch.push(command);
        }
        Some((batch, bytes))
    }

    /// Removes the commands of other nodes: each node gives them to the one who decides next. Returns the memory that they
    /// took here in bytes.
    pub(super) fn drop_foreign(&mut self) -> usize {
        let before = self.waiting.bytes();
        let mut kept = Vec::new();
        while let Some(entry) = self.waiting.pop() {
            if !matches!(entry.item.command.reply_to, ReplyTo::Remote(_)) {
                kept.push(entry);
            }
        }
        for entry in kept {
            self.waiting.push(entry);
        }
        before - self.waiting.bytes()
    }

    /// Lets a user pay what a command cost beyond its estimate.
    pub(super) fn charge(&mut self, user: UserId, cost: Cost) {
        self.waiting.charge(user, cost);
    }

    /// Adds the positions that devices have reached.
    pub(super) fn add_positions(&mut self, positions: &mut Vec<(TimelineId, Position)>) {
        self.positions.append(positions);
    }

    /// Takes the positions that the next commit stores. Their order makes no difference.
    pub(super) fn take_positions(&mut self) -> Vec<(TimelineId, Position)> {
        let left = self.positions.len().saturating_sub(POSITIONS);
        let taken = self.positions.split_off(left);
        if self.positions.capacity() > KEPT_POSITIONS.max(8 * left) {
            self.positions.shrink_to(2 * left);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{AB, Caller, Fixture, push_command};
    use super::*;
    use crate::event::Body;
    use crate::exchange::{Action, Remote};

    fn intake(fixture: &Fixture) -> Intake {
        Intake::new(fixture.ids(), Arc::default())
    }

    fn ask(fixture: &Fixture, batch: &mut CommandBatch, user: &str, text: &str) {
        let caller = Caller { user, conn: 1 };
        let body = Body {
            text: Some(text),
            ..Body::default()
        };
        let action = Action::Send {
            key: None,
            names_media: false,
            has_extras: false,
        };
        push_command(&fixture.ids(), batch, caller, AB, action, body);
    }

    #[test]
    fn commands_wait_with_their_bodies_and_the_batch_can_go() {
        let fixture = Fixture::new();
        let mut intake = intake(&fixture);
        let mut batch = CommandBatch::default();
        for number in 0..5 {
            ask(&fixture, &mut batch, "alice", &format!("message {number}"));
        }
        ask(&fixture, &mut batch, "bob", &"x".repeat(10_000));
        let bytes = intake.queue(&mut batch, 2);
        assert_eq!((batch.commands.len(), intake.len()), (2, 4));
        assert!(bytes > 10_000 + 4 * BESIDES_BODY);
        drop(batch);
        let mut freed = 0;
        let mut texts = Vec::new();
        while let Some(entry) = intake.next() {
            freed += entry.bytes;
            let asked = entry.item.asked();
            let body = Body::read(asked.body).unwrap();
            texts.push((
                asked.user_name().unwrap().to_owned(),
                body.text.map(str::len),
            ));
        }
        assert_eq!(freed, bytes);
        let alice = ("alice".to_owned(), Some(9));
        let bob = ("bob".to_owned(), Some(10_000));
        assert_eq!(texts, [alice.clone(), alice.clone(), alice, bob]);
        assert!(intake.is_empty());
    }

    #[test]
    fn commands_of_other_nodes_go_and_own_ones_keep_their_order() {
        let fixture = Fixture::new();
        let mut intake = intake(&fixture);
        let mut batch = CommandBatch::default();
        for number in 0..6 {
            ask(&fixture, &mut batch, "alice", &format!("{number}"));
        }
        for number in [0, 3, 4] {
            let name = Remote::new(1, number);
            batch.commands[number as usize].reply_to = ReplyTo::Remote(name);
        }
        let bytes = intake.queue(&mut batch, 0);
        assert_eq!(intake.drop_foreign(), bytes / 2);
        let mut texts = Vec::new();
        while let Some(entry) = intake.next() {
            let body = Body::read(entry.item.asked().body).unwrap();
            texts.push(body.text.unwrap().to_owned());
        }
        assert_eq!(texts, ["1", "2", "5"]);
    }

    #[test]
    fn a_commit_stores_some_positions_and_none_is_lost() {
        let mut intake = intake(&Fixture::new());
        let mut all: Vec<_> = (0..10_000)
            .map(|n| (TimelineId(n), Position(n as u64)))
            .collect();
        let expected = all.clone();
        intake.add_positions(&mut all);
        assert!(!intake.is_empty() && !intake.has_commands());
        let mut taken = Vec::new();
        while !intake.is_empty() {
            let some = intake.take_positions();
            assert!(some.len() <= POSITIONS);
            taken.extend(some);
        }
        taken.sort_unstable();
        assert_eq!(taken, expected);
        assert!(intake.positions.capacity() <= KEPT_POSITIONS);
    }
}
