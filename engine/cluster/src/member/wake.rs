//! What wakes the thread of a node.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_core::exchange::{ToSequencer, Wake};

use crate::nats::Bell;

/// The wake-up of the thread of a node, which waits for a bell, or for commands.
///
/// A thread that waits for commands is woken by an empty batch of commands. So it waits for both in one place, and
/// shards know nothing of clusters. At most one such batch is on its way.
#[derive(Debug, Default)]
pub(super) struct Knock {
    bell: Bell,
    to: OnceLock<ToSequencer>,
    /// Whether the thread waits for commands.
    at_queue: AtomicBool,
    /// Whether an empty batch is on its way.
    is_sent: AtomicBool,
}

impl Knock {
    /// Sets the queue of the commands.
    pub(super) fn reach(&self, to: ToSequencer) {
        // There is one queue.
        let _ = self.to.set(to);
    }

    /// Wakes the thread.
    pub(super) fn ring(&self) {
        self.bell.wake();
        if self.at_queue.load(Ordering::SeqCst)
            && !self.is_sent.swap(true, Ordering::SeqCst)
            && let Some(to) = self.to.get()
            && to.try_send(to.spare()).is_err()
        {
            // A full queue wakes its reader itself.
            self.is_sent.store(false, Ordering::SeqCst);
        }
    }

    /// Waits for the bell. Returns whether it was rung.
    pub(super) fn wait(&self, within: Duration) -> bool {
        self.bell.wait(within)
    }

    /// Waits as `wait` waits for commands, unless the bell has been rung already: then it does not wait.
    pub(super) fn wait_at_queue<T>(&self, within: Duration, wait: impl FnOnce(Duration) -> T) -> T {
        self.is_sent.store(false, Ordering::SeqCst);
        self.at_queue.store(true, Ordering::SeqCst);
        let is_rung = self.bell.wait(Duration::ZERO);
        let came = wait(if is_rung { Duration::ZERO } else { within });
        self.at_queue.store(false, Ordering::SeqCst);
        came
    }
}

impl Wake for Knock {
    fn wake(&self) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_core::exchange::queue;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_thread_that_waits_for_commands_is_woken_once() {
        let (to, commands) = queue();
        let knock = Knock::default();
        knock.reach(to);
        knock.ring();
        assert!(commands.is_empty(), "nobody waits for commands");
        let came = knock.wait_at_queue(LONG, |within| {
            assert_eq!(within, Duration::ZERO, "the bell was rung before");
            commands.next(within)
        });
        assert!(came.is_err());
        let came = knock.wait_at_queue(LONG, |within| {
            assert_eq!(within, LONG);
            knock.ring();
            knock.ring();
            commands.next(within)
        });
        assert!(came.unwrap().commands.is_empty());
        assert!(commands.is_empty(), "one batch is enough");
        assert!(knock.wait(Duration::ZERO));
    }
}
