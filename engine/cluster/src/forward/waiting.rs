//! What a node forwarded and nobody has answered.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::lane::Lane;
use crate::envelope::{Batch, Command, MAX_MESSAGE};

/// The time after which a node gives a command up that nobody has answered.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The age from which on a leader takes no batch. A node sends a command only while it has more time than that.
pub const FRESH: Duration = Duration::from_secs(1);

/// The most bytes of a command: it travels in one message, with its sender and numbers.
pub const MAX_COMMAND: usize = MAX_MESSAGE - 256;

/// A command that nobody has answered.
#[derive(Debug)]
struct Asked {
    bytes: Bytes,
    /// When the node gives it up.
    until: Duration,
}

/// The commands of a node's clients that nobody has answered, in the order in which they came.
///
/// Between two calls: `commands` are those with the numbers `first..first + commands.len()`, the first is not answered,
/// and `bytes` is the sum of those that are not. Those before `unbatched` are in batches of this epoch. The batches that
/// the leader has not confirmed are ascending ranges of numbers, and all end at or before `unbatched`.
#[derive(Debug)]
pub struct Waiting {
    first: u64,
    /// The commands; `None` if one is answered.
    commands: VecDeque<Option<Asked>>,
    /// No command is given up before; `None` if there is none.
    soonest: Option<Duration>,
    bytes: usize,
    most_bytes: usize,
    most_commands: usize,
    /// The number of the first command that is in no batch of this epoch.
    unbatched: u64,
    batches: Lane<Range<u64>>,
    /// The epoch that commands are forwarded for; `None` before the first.
    epoch: Option<u64>,
    /// The number of the last heartbeat of its leader that was heard; `None` before the first.
    beat: Option<u64>,
}

/// The error of a command that is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAdded {
    /// There is no room.
    #[error("too many commands wait for the leader of the cluster: try again later")]
    Full,
    /// The command is longer than [`MAX_COMMAND`].
    #[error("the command is longer than a node of a cluster can forward: {MAX_COMMAND} bytes")]
    TooLong,
}

impl Waiting {
    /// Returns the commands of a node that starts: none. There is room for `most_commands` commands of `most_bytes`
    /// bytes together.
    #[must_use]
    pub fn new(most_commands: usize, most_bytes: usize) -> Self {
        Self {
            first: 1,
            commands: VecDeque::new(),
            soonest: None,
            bytes: 0,
            most_bytes,
            most_commands,
            unbatched: 1,
            batches: Lane::default(),
            epoch: None,
            beat: None,
        }
    }

