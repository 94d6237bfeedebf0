//! Expiry: removing runs whose life is over.
//!
//! A run goes as a whole when the life of its last record is over. First a manifest without it is
//! put in force, then its file is removed. Before messages go, the last sequences of their
//! timelines are kept as marks, so that sequences never go back.

use std::io;
use std::sync::atomic::Ordering;

use super::steps::Steps;
use crate::run::{RunId, RunKind};

/// What can expire: first what leaves nothing behind, and so frees space on a full disk.
const KINDS: [RunKind; 3] = [RunKind::Syncs, RunKind::Keys, RunKind::Messages];

impl Steps {
    /// Removes runs whose life was over when the store was last told the time, if there are any.
    pub(super) fn expire(&self) -> io::Result<bool> {
        let now = self.now.load(Ordering::Acquire);
        if now == 0 || !self.plan.lifetimes.any() {
            return Ok(false);
        }
        let backend = &*self.shared.backend;
        let runs = self.shared.runs();
        for kind in KINDS {
            let Some(life) = self.plan.lifetimes.life(kind) else {
                continue;
            };
            let is_over = |run: &RunId| run.last_time.saturating_add(life) < now;
            let over = runs.of(kind).iter().filter(|run| is_over(&run.id));
            if kind == RunKind::Messages {
                // One at a time: each frees the space for the marks of the next.
                if let Some(run) = over.clone().next() {
                    self.ballast
                        .lift(backend, || self.expire_messages(run.id))?;
                    return Ok(true);
                }
            } else if over.clone().next().is_some() {
                let over: Vec<RunId> = over.map(|run| run.id).collect();
                self.ballast.lift(backend, || self.expire_all(&over))?;
                return Ok(true);
            }
        }
        self.ballast.restore(backend);
        Ok(false)
    }

    /// Removes runs that leave nothing behind.
    fn expire_all(&self, over: &[RunId]) -> io::Result<()> {
        self.settle()?;
        self.put_in_force(
            |manifest| over.iter().for_each(|run| manifest.expire(run)),
            |runs| self.shared.replace_runs(runs, Vec::new()),
        )?;
        self.remove(over);
        Ok(())
    }

    /// Removes a run of messages, and keeps marks of it.
    fn expire_messages(&self, over: RunId) -> io::Result<()> {
        self.settle()?;
        let busy = [over];
        let between_entries = self.others_first(&busy, over.level);
        let maker = self.maker(&between_entries);
        let done = self.mark(&maker, over);
        self.conclude(done, maker)?;
        self.remove(&[over]);
        Ok(())
    }
}
