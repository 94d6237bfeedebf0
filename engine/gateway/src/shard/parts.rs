//! The parts that a shard is made from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use trunkline_core::directory::Directory;
use trunkline_core::exchange::{BackEnds, Mailbox, ToReaders, ToSequencer};
use trunkline_core::hub::Hub;
use trunkline_core::ids::Ids;
use trunkline_core::per_user::Half;
use trunkline_core::store::Epochs;

use super::rate::Charges;
use super::source::Source;
use super::tls::HANDSHAKE_COST;
use super::tokens::CHECK_COST;
use crate::auth::Authority;
use crate::counts::Counts;
use crate::limits::Limits;
use crate::metrics::{PushBytes, ShardMetrics};
use crate::rate::Budgets;
use crate::tls::Acceptor;

/// Everything that a shard needs, besides its event loop.
pub struct Parts {
    /// The shard's number, from 0.
    pub index: usize,
    /// The number of shards of the gateway.
    pub shards: usize,
    /// The mail of other threads for this shard.
    pub mailbox: Arc<Mailbox>,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Begins TLS connections. `None`: clients connect without TLS.
    pub tls: Option<Arc<Acceptor>>,
    /// Checks tokens. `None` in development mode, where clients name themselves.
    pub authority: Option<Arc<Authority>>,
    /// Whether clients name themselves.
    pub is_development: bool,
    /// The back ends that are asked. `None` without any.
    pub back_ends: Option<Arc<dyn BackEnds>>,
    /// The number of connections of this shard at most.
    pub room: usize,
    /// The data that the shards of the gateway share.
    pub shared: Shared,
    /// The limits of connections and users.
    pub limits: Arc<Limits>,
    /// Derives the ids of users, groups and topics from their names.
    pub ids: Ids,
    /// Proves that this store gave out a position.
    pub epochs: Epochs,
    /// The shards that hold sessions of each user.
    pub directory: Arc<Directory>,
    /// The ephemeral state that shards share.
    pub hub: Arc<Hub>,
    /// The counters of this shard.
    pub metrics: Arc<ShardMetrics>,
    /// The queue of the sequencer.
    pub sequencer: ToSequencer,
    /// The queue of the readers.
    pub readers: ToReaders,
}

impl Parts {
    /// The number of plain sessions that take as long to admit as one session of this gateway.
    pub(super) fn admission_cost(&self) -> u64 {
        let authority = self.authority.as_ref();
        let check = authority.is_some_and(|authority| authority.takes_long());
        let tls = self.tls.is_some();
        let extra = usize::from(tls) * (HANDSHAKE_COST - 1) + usize::from(check) * (CHECK_COST - 1);
        1 + extra as u64
    }
}

/// The data that the shards of one gateway share: counts, rates, and the start of time.
#[derive(Clone)]
pub struct Shared {
    /// The number of connections of all shards.
    pub(crate) total: Arc<AtomicUsize>,
    /// The number of connections of all shards at most.
    pub(crate) max_total: usize,
    /// The number of connections of each address. `None`: no limit.
    pub(crate) addresses: Option<Arc<Counts<Source>>>,
    /// The number of sessions of each user, by half of the id. `None`: no limit.
    pub(crate) user_sessions: Option<Arc<Counts<Half>>>,
    /// The bytes of the ephemeral pushes that connections share.
    pub(crate) pushes: Arc<PushBytes>,
    /// The rates of connections and users.
    pub(crate) charges: Charges,
    /// The budgets of cost. `None` without any.
    pub(crate) budgets: Option<Arc<Budgets<Source>>>,
    /// The instant from which all shards count ticks.
    pub(crate) began: Instant,
}

impl Shared {
    /// Makes the shared state of a gateway without connections. `max_total` is the number of
    /// connections at most. `pushes` counts the ephemeral pushes that connections share.
    pub fn new(limits: &Limits, max_total: usize, pushes: Arc<PushBytes>) -> Self {
        Self {
            total: Arc::default(),
            max_total,
            addresses: Counts::new(limits.connections_per_address).map(Arc::new),
            user_sessions: Counts::new(limits.connections_per_user).map(Arc::new),
            pushes,
            charges: Charges::new(limits),
            budgets: Budgets::new(&limits.costs).map(Arc::new),
            began: Instant::now(),
        }
    }
}
