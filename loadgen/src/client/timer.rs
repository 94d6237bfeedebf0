//! Waking at a time more exact than the milliseconds of epoll's timeout.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock::Nanos;

/// Waits longer than this need no more than epoll's timeout, and end this much early.
const COARSE: Nanos = 20_000_000;

/// A timer descriptor (timerfd_create(2)) of an event loop.
#[derive(Debug)]
pub(super) struct Timer {
    fd: TimerFd,
    armed: Option<Nanos>,
}

impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let raw = fd.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&raw), token, Interest::READABLE)?;
        Ok(Self { fd, armed: None })
    }

    /// Makes the loop wake at `at`. Returns the timeout for the poll.
    pub(super) fn arm(&mut self, now: Nanos, at: Nanos) -> Option<Duration> {
        let wait = at.saturating_sub(now);
        if wait == 0 {
            return Some(Duration::ZERO);
        }
        if wait > COARSE {
            return Some(Duration::from_nanos(wait - COARSE / 2));
        }
        if self.armed != Some(at) {
            let after = TimeSpec::from_duration(Duration::from_nanos(wait));
            let set = self
                .fd
                .set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
            // Where the timer cannot be set, epoll's coarser one still wakes.
            self.armed = set.is_ok().then_some(at);
        }
        Some(Duration::from_nanos(wait) + Duration::from_millis(1))
    }

    /// The timer's event came.
    pub(super) fn fired(&mut self) {
        self.armed = None;
        // Reading resets it; the count does not matter.
        let _ = self.fd.wait();
    }
}
