//! How slow the NATS servers are.

use std::time::Duration;

use crate::lease::Timing;

/// The round trip from which on the NATS servers are too slow for a leader: with a heartbeat in
/// [`Timing::beat`], and some time for the log, it is close to [`Timing::silence`].
const SLOW: Duration = Duration::from_millis(250);

const _: () =
    assert!(SLOW.as_millis() + Timing::USUAL.beat.as_millis() < Timing::USUAL.silence.as_millis());

/// The time between two lines in the log of a node about it.
const SAID: Duration = Duration::from_mins(1);

/// The condition of the way to the NATS servers.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The round trip, if it is too long.
    slow: Option<Duration>,
    /// When the log of the node had the last line.
    said: Option<Duration>,
}

impl Network {
    /// Looks at the shortest round trip of late; `None` if none is known.
    pub(super) fn look(&mut self, trip: Option<Duration>, now: Duration) {
        self.slow = trip.filter(|trip| *trip >= SLOW);
        if let Some(why) = self.why()
            && self.said.is_none_or(|said| now >= said + SAID)
        {
            tracing::warn!("{why}");
            self.said = Some(now);
        }
    }

    /// Returns that the servers are too slow, as a sentence; `None` if they are not.
    pub(super) fn why(&self) -> Option<String> {
        let trip = self.slow?.as_millis();
        let most = SLOW.as_millis();
        Some(format!(
            "the NATS servers take {trip} ms to send a heartbeat of this node back, and a cluster needs less than {most} ms: look at \
             the network and at the load of the servers; nodes take the lead from each other meanwhile, and store next to nothing"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slow_servers_are_told_of() {
        let mut network = Network::default();
        network.look(None, Duration::ZERO);
        assert_eq!(network.why(), None);
        network.look(Some(SLOW - Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(network.why(), None);
        network.look(Some(Duration::from_millis(400)), Duration::ZERO);
        assert!(network.why().unwrap().contains("take 400 ms"));
        network.look(Some(Duration::from_millis(2)), Duration::ZERO);
        assert_eq!(network.why(), None);
    }
}
