//! Webhooks in a cluster: the node that leads tells back ends, and the cluster keeps how far it is.
//!
//! Each node follows its own store, which has the same log. A node that begins to lead goes on from what the cluster
//! keeps. What the one before told since it wrote that is told again, with the same ids.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{State, parse, text};

/// The longest state that the cluster keeps, in bytes.
const LONGEST: usize = 512 << 10;

/// The time after which the cluster is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// What webhooks need of the cluster. Reading and writing may block the thread.
pub trait HookCluster: Send + Sync + 'static {
    /// Returns whether this node leads.
    fn leads(&self) -> bool;

    /// Returns what [`write`](Self::write) has written last, at any node; `None` if it never was.
    ///
    /// # Errors
    /// The cluster does not answer. The text says why.
    fn read(&self) -> Result<Option<Vec<u8>>, String>;

    /// Writes the state.
    ///
    /// # Errors
    /// The cluster does not take it. The text says why.
    fn write(&self, state: Vec<u8>) -> Result<(), String>;
}

/// What a node may do.
pub(super) enum Turn {
    /// It tells.
    Tells,
    /// It begins to tell, from this state; `None` if there is none.
    Begins(Option<State>),
    /// It does not tell any more.
    Ends,
    /// Another one tells.
    Rests,
}

/// The place of the webhook `offline` in a cluster.
pub(super) struct OfCluster {
    cluster: Arc<dyn HookCluster>,
    tells: bool,
    /// The cluster is not asked before this time.
    not_before: Instant,
    /// What was written last.
    written: String,
}

impl OfCluster {
    pub(super) fn new(cluster: Arc<dyn HookCluster>, now: Instant) -> Self {
        Self {
            cluster,
            tells: false,
            not_before: now,
            written: String::new(),
        }
    }

    /// Returns whether this node tells.
    pub(super) const fn tells(&self) -> bool {
        self.tells
    }

    /// Looks who tells. `told` is the number of tries without a result.
    pub(super) fn turn(&mut self, told: usize, now: Instant) -> Turn {
        match (self.tells, self.cluster.leads()) {
            (true, true) => Turn::Tells,
            (true, false) => {
                self.tells = false;
                Turn::Ends
            }
            // Results of tries of an earlier lead would be taken for those of later ones.
            (false, true) if told == 0 && now >= self.not_before => self.begin(now),
            (false, _) => Turn::Rests,
        }
    }

    fn begin(&mut self, now: Instant) -> Turn {
        let kept = match self.cluster.read() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(error, "cannot read how far webhooks are: trying again");
                self.not_before = now + AGAIN;
                return Turn::Rests;
            }
        };
        self.tells = true;
        self.written.clear();
        let state = kept.and_then(|bytes| {
            let text = String::from_utf8(bytes).map_err(|error| error.to_string());
            let state = text.and_then(|text| parse(&text));
            state
                .inspect_err(|error| {
                    tracing::error!(
                        error,
                        "what the cluster keeps of webhooks is damaged: going on at the end of the log"
                    );
                })
                .ok()
        });
        Turn::Begins(state)
    }

    /// Lets the cluster keep a state, without what waits: `state` names the recipients of that in place of it.
    /// `least` has a position from which on nothing is left out alone, for a state that is too long.
    pub(super) fn write(&mut self, state: &State, least: &State) -> Result<(), String> {
        let mut new = text(state);
        if new.len() > LONGEST {
            new = text(least);
        }
        if new != self.written {
            self.cluster.write(new.clone().into_bytes())?;
            self.written = new;
        }
        Ok(())
    }
}
