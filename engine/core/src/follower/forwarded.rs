//! The commands of this node that the leader decides.

use std::collections::HashMap;

use crate::exchange::{Action, Command, CommandBatch, Outcome, Remote, ReplyTo};
use crate::told::Device;

/// The maximum number of commands that wait for their answers. The leader keeps as many acknowledgements as a fourth
/// of it for some time.
const MOST: usize = 1 << 18;

/// The receivers of the answers to the commands that were forwarded, by the numbers of the commands.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The number of the next command.
    next: u64,
    waiting: HashMap<u64, Waits>,
    most: usize,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self {
            next: 0,
            waiting: HashMap::new(),
            most: MOST,
        }
    }
}

/// The receiver of an answer.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) reply_to: ReplyTo,
    /// The time at which the shard read the command, as in [`Command::read_at`](crate::exchange::Command::read_at).
    pub(super) read_at: u32,
    /// Whether the command is an acknowledgement: the shards count its failures apart.
    pub(super) is_ack: bool,
}

impl Waits {
    /// Returns the receiver of the answer to a command, whose name takes its place.
    fn named(command: &mut Command, name: ReplyTo) -> Self {
        Self {
            reply_to: std::mem::replace(&mut command.reply_to, name),
            read_at: std::mem::take(&mut command.read_at),
            is_ack: matches!(command.action, Action::Ack { .. }),
        }
    }

    /// Takes the receiver of the answer to a command that goes nowhere.
    pub(super) fn of(command: &mut Command) -> Self {
        Self::named(command, ReplyTo::Remote(Remote::new(Remote::OWN, 0)))
    }

    /// Returns an outcome as the receiver takes it, and the time that goes with it.
    pub(super) fn taking(&self, outcome: Outcome) -> (Outcome, u32) {
        match self.is_ack {
            true => (outcome.of_ack(), 0),
            false => (outcome, self.read_at),
        }
    }
}

impl Forwarded {
    /// Returns no commands. The first one gets the number `next`.
    pub(super) fn from(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Returns the number of the next command.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Gives each command of a batch a number, and keeps its receiver. Returns whether there was room; without room
    /// nothing changes. A command that has a number already keeps it. Commands of other nodes, and those that have been
    /// answered, are no longer in the batch.
    pub(super) fn enter(&mut self, batch: &mut CommandBatch) -> bool {
        let has_name = |reply_to: &ReplyTo| matches!(reply_to, ReplyTo::Remote(_));
        let all = batch.commands.iter();
        let new = all.filter(|command| !has_name(&command.reply_to)).count();
        // A batch without new commands always has room: it may go to the next leader when this is full.
        if new > 0 && self.waiting.len() + new > self.most {
            return false;
        }
        batch.commands.retain(|command| match command.reply_to {
            ReplyTo::Remote(name) => self.is_own(name),
            ReplyTo::Conn(_) | ReplyTo::Call(_) => true,
        });
        for command in &mut batch.commands {
            if matches!(command.reply_to, ReplyTo::Remote(_)) {
                continue;
            }
            let number = self.next;
            self.next = (number + 1) % Remote::NUMBERS;
            let name = ReplyTo::Remote(Remote::new(Remote::OWN, number));
            self.waiting.insert(number, Waits::named(command, name));
        }
        true
    }

    /// Gives the commands of a batch their receivers back. Removes those that have been answered from
    /// the batch, and those of other nodes.
    pub(super) fn take_back(&mut self, batch: &mut CommandBatch) {
        batch.commands.retain_mut(|command| {
            let ReplyTo::Remote(name) = command.reply_to else {
                return true;
            };
            let own = self.is_own(name).then_some(name.number());
            let Some(waits) = own.and_then(|own| self.waiting.remove(&own)) else {
                return false;
            };
            (command.reply_to, command.read_at) = (waits.reply_to, waits.read_at);
            true
        });
    }

    /// Returns whether a name is that of a command of this node that has no answer yet.
    fn is_own(&self, name: Remote) -> bool {
        name.node() == Remote::OWN && self.is_waiting(name.number())
    }

    /// Removes the receiver of the answer to a command; `None` if it has its answer.
    pub(super) fn take(&mut self, number: u64) -> Option<Waits> {
        self.waiting.remove(&number)
    }

    /// Returns whether a command has no answer yet.
    pub(super) fn is_waiting(&self, number: u64) -> bool {
        self.waiting.contains_key(&number)
    }

    /// Returns the number of commands that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Removes all receivers.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waits> {
        self.waiting.drain().map(|(_, waits)| waits)
    }

