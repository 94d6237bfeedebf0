//! What keeps a node from leading, and from going on in the log, for a time.

use std::time::Duration;

use trunkline_core::follower::FollowError;
use trunkline_storage::{Health, Reader};

use crate::chain::Group;

/// The time between two attempts to take a group that the store did not take.
const AGAIN: Duration = Duration::from_secs(1);

/// The time between two lines in the log of a node about the same hindrance.
const SAID: Duration = Duration::from_mins(1);

/// What keeps a node from leading: the condition of its store, NATS servers that do not take the longest record, or a group
/// that its store did not take for now. All of it may pass. The node does not lead meanwhile, and is not ready.
pub(super) struct Hindrance {
    store: Reader,
    /// The reason, as of the last look, as a sentence.
    why: Option<String>,
    held: Option<Held>,
    /// When the log of the node had the last line.
    said: Option<Duration>,
}

/// A group that the store did not take.
#[derive(Debug)]
struct Held {
    group: Group,
    why: String,
    again: Duration,
}

impl Hindrance {
    /// Returns that of a node with this store.
    pub(super) const fn new(store: Reader) -> Self {
        Self {
            store,
            why: None,
            held: None,
            said: None,
        }
    }

    /// Looks at the store. `shortage` is why the NATS servers do not take the longest record, if they do not.
    pub(super) fn look(&mut self, shortage: Option<String>, now: Duration) {
        let why = self.held.as_ref().map(|held| held.why.clone());
        let why = why.or_else(|| of_store(&self.store)).or(shortage);
        match &why {
            Some(why) if self.said.is_none_or(|said| now >= said + SAID) => {
                tracing::warn!(
                    why,
                    "the node does not lead, and is not ready: it tries again"
                );
                self.said = Some(now);
            }
            None if self.why.is_some() => {
                tracing::info!("what kept the node from leading is over");
                self.said = None;
            }
            _ => {}
        }
        self.why = why;
    }

    /// Returns the reason why the node cannot lead; `None` if it can.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Returns whether the node must not lead.
    pub(super) const fn is_there(&self) -> bool {
        self.why.is_some() || self.held.is_some()
    }

    /// Keeps a group that the store did not take, for a reason that may pass. No later one may be taken before it.
    pub(super) fn hold(&mut self, group: &Group, error: &FollowError, now: Duration) {
        self.held = Some(Held {
            why: format!(
                "group {} of the log cannot be taken for now: {error}",
                group.index
            ),
            group: group.clone(),
            again: now + AGAIN,
        });
    }

    /// Returns whether a group waits to be taken.
    pub(super) const fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Returns when to try again.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.held.as_ref().map(|held| held.again)
    }

    /// Takes the group that waits, if it is time to try again.
    pub(super) fn due(&mut self, now: Duration) -> Option<Group> {
        let held = self.held.take_if(|held| held.again <= now)?;
        Some(held.group)
    }

    /// Forgets the group that waits: the node does not follow the log any more.
    pub(super) fn forget(&mut self) {
        self.held = None;
    }
}

/// Returns why a node with this store cannot lead; `None` if it can.
fn of_store(store: &Reader) -> Option<String> {
    match store.health() {
        Health::Ok => None,
        Health::Full { reason } => Some(format!("the disk is full: {reason}")),
        Health::Short { reason } => Some(format!("the store cannot write for now: {reason}")),
        Health::Lost { reason } => Some(format!("the store's folder is missing: {reason}")),
        Health::Poisoned { reason } => Some(format!(
            "the store failed, start the gateway again: {reason}"
        )),
    }
}
