//! The times of a lease.

use std::time::Duration;

/// The times of a lease. All nodes of a cluster have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The time between two heartbeats of a node.
    pub beat: Duration,
    /// The time without a returned heartbeat after which a leader stops, and without an acknowledgement after which it
    /// takes over from itself. Also the shortest time between two attempts to lead of which the first got no answer.
    pub silence: Duration,
    /// The time after its acknowledgement in which a leader has to see a group in the stream.
    pub sight: Duration,
    /// The time without a heartbeat of the leader after which followers take over.
    pub life: Duration,
    /// The longest random time on top of `life`, so that followers rarely try at once.
    pub spread: Duration,
    /// The longest random time that followers wait after a leader has stepped down.
    pub hurry: Duration,
    /// The time before an attempt after a refused one, with a random time of up to as much on top. A node that is behind
    /// the stream tries that often.
    pub pause: Duration,
    /// The time for which a node that stepped down does not try to lead.
    pub abstention: Duration,
}

impl Timing {
    /// The times of every cluster.
    pub const USUAL: Self = Self {
        beat: Duration::from_millis(150),
        silence: Duration::from_millis(500),
        sight: Duration::from_secs(1),
        life: Duration::from_secs(1),
        spread: Duration::from_millis(300),
        hurry: Duration::from_millis(50),
        pause: Duration::from_millis(20),
        abstention: Duration::from_secs(5),
    };
}

const USUAL: Timing = Timing::USUAL;
// One lost heartbeat stops no leader, and two do not either.
const _: () = assert!(USUAL.beat.as_micros() * 3 < USUAL.silence.as_micros());
// A leader whose heartbeats reach nobody, itself included, stops before others begin: its last returned heartbeat is older
// than what they heard. One that only hears itself does not stop here: see `Lease::may_answer`.
const _: () = assert!(USUAL.silence.as_micros() + USUAL.beat.as_micros() < USUAL.life.as_micros());
// A leader that stepped down is replaced before it tries again.
const _: () =
    assert!(USUAL.life.as_micros() + USUAL.spread.as_micros() < USUAL.abstention.as_micros());
