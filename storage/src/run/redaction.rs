//! Redactions as run files have them, and as a merge applies them.

use std::sync::Arc;

use crate::TimelineId;

/// Timeline and sequence of a redacted record.
pub(crate) type Target = (TimelineId, u64);

/// A redaction that a merge has applied: what it redacts, and its position.
pub(crate) type Applied = (Target, u64);

/// What takes the place of a record's body.
#[derive(Debug, Clone)]
pub(crate) struct Replacement {
    /// Of the redacting record; of several the latest counts.
    pub(crate) position: u64,
    /// Of the redacting record, in milliseconds.
    pub(crate) time: u64,
    pub(crate) body: Arc<[u8]>,
}
