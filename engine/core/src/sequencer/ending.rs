//! How a sequencer ends: with its commands, or when its log is handed over.

use std::sync::Arc;
use std::time::Duration;

use trunkline_storage::{CommitError, Reader, Writer};

use super::intake::Intake;
use super::outbox::Outbox;
use super::{Departures, Sequencer, SequencerParts};
use crate::clock::Clock;
use crate::exchange::{CommandBatch, Commands};
use crate::hub::Hub;
use crate::ids::Ids;
use crate::log::Log;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::turns::Weights;

/// How a sequencer ended.
pub enum Ended {
    /// Everything that was decided is stored, and the log is closed.
    Closed,
    /// Somebody else decides from now on.
    HandedOver(Box<HandedOver>),
}

/// What is left of a sequencer whose log was handed over. Nothing that it remembered of conversations is in it: what
/// somebody else decides may change all of that.
pub struct HandedOver {
    /// The parts of the sequencer, with the log and the writer. The batch under construction is empty.
    pub parts: SequencerParts,
    /// The commands that were not decided, and the positions that wait for the store.
    waiting: Intake,
    passed: fn(&Clock) -> Duration,
    /// The steady time and the wire time of the log, if they are known. The clock of the machine may be behind them.
    times: Option<(Duration, Duration)>,
}

/// What a sequencer has left besides its store and its outbox, which a follower uses.
pub(crate) struct Left {
    log: Box<dyn Log>,
    conversation_cache: usize,
    rules: Messaging,
    departures: Departures,
    weights: Arc<Weights>,
    metrics: Arc<SequencerMetrics>,
    waiting: Intake,
    passed: fn(&Clock) -> Duration,
}

impl Left {
    /// Returns the hub of the gateway.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        self.departures.hub()
    }

    /// Removes some of the commands that were not decided, and all positions that wait. Returns them, and the bytes that
    /// they took; `None` if there are no more.
    pub(crate) fn undecided(&mut self) -> Option<(Box<CommandBatch>, usize)> {
        self.waiting.take_batch()
    }
}

impl HandedOver {
    /// Returns the parts of a sequencer that has not begun yet, to [follow](crate::follower::Follower) first.
    #[must_use]
    pub fn of(parts: SequencerParts) -> Self {
        let ids = Ids(parts.store.key());
        Self {
            waiting: Intake::new(ids, Arc::clone(&parts.weights)),
            passed: Clock::passed,
            times: None,
            parts,
        }
    }

    /// Returns whether there was no sequencer and no follower before: the clock of the hub is that of the machine.
    pub(crate) const fn is_first(&self) -> bool {
        self.times.is_none()
    }

    /// Returns a sequencer that continues from the state in the store, and first decides the commands that waited.
    #[must_use]
    pub fn go_on(self) -> Sequencer {
        let mut next = Sequencer::begin(self.parts, self.times);
        next.intake = self.waiting;
        next.passed = self.passed;
        next
    }

    /// Adds commands that are decided before those in the queue, behind the ones that waited. `commands` is the queue: they
    /// take room in it until they are decided.
    pub fn decide_first(&mut self, mut batch: Box<CommandBatch>, commands: &Commands) {
        self.waiting.add_positions(&mut batch.positions);
        commands.hold(self.waiting.queue(&mut batch, 0));
    }

    /// Takes the parts apart for a follower.
    pub(crate) fn into_left(self) -> (Left, Writer, Reader, Outbox) {
        let parts = self.parts;
        let outbox = Outbox::new(parts.directory, parts.mailboxes, Arc::clone(&parts.metrics));
        let left = Left {
            log: parts.log,
            conversation_cache: parts.conversation_cache,
            rules: parts.rules,
            departures: parts.departures,
            weights: parts.weights,
            metrics: parts.metrics,
            waiting: self.waiting,
            passed: self.passed,
        };
        (left, parts.writer, parts.store, outbox)
    }

    /// Puts the parts of a follower together, which are as of these times of the log: the steady time and the wire time.
    pub(crate) fn from_left(
        (left, writer, store, outbox): (Left, Writer, Reader, Outbox),
        times: (Duration, Duration),
    ) -> Self {
        let (directory, mailboxes) = outbox.into_parts();
        Self {
            parts: SequencerParts {
                writer,
                log: left.log,
                store,
                conversation_cache: left.conversation_cache,
                rules: left.rules,
                directory,
                departures: left.departures,
                mailboxes,
                weights: left.weights,
                metrics: left.metrics,
            },
            waiting: left.waiting,
            passed: left.passed,
            times: Some(times),
        }
    }
}

impl Sequencer {
    /// Stores everything that waits, and closes the log.
    ///
    /// # Errors
    /// The log could not be closed.
    pub(super) fn close(mut self) -> Result<Ended, CommitError> {
        self.others_wait = false;
        self.receipts.hurry();
        self.commit_all();
        self.store_all_departures();
        self.time.mark(&mut self.batch);
        self.commit_batch();
        if self.batch.is_handed_over() {
            return Ok(self.hand_over());
        }
        self.batch.close()?;
        Ok(Ended::Closed)
    }

    /// Stores all remaining last-seen times, at the end of the process.
    pub(super) fn store_all_departures(&mut self) {
        // The second round stores users who left behind the first one.
        for _ in 0..2 {
            self.departures.begin_round(self.now());
            loop {
                let is_over = self.departures.store_more(&mut self.batch);
                if self.is_full() || is_over {
                    self.commit_all();
                }
                if is_over {
                    break;
                }
            }
        }
        self.departures.warn_of_rest();
    }

    /// Ends without another commit. Refuses the acknowledgements that wait to become receipts: their clients send
    /// them again. Keeps the commands that were not decided; those of other nodes are gone before.
    pub(super) fn hand_over(mut self) -> Ended {
        self.others_wait = false;
        self.receipts.hurry();
        // The batch refuses each commit.
        self.commit_all();
        let moment = self.batch.moment();
        let times = [moment.steady, moment.wire].map(Duration::from_millis);
        let (writer, log, store) = self.batch.into_parts();
        let (directory, mailboxes) = self.outbox.into_parts();
        let parts = SequencerParts {
            writer,
            log,
            store,
            conversation_cache: self.conversation_cache,
            rules: self.membership.rules(),
            directory,
            departures: self.departures,
            mailboxes,
            weights: self.weights,
            metrics: self.metrics,
        };
        Ended::HandedOver(Box::new(HandedOver {
            parts,
            waiting: self.intake,
            passed: self.passed,
            times: Some(times.into()),
        }))
    }
}
