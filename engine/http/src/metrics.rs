//! The counters of the client API, written by the thread of its port.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trunkline_core::metrics::Counter;

use crate::media::MediaMetrics;
use crate::server::ServerMetrics;

/// The routes that are counted apart.
pub const ROUTES: [&str; 8] = [
    "command",
    "rtm.send",
    "rtm.receive",
    "events",
    "media",
    "openapi",
    "pages",
    "other",
];

/// A route of the client API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A command of the protocol.
    Command,
    /// `rtm.send`.
    Send,
    /// `rtm.receive`.
    Receive,
    /// `events`.
    Events,
    /// Media.
    Media,
    /// The description of the API.
    OpenApi,
    /// The chat page and the client in JavaScript.
    Pages,
    /// Anything else: unknown paths, other methods, preflight requests.
    Other,
}

/// The counters of the client API.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// The connections of the port.
    pub server: Arc<ServerMetrics>,
    /// The media.
    pub media: Arc<MediaMetrics>,
    /// The answered requests, in the order of [`ROUTES`].
    pub requests: [Counter; ROUTES.len()],
    /// The time until the answers were ready, in nanoseconds, in the order of [`ROUTES`]. A request that
    /// waits for events counts until it waits.
    pub times: [Counter; ROUTES.len()],
    /// The answers with a status from 400 to 499.
    pub refused: Counter,
    /// The answers with a status from 500.
    pub failed: Counter,
    /// The requests that wait for events now.
    pub polls: Counter,
    /// The open streams of events.
    pub streams: Counter,
    /// The bytes of the bodies of all requests that have no answer yet.
    pub bodies: Arc<AtomicUsize>,
    /// The bytes of streams and answers that clients have not taken.
    pub unread: AtomicUsize,
    /// The number of streams and answers that have such bytes.
    pub unread_parts: AtomicUsize,
    /// The streams and answers that were dropped because such bytes were too many.
    pub unread_dropped: Counter,
    /// The times that a stream or a waiting request was woken by an event.
    pub woken: Counter,
}

/// The memory of a connection in HTTP, in bytes: the buffers for the heads of a request and its answer, as far as they are
/// used, and the state.
const IN_HTTP: usize = 12 << 10;

/// The memory of a connection that is silent, or has sent a part of a request's head, in bytes. The part stays in the
/// kernel.
const WAITING: usize = 3 << 9;

/// The memory of a connection that a stream or a waiting request holds, in bytes.
const HELD: usize = 2 << 10;

impl HttpMetrics {
    /// Returns the memory of the connections in bytes, without that of TLS: what is measured for one, bodies of requests, and
    /// what clients have not taken.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let held = self.polls.get() + self.streams.get();
        let in_http = self.server.in_http.get();
        let waiting = { self.server.connections.get() }.saturating_sub(held + in_http);
        let kinds = [(in_http, IN_HTTP), (held, HELD), (waiting, WAITING)];
        let connections: usize = { kinds.iter() }
            .map(|(count, bytes)| *count as usize * bytes)
            .sum();
        connections + self.bodies.load(Ordering::Relaxed) + self.unread.load(Ordering::Relaxed)
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, route: Route, status: u16, time: Duration) {
        let route = route as usize;
        self.requests[route].one();
        self.times[route].add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        match status {
            400..=499 => self.refused.one(),
            500.. => self.failed.one(),
            _ => {}
        }
    }
}

/// Counts one more while it exists.
pub(crate) struct Counted {
    metrics: Arc<HttpMetrics>,
    of: fn(&HttpMetrics) -> &Counter,
}

impl Counted {
    pub(crate) fn new(metrics: &Arc<HttpMetrics>, of: fn(&HttpMetrics) -> &Counter) -> Self {
        let counter = of(metrics);
        counter.set(counter.get() + 1);
        Self {
            metrics: Arc::clone(metrics),
            of,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counter = (self.of)(&self.metrics);
        counter.set(counter.get().saturating_sub(1));
    }
}
