//! What other threads may know of a node.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::begin::JoinSettings;
use super::disk::{GENESIS, MARK};
use crate::chain::{Mark, Skip, Skips};
use crate::envelope::Hash;
use crate::ephemeral::EphemeralNumbers;

/// What is known of a node: its thread writes it, others read it.
#[derive(Debug)]
pub struct Status {
    cluster: String,
    node: String,
    is_leaving: AtomicBool,
    is_ending: AtomicBool,
    is_ready: AtomicBool,
    numbers: Mutex<Numbers>,
    ephemeral: Mutex<EphemeralNumbers>,
    stop: Mutex<Option<String>>,
    /// What keeps the node from being ready for now, as a sentence.
    hindrance: Mutex<Option<String>>,
    /// The first record of the log.
    genesis: OnceLock<Bytes>,
    /// The last record of the log of which the store certainly has all.
    stored: Mutex<Option<Mark>>,
}

/// The numbers of a node, for its metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Whether the node leads.
    pub leads: bool,
    /// The epoch.
    pub epoch: u64,
    /// The index of the last group that the node has taken.
    pub applied: u64,
    /// The sequence of the last record of the stream that the node has looked at.
    pub sequence: u64,
    /// The records of the stream that the node has not looked at yet.
    pub lag: u64,
    /// The whole seconds for which such records have been there without a moment in which the node had them all.
    pub lag_seconds: u64,
    /// The groups that the node has taken since its start.
    pub groups: u64,
    /// The bytes of these groups: their records, and what they tell beside them.
    pub group_bytes: u64,
    /// The groups that the node has published since its start.
    pub published: u64,
    /// The epochs that the node has begun since its start.
    pub takeovers: u64,
    /// The records of the node that the servers refused, or did not answer.
    pub rejected: u64,
    /// The bytes of commands that the node has forwarded, each time that they went.
    pub forwarded_bytes: u64,
    /// The batches of commands that wait for the leader.
    pub waiting: u64,
    /// The records that did not count, by reason.
    pub skips: Skips,
}

impl Numbers {
    /// Iterates over the reasons for which records did not count, with their numbers.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Skip::ALL.into_iter().map(|skip| {
            let reason = match skip {
                Skip::Form => "form",
                Skip::Genesis => "genesis",
                Skip::OldEpoch => "old_epoch",
                Skip::NoEpoch => "no_epoch",
                Skip::Late => "late",
                Skip::Index => "index",
                Skip::OtherLog => "other_log",
                Skip::Fork => "fork",
                Skip::Part => "part",
            };
            (reason, self.skips.of(skip))
        })
    }
}

impl Status {
    pub(super) fn new(settings: &JoinSettings) -> Self {
        Self {
            cluster: settings.cluster.clone(),
            node: settings.node.clone(),
            is_leaving: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            numbers: Mutex::default(),
            ephemeral: Mutex::default(),
            stop: Mutex::default(),
            hindrance: Mutex::default(),
            genesis: OnceLock::new(),
            stored: Mutex::default(),
        }
    }

    /// Returns the name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Returns the name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        *self.numbers.lock()
    }

    /// Returns the numbers of ephemeral state.
    #[must_use]
    pub fn ephemeral(&self) -> EphemeralNumbers {
        *self.ephemeral.lock()
    }

    pub(super) fn set_ephemeral(&self, numbers: EphemeralNumbers) {
        *self.ephemeral.lock() = numbers;
    }

    /// Returns why the node takes no commands: a sentence; `None` if it does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(stop) = &*self.stop.lock() {
            return Some(format!("the node has stopped: {stop}"));
        }
        if let Some(why) = &*self.hindrance.lock() {
            return Some(why.clone());
        }
        let is_ready = self.is_ready.load(Ordering::Relaxed);
        (!is_ready).then(|| {
            let Numbers { lag, .. } = self.numbers();
            format!("the node has not reached the end of the cluster's log yet ({lag} records are known to be ahead), or nobody leads")
        })
    }

    /// Returns the small files with which another node goes on from a copy of the store, by name. Begin the copy
    /// afterwards: it may have more than these say, and never less. `None` before the node has taken any record, and after it
    /// has stopped.
    #[must_use]
    pub fn companions(&self) -> Option<[(&'static str, Vec<u8>); 2]> {
        if self.stop.lock().is_some() {
            return None;
        }
        let stored = *self.stored.lock();
        let (genesis, mark) = (self.genesis.get()?, stored?);
        Some([(GENESIS, genesis.to_vec()), (MARK, mark.write())])
    }

    /// Returns the name of the node's log among all logs; `None` before the node has found it.
    #[must_use]
    pub fn log(&self) -> Option<[u8; 16]> {
        Some(Hash::of(self.genesis.get()?).0)
    }

    /// Notes the first record of the log.
    pub(super) fn found(&self, genesis: Bytes) {
        // There is one.
        let _ = self.genesis.set(genesis);
    }

    /// Notes a record of the log of which the store has all, visible to its readers.
    pub(super) fn stored(&self, mark: Mark) {
        *self.stored.lock() = Some(mark);
    }

    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::SeqCst)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self, why: String) {
        self.stop.lock().get_or_insert(why);
    }

    pub(super) fn hinder(&self, why: Option<String>) {
        *self.hindrance.lock() = why;
    }

    pub(super) fn set(&self, numbers: Numbers, is_ready: bool) {
        *self.numbers.lock() = numbers;
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }
}
