//! Messages between nodes.

use bytes::Bytes;

use super::form::{self, Input, Malformed};
use super::hash::LogId;
use crate::node::Incarnation;

const BEAT: u8 = 16;
const BATCH: u8 = 17;
const ANSWERS: u8 = 18;
const BATCHES_CAME: u8 = 19;
const ANSWERS_CAME: u8 = 20;
const STEP_DOWN: u8 = 21;

/// The bytes of a command in a batch before the command itself.
const COMMAND_HEAD: usize = 12;

/// A message from one node to others, with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The sender.
    pub from: Sender,
    /// The message.
    pub message: Message,
}

/// The sender of a message between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The log that the node follows.
    pub log: LogId,
    /// The epoch of the node; for commands the epoch that they are meant for.
    pub epoch: u64,
    /// The node.
    pub node: Incarnation,
}

/// A message from one node to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A sign of life, to all nodes.
    Beat(Beat),
    /// Commands, to the leader.
    Batch(Batch),
    /// Answers of the leader that are in no group.
    Answers(Answers),
    /// The leader has the batches of a node up to a number.
    BatchesCame(Receipt),
    /// A node has the answers of the leader up to a number.
    AnswersCame(Receipt),
    /// An operator lets another node lead, to the leader.
    StepDown(StepDown),
}

/// A sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// The number of the heartbeat in its incarnation.
    pub number: u64,
    /// The index of the last group that the node has taken.
    pub index: u64,
    /// What the node does.
    pub standing: Standing,
}

/// What a node does, as its heartbeats say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The node does not lead.
    Follows = 0,
    /// The node leads.
    Leads = 1,
    /// The node has stopped leading in order: another one may begin at once.
    Leaves = 2,
}

/// Commands of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number in the node's incarnation and epoch, from 1.
    pub number: u64,
    /// The number of the last heartbeat of the leader that the node had heard when it sent the batch. It tells the leader,
    /// by its own clock, how old the message is at most.
    pub beat: u64,
    /// The commands in their order.
    pub commands: Vec<Command>,
}

/// A command on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The number in the node's incarnation.
    pub number: u64,
    /// The command.
    pub bytes: Bytes,
}

impl Command {
    /// Returns the bytes that the command takes in a batch.
    #[must_use]
    pub const fn len_in_batch(bytes: &Bytes) -> usize {
        COMMAND_HEAD + bytes.len()
    }
}

/// Answers of the leader that are in no group, because their commands stored nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The incarnation number of the node that they are for.
    pub to: u64,
    /// The number in the epoch for that incarnation, from 1.
    pub number: u64,
    /// The index of the last group before the decision: the answers hold once that group is taken.
    pub after: u64,
    /// The answers.
    pub bytes: Bytes,
}

/// The receipt of what came in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The incarnation number of the node that it is for.
    pub to: u64,
    /// The number up to which all have come.
    pub number: u64,
}

/// The order of an operator to a leader: let another node lead. The epoch of its sender is the one to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepDown {
    /// The incarnation number of the leader.
    pub to: u64,
}

