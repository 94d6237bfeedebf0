//! The incoming side of the loop: ready sockets, opened sessions, and the latencies of what came.

use super::Client;
use super::connections::Progress;
use super::dialogue::Dialogue;
use super::storms::StormLatency;
use crate::check::Judge;
use crate::clock::Nanos;
use crate::driver::{Broken, Event};
use crate::stats::Metric;

impl<D: Dialogue> Client<D> {
    /// A socket is ready.
    pub(super) fn ready(&mut self, device: u32, event: &mio::event::Event, buffer: &mut [u8]) {
        let now = self.clock.now();
        match self.connections.progress(device, event) {
            Ok(Progress::Unchanged) => {}
            Ok(Progress::Connecting) => return,
            Ok(Progress::Connected) => {
                let began = self.connections.connected(now, device);
                D::connected(self, device);
                self.record_opening(Metric::Tcp, device, began, now);
            }
            Ok(Progress::Unblocked) => self.flush(now, device),
            Err(why) => {
                self.count().refused += 1;
                return self.failed(now, device, &why.to_string());
            }
        }
        if event.is_read_closed() {
            self.connections.note_read_closed(device);
        }
        if event.is_readable() || event.is_error() {
            self.readable(device, buffer);
        }
    }

    /// Records a step of opening a session for the first time.
    fn record_opening(&mut self, metric: Metric, device: u32, began: Option<Nanos>, now: Nanos) {
        let first = !self.dialogue.is_helper(device) && !self.reconnects.is_away(device);
        if let Some(began) = began.filter(|_| first) {
            self.latencies.record(metric, began, now);
        }
    }

    /// Reads a connection once; one with more to read comes again next turn.
    pub(super) fn readable(&mut self, device: u32, buffer: &mut [u8]) {
        let now = self.clock.now();
        let counters = self.checker.counters_mut();
        let received = self.connections.read(device, buffer, counters);
        if received.plain > 0 {
            self.received(now, device, &mut buffer[..received.plain]);
        }
        if let Some(why) = received.ended {
            self.failed(now, device, &why);
        }
    }

    fn received(&mut self, now: Nanos, device: u32, mut input: &mut [u8]) {
        loop {
            match self.connections.event(now, device, &mut input) {
                Ok(None) => return,
                Ok(Some(Event::Said(said))) => {
                    if let Err(why) = D::said(self, now, device, said) {
                        return self.failed(now, device, &why);
                    }
                }
                Ok(Some(Event::Ready)) => {
                    let began = self.connections.authenticate(now, device);
                    self.record_opening(Metric::Upgrade, device, began, now);
                    D::ready(self, now, device);
                }
                Ok(Some(Event::Pinged)) => self.count().pings += 1,
                Ok(Some(Event::Closed { code, reason })) => {
                    D::closed(self, device, code);
                    return self.failed(now, device, &format!("closed with {code} {reason}"));
                }
                Err(broken) => return self.broken(now, device, &broken),
            }
        }
    }

    /// Handles a connection that cannot go on.
    fn broken(&mut self, now: Nanos, device: u32, broken: &Broken) {
        if let Some(refused) = broken.refused {
            self.count().refused_http += 1;
            if let Some(seconds) = refused.retry_after {
                self.reconnects.note_retry_after(device, seconds);
            }
        }
        self.failed(now, device, &broken.why);
    }

    /// Handles the opening of a device's session. `said`: what the server says about it, such as that
    /// the messages missed while it was away come next.
    pub(super) fn opened(&mut self, now: Nanos, device: u32, said: bool) {
        let Some(opened) = self.connections.opened(device) else {
            return;
        };
        let returned = self.returned(now, device);
        let again = returned.is_some_and(|it| it.again);
        if again {
            self.latencies.record(Metric::Resume, opened.begun, now);
        } else {
            self.latencies.record(Metric::Auth, opened.asked, now);
            self.latencies.record(Metric::Connect, opened.begun, now);
        }
        let count = self.count();
        count.sessions += 1;
        count.sessions_opened += u64::from(!again);
        D::enter(self, now, device, returned, said);
        if let Some(returned) = returned {
            self.make_up(now, device, returned);
        }
    }

    /// Records that a send, which was due at `intended`, is acknowledged.
    pub(super) fn record_ack(&mut self, now: Nanos, device: u32, intended: Nanos) {
        self.latencies.record(Metric::Ack, intended, now);
        let took = now.saturating_sub(intended);
        self.storms.record(device, StormLatency::Ack, took);
        let in_time = now <= self.phases.sending().until;
        self.count().acknowledged_in_time += u64::from(in_time);
        self.connections.acknowledged(device);
        if self.limits.has_faults {
            self.board.acknowledged(now);
        }
    }

    /// Records that a message, which was due at `intended`, reached a device; `pushed` if the server
    /// sent it unasked.
    pub(super) fn record_arrival(
        &mut self,
        now: Nanos,
        device: u32,
        intended: Nanos,
        pushed: bool,
    ) {
        self.latencies.record(Metric::E2e, intended, now);
        let took = now.saturating_sub(intended);
        self.storms.record(device, StormLatency::E2e, took);
        let in_time = now <= self.phases.sending().until;
        self.count().pushes_in_time += u64::from(in_time && pushed);
    }
}
