//! What a sequencer is made of.

use std::sync::Arc;

use trunkline_storage::{Reader, Writer};

use super::Departures;
#[cfg(doc)]
use super::MIN_CONVERSATIONS;
use crate::directory::Directory;
use crate::exchange::Mailbox;
use crate::log::Log;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::turns::Weights;

/// Everything that a new sequencer needs.
pub struct SequencerParts {
    /// The writer of the store.
    pub writer: Writer,
    /// The log that commits go to.
    pub log: Box<dyn Log>,
    /// A reader of the same store.
    pub store: Reader,
    /// The maximum number of conversations in memory; at least [`MIN_CONVERSATIONS`].
    pub conversation_cache: usize,
    /// The rules for all conversations.
    pub rules: Messaging,
    /// The shards of all users with sessions.
    pub directory: Arc<Directory>,
    /// The last-seen times to store.
    pub departures: Departures,
    /// The mailboxes of all shards, by the number of the shard.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The shares of namespaces in the work of the sequencer.
    pub weights: Arc<Weights>,
    /// The counters of the sequencer.
    pub metrics: Arc<SequencerMetrics>,
}
