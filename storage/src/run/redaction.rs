//! Redactions in run files, and how a merge applies them.

use std::io;
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
    pub(crate) body: NewBody,
}

/// The body that takes the place of another one.
#[derive(Debug, Clone)]
pub(crate) enum NewBody {
    /// The body itself.
    Here(Arc<[u8]>),
    /// The number of bytes of the body, which is in the redacting record in the log.
    Logged(usize),
}

impl NewBody {
    /// Returns the body, if it is in memory.
    pub(crate) fn here(&self) -> Option<&[u8]> {
        match self {
            Self::Here(body) => Some(body),
            Self::Logged(_) => None,
        }
    }

    /// Returns the body, which an earlier step has read into memory.
    ///
    /// # Errors
    /// It is not in memory.
    pub(crate) fn read(&self) -> io::Result<&[u8]> {
        let missing = || io::Error::other("the new body of a redacted record was not read");
        self.here().ok_or_else(missing)
    }
}
