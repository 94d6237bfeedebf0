//! Revoked tokens of a cluster: in a file of each node, and kept by the cluster for nodes that are away.
//!
//! Each node writes rows of its own, so no row of one node replaces that of another. All rows about a token hold together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use trunkline_cluster::nats::{Fact, Kept, StreamError, is_full};
use trunkline_core::clock::system_ms;
use trunkline_gateway::auth::revoked::{NotRevoked, Revocation, Revocations, Row};

/// The beginning of the keys of revocations.
const BELOW: &str = "revoked";

/// The time for which the cluster keeps a revocation beyond its end: clocks differ.
const BEYOND: Duration = Duration::from_secs(24 * 60 * 60);

/// The reason why a revocation is not in force.
#[derive(Debug, Error)]
pub(crate) enum NotTaken {
    /// The cluster does not keep it, or does not tell what it keeps.
    #[error("the cluster does not keep revocations: {0}")]
    Kept(#[from] StreamError),
    /// This node does not take it.
    #[error(transparent)]
    Here(#[from] NotRevoked),
}

impl NotTaken {
    /// Returns whether there is no room.
    pub(crate) fn is_for_room(&self) -> bool {
        match self {
            Self::Kept(error) => is_full(error),
            Self::Here(error) => error.is_for_room(),
        }
    }
}

/// The revocations of a node of a cluster.
#[derive(Debug)]
pub(crate) struct ClusterRevocations {
    revoked: Arc<Revocations>,
    kept: Kept,
    me: String,
    /// The sequence from which on the cluster may keep what was not taken.
    next: AtomicU64,
    /// Held by the one that writes: the row in the cluster is never older than one before.
    writing: Mutex<()>,
}

impl ClusterRevocations {
    /// Takes what the cluster keeps, and lets the cluster keep what this node alone has. Call it before clients can
    /// connect.
    ///
    /// # Errors
    /// The cluster does not tell, or this node does not take it.
    pub(crate) fn open(revoked: Arc<Revocations>, kept: &Kept, me: &str) -> Result<Self, NotTaken> {
        let own = revoked.rows();
        let it = Self {
            revoked,
            kept: kept.clone(),
            me: me.to_owned(),
            next: AtomicU64::new(1),
            writing: Mutex::default(),
        };
        let kept = it.read_new()?;
        it.revoked.take(&kept)?;
        // Of a gateway that worked alone before, or of a stream that was lost.
        let mut by_key: HashMap<String, Vec<Row>> = HashMap::new();
        for row in kept {
            by_key.entry(row.key()).or_default().push(row);
        }
        let is_kept = |row: &Row| {
            let same = by_key.get(&row.key()).into_iter().flatten();
            { same }.any(|kept| kept.covers(row))
        };
        let now_ms = system_ms();
        let is_over = |row: &Row| row.until_ms().is_some_and(|until| until <= now_ms);
        for row in own.iter().filter(|row| !is_over(row) && !is_kept(row)) {
            it.keep(row)?;
        }
        Ok(it)
    }

    /// Revokes tokens. When it returns, the cluster keeps the revocation, and it is in force at this node. Returns its
    /// text for other nodes.
    ///
    /// # Errors
    /// The cluster does not keep it, or this node does not take it. It may be in force at other nodes.
    pub(crate) fn revoke(&self, revocation: Revocation) -> Result<String, NotTaken> {
        let _writing = self.writing.lock();
        let row = self.revoked.row(revocation)?;
        self.keep(&row)?;
        self.revoked.revoke(revocation)?;
        Ok(row.text())
    }

    /// Takes a revocation from the text that another node made of it.
    ///
    /// # Errors
    /// This node does not take it.
    pub(crate) fn take(&self, text: &str) -> Result<(), NotRevoked> {
        match Row::read(text) {
            Some(row) => self.revoked.take(&[row]).map(drop),
            None => {
                tracing::warn!("a node has revoked tokens in a form that this one does not know");
                Ok(())
            }
        }
    }

    /// Takes what other nodes have revoked since the last call. Returns what is new.
    ///
    /// # Errors
    /// The cluster does not tell, or this node does not take it: the next call tries again.
    pub(crate) fn take_new(&self) -> Result<Vec<Row>, NotTaken> {
        let before = self.next.load(Ordering::Relaxed);
        let rows = self.read_new()?;
        let taken = self.revoked.take(&rows);
        if taken.is_err() {
            self.next.store(before, Ordering::Relaxed);
        }
        Ok(taken?)
    }

    /// Reads what the cluster keeps that was not read yet.
    fn read_new(&self) -> Result<Vec<Row>, StreamError> {
        let mut rows = Vec::new();
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let facts = self.kept.read(BELOW, next)?;
            let Some(last) = facts.last() else {
                break;
            };
            next = last.sequence + 1;
            rows.extend(facts.iter().filter_map(row));
        }
        self.next.store(next, Ordering::Relaxed);
        Ok(rows)
    }

    fn keep(&self, row: &Row) -> Result<(), StreamError> {
        let key = format!("{BELOW}.{}.{}", row.key(), self.me);
        let life = row.until_ms().map(|until| {
            let left = Duration::from_millis(until.saturating_sub(system_ms()));
            left.saturating_add(BEYOND)
        });
        self.kept.put(&key, row.text().into_bytes().into(), life)
    }
}

fn row(fact: &Fact) -> Option<Row> {
    let row = std::str::from_utf8(&fact.bytes).ok().and_then(Row::read);
    if row.is_none() {
        tracing::warn!(
            key = fact.key,
            "the cluster keeps a revocation in a form that this node does not know: run the same version on all nodes"
        );
    }
    row
}
