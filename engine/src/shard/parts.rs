//! What a shard is made of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crossbeam::channel::Sender;
use trunkline_storage::Epochs;

use super::mailbox::Mailbox;
use super::source::Source;
use crate::auth::Authority;
use crate::config::Limits;
use crate::counts::Counts;
use crate::directory::Directory;
use crate::hub::Hub;
use crate::ids::{Ids, UserId};
use crate::metrics::ShardMetrics;
use crate::rate::{Rules, UserRates};
use crate::reader::Job;
use crate::sequencer::queue::ToSequencer;
use crate::tls::Acceptor;

/// What a shard is made of, besides its event loop.
pub(crate) struct Parts {
    pub(crate) index: usize,
    /// Shards that there are.
    pub(crate) shards: usize,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) listen: SocketAddr,
    /// Begins TLS, where clients connect with it.
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// Checks tokens, where clients do not name themselves.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Most connections of this shard.
    pub(crate) room: usize,
    /// Connections of all shards, and their limit.
    pub(crate) total: Arc<AtomicUsize>,
    pub(crate) max_total: usize,
    pub(crate) limits: Arc<Limits>,
    /// Connections of each address, where they are limited.
    pub(crate) addresses: Option<Arc<Counts<Source>>>,
    /// Sessions of each user, where they are limited.
    pub(crate) user_sessions: Option<Arc<Counts<UserId>>>,
    /// What a connection may send; `None`: anything.
    pub(crate) rules: Option<Arc<Rules>>,
    /// What all connections of a user may send, on whichever shards they are.
    pub(crate) user_rates: Option<Arc<UserRates>>,
    /// Where all shards count their ticks from.
    pub(crate) began: Instant,
    pub(crate) ids: Ids,
    /// Proves positions.
    pub(crate) epochs: Epochs,
    pub(crate) directory: Arc<Directory>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) sequencer: ToSequencer,
    pub(crate) readers: Sender<Job>,
}