    /// Returns the only device that sent these commands; `None` if several devices or a call did. They all wait.
    pub(super) fn device(&self, numbers: &[u64]) -> Option<Device> {
        let of = |number| Device::of(&self.waiting.get(number)?.reply_to);
        let device = of(numbers.first()?)?;
        let mut others = numbers.iter();
        others
            .all(|number| of(number) == Some(device))
            .then_some(device)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;
    use crate::event::BodyNames;
    use crate::exchange::{Action, Call, Members};

    /// Returns a batch of commands of calls that nobody waits for.
    fn batch(commands: usize) -> CommandBatch {
        let mut batch = CommandBatch::default();
        for _ in 0..commands {
            batch.push(Command {
                reply_to: ReplyTo::Call(Call::new().0),
                user: TimelineId(1),
                conversation: TimelineId(2),
                members: Members::Group,
                body: 0..0,
                names: BodyNames::default(),
                action: Action::Settings,
                read_at: 0,
            });
        }
        batch
    }

    fn numbers(batch: &CommandBatch) -> Vec<Option<u64>> {
        let number = |command: &Command| match command.reply_to {
            ReplyTo::Remote(name) => Some(name.number()),
            _ => None,
        };
        batch.commands.iter().map(number).collect()
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut forwarded = Forwarded {
            most: 3,
            ..Forwarded::default()
        };
        let (mut first, mut second) = (batch(2), batch(2));
        assert!(forwarded.enter(&mut first));
        assert!(!forwarded.enter(&mut second));
        assert_eq!(numbers(&second), [None, None]);
        assert!(forwarded.take(0).is_some() && forwarded.take(0).is_none());
        assert!(forwarded.enter(&mut second));
        assert_eq!(numbers(&first), [Some(0), Some(1)]);
        assert_eq!(numbers(&second), [Some(2), Some(3)]);
        assert!(!forwarded.is_waiting(0) && forwarded.is_waiting(3));
    }

    #[test]
    fn what_has_a_name_takes_no_room_again() {
        let mut forwarded = Forwarded {
            most: 2,
            ..Forwarded::default()
        };
        let mut first = batch(2);
        assert!(forwarded.enter(&mut first));
        assert!(forwarded.enter(&mut first), "the next leader gets it too");
        assert_eq!(numbers(&first), [Some(0), Some(1)]);
        assert!(!forwarded.enter(&mut batch(1)));
        forwarded.take(0);
        assert!(forwarded.enter(&mut first));
        assert_eq!(numbers(&first), [Some(1)], "the other one has its answer");
    }

    #[test]
    fn commands_of_other_nodes_are_not_taken_for_own_ones() {
        let mut forwarded = Forwarded::default();
        let mut own = batch(1);
        assert!(forwarded.enter(&mut own));
        let foreign = || {
            let mut foreign = batch(1);
            foreign.commands[0].reply_to = ReplyTo::Remote(Remote::new(2, 0));
            foreign
        };
        let mut others = foreign();
        assert!(forwarded.enter(&mut others));
        assert!(others.commands.is_empty());
        let mut others = foreign();
        forwarded.take_back(&mut others);
        assert!(others.commands.is_empty() && forwarded.is_waiting(0));
        forwarded.take_back(&mut own);
        assert_eq!(numbers(&own), [None]);
    }

    #[test]
    fn numbers_begin_anew_after_the_last() {
        let mut forwarded = Forwarded {
            next: Remote::NUMBERS - 1,
            ..Forwarded::default()
        };
        let mut batch = batch(2);
        assert!(forwarded.enter(&mut batch));
        assert_eq!(numbers(&batch), [Some(Remote::NUMBERS - 1), Some(0)]);
    }
}
