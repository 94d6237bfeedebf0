//! The commands of this node on their way to the leader.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::exchange::{Command, CommandBatch, Remote, ReplyTo};
use trunkline_core::follower::Follower;

use crate::envelope::Batch;
use crate::forward::{MAX_COMMAND, Waiting};

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

/// The positions of devices in a batch above which it is cut.
const PIECE_POSITIONS: usize = 4_096;

/// The difference between the ends of two batches up to which they become one: both are given up at the earlier end.
const ALIKE: Duration = Duration::from_millis(100);

/// The longest body of a command: what belongs to the command beside it has room in its message.
const MOST_BODY: usize = MAX_COMMAND - 1_024;

/// The room that a piece of a batch must find: it has all pieces, and a command that is a piece by itself.
const ROOM: usize = MAX_COMMAND;

// Of 27 bytes a position, and 160 a command without its body.
const _: () = assert!(PIECE + PIECE_POSITIONS * 27 + PIECE_COMMANDS * 160 < MAX_COMMAND);
const _: () = assert!(ROOM < MOST_BYTES);

/// The batches of commands that this node has forwarded, or is about to. Each is one command to
/// [`Waiting`], which is answered once all commands in it are.
///
/// Short batches that come between two messages to the leader become one: what is done for each batch, here and at the
/// leader, costs more than a command in it.
#[derive(Debug)]
pub(super) struct Units {
    waiting: Waiting,
    units: VecDeque<Unit>,
    /// Pieces of batches that are not named yet.
    next: VecDeque<(Box<CommandBatch>, Duration)>,
    /// Short batches that have become one. They come behind `next`.
    gathered: Option<(Box<CommandBatch>, Duration)>,
}

#[derive(Debug)]
struct Unit {
    number: u64,
    /// When its commands are given up.
    until: Duration,
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
            gathered: None,
        }
    }

    /// Returns whether there is room for another batch.
    pub(super) fn has_room(&self) -> bool {
        self.next.is_empty() && self.waiting.room() > ROOM
    }

    /// Returns the number of batches that are not answered.
    pub(super) fn len(&self) -> usize {
        self.units.len() + self.next.len() + usize::from(self.gathered.is_some())
    }

    /// Adds a batch of commands of this node, which are given up at `until`. [`go_on`](Self::go_on) names them. Returns a batch
    /// that is empty now, if one is.
    pub(super) fn add(
        &mut self,
        mut batch: Box<CommandBatch>,
        follower: &mut Follower,
        until: Duration,
    ) -> Option<Box<CommandBatch>> {
        follower.refuse_long(&mut batch, MOST_BODY);
        if batch.commands.is_empty() && batch.positions.is_empty() {
            return Some(batch);
        }
        if let Some((gathered, first)) = &mut self.gathered
            && fit_in_one(gathered, &batch)
            && first.abs_diff(until) <= ALIKE
        {
            gathered.append(&mut batch);
            *first = until.min(*first);
            return Some(batch);
        }
        self.next.extend(self.gathered.take());
        let pieces = cut(batch).into_iter().map(|piece| (piece, until));
        self.next.extend(pieces);
        self.gathered = self.next.pop_back();
        None
    }

    /// Gives the commands up that nobody has answered in time.
    pub(super) fn expire(&mut self, now: Duration, follower: &mut Follower) {
        let over = self.waiting.expire(now);
        self.drop_late(&over, follower);
        self.next
            .extend(self.gathered.take_if(|(_, until)| *until <= now));
        while let Some((mut batch, _)) = self.next.pop_front_if(|(_, until)| *until <= now) {
            follower.give_up_batch(&mut batch);
        }
    }

    /// Gives up what `waiting` has given up: the batches of these numbers.
    fn drop_late(&mut self, over: &[u64], follower: &mut Follower) {
        if !over.is_empty() {
            let late = |unit: &&Unit| over.binary_search(&unit.number).is_ok();
            let late = self.units.iter().filter(late);
            let commands = late.flat_map(|unit| unit.commands.iter().copied());
            follower.give_up_late(commands);
            self.units
                .retain(|unit| over.binary_search(&unit.number).is_err());
            tracing::warn!(
                batches = over.len(),
                "no leader has decided commands in time: their clients get error 115"
            );
        }
    }

    /// Names the batches that have none yet, as far as there is room.
    pub(super) fn go_on(&mut self, follower: &mut Follower) {
        self.next.extend(self.gathered.take());
        while let Some((mut batch, until)) = self.next.pop_front() {
            if self.waiting.room() < ROOM || !follower.forward(&mut batch) {
                self.next.push_front((batch, until));
                return;
            }
            self.enter(&batch, until, follower);
        }
    }

    /// Adds a batch whose commands have names.
    fn enter(&mut self, batch: &CommandBatch, until: Duration, follower: &mut Follower) {
        let mut bytes = Vec::with_capacity(batch.bodies.len() + 64 * batch.commands.len());
        batch.carry(&mut bytes);
        let bytes = Bytes::from(bytes);
        let commands = { batch.commands.iter() }.filter_map(|command| match command.reply_to {
            ReplyTo::Remote(name) => Some(name.number()),
            ReplyTo::Conn(_) | ReplyTo::Call(_) => None,
        });
        match self.waiting.add(bytes.clone(), until) {
            Ok(number) => self.units.push_back(Unit {
                number,
                until,
                bytes,
                commands: commands.collect(),
            }),
            Err(error) => {
                tracing::error!(%error, "commands cannot go to the leader: their clients get error 115");
                follower.give_up_late(commands);
            }
        }
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
    pub(super) fn begin(&mut self, epoch: u64, follower: &mut Follower, now: Duration) {
        self.settle(follower);
        let over = self.waiting.begin(epoch, now);
        self.drop_late(&over, follower);
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
            self.enter(&batch, unit.until, follower);
        }
    }

    /// Returns when the first commands are given up; `None` if there are none.
    pub(super) fn soonest(&self) -> Option<Duration> {
        let units = self.units.iter().map(|unit| unit.until);
        let unnamed = self.next.iter().chain(&self.gathered);
        units.chain(unnamed.map(|(_, until)| *until)).min()
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
        let unnamed = self.next.drain(..).chain(self.gathered.take());
        all.extend(unnamed.map(|(batch, _)| batch));
        all
    }

    /// Gives everything up: nobody will answer it.
    pub(super) fn give_up(&mut self, follower: &mut Follower) {
        self.next.extend(self.gathered.take());
        for (mut batch, _) in std::mem::take(&mut self.next) {
            follower.give_up_batch(&mut batch);
        }
        for unit in std::mem::take(&mut self.units) {
            self.waiting.answered(unit.number);
        }
        follower.give_up();
    }

    /// Notes the number of a heartbeat with which the leader of an epoch says that it leads.
    pub(super) fn heard(&mut self, epoch: u64, beat: u64) {
        self.waiting.heard(epoch, beat);
    }

    /// Notes that the leader of an epoch has the batches up to a number.
    pub(super) fn confirm(&mut self, epoch: u64, number: u64) {
        self.waiting.confirm(epoch, number);
    }

    /// Returns the next message to the leader, with its epoch.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(u64, Batch)> {
        self.waiting.poll(MESSAGE, now)
    }

    /// Returns when [`poll`](Self::poll) or [`expire`](Self::expire) has something again.
    pub(super) fn wake(&self) -> Option<Duration> {
        match self.gathered {
            Some(_) => Some(Duration::ZERO),
            None => self.waiting.wake(),
        }
    }
}

