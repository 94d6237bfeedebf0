//! Where commits go.

use std::sync::Arc;

use trunkline_storage::{Batch, CommitError, Writer};

use crate::told::Told;

/// A log: it takes the commits of the sequencer, one after another, and makes them durable.
///
/// The sequencer fills the batch under construction of its store's writer, and hands it to the log. All that
/// follows from a commit waits until the log has taken it: answers, pushes, and reads.
pub trait Log: Send {
    /// Makes the batch under construction durable, and then visible in the store. Blocks the thread until both
    /// have happened, or certainly will not.
    ///
    /// `told` is what the commit tells besides its records. A commit without records may tell something too.
    ///
    /// # Errors
    /// [`LogError::Commit`] has the meaning that [`Writer::commit`] gives the error inside. After
    /// [`LogError::HandedOver`] and [`LogError::Unknown`] the log gets no other commit from this sequencer.
    fn commit(&mut self, writer: &mut Writer, told: Told<'_>) -> Result<Arc<Batch>, LogError>;

    /// Returns whether somebody else decides from now on. The sequencer asks before each of its turns, and ends if
    /// so.
    fn is_handed_over(&self) -> bool {
        false
    }

    /// Returns how many times the work of a commit to the disk of this machine a commit of the log takes. A log that takes
    /// longer for each commit carries as many commands if more of them share one.
    fn work(&self) -> usize {
        1
    }

    /// Ends the log in order, after the last commit.
    ///
    /// # Errors
    /// The log could not be made durable: [`Writer::sync`] names the errors.
    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError>;
}

/// The reason why a log did not take a batch.
#[derive(Debug)]
pub enum LogError {
    /// The commit failed.
    Commit(CommitError),
    /// Somebody else decides from now on. Nothing of the batch is in the log, and nothing of it ever will be.
    HandedOver,
    /// The log is not followed any more while the batch was on its way. Nobody here will learn whether it is in the log. The
    /// batch is not in the store.
    Unknown,
}

impl From<CommitError> for LogError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

/// The log of a gateway that works alone: the log of its store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Log for Local {
    #[inline]
    fn commit(&mut self, writer: &mut Writer, _: Told<'_>) -> Result<Arc<Batch>, LogError> {
        Ok(writer.commit()?)
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}
