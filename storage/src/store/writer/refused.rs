//! The writer's reaction to a refused write: it takes the write back, returns to the position
//! before it, and tries again.

use super::Writer;
use super::admission::refusal;
use crate::error::{AppendError, CommitError};
use crate::log::batch::Batch;
use crate::log::failed_write::{FailedWrite, TakeBackError};
use crate::log::segment::Segment;
use crate::store::condition::{Obstacle, Subsystem};

impl Writer {
    /// Tries to remove the obstacles to an append. Returns the error of the append if one remains.
    pub(super) fn overcome(&mut self) -> Result<(), AppendError> {
        if let Some(Obstacle { reason, .. }) = self.shared.condition.obstacle(Subsystem::Folder) {
            return Err(AppendError::Lost { reason });
        }
        if let Some(failed_write) = &self.failed_write
            && (failed_write.may_try() || !self.options.background)
        {
            self.mend();
        }
        if let Some(reason) = self.shared.poisoned() {
            return Err(AppendError::Poisoned {
                reason: reason.into(),
            });
        }
        if let Some(obstacle) = self.shared.condition.obstacle(Subsystem::Tail) {
            return Err(refusal(obstacle));
        }
        if self.shared.condition.obstacle(Subsystem::Segment).is_some() {
            self.preparer.retry().map_err(refusal)?;
        }
        Ok(())
    }

    /// Gives the batch under construction up. Later records take its positions and sequences, so discard what
    /// you derived from it.
    pub fn discard(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.rewind(&batch);
        // Keeps its memory.
        self.batch = batch;
        self.batch.reset(self.cursor);
    }

    /// Returns to the position at which a batch that is given up began.
    pub(super) fn rewind(&mut self, batch: &Batch) {
        let Some((segment, position)) = batch.origin() else {
            return;
        };
        // Only this batch has used the segments that follow.
        let mut taken: Vec<_> = batch.writes().map(|write| write.segment.clone()).collect();
        if taken
            .last()
            .is_some_and(|last| last.base < self.segment.base)
        {
            taken.push(self.segment.clone());
        }
        for later in taken.into_iter().skip(1).rev() {
            self.spare.push_front(later);
        }
        self.segment = segment;
        self.cursor = position;
        self.first_time = self.began_time;
        self.pending.clear();
        self.batch.reset(position);
    }

    /// Returns the obstacle for a failed write or read of a segment.
    pub(super) fn refused(
        &self,
        action: &str,
        segment: &Segment,
        error: &std::io::Error,
    ) -> Obstacle {
        let file = self.shared.backend.path(&segment.name);
        Obstacle::of(&format!("{}: cannot {action}", file.display()), error)
    }

    /// Takes a failed write back, as far as the disk allows now. Returns the error of the commit.
    pub(super) fn take_back(
        &mut self,
        mut failed_write: FailedWrite,
        obstacle: Obstacle,
    ) -> CommitError {
        let (full, reason) = (obstacle.full, obstacle.reason.clone());
        self.shared.condition.set(Subsystem::Tail, Some(obstacle));
        let cleaned = failed_write.clean();
        self.failed_write = Some(failed_write);
        match cleaned {
            Ok(()) => CommitError::Refused { full, reason },
            Err(failure) if failure.synced => {
                let TakeBackError { segment, error, .. } = failure;
                self.shared.fail(&segment.name, "sync", error)
            }
            Err(_) => CommitError::Unclear { reason },
        }
    }

    /// Takes back a failed write that is still pending, if the disk allows it.
    pub(super) fn mend(&mut self) {
        let Some(mut failed_write) = self.failed_write.take() else {
            return;
        };
        if self.shared.poisoned().is_some() {
            self.failed_write = Some(failed_write);
            return;
        }
        let mended = failed_write.clean().and_then(|()| failed_write.probe());
        match mended {
            Ok(()) => self.shared.condition.set(Subsystem::Tail, None),
            Err(failure) => {
                let TakeBackError { segment, error, .. } = failure;
                let action = if failed_write.is_dirty() {
                    "clean"
                } else {
                    "write"
                };
                let obstacle = self.refused(action, &segment, &error);
                self.shared.condition.set(Subsystem::Tail, Some(obstacle));
                if failure.synced {
                    self.shared.fail(&segment.name, "sync", error);
                }
                self.failed_write = Some(failed_write);
            }
        }
    }
}
