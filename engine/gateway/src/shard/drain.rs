//! Stopping: nobody new, everybody is told, what is in flight is answered, connections end.
//!
//! Clients are told one after another, over a time that the configuration says: else all of them
//! would come back to the other gateways at once. Until its turn comes a client is served as
//! always; then it is not read any more, its commands in flight are answered, and it is closed.

use std::time::{Duration, Instant};

use trunkline_proto::CloseCode;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;

/// However long the window, at least so many are told per second: few clients need no spreading.
const PACE: u128 = 100;

/// How long those who were told are given for the answers of readers. Whoever asked can ask again,
/// and readers may have much to do.
const READS: Duration = Duration::from_secs(2);

/// How often a stopping shard looks what is to be done.
pub(super) const STEP: Duration = Duration::from_millis(10);

/// The steps of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Clients are told, in the order of their slots.
    Telling {
        began: Instant,
        /// Connections there were.
        total: usize,
        /// Those below this slot are told.
        next: usize,
        told: usize,
    },
    /// All were told; until they are gone.
    Closing {
        began: Instant,
        /// When the last was told.
        told: Instant,
    },
}

/// How many of `total` are to be told by `elapsed`.
fn due(total: usize, elapsed: Duration, window: Duration) -> usize {
    if elapsed >= window {
        return total;
    }
    let (elapsed, window) = (elapsed.as_micros(), window.as_micros());
    let share = total as u128 * elapsed / window.max(1);
    let pace = PACE * elapsed / 1_000_000 + 1;
    usize::try_from(share.max(pace)).unwrap_or(total).min(total)
}

impl Shard {
    /// Stops accepting, and begins to tell the clients.
    pub(super) fn begin_drain(&mut self, connections: usize) {
        self.listener = None;
        // Clients wait for the answers before they go.
        self.core.parts.sequencer.hurry();
        let cost = self.core.admission_cost();
        self.core.returns.stop(connections, cost);
        self.draining = Drain::Telling {
            began: Instant::now(),
            total: self.conns.len(),
            next: 0,
            told: 0,
        };
    }

    pub(super) fn drain_step(&mut self, now: Instant) {
        let began = match self.draining {
            Drain::No => return,
            Drain::Telling { began, .. } => {
                self.tell(now);
                began
            }
            Drain::Closing { began, told } => {
                if now.saturating_duration_since(told) >= READS && !self.core.reads_over {
                    self.end_reads();
                }
                began
            }
        };
        if now.saturating_duration_since(began) >= self.core.parts.limits.drain_timeout {
            self.draining = Drain::Closing { began, told: now };
            let left = self.conns.len();
            tracing::warn!(left, "connections did not end in time: dropping them");
            for (slot, _) in &self.conns {
                self.core.parts.metrics.limited(Limit::DrainTime);
                self.core.turn.drop_later(slot as u32);
            }
        }
    }

    /// Tells those whose turn it is.
    fn tell(&mut self, now: Instant) {
        let Drain::Telling {
            began,
            total,
            next,
            told,
        } = &mut self.draining
        else {
            return;
        };
        let elapsed = now.saturating_duration_since(*began);
        let due = due(*total, elapsed, self.core.parts.limits.drain_window);
        while *told < due && *next < self.conns.capacity() {
            if let Some(conn) = self.conns.get_mut(*next) {
                self.core.shut_down(*next as u32, conn);
                *told += 1;
            }
            *next += 1;
        }
        if *next >= self.conns.capacity() || *told >= *total {
            self.draining = Drain::Closing {
                began: *began,
                told: now,
            };
        }
    }

    /// Ends those who wait for nothing but readers.
    fn end_reads(&mut self) {
        self.core.reads_over = true;
        for (slot, conn) in &mut self.conns {
            self.core.leave(slot as u32, conn);
        }
    }
}

impl Core {
    /// Tells a client that the gateway stops, once its commands are answered.
    fn shut_down(&mut self, slot: u32, conn: &mut Conn) {
        match conn.phase {
            Phase::Handshake(_) => self.turn.drop_later(slot),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => {
                conn.leaving = true;
                self.leave(slot, conn);
            }
            Phase::Closing => {}
        }
    }

    /// A command of a client was answered, or it is to leave: ends it where both hold.
    pub(super) fn leave(&mut self, slot: u32, conn: &mut Conn) {
        // The rest are commands, whose answers say that they are stored.
        let reads = if self.reads_over {
            self.questions.counted(slot)
        } else {
            0
        };
        if conn.leaving && conn.in_flight <= reads {
            self.close(slot, conn, CloseCode::SHUTDOWN, "shutdown");
            // Its answer to our Close may be there already.
            self.read_later(slot, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_over_the_window_and_few_at_once() {
        let check = |total, millis, expected| {
            let elapsed = Duration::from_millis(millis);
            assert_eq!(due(total, elapsed, Duration::from_secs(2)), expected);
        };
        check(100_000, 0, 1);
        check(100_000, 20, 1_000);
        check(100_000, 1_000, 50_000);
        check(100_000, 1_999, 99_950);
        check(100_000, 2_000, 100_000);
        check(3, 0, 1);
        check(3, 20, 3);
        check(150, 1_000, 101);
        check(0, 0, 0);
        assert_eq!(due(5, Duration::ZERO, Duration::ZERO), 5);
    }
}
