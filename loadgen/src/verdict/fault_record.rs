//! The record of one fault in a run.

use crate::clock::Nanos;
use crate::scenario::chaos::Fault;

/// A fault as it happened. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct FaultRecord {
    /// The planned fault.
    pub(crate) fault: Fault,
    /// The time of the fault, counted from the start of sending.
    pub(crate) at: Nanos,
    /// The time until the process had ended; for a pause, the time until it was continued.
    pub(crate) down: Option<Nanos>,
    /// The time until the gateway was ready again.
    pub(crate) ready: Option<Nanos>,
    /// The time until all broken sessions were back; `None` if one did not come back.
    pub(crate) back: Option<Nanos>,
    /// The number of sessions that broke.
    pub(crate) broken: u64,
    /// The time of the fault, counted from the beginning of the run.
    pub(crate) began: Nanos,
    /// Sessions that had broken before, by other faults.
    pub(crate) ended_before: u64,
}
