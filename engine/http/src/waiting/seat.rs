//! The place at which one task waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
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
    ending: OnceLock<Box<Ending>>,
    /// Whether something came since the last wait.
    came: AtomicBool,
    /// The task that waits.
    task: Mutex<Option<Waker>>,
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
            came: AtomicBool::new(false),
            task: Mutex::default(),
            stored: AtomicBool::new(true),
            ephemeral: None,
        }
    }

    /// Makes the seat of a stream.
    pub(super) fn of_stream(stay: Stay) -> Self {
        Self {
            stay,
            ending: OnceLock::new(),
            came: AtomicBool::new(false),
            task: Mutex::default(),
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
        let is_first = self.ending.set(Box::new(ending)).is_ok();
        self.notify();
        is_first
    }

    /// Returns what an operator tells who waits here; `None` while the wait goes on.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().map(|ending| **ending)
    }

    /// Waits until something came since the last wait. One task waits at a time.
    pub async fn came(&self) {
        poll_fn(|context| self.poll_came(context)).await;
    }

    /// Returns whether something came since the last time that it had, or lets the task be woken then.
    pub fn poll_came(&self, context: &Context<'_>) -> Poll<()> {
        let mut task = self.task.lock();
        if self.came.swap(false, Ordering::SeqCst) {
            return Poll::Ready(());
        }
        match &mut *task {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Notes that something came, and wakes the task.
    fn notify(&self) {
        self.came.store(true, Ordering::SeqCst);
        // Who waits looks at the note under the lock: it sees the note, or is woken.
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Wakes the task: stored events have come, or the gateway stops.
    pub(super) fn wake(&self) {
        self.stored.store(true, Ordering::SeqCst);
        self.notify();
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
        self.notify();
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
    fn what_comes_before_or_during_a_wait_ends_it_once() {
        let mut context = Context::from_waker(Waker::noop());
        let seat = Seat::of_request(stay());
        seat.wake();
        assert!(seat.poll_came(&context).is_ready());
        assert!(seat.poll_came(&context).is_pending());
        struct Count(AtomicBool);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                assert!(!self.0.swap(true, Ordering::SeqCst), "woken twice");
            }
        }
        let count = Arc::new(Count(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&count));
        context = Context::from_waker(&waker);
        assert!(seat.poll_came(&context).is_pending());
        seat.wake();
        seat.wake();
        assert!(count.0.load(Ordering::SeqCst));
        assert!(seat.poll_came(&context).is_ready());
        assert!(seat.poll_came(&context).is_pending());
    }

    #[test]
    fn a_request_keeps_no_ephemeral_events() {
        let seat = Seat::of_request(stay());
        seat.tell(&typing("alice"));
        assert!(seat.take().is_empty());
    }
}
