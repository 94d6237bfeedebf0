//! What a shard is made of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crossbeam::channel::Sender;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Job, Mailbox, ToSequencer};
use trunkline_core::hub::Hub;
use trunkline_core::ids::{Ids, UserId};
use trunkline_core::store::Epochs;

use super::source::Source;
use crate::auth::Authority;
use crate::counts::Counts;
use crate::limits::Limits;
use crate::metrics::ShardMetrics;
use crate::rate::{Rules, UserRates};
use crate::tls::Acceptor;

/// What a shard is made of, besides its event loop.
pub struct Parts {
    /// The shard's number, from 0.
    pub index: usize,
    /// Shards that there are.
    pub shards: usize,
    /// Where other threads leave what the shard is to know.
    pub mailbox: Arc<Mailbox>,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Begins TLS, where clients connect with it.
    pub tls: Option<Arc<Acceptor>>,
    /// Checks tokens, where clients do not name themselves.
    pub authority: Option<Arc<Authority>>,
    /// Most connections of this shard.
    pub room: usize,
    /// What all shards share.
    pub shared: Shared,
    /// What clients may do.
    pub limits: Arc<Limits>,
    /// The ids of names.
    pub ids: Ids,
    /// Proves positions.
    pub epochs: Epochs,
    /// Which shards hold sessions of which user.
    pub directory: Arc<Directory>,
    /// What sessions tell each other without the store.
    pub hub: Arc<Hub>,
    /// What the shard counts.
    pub metrics: Arc<ShardMetrics>,
    /// The queue of the sequencer.
    pub sequencer: ToSequencer,
    /// The queue of the readers.
    pub readers: Sender<Job>,
}

/// What the shards of one gateway share: counts, rates, and where time begins.
#[derive(Clone)]
pub struct Shared {
    /// The number of connections of all shards.
    pub(crate) total: Arc<AtomicUsize>,
    /// Most connections of all shards.
    pub(crate) max_total: usize,
    /// Connections of each address, where they are limited.
    pub(crate) addresses: Option<Arc<Counts<Source>>>,
    /// Sessions of each user, where they are limited.
    pub(crate) user_sessions: Option<Arc<Counts<UserId>>>,
    /// What a connection may send; `None`: anything.
    pub(crate) rules: Option<Arc<Rules>>,
    /// What all connections of a user may send, on whichever shards they are; `None`: anything.
    pub(crate) user_rates: Option<Arc<UserRates>>,
    /// Where all shards count their ticks from.
    pub(crate) began: Instant,
}

impl Shared {
    /// Nobody is connected yet; `max_total` connections may be.
    pub fn new(limits: &Limits, max_total: usize) -> Self {
        let rules = |rates| Rules::new(rates, limits.rate_burst);
        let user_rates = rules(&limits.user_rates).map(|rules| {
            let frame = u32::try_from(limits.content.message_bytes).unwrap_or(u32::MAX);
            Arc::new(UserRates::new(rules, frame))
        });
        Self {
            total: Arc::default(),
            max_total,
            addresses: Counts::new(limits.connections_per_address).map(Arc::new),
            user_sessions: Counts::new(limits.connections_per_user).map(Arc::new),
            rules: rules(&limits.connection_rates).map(Arc::new),
            user_rates,
            began: Instant::now(),
        }
    }
}
