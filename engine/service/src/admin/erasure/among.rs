//! Erasures in a cluster.
//!
//! The changes of an erasure are commands, and all stores take them from the log. The node that leads gives them. What is in
//! the files of a store only its own node removes. So parts 1 and 2 are the leader's, each node does parts 3 to 5 for
//! itself, and the erasure ends once all nodes have: also those that are away now.

use std::collections::HashSet;
use std::time::Duration;

use trunkline_core::call::Step;
use trunkline_core::erasure::{self, Running};
use trunkline_core::ids::{Ids, UserId};

use super::{Halt, RETRY, VALUES, Work};
use crate::nodes::ClusterErasures;

/// The time between two looks for erasures that another node has begun, and for what other nodes have done.
const LOOK: Duration = Duration::from_secs(2);

/// An erasure, by its user and its beginning.
type Name = (UserId, u64);

impl Work {
    /// Leads erasures while the node leads, and does what is to be done at each node.
    pub(super) fn run_in_cluster(self, cluster: &ClusterErasures) {
        let metrics = &self.parts.metrics;
        let mut done: HashSet<Name> = HashSet::new();
        loop {
            let mut pause = LOOK;
            let running = erasure::running(&self.parts.store).unwrap_or_else(|error| {
                let error = error.to_string();
                tracing::error!(error, "cannot read which users are being erased");
                Vec::new()
            });
            metrics.erasing.set(running.len() as u64);
            done.retain(|name| running.iter().any(|one| self.name(one) == *name));
            // One that fails does not hold up the others.
            for one in &running {
                match self.go_on_with(one, cluster, &mut done) {
                    Ok(()) => {}
                    Err(Halt::Stopping) => return,
                    Err(Halt::Failed(error)) => {
                        metrics.erasures_failed.one();
                        tracing::error!(
                            error,
                            "an erasure does not go on: trying again after the others"
                        );
                        pause = RETRY;
                    }
                }
            }
            if !self.bell.wait(pause) {
                return;
            }
        }
    }

    fn name(&self, running: &Running) -> Name {
        let ids = Ids(self.parts.store.key());
        (ids.user(&running.namespace, &running.user), running.began)
    }

    /// Does what this node can do for an erasure now.
    fn go_on_with(
        &self,
        running: &Running,
        cluster: &ClusterErasures,
        done: &mut HashSet<Name>,
    ) -> Result<(), Halt> {
        let Running {
            namespace, user, ..
        } = running;
        let eraser = self.parts.service.eraser(namespace, user)?;
        for part in running.complete..VALUES {
            if !cluster.leads() {
                return Ok(());
            }
            match part {
                0 => self.messages(running, &eraser)?,
                _ => self.leave(running, &eraser)?,
            }
            eraser.carry_out(&[Step::Phase(part + 1)])?;
        }
        let name = self.name(running);
        if !done.contains(&name) {
            let (have, _) = cluster.nodes(name.0, running).map_err(Halt::Failed)?;
            if !have.contains(cluster.me()) && !self.own_part(running, cluster)? {
                return Ok(());
            }
            done.insert(name);
        }
        if cluster.leads() {
            let (_, missing) = cluster.nodes(name.0, running).map_err(Halt::Failed)?;
            if missing.is_empty() {
                self.end(running, &eraser)?;
                self.parts.metrics.erased.one();
            }
        }
        Ok(())
    }

    /// Removes what only this node can remove: from its files. Returns whether it could: it waits for the leader to say
    /// up to where, and for the log up to there.
    fn own_part(&self, running: &Running, cluster: &ClusterErasures) -> Result<bool, Halt> {
        let (namespace, user) = (&*running.namespace, &*running.user);
        let eraser = self.parts.service.eraser(namespace, user)?;
        let (id, _) = self.name(running);
        let head = self.parts.store.head();
        let until = cluster.until(id, running, head).map_err(Halt::Failed)?;
        let Some(until) = until.filter(|until| *until <= head) else {
            return Ok(false);
        };
        self.values(running, &eraser, until)?;
        self.files(running)?;
        self.media(running)?;
        cluster.did(id, running).map_err(Halt::Failed)?;
        tracing::info!(
            namespace,
            user,
            "a user is erased from the files of this node"
        );
        Ok(true)
    }
}
