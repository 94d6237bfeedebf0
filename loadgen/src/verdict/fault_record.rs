//! One fault of a run, as it happened.

use crate::clock::Nanos;
use crate::scenario::chaos::Blow;

/// One blow that happened.
#[derive(Debug, Clone)]
pub(crate) struct FaultRecord {
    pub(crate) blow: Blow,
    /// When, since sending began.
    pub(crate) at: Nanos,
    /// How long until the process had ended; for a pause, until it was continued.
    pub(crate) down: Option<Nanos>,
    /// How long until the gateway was ready again.
    pub(crate) ready: Option<Nanos>,
    /// How long until all sessions that broke were back; none if one was not.
    pub(crate) back: Option<Nanos>,
    /// Sessions that broke.
    pub(crate) broken: u64,
    pub(crate) began: Nanos,
    pub(crate) ended_before: u64,
}
