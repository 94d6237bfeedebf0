//! What a node of a cluster does for the others, and what it lets them do: orders of operators, and revocations.

mod erased;
mod hooks;
mod revoked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use trunkline_cluster::member::{Candidate, Order, Orders, Status};
use trunkline_cluster::nats::Kept;
use trunkline_gateway::auth::revoked::Revocations;
use trunkline_http::admin::{Admin, Given, Nodes};
use trunkline_http::back::HookCluster;

pub(crate) use self::erased::ClusterErasures;
use self::hooks::ClusterHooks;
pub(crate) use self::revoked::{ClusterRevocations, NotTaken};
use crate::threads::{join, spawn};

/// The time in which the thread of the cluster must say which nodes there are.
const NAMES: Duration = Duration::from_secs(1);

/// The longest wait of the thread for an order, after which it looks whether it has to end.
const LOOK: Duration = Duration::from_millis(100);

/// The time between two looks at what other nodes have revoked. Orders tell most of it at once; one may be lost.
const REVOKED: Duration = Duration::from_secs(2);

/// What a gateway has of the cluster that it is a node of.
pub(crate) struct ClusterEnds {
    orders: Orders,
    kept: Kept,
    me: String,
}

impl ClusterEnds {
    pub(crate) fn of(candidate: &Candidate) -> Self {
        let orders = candidate.orders();
        let me = orders.me().to_string();
        let kept = candidate.kept();
        Self { orders, kept, me }
    }
}

/// A gateway as a node of a cluster, as its admin API has it.
pub(crate) struct AmongNodes {
    pub(crate) ends: Arc<ClusterEnds>,
    /// The revoked tokens; `None` without keys for tokens.
    pub(crate) revoked: Option<Arc<ClusterRevocations>>,
    status: Arc<Status>,
}

impl AmongNodes {
    /// Returns what erasures need of the cluster.
    pub(crate) fn erasures(&self) -> ClusterErasures {
        ClusterErasures {
            status: Arc::clone(&self.status),
            kept: self.ends.kept.clone(),
            me: self.ends.me.clone(),
        }
    }

    /// Returns what webhooks need of the cluster.
    pub(crate) fn hooks(&self) -> Arc<dyn HookCluster> {
        Arc::new(ClusterHooks {
            status: Arc::clone(&self.status),
            kept: self.ends.kept.clone(),
        })
    }

    /// Makes the node known to the cluster, and takes what the cluster has revoked. Returns `None` for a gateway that works alone. Call it before clients can
    /// connect.
    ///
    /// # Errors
    /// The cluster does not tell what it has revoked, or this node does not take it.
    pub(crate) fn join(
        candidate: Option<&Candidate>,
        revoked: Option<&Arc<Revocations>>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(candidate) = candidate else {
            return Ok(None);
        };
        let ends = ClusterEnds::of(candidate);
        erased::register(&ends.kept, &ends.me)
            .context("cannot make this node known to the cluster")?;
        let open = |revoked: &Arc<Revocations>| {
            ClusterRevocations::open(Arc::clone(revoked), &ends.kept, &ends.me)
        };
        let revoked = revoked.map(open).transpose();
        let revoked = revoked.context("cannot take the revoked tokens of the cluster")?;
        Ok(Some(Self {
            ends: Arc::new(ends),
            revoked: revoked.map(Arc::new),
            status: candidate.status(),
        }))
    }
}

impl Nodes for ClusterEnds {
    fn me(&self) -> &str {
        &self.me
    }

    fn others(&self) -> Result<Vec<String>, String> {
        let names = self.orders.others(NAMES);
        let names = names.map_err(|error| error.to_string())?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    fn give(&self, to: Option<&str>, order: Vec<u8>, within: Duration) -> Result<Given, String> {
        let to = to.map(str::parse).transpose();
        let to = to.map_err(|error| format!("{error}"))?;
        let given = self.orders.give(to, order.into(), within);
        let given = given.map_err(|error| error.to_string())?;
        let answers = given.answers.into_iter();
        Ok(Given {
            answers: answers
                .map(|(node, answer)| (node.to_string(), answer.to_vec()))
                .collect(),
            missing: given.missing.iter().map(ToString::to_string).collect(),
        })
    }
}

/// The thread that carries out orders of other nodes, and takes what they revoke.
pub(crate) struct Serving {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no room for a thread, or for what lets it wait.
    pub(crate) fn start(among: &AmongNodes, admin: &Arc<Admin>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .context("cannot start the thread of the orders")?;
        let is_over = Arc::<AtomicBool>::default();
        let work = Work {
            orders: among.ends.orders.clone(),
            admin: Arc::clone(admin),
            revoked: among.revoked.clone(),
            is_over: Arc::clone(&is_over),
            runtime,
        };
        let thread = spawn("orders", move || work.run())?;
        Ok(Self { is_over, thread })
    }

    /// Ends the thread, after the order that it carries out.
    ///
    /// # Errors
    /// The thread panicked.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.is_over.store(true, Ordering::SeqCst);
        join(self.thread)
    }
}

struct Work {
    orders: Orders,
    admin: Arc<Admin>,
    revoked: Option<Arc<ClusterRevocations>>,
    is_over: Arc<AtomicBool>,
    runtime: tokio::runtime::Runtime,
}

impl Work {
    fn run(self) {
        let mut looked = Instant::now();
        while !self.is_over.load(Ordering::SeqCst) {
            if let Some(order) = self.orders.next(LOOK) {
                self.carry_out(&order);
            }
            if looked.elapsed() >= REVOKED
                && let Some(revoked) = &self.revoked
            {
                self.look(revoked);
                looked = Instant::now();
            }
        }
    }

    fn carry_out(&self, order: &Order) {
        let answer = self.admin.carry_out_order(&order.bytes);
        let answer = self.runtime.block_on(answer);
        self.orders.answer(order, answer.into());
    }

    /// Takes what other nodes have revoked, and ends its sessions. Orders are carried out in between.
    fn look(&self, revoked: &ClusterRevocations) {
        let new = match revoked.take_new() {
            Ok(new) => new,
            // The servers may be gone for a while; all of it is taken later.
            Err(NotTaken::Kept(error)) => {
                tracing::debug!(%error, "cannot look at what the cluster has revoked");
                return;
            }
            Err(error @ NotTaken::Here(_)) => {
                tracing::error!(%error, "revoked tokens of the cluster are not in force at this node");
                return;
            }
        };
        for row in new {
            let which = row.which();
            let ended = self.runtime.block_on(self.admin.end_revoked(&which));
            match ended {
                Ok(closed) => {
                    tracing::info!(closed, "took a revocation that another node has made");
                }
                Err(problem) => {
                    let error = &*problem.error().message;
                    tracing::warn!(error, "sessions with revoked tokens may be open still");
                }
            }
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            if let Some(order) = self.orders.next(Duration::ZERO) {
                self.carry_out(&order);
            }
        }
    }
}
