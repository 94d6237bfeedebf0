//! How much an attacker does at a server that does not slow it down.

use std::time::Duration;

use crate::crew::tally::Tally;

/// The steps and the new connections of each second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    steps: f64,
    opened: f64,
}

impl Quota {
    /// Returns as much as was done in `time`.
    pub(crate) fn new(tally: &Tally, time: Duration) -> Self {
        let seconds = time.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            steps: tally.steps as f64 / seconds,
            opened: tally.opened as f64 / seconds,
        }
    }

    /// Returns the steps that may be done until `time` has passed.
    pub(crate) fn steps(&self, time: Duration) -> u64 {
        (self.steps * time.as_secs_f64()) as u64
    }

    /// Returns the connections that are opened until `time` has passed.
    pub(crate) fn opened(&self, time: Duration) -> u64 {
        (self.opened * time.as_secs_f64()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_as_was_done() {
        let tally = Tally {
            steps: 400,
            opened: 20,
            ..Tally::default()
        };
        let quota = Quota::new(&tally, Duration::from_secs(4));
        let half = Duration::from_millis(500);
        assert_eq!((quota.steps(half), quota.opened(half)), (50, 2));
    }
}
