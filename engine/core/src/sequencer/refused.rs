//! Why a command fails.

use trunkline_proto::ErrorCode;

use crate::exchange::Outcome;

/// A command is not carried out, and nothing of it is stored. Carries what the error reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    code: ErrorCode,
    message: &'static str,
}

impl Refused {
    /// Refuses a command with this error reply.
    pub(super) const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message }
    }

    /// The outcome of the command.
    pub(super) const fn outcome(self) -> Outcome {
        Outcome::Failed(self.code, self.message)
    }
}