    /// Returns the bytes that another command may have; 0 if there is no room for one.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.commands.len() < self.most_commands {
            self.most_bytes - self.bytes
        } else {
            0
        }
    }

    /// Returns the number of commands that are not answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.iter().flatten().count()
    }

    /// Returns whether all commands are answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Adds a command, which the node gives up at `until`: for a new one that is [`PATIENCE`] from now. Returns its number,
    /// under which answers name it.
    ///
    /// # Errors
    /// There is no room ([`room`](Self::room)), or the command is too long.
    pub fn add(&mut self, bytes: Bytes, until: Duration) -> Result<u64, NotAdded> {
        if bytes.len() > MAX_COMMAND {
            return Err(NotAdded::TooLong);
        }
        if bytes.len() > self.room() || self.room() == 0 {
            return Err(NotAdded::Full);
        }
        self.bytes += bytes.len();
        self.soonest = Some(self.soonest.map_or(until, |soonest| soonest.min(until)));
        self.commands.push_back(Some(Asked { bytes, until }));
        Ok(self.first + self.commands.len() as u64 - 1)
    }

    /// Notes the answer to a command, or that nobody waits for it any more. Returns whether it waited: give its client
    /// the answer only if so.
    pub fn answered(&mut self, number: u64) -> bool {
        let Some(at) = number
            .checked_sub(self.first)
            .and_then(|at| usize::try_from(at).ok())
        else {
            return false;
        };
        let Some(command) = self.commands.get_mut(at).and_then(Option::take) else {
            return false;
        };
        self.bytes -= command.bytes.len();
        while let Some(None) = self.commands.front() {
            self.commands.pop_front();
            self.first += 1;
        }
        if self.commands.is_empty() {
            self.soonest = None;
        }
        // A command that is given up may be in no batch yet.
        self.unbatched = self.unbatched.max(self.first);
        true
    }

    /// Gives the commands up whose time is over, and returns their numbers: tell their clients that the outcome is not
    /// known. No leader takes them from now on.
    pub fn expire(&mut self, now: Duration) -> Vec<u64> {
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return Vec::new();
        }
        let mut over = Vec::new();
        self.soonest = None;
        for (number, asked) in (self.first..).zip(&self.commands) {
            let Some(Asked { until, .. }) = asked else {
                continue;
            };
            if *until <= now {
                over.push(number);
            } else {
                self.soonest = Some(self.soonest.map_or(*until, |soonest| soonest.min(*until)));
            }
        }
        for number in &over {
            self.answered(*number);
        }
        over
    }

    /// Begins an epoch: everything that is not answered goes again. Call it when the node takes the epoch's record, and
    /// after it has noted the answers of all groups before. A node that goes on from a mark begins the epoch of its mark.
    ///
    /// Gives the commands up that have less time than [`FRESH`], and returns their numbers, as [`expire`](Self::expire) does:
    /// they may not have gone to the leader before, where later ones were answered.
    #[must_use]
    pub fn begin(&mut self, epoch: u64, now: Duration) -> Vec<u64> {
        let over = self.expire(now + FRESH);
        self.epoch = Some(epoch);
        self.beat = None;
        self.batches = Lane::default();
        self.unbatched = self.first;
        self.check();
        over
    }

    /// Notes the number of a heartbeat with which the leader of an epoch says that it leads. Nothing goes to a leader that
    /// was not heard in its epoch.
    pub fn heard(&mut self, epoch: u64, beat: u64) {
        if self.epoch == Some(epoch) {
            self.beat = Some(self.beat.map_or(beat, |last| last.max(beat)));
        }
    }

    /// Notes that the leader of an epoch has the batches up to a number. Call it only for what that leader itself says: a
    /// stream that lost an epoch can have another one with the same number.
    pub fn confirm(&mut self, epoch: u64, number: u64) {
        if self.epoch == Some(epoch) {
            self.batches.confirm(number);
        }
    }

    /// Returns the next batch to send to the leader, with the epoch that it is meant for; `None` if there is nothing to
    /// send. The commands of a batch have `most` bytes together, or the batch is one command that is longer. Call
    /// [`expire`](Self::expire) before.
    pub fn poll(&mut self, most: usize, now: Duration) -> Option<(u64, Batch)> {
        let (epoch, beat) = (self.epoch?, self.beat?);
        let end = self.first + self.commands.len() as u64;
        if self.unbatched < end && self.batches.has_room() {
            let range = self.unbatched..self.end_of_batch(most);
            self.unbatched = range.end;
            let _ = self.batches.push(range);
        }
        self.check();
        let (number, range) = self.batches.poll(now)?;
        let commands = range
            .clone()
            .filter_map(|number| {
                let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
                let asked = self.commands.get(at)?.as_ref()?;
                // It could come too late. Later ones go: so it must not go to a later leader either.
                let bytes = asked.bytes.clone();
                (asked.until > now + FRESH).then_some(Command { number, bytes })
            })
            .collect();
        let batch = Batch {
            number,
            beat,
            commands,
        };
        Some((epoch, batch))
    }

    /// Returns when [`poll`](Self::poll) or [`expire`](Self::expire) has something again: at once if it is zero, never if it
    /// is `None`.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        let send = self.epoch.and(self.beat).and_then(|_| {
            let end = self.first + self.commands.len() as u64;
            if self.unbatched < end && self.batches.has_room() {
                return Some(Duration::ZERO);
            }
            self.batches.wake()
        });
        [send, self.soonest].into_iter().flatten().min()
    }

    /// Returns the number of the command behind the batch that begins at `unbatched`, which has at least one command.
    fn end_of_batch(&self, most: usize) -> u64 {
        let skipped = (self.unbatched - self.first) as usize;
        let mut len = 0;
        let mut end = self.unbatched;
        for command in self.commands.iter().skip(skipped) {
            len += { command.as_ref() }.map_or(0, |asked| Command::len_in_batch(&asked.bytes));
            if len > most && end > self.unbatched {
                break;
            }
            end += 1;
        }
        end
    }

    /// Checks the invariant of the type.
    fn check(&self) {
        let end = self.first + self.commands.len() as u64;
        debug_assert!((self.first..=end).contains(&self.unbatched));
        debug_assert!(!matches!(self.commands.front(), Some(None)));
        debug_assert!(
            self.batches
                .items()
                .all(|(_, range)| range.start < range.end && range.end <= self.unbatched)
        );
    }
}
