//! Purges: removes the values that later ones have replaced, and copies of cut-off ends of the log.

use std::io;
use std::time::Instant;

use super::merge_rule::MergeCandidate;
use super::steps::Steps;
use crate::run::RunKind;

/// The rest between two purges, as a multiple of the time that the last one took.
const REST: u32 = 16;

impl Steps {
    /// Makes a purge that the program asked for. Returns whether it made one.
    pub(super) fn purge(&self) -> io::Result<bool> {
        let Some(number) = self.shared.erasures.wanted_purge() else {
            return Ok(false);
        };
        let began = Instant::now();
        if self.next_purge.lock().is_some_and(|next| began < next) {
            return Ok(false);
        }
        // Values of the log that are replaced are not copied into runs.
        let old = self.shared.runs().of(RunKind::States).to_vec();
        if !old.is_empty() {
            let candidate = MergeCandidate {
                at: 0..old.len(),
                level: old.iter().map(|run| run.id.level).max().unwrap_or(0),
            };
            self.merge_candidate(old, &candidate, &Default::default())?;
        }
        let backend = &*self.shared.backend;
        for name in backend.list()? {
            if name.starts_with("torn-") && name.ends_with(".bak") {
                self.shared.remove_file(&name);
            }
        }
        self.shared.erasures.purge_done(number);
        let rest = began.elapsed().saturating_mul(REST);
        *self.next_purge.lock() = Some(Instant::now() + rest);
        Ok(true)
    }
}
