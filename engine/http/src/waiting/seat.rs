//! The place at which one task waits.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use trunkline_core::exchange::{Ending, TokenMark};
use trunkline_core::hub::PushFrames;
use trunkline_core::request::Names;

/// The ephemeral events that may wait for one stream. Beyond it the oldest are dropped.
const EVENTS: usize = 64;

/// The bytes of ephemeral events that may wait for one stream. Beyond it the oldest are dropped.
const BYTES: usize = 1 << 20;

/// Who waits, as operators see it.
#[derive(Debug)]
pub struct Stay {
    /// The names of the user, the device and the namespace.
    pub names: Names,
    /// The address of the client.
    pub address: IpAddr,
    /// The identity of the token.
    pub token: TokenMark,
    /// The number of a stream, which is a session; `None` for a request, which is none.
    pub number: Option<u64>,
}

/// The place at which one task waits for events of its user.
#[derive(Debug)]
pub struct Seat {
    stay: Stay,
    /// Set when an operator ends the wait.
    ending: OnceLock<Ending>,
    came: Notify,
    /// Whether stored events may have come since the last look into the store.
    stored: AtomicBool,
    /// The ephemeral events of a stream. `None` for a request, which gets stored events only.
    ephemeral: Option<Box<Mutex<Ephemeral>>>,
}

#[derive(Debug, Default)]
struct Ephemeral {
    events: VecDeque<Arc<PushFrames>>,
    bytes: usize,
}

impl Seat {
    /// Makes the seat of a request.
    pub(super) fn of_request(stay: Stay) -> Self {
        Self {
            stay,
            ending: OnceLock::new(),
            came: Notify::new(),
            stored: AtomicBool::new(true),
            ephemeral: None,
        }
    }

    /// Makes the seat of a stream.
    pub(super) fn of_stream(stay: Stay) -> Self {
        Self {
            stay,
            ending: OnceLock::new(),
            came: Notify::new(),
            stored: AtomicBool::new(true),
            ephemeral: Some(Box::default()),
        }
    }

    /// Returns who waits.
    pub(super) const fn stay(&self) -> &Stay {
        &self.stay
    }

    /// Ends the wait because an operator says so. Returns `false` if it was ended already.
    pub(super) fn end(&self, ending: Ending) -> bool {
        let is_first = self.ending.set(ending).is_ok();
        self.came.notify_one();
        is_first
    }

    /// Returns what an operator tells who waits here; `None` while the wait goes on.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Waits until something came since the last wait.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    /// Wakes the task: stored events have come, or the gateway stops.
    pub(super) fn wake(&self) {
        self.stored.store(true, Ordering::SeqCst);
        self.came.notify_one();
    }

    /// Hands an ephemeral event to a stream.
    pub(super) fn tell(&self, frames: &Arc<PushFrames>) {
        let Some(ephemeral) = &self.ephemeral else {
            return;
        };
        let mut waiting = ephemeral.lock();
        waiting.bytes += frames.size();
        waiting.events.push_back(Arc::clone(frames));
        while waiting.events.len() > EVENTS || waiting.bytes > BYTES {
            let Some(dropped) = waiting.events.pop_front() else {
                break;
            };
            waiting.bytes -= dropped.size();
        }
        drop(waiting);
        self.came.notify_one();
    }

    /// Returns whether stored events may have come since the last call. Call it before the look.
    pub fn take_stored(&self) -> bool {
        self.stored.swap(false, Ordering::SeqCst)
    }

    /// Takes the ephemeral events that came.
    pub fn take(&self) -> VecDeque<Arc<PushFrames>> {
        let Some(ephemeral) = &self.ephemeral else {
            return VecDeque::new();
        };
        let mut waiting = ephemeral.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.events)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{Event, TypingUser};

    use super::*;

    fn stay() -> Stay {
        Stay {
            names: Names::new("alice", "phone", ""),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            token: TokenMark::default(),
            number: None,
        }
    }

    fn typing(user: &str) -> Arc<PushFrames> {
        Arc::new(PushFrames::new(Event::Typing(TypingUser {
            conversation: "u:alice:bob".into(),
            user: user.into(),
            stop: false,
            expires_ms: 6_000,
        })))
    }

    #[test]
    fn a_stream_that_does_not_read_keeps_the_newest_events_only() {
        let seat = Seat::of_stream(stay());
        for number in 0..EVENTS + 3 {
            seat.tell(&typing(&format!("u{number}")));
        }
        let events = seat.take();
        assert_eq!(events.len(), EVENTS);
        let first = events[0].message(trunkline_proto::Encoding::Json);
        assert!(String::from_utf8_lossy(first).contains("\"u3\""));
        assert!(seat.take().is_empty());
        for _ in 0..3 {
            seat.tell(&typing(&"x".repeat(BYTES / 5)));
        }
        assert_eq!(seat.take().len(), 2);
    }

    #[test]
    fn a_request_keeps_no_ephemeral_events() {
        let seat = Seat::of_request(stay());
        seat.tell(&typing("alice"));
        assert!(seat.take().is_empty());
    }
}
