//! New connections: accepts, admits and refuses them.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use trunkline_proto::handshake::Rejection;

use super::Shard;
use super::admission::Refusal;
use super::connection::{Conn, Phase};
use super::price;
use super::share::Share;
use super::source::Source;
use super::tls::{DENIED, NO_ROOM, Tls};
use crate::metrics::{Limit, Work};
use crate::timer::{TICKS_PER_SECOND, ticks};

/// The pause in accepting connections when there is no descriptor for another one.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Shard {
    /// Accepts connections, if it is time to.
    pub(super) fn accept_again(&mut self, share: &mut Share) {
        if !share.is_over() && self.accept_at.is_some_and(|at| at <= self.core.turn.now()) {
            self.accept_at = None;
            self.accept(share);
        }
    }

    /// Accepts the connections that wait, up to the number and the share of a turn.
    fn accept(&mut self, share: &mut Share) {
        share.begin();
        for number in 0..self.core.parts.limits.newcomers_per_turn {
            if number > 0 && share.note_piece() {
                break;
            }
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, address)) => self.admit(stream, address.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, shard = self.core.parts.index, "cannot accept: pausing");
                    self.accept_at = Some(self.core.turn.now() + ticks(ACCEPT_PAUSE));
                    return;
                }
            }
        }
        // The edge is spent and there may be more.
        self.core.parts.metrics.limited(Limit::Accepts);
        self.accept_at = Some(self.core.turn.now());
    }

    /// Takes an accepted connection into the table, if there is room.
    fn admit(&mut self, mut stream: TcpStream, address: IpAddr) {
        let proxies = self.core.parts.limits.proxies.now();
        let is_proxy = proxies.trusts(address);
        let speaks_first = is_proxy && proxies.speak_first();
        let source = match is_proxy {
            true => Source::UNNAMED,
            false => Source::of(address),
        };
        if let Some(ticks) = self.core.turns_away(source) {
            return self.refuse(&mut stream, Refusal::Debt(ticks));
        }
        if let Err(refusal) = self.core.admission.enter(source, self.conns.len()) {
            return self.refuse(&mut stream, refusal);
        }
        self.core.parts.metrics.accepted.one();
        // Small frames must not wait for each other (tcp(7)).
        let _ = stream.set_nodelay(true);
        let tls = self.core.parts.tls.as_ref().map(|tls| tls.begin());
        let tls = match tls.transpose() {
            Ok(tls) => tls.map(|session| Box::new(Tls::new(session))),
            Err(error) => {
                tracing::warn!(%error, shard = self.core.parts.index, "cannot begin TLS");
                return self.core.admission.leave(source, true);
            }
        };
        self.peak = self.peak.max(self.conns.len() + 1);
        let entry = self.conns.vacant_entry();
        let slot = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, Token(slot), both)
        {
            tracing::warn!(%error, shard = self.core.parts.index, "cannot watch a connection");
            return self.core.admission.leave(source, true);
        }
        self.generation = self.generation.wrapping_add(1);
        let conn = entry.insert(Conn::new(stream, tls, self.generation, source));
        if speaks_first {
            conn.enter(Phase::Preamble, &mut self.core.admission);
        }
        let slot = slot as u32;
        conn.times.note_received(self.core.turn.now());
        let timeout = self.core.timeouts.handshake;
        conn.times.set_deadline(slot, &mut self.core.turn, timeout);
        let metrics = &self.core.parts.metrics;
        metrics.worked(Work::Open, price::CONNECTION);
        self.core.receive_newcomer(slot, conn);
    }

    /// Tells a client that it is not admitted.
    fn refuse(&self, stream: &mut TcpStream, refusal: Refusal) {
        let parts = &self.core.parts;
        parts.metrics.refused.one();
        refusal.count(&parts.metrics);
        let (rejection, retry) = match refusal {
            // Each client is told another second, so that not all of them come back at once.
            Refusal::Full | Refusal::Opening => {
                let spread = parts.limits.reconnect_delay_ms / 1_000 + 1;
                let seconds = 1 + parts.metrics.refused.get() % spread;
                (Rejection::UNAVAILABLE, Some(seconds))
            }
            Refusal::Address => (Rejection::TOO_MANY, None),
            Refusal::Debt(ticks) => {
                let seconds = u64::from(ticks.div_ceil(TICKS_PER_SECOND));
                (Rejection::TOO_MANY, Some(seconds))
            }
        };
        let mut answer = Vec::new();
        if parts.tls.is_some() {
            // There is no room for a hand-shake that would only encrypt the refusal.
            let alert = match refusal {
                Refusal::Full | Refusal::Opening => NO_ROOM,
                Refusal::Address | Refusal::Debt(_) => DENIED,
            };
            let _ = io::Write::write(stream, &alert);
            return;
        }
        rejection.response_after(&mut answer, retry);
        // One try: a fresh socket's buffer takes it.
        let _ = io::Write::write(stream, &answer);
    }
}
