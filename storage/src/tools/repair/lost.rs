//! The sum of what a repair gives up. The repair notes it before it mends anything.

use super::RepairWork;
use crate::Position;
use crate::error::OpenError;
use crate::log::record::MIN_RECORD;
use crate::run::RunKind;
use crate::run::manifest::Manifest;
use crate::store::epochs::{self, Epochs};
use crate::store::losses::{COPY, Losses, NAME, UNKNOWN};

/// The number of segments that may be missing behind the last known one, if that one is lost. By
/// default it covers all segments that may wait to become runs, the one in use and the prepared
/// one.
const MISSING_SEGMENTS: u64 = 16;

/// The sum of what a repair gives up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lost {
    /// Whether the repair gives anything up.
    pub(super) any: bool,
    /// The end in the log of the last loss.
    before: u64,
    /// The most messages that can be lost.
    messages: u64,
}

impl Lost {
    /// Notes a loss that is no message.
    pub(super) fn other(&mut self) {
        self.any = true;
    }

    /// Notes the loss of at most `messages` messages, before the position `end`.
    pub(super) fn messages(&mut self, end: u64, messages: u64) {
        self.any = true;
        self.before = self.before.max(end);
        self.messages = self.messages.saturating_add(messages);
    }

    /// Notes the loss of all messages in a stretch of the log.
    pub(super) fn stretch(&mut self, from: u64, to: u64) {
        self.messages(to, to.saturating_sub(from).div_ceil(MIN_RECORD));
    }

    /// Notes the loss of the end of the log, which was at `end` or later. Nothing tells its size.
    pub(super) fn end_of_log(&mut self, end: u64, segment: u64) {
        self.messages(end, MISSING_SEGMENTS * segment / MIN_RECORD);
    }

    /// Notes the losses that a manifest made from the files may hide: runs before the first one,
    /// and runs between others.
    pub(super) fn unlisted(&mut self, manifest: &Manifest) {
        let mut at = 0;
        let known = |kind| matches!(kind, RunKind::Messages | RunKind::Marks);
        let mut parts: Vec<(u64, u64)> = manifest
            .runs
            .iter()
            .filter(|run| known(run.kind))
            .map(|run| (run.from, run.to))
            .collect();
        parts.push((manifest.low_water, manifest.low_water));
        parts.sort_unstable();
        for (from, to) in parts {
            if at < from {
                self.stretch(at, from);
            }
            at = at.max(to);
        }
        for kind in [RunKind::Syncs, RunKind::Keys, RunKind::States] {
            let runs = manifest.runs.iter().filter(|run| run.kind == kind);
            let mut ends = runs.map(|run| (run.from, run.to)).collect::<Vec<_>>();
            ends.sort_unstable();
            self.any |= ends.windows(2).any(|pair| pair[0].1 < pair[1].0);
        }
    }

    /// Returns the losses that later openings must know. They include the losses `before`. If
    /// `before` is lost, at most `repairs` repairs are known, and the log ends at `end`.
    pub(super) fn added_to(self, before: Option<Losses>, end: u64, repairs: u32) -> Losses {
        match before {
            None => Losses {
                repairs: repairs.saturating_add(1),
                before: Position(end),
                skip: UNKNOWN,
            },
            Some(before) if !self.any => before,
            Some(before) => Losses {
                repairs: before.repairs.saturating_add(1),
                before: before.before.max(Position(self.before)),
                skip: before.skip.saturating_add(self.messages),
            },
        }
    }
}

/// Returns what earlier repairs gave up; `None` if no file tells it any more. Renames the files
/// that do not tell it to copies. If `known` is given, writes it to both files.
pub(super) fn mend(
    work: &mut RepairWork<'_>,
    store_id: [u8; 16],
    known: Option<Losses>,
) -> Result<Option<Losses>, OpenError> {
    let before = match Losses::read(work.backend, store_id) {
        Ok(losses) => Some(losses),
        Err(OpenError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let names = work.names()?;
    for name in [NAME, COPY] {
        let is_there = names.iter().any(|known| known == name);
        let is_kept = match before {
            Some(losses) => losses.is_kept(work.backend, store_id, name)?,
            None => false,
        };
        if !is_there || is_kept {
            continue;
        }
        let copy = work.set_aside(name, name)?;
        let step = work.damaged(name, 0, "not what was written");
        step.action = match before {
            None => format!("made again: every timeline skips {UNKNOWN} sequences"),
            Some(_) => "restored from its copy; nothing is lost".into(),
        };
        step.records = Some(0);
        work.kept(Some(&copy));
    }
    if let Some(known) = known.filter(|known| *known != Losses::default() && !work.dry_run) {
        for name in [NAME, COPY] {
            known.write(work.backend, store_id, name)?;
        }
    }
    Ok(before)
}

/// Sets damaged epochs aside. Returns how many repairs had given something up when they began, if
/// they are whole.
pub(super) fn mend_epochs(work: &mut RepairWork<'_>, store_id: [u8; 16]) -> Result<u32, OpenError> {
    let fault = match Epochs::look(work.backend, store_id)? {
        Ok(found) => return Ok(found.map_or(0, |(_, repairs)| repairs)),
        Err(fault) => fault,
    };
    let copy = work.set_aside(epochs::NAME, epochs::NAME)?;
    let step = work.damaged(epochs::NAME, 0, fault.reason);
    step.action = "renamed to a copy; the next start makes another one".into();
    step.records = Some(0);
    work.kept(Some(&copy));
    Ok(0)
}
