//! The commands and positions that a shard collects for the sequencer.

use trunkline_core::cost::Cost;
use trunkline_core::exchange::{CommandBatch, Failure, SendTurn, ToSequencer};
use trunkline_core::request::{Ask, Prepared, ask};
use trunkline_core::sequencer::probable;
use trunkline_proto::message::CommandBody;

use super::resuming::ToKeep;

/// Commands that a shard collects while the sequencer's queue is full. A shard with this many
/// commands reads no more sockets.
const PENDING_COMMANDS: usize = 8_192;

/// Bytes of command bodies that a shard collects while the sequencer's queue is full. A shard with
/// this many bytes reads no more sockets.
const PENDING_BYTES: usize = 4 << 20;

/// Bytes of commands that one connection may always have at the sequencer, also when the queue is
/// full of others' commands.
pub(crate) const LEAST_BYTES: usize = 16 << 10;

/// Bytes of commands that one connection may have at the sequencer.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// Collects the commands of a turn and hands them to the sequencer in one batch.
pub(crate) struct Handoff {
    sequencer: ToSequencer,
    batch: Box<CommandBatch>,
    /// The turns of senders whose messages are in the batch.
    turns: Vec<SendTurn>,
}

impl Handoff {
    /// Makes an empty batch for this queue.
    pub(super) fn new(sequencer: ToSequencer) -> Self {
        Self {
            batch: sequencer.spare(),
            turns: Vec::new(),
            sequencer,
        }
    }

    /// Checks a command of a client, and adds it to the batch if the sequencer has to decide it.
    ///
    /// # Errors
    /// The client has to change the command.
    pub(super) fn ask(
        &mut self,
        who: &Ask<'_>,
        command: &CommandBody<'_>,
    ) -> Result<Prepared, Failure> {
        ask(who, command, &mut self.batch)
    }

    /// Returns the length of the body of the last command, in bytes.
    #[inline]
    pub(super) fn last_body(&self) -> usize {
        self.batch.last_body()
    }

    /// Returns what the last command probably costs, if it may cost much.
    #[inline]
    pub(super) fn last_probable(&self) -> Option<Cost> {
        self.batch.last().and_then(probable)
    }

    /// Returns the bytes that one connection may have at the sequencer: what is left of half the queue,
    /// at least [`LEAST_BYTES`] and at most [`MOST_BYTES`].
    #[inline]
    pub(super) fn bytes_for_one(&self) -> usize {
        self.sequencer.room().clamp(LEAST_BYTES, MOST_BYTES)
    }

    /// Adds a position to store, if there is one.
    pub(super) fn keep(&mut self, keep: Option<ToKeep>) {
        let keep = keep.map(|ToKeep { device, position }| (device, position));
        self.batch.positions.extend(keep);
    }

    /// Ends the turn of a sender once the batch is with the sequencer.
    pub(super) fn end_turn(&mut self, turn: SendTurn) {
        if turn.is_held() && !self.is_empty() {
            self.turns.push(turn);
        }
    }

    /// Hands the batch to the sequencer. The batch stays here while the sequencer's queue is full.
    pub(super) fn submit(&mut self) {
        if self.is_empty() {
            return;
        }
        let fresh = self.sequencer.spare();
        let full = std::mem::replace(&mut self.batch, fresh);
        match self.sequencer.try_send(full) {
            Ok(()) => self.turns.clear(),
            Err(back) => self.batch = back,
        }
    }

    /// Whether nothing waits for the sequencer. After [`Self::submit`], `false` means that the
    /// sequencer's queue is full.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.commands.is_empty() && self.batch.positions.is_empty()
    }

    /// Whether so much waits for the sequencer that the shard is to read no more sockets.
    pub(super) fn is_full(&self) -> bool {
        self.batch.commands.len() >= PENDING_COMMANDS || self.batch.bodies.len() >= PENDING_BYTES
    }

    /// Asks the sequencer to answer at once from now on, because the gateway stops.
    pub(super) fn hurry(&self) {
        self.sequencer.hurry();
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::exchange::queue;
    use trunkline_core::store::{Position, TimelineId};

    use super::*;

    fn position(n: u64) -> Option<ToKeep> {
        Some(ToKeep {
            device: TimelineId(7),
            position: Position(n),
        })
    }

    #[test]
    fn a_batch_stays_while_the_queue_is_full_and_goes_with_what_came_meanwhile() {
        let (sequencer, commands) = queue();
        let mut handoff = Handoff::new(sequencer);
        handoff.keep(None);
        assert!(handoff.is_empty());
        for n in 0.. {
            handoff.keep(position(n));
            handoff.submit();
            if !handoff.is_empty() {
                break;
            }
        }
        handoff.keep(position(99));
        handoff.submit();
        assert_eq!(handoff.batch.positions.len(), 2, "the queue is full");
        drop(commands);
        handoff.submit();
        assert!(handoff.is_empty());
    }

    #[test]
    fn one_connection_may_have_less_at_the_sequencer_as_the_queue_fills() {
        let (sequencer, commands) = queue();
        let handoff = Handoff::new(sequencer);
        assert_eq!(handoff.bytes_for_one(), MOST_BYTES);
        commands.hold(15 << 20);
        assert_eq!(handoff.bytes_for_one(), 1 << 20);
        commands.hold(1 << 19);
        assert_eq!(handoff.bytes_for_one(), 1 << 19);
        commands.hold(1 << 20);
        assert_eq!(handoff.bytes_for_one(), LEAST_BYTES);
    }

    #[test]
    fn a_shard_stalls_at_either_limit() {
        let (sequencer, _commands) = queue();
        let mut handoff = Handoff::new(sequencer);
        handoff.batch.bodies.resize(PENDING_BYTES - 1, 0);
        assert!(!handoff.is_full());
        handoff.batch.bodies.push(0);
        assert!(handoff.is_full());
    }
}
