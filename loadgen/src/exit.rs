//! Exit codes and the one error type that ends a run.

use std::fmt;

/// The end of a run, as the exit code of the process reports it. CI systems rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was measured, and every check passed.
    Ok,
    /// The generator was not healthy: the figures may not be used.
    Invalid,
    /// A message was lost, repeated, reordered, changed, or came from nowhere.
    Violation,
    /// The figures are worse than those they were compared with, beyond noise.
    Regression,
    /// The figures do not decide.
    Inconclusive,
    /// The machine cannot carry this run; nothing was started.
    Preflight,
    /// The figures are right and miss a threshold of the scenario.
    Threshold,
    /// The scenario or the command line is wrong; nothing was started.
    BadScenario,
    /// The user stopped the run, or the gateway could not be used.
    Aborted,
}

impl Exit {
    /// Returns the exit code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Invalid => 90,
            Self::Violation => 91,
            Self::Regression => 92,
            Self::Inconclusive => 93,
            Self::Preflight => 94,
            Self::Threshold => 99,
            Self::BadScenario => 104,
            Self::Aborted => 105,
        }
    }

    /// Returns the verdict in `summary.json`.
    pub(crate) fn verdict(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Violation => "violation",
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
            Self::Preflight => "preflight",
            Self::Threshold => "threshold",
            Self::BadScenario => "bad-scenario",
            Self::Aborted => "aborted",
        }
    }
}

/// The error that ends a run: a text for people, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code this failure means.
    pub(crate) exit: Exit,
    /// What is wrong and what to do; may have several lines.
    pub(crate) message: String,
}

impl Failure {
    /// The scenario or the command line is wrong (exit 104).
    pub(crate) fn scenario(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::BadScenario,
            message: message.into(),
        }
    }

    /// The machine cannot carry the run (exit 94).
    pub(crate) fn preflight(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Preflight,
            message: message.into(),
        }
    }

    /// The run cannot go on (exit 105).
    pub(crate) fn aborted(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Aborted,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The result of a step of a run.
pub(crate) type Outcome<T> = Result<T, Failure>;
