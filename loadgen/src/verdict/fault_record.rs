//! One fault of a run, as it happened.

use crate::clock::Nanos;
use crate::scenario::chaos::Fault;

/// A fault as it happened. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct FaultRecord {
    /// What was done.
    pub(crate) fault: Fault,
    /// When, since sending began.
    pub(crate) at: Nanos,
    /// How long until the process had ended; for a pause, until it was continued.
    pub(crate) down: Option<Nanos>,
    /// How long until the gateway was ready again.
    pub(crate) ready: Option<Nanos>,
    /// How long until all sessions that broke were back; none if one was not.
    pub(crate) back: Option<Nanos>,
    /// The number of sessions that broke.
    pub(crate) broken: u64,
    /// When, since the run began.
    pub(crate) began: Nanos,
    /// Sessions that had broken before, by other faults.
    pub(crate) ended_before: u64,
}
