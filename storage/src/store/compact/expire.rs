//! Expiry: removes runs whose lifetime is over.
//!
//! A run is removed as a whole when the lifetime of its last record is over. First a manifest
//! without the run comes into force, then the file is removed. Before messages are removed, marks
//! keep the last sequences of their timelines, so that sequences never go back.

use std::io;
use std::sync::atomic::Ordering;

use super::steps::Steps;
use crate::run::{RunId, RunKind};

/// The kinds that can expire. Kinds without marks come first, because their removal frees space
/// even on a full disk.
const KINDS: [RunKind; 3] = [RunKind::Syncs, RunKind::Keys, RunKind::Messages];

impl Steps {
    /// Removes the runs whose lifetime was over at the last `tick`. Returns whether there were any.
    pub(super) fn expire(&self) -> io::Result<bool> {
        self.remove_released();
        let now = self.now.load(Ordering::Acquire);
        if now == 0 || !self.plan.lifetimes.any() {
            return Ok(false);
        }
        let backend = &*self.shared.backend;
        for kind in KINDS {
            let Some(life) = self.plan.lifetimes.life(kind) else {
                continue;
            };
            let mut over = self.shared.runs().ids(kind);
            over.retain(|run| run.last_time.saturating_add(life) < now);
            if kind == RunKind::Messages {
                // One run at a time: the removal of each frees space for the marks of the next one.
                if let Some(&run) = over.first() {
                    self.ballast.lift(backend, || self.expire_messages(run))?;
                    return Ok(true);
                }
            } else if !over.is_empty() {
                self.ballast.lift(backend, || self.expire_all(&over))?;
                return Ok(true);
            }
        }
        self.ballast.restore(backend);
        Ok(false)
    }

    /// Removes runs that leave no marks.
    fn expire_all(&self, over: &[RunId]) -> io::Result<()> {
        self.settle()?;
        self.put_in_force(
            |manifest| over.iter().for_each(|run| manifest.expire(run)),
            |runs| self.shared.replace_runs(runs, Vec::new(), Vec::new()),
        )?;
        self.remove(over);
        Ok(())
    }

    /// Removes a run of messages, and keeps marks of its timelines.
    fn expire_messages(&self, over: RunId) -> io::Result<()> {
        self.settle()?;
        let busy = [over];
        let between_entries = self.others_first(&busy, over.level);
        let maker = self.maker(&between_entries);
        let done = self.mark(&maker, over);
        self.conclude(done, maker)?;
        self.remove(&[over]);
        self.remove_released();
        Ok(())
    }
}