impl Received {
    /// Writes the message.
    ///
    /// # Panics
    /// A command has 4 GiB or more.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut to = Vec::with_capacity(96);
        let kind = match &self.message {
            Message::Beat(_) => BEAT,
            Message::Batch(_) => BATCH,
            Message::Answers(_) => ANSWERS,
            Message::BatchesCame(_) => BATCHES_CAME,
            Message::AnswersCame(_) => ANSWERS_CAME,
            Message::StepDown(_) => STEP_DOWN,
        };
        form::begin(kind, &mut to);
        to.extend_from_slice(&self.from.log.0.to_le_bytes());
        to.extend_from_slice(&self.from.epoch.to_le_bytes());
        form::push_incarnation(&self.from.node, &mut to);
        match &self.message {
            Message::Beat(beat) => {
                to.extend_from_slice(&beat.number.to_le_bytes());
                to.extend_from_slice(&beat.index.to_le_bytes());
                to.push(beat.standing as u8);
            }
            Message::Batch(batch) => {
                to.extend_from_slice(&batch.number.to_le_bytes());
                to.extend_from_slice(&batch.beat.to_le_bytes());
                for Command { number, bytes } in &batch.commands {
                    let len = u32::try_from(bytes.len()).expect("a command is shorter than 4 GiB");
                    to.extend_from_slice(&number.to_le_bytes());
                    to.extend_from_slice(&len.to_le_bytes());
                    to.extend_from_slice(bytes);
                }
            }
            Message::Answers(answers) => {
                to.extend_from_slice(&answers.to.to_le_bytes());
                to.extend_from_slice(&answers.number.to_le_bytes());
                to.extend_from_slice(&answers.after.to_le_bytes());
                to.extend_from_slice(&answers.bytes);
            }
            Message::BatchesCame(receipt) | Message::AnswersCame(receipt) => {
                to.extend_from_slice(&receipt.to.to_le_bytes());
                to.extend_from_slice(&receipt.number.to_le_bytes());
            }
            Message::StepDown(order) => to.extend_from_slice(&order.to.to_le_bytes()),
        }
        to.into()
    }

    /// Reads a message of a node that follows `log`. What a node of another log says must not be taken: its epochs and
    /// numbers mean other things.
    ///
    /// # Errors
    /// The message is none between nodes, one of a later version, or one of another log.
    pub fn read_for(log: LogId, message: &Bytes) -> Result<Self, Malformed> {
        let received = Self::read(message)?;
        if received.from.log != log {
            return Err(Malformed::OtherLog(received.from.log));
        }
        Ok(received)
    }

    /// Reads a message of any log. Commands and answers share its memory.
    ///
    /// # Errors
    /// The message is none between nodes, or one of a later version.
    pub fn read(message: &Bytes) -> Result<Self, Malformed> {
        let (kind, mut input) = Input::open(message)?;
        if !(BEAT..=STEP_DOWN).contains(&kind) {
            return Err(Malformed::Kind(kind));
        }
        let from = Sender {
            log: LogId(input.long()?),
            epoch: input.long()?,
            node: input.incarnation()?,
        };
        let message = match kind {
            BEAT => Message::Beat(read_beat(input)?),
            BATCH => Message::Batch(read_batch(input)?),
            ANSWERS => Message::Answers(Answers {
                to: input.long()?,
                number: input.long()?,
                after: input.long()?,
                bytes: input.rest(),
            }),
            BATCHES_CAME => Message::BatchesCame(read_receipt(input)?),
            ANSWERS_CAME => Message::AnswersCame(read_receipt(input)?),
            _ => {
                let to = input.long()?;
                input.close()?;
                Message::StepDown(StepDown { to })
            }
        };
        Ok(Self { from, message })
    }
}

fn read_beat(mut input: Input<'_>) -> Result<Beat, Malformed> {
    let (number, index) = (input.long()?, input.long()?);
    let standing = match input.byte()? {
        0 => Standing::Follows,
        1 => Standing::Leads,
        2 => Standing::Leaves,
        _ => return Err(Malformed::Fields),
    };
    input.close()?;
    Ok(Beat {
        number,
        index,
        standing,
    })
}

fn read_batch(mut input: Input<'_>) -> Result<Batch, Malformed> {
    let (number, beat) = (input.long()?, input.long()?);
    let mut commands = Vec::new();
    while !input.is_empty() {
        let number = input.long()?;
        let len = input.int()? as usize;
        let bytes = input.take(len)?;
        commands.push(Command { number, bytes });
    }
    Ok(Batch {
        number,
        beat,
        commands,
    })
}

fn read_receipt(mut input: Input<'_>) -> Result<Receipt, Malformed> {
    let (to, number) = (input.long()?, input.long()?);
    input.close()?;
    Ok(Receipt { to, number })
}
