//! The prices of commands about ephemeral events, besides those of reading them.

use crate::cost::Cost;

/// The cost of a command that changes or asks the state of a topic, or passes an event on.
pub const COMMAND: Cost = Cost::micros(1);

/// The cost of one KiB of an event: writing it in both encodings.
const WRITTEN_KIB: Cost = Cost::micros(2);

/// The cost of an event for one connection, besides its bytes: finding the connection and flushing it.
const TOLD: Cost = Cost::micros(3);

/// Returns the cost of an event of which the frames of both encodings have `bytes` together.
pub const fn written(bytes: usize) -> Cost {
    WRITTEN_KIB.times(bytes >> 10)
}

/// Returns the cost of telling connections an event. `bytes` as in [`written`]; each connection gets
/// about half of them.
pub fn told(connections: usize, bytes: usize) -> Cost {
    (TOLD + Cost::of_sent(bytes / 2)).times(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_costs_by_its_bytes_and_by_those_who_get_it() {
        assert_eq!(told(0, 1 << 20), Cost::NONE);
        assert_eq!(told(1_000, 0), Cost::micros(3_000));
        // 64 KiB for each of a thousand.
        assert_eq!(told(1_000, 128 << 10), Cost::micros(35_000));
        assert_eq!(written(128 << 10), Cost::micros(256));
    }
}
