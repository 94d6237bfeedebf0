//! The thread that speaks of ephemeral state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trunkline_core::exchange::Wake;
use trunkline_core::hub::Hub;

use super::begin::Joined;
use super::log::now;
use super::status::Status;
use crate::ephemeral::Ephemeral;
use crate::nats::{Bell, Lane, Lanes, NotSaid, Said, To};
use crate::node::NodeName;

/// The most messages that are taken before some are sent.
const MESSAGES: usize = 256;

/// The rest while the connection takes no messages.
const FULL: Duration = Duration::from_millis(20);

/// The thread, as its owner has it.
#[derive(Debug)]
pub(super) struct Speaking {
    bell: Arc<Bell>,
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What the thread has.
struct Speaker {
    rules: Ephemeral,
    lanes: Arc<Lanes>,
    bell: Arc<Bell>,
    status: Arc<Status>,
    began: Instant,
    is_ending: Arc<AtomicBool>,
    /// A message that found no room.
    stuck: Option<(Option<NodeName>, Bytes)>,
}

impl Speaking {
    /// Starts the thread. `bell` is rung for messages that come.
    pub(super) fn start(
        joined: &Joined,
        hub: Arc<Hub>,
        bell: Arc<Bell>,
        status: &Arc<Status>,
    ) -> std::io::Result<Self> {
        let is_ending = Arc::<AtomicBool>::default();
        let wake = Arc::clone(&bell) as Arc<dyn Wake>;
        let speaker = Speaker {
            rules: Ephemeral::new(joined.me, joined.log, hub, wake),
            lanes: Arc::clone(&joined.ends.digests),
            bell: Arc::clone(&bell),
            status: Arc::clone(status),
            began: now(),
            is_ending: Arc::clone(&is_ending),
            stuck: None,
        };
        let thread = std::thread::Builder::new()
            .name("ephemeral".into())
            .spawn(move || speaker.run())?;
        Ok(Self {
            bell,
            is_ending,
            thread,
        })
    }

    /// Ends the thread, once all other nodes are told that this one has no users any more.
    pub(super) fn end(self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.bell.wake();
        // Its panic has been printed already.
        let _ = self.thread.join();
    }
}

impl Speaker {
    fn run(mut self) {
        while !self.is_ending.load(Ordering::SeqCst) {
            let now = self.began.elapsed();
            let rest = self.rules.rest(now);
            let rest = if self.stuck.is_some() { FULL } else { rest };
            self.bell.wait(rest);
            self.take();
            self.send();
            self.status.set_ephemeral(self.rules.numbers());
        }
        self.rules.hurry();
        self.send();
        let _ = self.lanes.say(Lane::Digest, To::All, self.rules.end());
    }

    /// Takes what came.
    fn take(&mut self) {
        let now = self.began.elapsed();
        for _ in 0..MESSAGES {
            match self.lanes.take() {
                // The numbers of messages show what is lost.
                Some(Said::Missed { .. } | Said::Unsent { .. }) => {}
                Some(Said::Message { bytes, .. }) => self.rules.hear(&bytes, now),
                None => return self.rules.look(now),
            }
        }
        // There may be more.
        self.bell.wake();
    }

    /// Sends what is due, as far as there is room.
    fn send(&mut self) {
        let now = self.began.elapsed();
        while let Some((to, bytes)) = self.stuck.take().or_else(|| self.rules.poll(now)) {
            let node = to.as_ref().map_or(To::All, |name| To::Node(name.as_str()));
            match self.lanes.say(Lane::Digest, node, bytes.clone()) {
                Ok(()) => {}
                Err(NotSaid::Full) => {
                    self.stuck = Some((to, bytes));
                    return;
                }
                Err(NotSaid::Ended) => return,
                Err(why @ NotSaid::TooLong(_)) => {
                    tracing::error!(%why, "other nodes do not learn of some users");
                }
            }
        }
    }
}
