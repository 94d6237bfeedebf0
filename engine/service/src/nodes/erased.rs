//! Which nodes have erased a user from their files, as the cluster keeps it.
//!
//! | key | what the cluster keeps |
//! |---|---|
//! | `nodes.N` | that there is a node N. A node says so at each start |
//! | `erasing.U.T` | up to which position nodes overwrite old values of the user U whose erasure began at T |
//! | `erased.U.T.N` | that the node N has done its part of that erasure |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use trunkline_cluster::member::Status;
use trunkline_cluster::nats::{Fact, Kept, StreamError};
use trunkline_cluster::setup::{FORGOTTEN, NODE_KEYS};
use trunkline_core::erasure::Running;
use trunkline_core::ids::UserId;
use trunkline_storage::Position;

/// The time for which the cluster keeps what nodes have done. An erasure that takes longer is done again.
const LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Lets the cluster know that there is this node.
///
/// # Errors
/// The cluster does not keep it.
pub(super) fn register(kept: &Kept, me: &str) -> Result<(), StreamError> {
    kept.put(&format!("{NODE_KEYS}.{me}"), Vec::new().into(), None)
}

/// The erasures of a node of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterErasures {
    pub(super) status: Arc<Status>,
    pub(super) kept: Kept,
    pub(super) me: String,
}

/// The key of an erasure.
fn of(user: UserId, running: &Running) -> String {
    format!("{:032x}.{}", user.0, running.began)
}

impl ClusterErasures {
    /// Returns the name of this node.
    pub(crate) fn me(&self) -> &str {
        &self.me
    }

    /// Returns whether this node leads.
    pub(crate) fn leads(&self) -> bool {
        self.status.numbers().leads
    }

    /// Returns up to which position old values are overwritten; `None` if the leader has not said so yet. The leader
    /// says `head` then.
    ///
    /// # Errors
    /// The cluster does not answer. The text says why.
    pub(crate) fn until(
        &self,
        user: UserId,
        running: &Running,
        head: Position,
    ) -> Result<Option<Position>, String> {
        let key = format!("erasing.{}", of(user, running));
        let kept = self.kept.get(&key).map_err(|error| error.to_string())?;
        let position = |fact: &Fact| {
            let text = std::str::from_utf8(&fact.bytes).ok()?;
            text.parse().ok().map(Position)
        };
        if let Some(position) = kept.as_ref().and_then(position) {
            return Ok(Some(position));
        }
        if !self.leads() {
            return Ok(None);
        }
        let text = head.0.to_string();
        let said = self.kept.put(&key, text.into_bytes().into(), Some(LIFE));
        said.map_err(|error| error.to_string())?;
        Ok(Some(head))
    }

    /// Notes that this node has done its part of an erasure.
    ///
    /// # Errors
    /// The cluster does not keep it. The text says why.
    pub(crate) fn did(&self, user: UserId, running: &Running) -> Result<(), String> {
        let key = format!("erased.{}.{}", of(user, running), self.me);
        let kept = self.kept.put(&key, Vec::new().into(), Some(LIFE));
        kept.map_err(|error| error.to_string())
    }

    /// Returns the nodes that have done their part of an erasure, and those that have not.
    ///
    /// # Errors
    /// The cluster does not answer. The text says why.
    pub(crate) fn nodes(
        &self,
        user: UserId,
        running: &Running,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>), String> {
        let all = self.last_words(NODE_KEYS)?;
        let done = self.last_words(&format!("erased.{}", of(user, running)))?;
        let missing = all.difference(&done).cloned().collect();
        Ok((done, missing))
    }

    /// Returns the last words of the keys below one.
    fn last_words(&self, below: &str) -> Result<BTreeSet<String>, String> {
        let (mut words, mut next) = (BTreeSet::new(), 1);
        loop {
            let facts = self.kept.read(below, next);
            let facts = facts.map_err(|error| error.to_string())?;
            let Some(last) = facts.last() else {
                return Ok(words);
            };
            next = last.sequence + 1;
            let of_node = facts.iter().filter(|fact| &*fact.bytes != FORGOTTEN);
            let last_word = of_node.filter_map(|fact| fact.key.rsplit('.').next());
            words.extend(last_word.map(str::to_owned));
        }
    }
}
