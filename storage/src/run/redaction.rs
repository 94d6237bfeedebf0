//! Redactions in run files, and how a merge applies them.

use std::sync::Arc;

use crate::TimelineId;

/// The timeline and the sequence of a redacted record.
pub(crate) type Target = (TimelineId, u64);

/// A redaction that a merge has applied: the redacted record, and the position of the redaction.
pub(crate) type Applied = (Target, u64);

/// The replacement of a record's body.
#[derive(Debug, Clone)]
pub(crate) struct Replacement {
    /// The position of the redacting record. The latest of several replacements counts.
    pub(crate) position: u64,
    /// The time of the redacting record, in milliseconds.
    pub(crate) time: u64,
    pub(crate) body: Arc<[u8]>,
}
