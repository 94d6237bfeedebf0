//! How far webhooks are, as the cluster keeps it.

use std::sync::Arc;

use trunkline_cluster::member::Status;
use trunkline_cluster::nats::Kept;
use trunkline_http::back::HookCluster;

/// The key of how far the webhook `offline` is.
const OFFLINE: &str = "webhooks.offline";

/// The webhooks of a node of a cluster.
#[derive(Debug)]
pub(super) struct ClusterHooks {
    pub(super) status: Arc<Status>,
    pub(super) kept: Kept,
}

impl HookCluster for ClusterHooks {
    fn leads(&self) -> bool {
        self.status.numbers().leads
    }

    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let fact = self.kept.get(OFFLINE).map_err(|error| error.to_string())?;
        Ok(fact.map(|fact| fact.bytes.to_vec()))
    }

    fn write(&self, state: Vec<u8>) -> Result<(), String> {
        let written = self.kept.put(OFFLINE, state.into(), None);
        written.map_err(|error| error.to_string())
    }
}
