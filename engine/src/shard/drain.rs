//! Stopping: what is in flight is answered, clients are told, connections end.

use std::time::Duration;

use trunkline_proto::CloseCode;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use super::timer::{Tick, ticks};

/// How long commands in flight may take to be answered once the gateway is to stop, and then
/// how long clients may take to close.
const DRAIN: Duration = Duration::from_secs(5);

/// The steps of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Nothing new is read; until commands in flight are answered.
    Finishing(Tick),
    /// Clients were told; until they are gone.
    Closing(Tick),
}

impl Shard {
    /// Stops accepting and reading.
    pub(super) fn begin_drain(&mut self) {
        self.listener = None;
        self.draining = Drain::Finishing(self.core.now + ticks(DRAIN));
    }

    pub(super) fn drain_step(&mut self) {
        match self.draining {
            Drain::Finishing(until) if self.core.in_flight == 0 || self.core.now >= until => {
                self.draining = Drain::Closing(self.core.now + ticks(DRAIN));
                for (slot, conn) in &mut self.conns {
                    self.core.shut_down(slot as u32, conn);
                }
            }
            Drain::Closing(until) if self.core.now >= until => {
                self.core
                    .doomed
                    .extend(self.conns.iter().map(|(slot, _)| slot as u32));
            }
            _ => {}
        }
    }
}

impl Core {
    /// Tells a client that the gateway stops.
    fn shut_down(&mut self, slot: u32, conn: &mut Conn) {
        match conn.phase {
            Phase::Handshake(_) => self.doomed.push(slot),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => {
                self.close(slot, conn, CloseCode::SHUTDOWN, "shutdown");
            }
            Phase::Closing => {}
        }
    }
}
