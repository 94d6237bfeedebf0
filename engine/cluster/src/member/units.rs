//! The commands of this node on their way to the leader.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::exchange::{Command, CommandBatch, Remote, ReplyTo};
use trunkline_core::follower::Follower;

use crate::envelope::Batch;
use crate::forward::Waiting;

/// The most batches of commands that wait.
const MOST: usize = 4_096;

/// The most bytes of them.
const MOST_BYTES: usize = 32 << 20;

/// The bytes of commands in one message, unless one batch is longer.
const MESSAGE: usize = 256 << 10;

/// The bytes of the bodies of a batch above which it is cut.
const PIECE: usize = 128 << 10;

/// The commands of a batch above which it is cut.
const PIECE_COMMANDS: usize = 2_048;

/// The batches of commands that this node has forwarded, or is about to. Each is one command to
/// [`Waiting`], which is answered once all commands in it are.
#[derive(Debug)]
pub(super) struct Units {
    waiting: Waiting,
    units: VecDeque<Unit>,
    /// Pieces of batches that are not named yet.
    next: VecDeque<Box<CommandBatch>>,
}

#[derive(Debug)]
struct Unit {
    number: u64,
    bytes: Bytes,
    /// The numbers of its commands at the follower.
    commands: Vec<u64>,
}

impl Units {
    pub(super) fn new() -> Self {
        Self {
            waiting: Waiting::new(MOST, MOST_BYTES),
            units: VecDeque::new(),
            next: VecDeque::new(),
        }
    }

    /// Returns whether there is room for another batch.
    pub(super) fn has_room(&self) -> bool {
        self.next.is_empty() && self.waiting.room() > 4 * PIECE
    }

    /// Returns the number of batches that are not answered.
    pub(super) fn len(&self) -> usize {
        self.units.len() + self.next.len()
    }

    /// Adds a batch of commands of this node.
    pub(super) fn add(&mut self, batch: Box<CommandBatch>, follower: &mut Follower) {
        if batch.commands.is_empty() && batch.positions.is_empty() {
            return;
        }
        self.next.extend(cut(batch));
        self.go_on(follower);
    }

    /// Names the batches that had no room.
    pub(super) fn go_on(&mut self, follower: &mut Follower) {
        while let Some(mut batch) = self.next.pop_front() {
            if self.waiting.room() < 4 * PIECE || !follower.forward(&mut batch) {
                self.next.push_front(batch);
                return;
            }
            self.enter(&batch);
        }
    }

    /// Adds a batch whose commands have names.
    fn enter(&mut self, batch: &CommandBatch) {
        let mut bytes = Vec::with_capacity(batch.bodies.len() + 64 * batch.commands.len());
        batch.carry(&mut bytes);
        let bytes = Bytes::from(bytes);
        let Ok(number) = self.waiting.add(bytes.clone()) else {
            tracing::warn!(
                "a batch of commands has no room on its way to the leader: its clients get no answers"
            );
            return;
        };
        let commands = { batch.commands.iter() }.filter_map(|command| match command.reply_to {
            ReplyTo::Remote(name) => Some(name.number()),
            ReplyTo::Conn(_) | ReplyTo::Call(_) => None,
        });
        self.units.push_back(Unit {
            number,
            bytes,
            commands: commands.collect(),
        });
    }

    /// Forgets the batches whose commands are all answered.
    pub(super) fn settle(&mut self, follower: &Follower) {
        let waits = |unit: &Unit| unit.commands.iter().any(|it| follower.is_waiting(*it));
        let waiting = &mut self.waiting;
        self.units.retain(|unit| {
            let waits = waits(unit);
            if !waits {
                waiting.answered(unit.number);
            }
            waits
        });
    }

    /// Forgets batches without commands once they have gone: nobody answers positions of devices, and later ones follow.
    pub(super) fn settle_positions(&mut self, follower: &Follower) {
        if self
            .units
            .front()
            .is_some_and(|unit| unit.commands.is_empty())
        {
            self.settle(follower);
        }
    }

    /// Begins an epoch: what is not answered goes again, without the commands that are.
    pub(super) fn begin(&mut self, epoch: u64, follower: &Follower) {
        self.settle(follower);
        for unit in std::mem::take(&mut self.units) {
            self.waiting.answered(unit.number);
            let is_whole = unit.commands.iter().all(|it| follower.is_waiting(*it));
            let Some(mut batch) = CommandBatch::carried(&unit.bytes, Remote::OWN) else {
                continue;
            };
            if !is_whole {
                batch.commands.retain(|command| match command.reply_to {
                    ReplyTo::Remote(name) => follower.is_waiting(name.number()),
                    ReplyTo::Conn(_) | ReplyTo::Call(_) => true,
                });
            }
            self.enter(&batch);
        }
        self.waiting.begin(epoch);
    }

