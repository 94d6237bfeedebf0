//! New connections: how many a turn takes, and who is let in.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Interest, Token};
use trunkline_proto::handshake::Rejection;

use super::Shard;
use super::connection::Conn;
use super::timer::ticks;

/// Connections accepted per turn.
const ACCEPTS: usize = 64;

/// How long accepting pauses when there is no descriptor for another connection.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Shard {
    pub(super) fn accept_again(&mut self) {
        if self.accept_at.is_some_and(|at| at <= self.core.now) {
            self.accept_at = None;
            self.accept();
        }
    }

    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, shard = self.core.parts.index, "cannot accept: pausing");
                    self.accept_at = Some(self.core.now + ticks(ACCEPT_PAUSE));
                    return;
                }
            }
        }
        // The edge is spent and there may be more.
        self.accept_at = Some(self.core.now);
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream) {
        let total = self.core.parts.total.fetch_add(1, Ordering::Relaxed);
        if total >= self.core.parts.max_total || self.conns.len() >= self.core.parts.room {
            self.core.parts.total.fetch_sub(1, Ordering::Relaxed);
            self.core.parts.metrics.refused.one();
            let mut answer = Vec::new();
            Rejection::UNAVAILABLE.response(&mut answer);
            // One try: a fresh socket's buffer takes it.
            let _ = io::Write::write(&mut stream, &answer);
            return;
        }
        self.core.parts.metrics.accepted.one();
        // Small frames must not wait for each other (tcp(7)).
        let _ = stream.set_nodelay(true);
        let entry = self.conns.vacant_entry();
        let slot = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, Token(slot), both)
        {
            tracing::warn!(%error, shard = self.core.parts.index, "cannot watch a connection");
            self.core.parts.total.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let conn = entry.insert(Conn::new(stream, self.generation));
        conn.heard = self.core.now;
        conn.deadline = self.core.now + ticks(self.core.parts.limits.handshake_timeout);
        self.core.schedule(slot as u32, conn, conn.deadline);
    }
}