/// Returns whether two batches are short enough to go as one. Those that the leader decides by turns stay apart: it
/// decides all others at once.
fn fit_in_one(first: &CommandBatch, second: &CommandBatch) -> bool {
    first.bodies.len() + second.bodies.len() <= PIECE
        && first.commands.len() + second.commands.len() <= PIECE_COMMANDS
        && first.positions.len() + second.positions.len() <= PIECE_POSITIONS
        && !first.is_uneven()
        && !second.is_uneven()
}

/// Cuts a long batch into pieces, each in order.
fn cut(batch: Box<CommandBatch>) -> VecDeque<Box<CommandBatch>> {
    if batch.bodies.len() <= PIECE
        && batch.commands.len() <= PIECE_COMMANDS
        && batch.positions.len() <= PIECE_POSITIONS
    {
        return VecDeque::from([batch]);
    }
    let CommandBatch {
        commands,
        bodies,
        mut positions,
        ..
    } = *batch;
    let mut pieces = VecDeque::new();
    let mut piece = Box::<CommandBatch>::default();
    while positions.len() > PIECE_POSITIONS {
        piece.positions = positions.split_off(positions.len() - PIECE_POSITIONS);
        pieces.push_back(std::mem::take(&mut piece));
    }
    piece.positions = positions;
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
    fn many_positions_are_cut_too() {
        let mut batch = Box::<CommandBatch>::default();
        let all = (0..2 * PIECE_POSITIONS as u128 + 7).map(|key| (TimelineId(key), Position(1)));
        batch.positions.extend(all.clone());
        push(&mut batch, 1);
        let pieces = cut(batch);
        let mut found = Vec::new();
        for piece in &pieces {
            let mut bytes = Vec::new();
            piece.carry(&mut bytes);
            assert!(bytes.len() < MAX_COMMAND && piece.positions.len() <= PIECE_POSITIONS);
            found.extend(piece.positions.iter().copied());
        }
        found.sort_unstable();
        assert!(found.into_iter().eq(all));
        let commands: usize = pieces.iter().map(|piece| piece.commands.len()).sum();
        assert_eq!((pieces.len(), commands), (3, 1));
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