    /// Takes everything back, for the sequencer of this node: in the order in which it came.
    pub(super) fn take_back(&mut self, follower: &mut Follower) -> VecDeque<Box<CommandBatch>> {
        let mut all = VecDeque::new();
        for unit in std::mem::take(&mut self.units) {
            self.waiting.answered(unit.number);
            if let Some(mut batch) = CommandBatch::carried(&unit.bytes, Remote::OWN) {
                follower.take_back(&mut batch);
                all.push_back(batch);
            }
        }
        all.extend(std::mem::take(&mut self.next));
        all
    }

    /// Gives everything up: nobody will answer it.
    pub(super) fn give_up(&mut self, follower: &mut Follower) {
        for mut batch in std::mem::take(&mut self.next) {
            let _ = follower.forward(&mut batch);
        }
        for unit in std::mem::take(&mut self.units) {
            self.waiting.answered(unit.number);
        }
        follower.give_up();
    }

    /// Notes that the leader of an epoch has the batches up to a number.
    pub(super) fn confirm(&mut self, epoch: u64, number: u64) {
        self.waiting.confirm(epoch, number);
    }

    /// Returns the next message to the leader, with its epoch.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(u64, Batch)> {
        self.waiting.poll(MESSAGE, now)
    }

    /// Returns when [`poll`](Self::poll) has something again.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.waiting.wake()
    }
}

/// Cuts a long batch into pieces, each in order.
fn cut(batch: Box<CommandBatch>) -> VecDeque<Box<CommandBatch>> {
    if batch.bodies.len() <= PIECE && batch.commands.len() <= PIECE_COMMANDS {
        return VecDeque::from([batch]);
    }
    let CommandBatch {
        commands,
        bodies,
        positions,
        ..
    } = *batch;
    let mut piece = Box::<CommandBatch>::default();
    piece.positions = positions;
    let mut pieces = VecDeque::new();
    for command in commands {
        let body = &bodies[command.body.clone()];
        let is_full =
            piece.bodies.len() + body.len() > PIECE || piece.commands.len() == PIECE_COMMANDS;
        if is_full && !piece.commands.is_empty() {
            pieces.push_back(std::mem::take(&mut piece));
        }
        let start = piece.bodies.len();
        piece.bodies.extend_from_slice(body);
        let body = start..piece.bodies.len();
        piece.push(Command { body, ..command });
    }
    pieces.push_back(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use trunkline_core::event::{Body, BodyNames};
    use trunkline_core::exchange::{Action, Call, Members};
    use trunkline_storage::{Position, TimelineId};

    use super::*;

    /// Adds a command with a text of this length.
    fn push(batch: &mut CommandBatch, len: usize) {
        let text = "x".repeat(len);
        let body = Body {
            conversation: "g:one",
            user: "ada",
            text: Some(&text),
            ..Body::default()
        };
        let start = batch.bodies.len();
        body.write(&mut batch.bodies);
        batch.push(Command {
            reply_to: ReplyTo::Call(Call::new().0),
            user: TimelineId(len as u128),
            conversation: TimelineId(2),
            members: Members::Group,
            body: start..batch.bodies.len(),
            names: BodyNames::of(&body),
            action: Action::Recall { seq: len as u64 },
            read_at: 0,
        });
    }

    #[test]
    fn a_long_batch_is_cut_in_order_and_nothing_is_lost() {
        let mut batch = Box::<CommandBatch>::default();
        let lens = [10, PIECE - 500, 600, 3 * PIECE, 1, 2];
        lens.iter().for_each(|len| push(&mut batch, *len));
        batch.positions.push((TimelineId(5), Position(7)));
        let pieces = cut(batch);
        let counts: Vec<_> = pieces.iter().map(|piece| piece.commands.len()).collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        let positions: Vec<_> = pieces.iter().map(|piece| piece.positions.len()).collect();
        assert_eq!(positions, [1, 0, 0, 0]);
        let mut found = Vec::new();
        for piece in &pieces {
            for command in &piece.commands {
                let body = &piece.bodies[command.body.clone()];
                let body = Body::read(body).expect("a body");
                found.push(body.text.map_or(0, str::len));
            }
        }
        assert_eq!(found, lens);
    }

    #[test]
    fn many_short_commands_are_cut_too() {
        let mut batch = Box::<CommandBatch>::default();
        (0..=PIECE_COMMANDS).for_each(|_| push(&mut batch, 1));
        let counts: Vec<_> = cut(batch).iter().map(|it| it.commands.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), PIECE_COMMANDS + 1);
        assert!(counts.iter().all(|count| *count <= PIECE_COMMANDS));
    }
}
