//! How a sequencer ends: with its commands, or when its log is handed over.

use std::time::Duration;

use trunkline_storage::CommitError;

use super::intake::Intake;
use super::{Sequencer, SequencerParts};
use crate::clock::Clock;

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
}

impl HandedOver {
    /// Returns a sequencer that continues from the state in the store, and first decides the commands that waited.
    #[must_use]
    pub fn go_on(self) -> Sequencer {
        let mut next = Sequencer::new(self.parts);
        next.intake = self.waiting;
        next.passed = self.passed;
        next
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
    /// them again. Keeps the commands that were not decided.
    pub(super) fn hand_over(mut self) -> Ended {
        self.others_wait = false;
        self.receipts.hurry();
        // The batch refuses each commit.
        self.commit_all();
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
        }))
    }
}
