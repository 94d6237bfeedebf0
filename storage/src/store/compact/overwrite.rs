//! Overwrites the bodies of redacted records in their segments, soon after the redaction.

use std::io;

use super::steps::Steps;
use crate::backend;
use crate::log::overwrite::{self, Overwrite};
use crate::log::segment::{self, Segment};
use crate::log::window::Window;
use crate::run::build::as_io;
use crate::run::redaction::Applied;
use crate::run::{Holder, Runs};

/// The most bodies that are overwritten in one step.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 4096 };

impl Steps {
    /// Overwrites bodies of records that redactions before `end` redact, durably. These redactions
    /// are on the disk. Returns whether there may be more.
    pub(super) fn overwrite(&self, end: u64) -> io::Result<bool> {
        let waiting = self.shared.index.read().redactions().waiting(end, AT_ONCE);
        if waiting.is_empty() {
            return Ok(false);
        }
        let mut positions = Vec::new();
        let mut merged = Vec::new();
        // While these are held, no segment that they name is removed.
        let runs = self.shared.runs();
        for (target, _) in &waiting {
            let position = self.shared.index.read().get(target.0, target.1);
            match position {
                Some(position) => positions.push(position),
                None => match runs.holder_of(*target).map_err(as_io)? {
                    Some(Holder::Segment(position)) => positions.push(position),
                    Some(Holder::Run(_)) => merged.push(*target),
                    None => {}
                },
            }
        }
        positions.sort_unstable();
        self.overwrite_at(&runs, &positions)?;
        let is_overwritten = |(target, _): &Applied| !merged.contains(target);
        let mut index = self.shared.index.write();
        index.redactions_mut().settle(&waiting, is_overwritten);
        Ok(true)
    }

    /// Overwrites the bodies of the records at these positions, durably.
    fn overwrite_at(&self, runs: &Runs, positions: &[u64]) -> io::Result<()> {
        let backend = &*self.shared.backend;
        let mut segments: Vec<Segment> = Vec::new();
        let mut overwrites: Vec<Overwrite> = Vec::new();
        let mut window = Window::default();
        for &position in positions {
            let in_log = self.shared.segments.read().clone();
            let mut in_log = in_log.iter();
            let found = in_log.find(|segment| (segment.base..segment.end()).contains(&position));
            let base = found.map(|segment| segment.base);
            let Some(base) = base.or_else(|| runs.kept().base_of(position)) else {
                // A repair gave the segment up.
                continue;
            };
            if segments.last().is_none_or(|segment| segment.base != base) {
                window.forget();
                // A file of its own: its error of a sync is not that of the writer's file.
                let name = segment::segment_name(base);
                let opened = Segment::open(backend, &name, self.plan.store_id);
                segments.push(opened.map_err(|error| io::Error::other(error.to_string()))?);
            }
            let segment = &segments[segments.len() - 1];
            match Overwrite::plan(segment, position, &mut window) {
                Ok(planned) => overwrites.extend(planned),
                // A damaged record must not keep the store from taking others.
                Err(error) if is_damage(&error) => {
                    let text = format!("the text of a recalled record stays on the disk: {error}");
                    self.shared.condition.notice(text);
                }
                Err(error) => return Err(error),
            }
        }
        if overwrites.is_empty() {
            return Ok(());
        }
        // A backup links no segment while it changes.
        let _files = self.shared.files.lock();
        self.shared.overwritten.note(&overwrites);
        let note = || overwrite::note(backend, self.plan.store_id, &overwrites);
        self.ballast.lift(backend, note)?;
        {
            let _rewriting = runs.segments().map(|files| files.rewriting.lock());
            for overwrite in &overwrites {
                let segment = segments
                    .iter()
                    .find(|segment| segment.base == overwrite.base);
                if let Some(segment) = segment {
                    overwrite.apply(&*segment.file)?;
                }
            }
        }
        for segment in &segments {
            segment.file.sync_data()?;
        }
        backend.remove(overwrite::NAME)
    }
}

/// Returns whether an error says that a record is damaged.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData || backend::is_lost(error)
}
