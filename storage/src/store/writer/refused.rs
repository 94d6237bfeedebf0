//! What the writer does when the disk refuses something: it tries again, takes back, or goes back.

use super::{Writer, refusal};
use crate::error::{AppendError, CommitError};
use crate::log::batch::Batch;
use crate::log::scar::{Failure, Scar};
use crate::log::segment::Segment;
use crate::store::condition::{Hurdle, Part};

impl Writer {
    /// Tries what stands in the way of an append, and refuses it if that is there still.
    pub(super) fn overcome(&mut self) -> Result<(), AppendError> {
        if let Some(Hurdle { reason, .. }) = self.shared.condition.hurdle(Part::Hold) {
            return Err(AppendError::Lost { reason });
        }
        if let Some(scar) = &self.scar
            && (scar.may_try() || !self.options.background)
        {
            self.mend();
        }
        if let Some(reason) = self.shared.poisoned() {
            return Err(AppendError::Poisoned {
                reason: reason.into(),
            });
        }
        if let Some(hurdle) = self.shared.condition.hurdle(Part::Tail) {
            return Err(refusal(hurdle));
        }
        if self.shared.condition.hurdle(Part::Segment).is_some() {
            self.preparer.retry().map_err(refusal)?;
        }
        Ok(())
    }

    /// Goes back to where a batch that is given up began.
    pub(super) fn rewind(&mut self, batch: &Batch) {
        let Some((segment, position)) = batch.origin() else {
            return;
        };
        // Nobody but this batch has used those that follow.
        let mut taken: Vec<_> = batch
            .writes()
            .map(|(segment, ..)| segment.clone())
            .collect();
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

    /// The hurdle that a refused write or read of a segment is.
    pub(super) fn refused(
        &self,
        action: &str,
        segment: &Segment,
        error: &std::io::Error,
    ) -> Hurdle {
        let file = self.shared.backend.path(&segment.name);
        Hurdle::of(&format!("{}: cannot {action}", file.display()), error)
    }

    /// Takes back what a write left that failed, as far as that goes now.
    pub(super) fn take_back(&mut self, mut scar: Scar, hurdle: Hurdle) -> CommitError {
        let (full, reason) = (hurdle.full, hurdle.reason.clone());
        self.shared.condition.set(Part::Tail, Some(hurdle));
        let cleaned = scar.clean();
        self.scar = Some(scar);
        match cleaned {
            Ok(()) => CommitError::Refused { full, reason },
            Err(failure) if failure.synced => {
                let Failure { segment, error, .. } = failure;
                self.shared.fail(&segment.name, "sync", error)
            }
            Err(_) => CommitError::Unclear { reason },
        }
    }

    /// Makes good what a failed write left, if the disk lets it.
    pub(super) fn mend(&mut self) {
        let Some(mut scar) = self.scar.take() else {
            return;
        };
        if self.shared.poisoned().is_some() {
            self.scar = Some(scar);
            return;
        }
        let mended = scar.clean().and_then(|()| scar.probe());
        match mended {
            Ok(()) => self.shared.condition.set(Part::Tail, None),
            Err(failure) => {
                let Failure { segment, error, .. } = failure;
                let action = if scar.is_dirty() { "clean" } else { "write" };
                let hurdle = self.refused(action, &segment, &error);
                self.shared.condition.set(Part::Tail, Some(hurdle));
                if failure.synced {
                    self.shared.fail(&segment.name, "sync", error);
                }
                self.scar = Some(scar);
            }
        }
    }
}
