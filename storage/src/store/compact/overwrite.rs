//! Overwrites the bodies of redacted records in their segments, soon after the redaction.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;

use super::steps::Steps;
use crate::backend;
use crate::error::OpenError;
use crate::log::overwrite::{self, Overwrite};
use crate::log::segment::{self, Segment};
use crate::log::window::Window;
use crate::run::build::as_io;
use crate::run::redaction::{Applied, Target};
use crate::run::{Holder, Runs};

/// The most bodies that are overwritten in one step. A commit that syncs meanwhile waits for the disk to
/// write as many pages.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 256 };
/// The most segments that are open for that at a time.
const SEGMENTS_AT_ONCE: usize = if cfg!(test) { 2 } else { 32 };

/// The base of a record's segment, its position, and the record.
type Place = (u64, u64, Target);

impl Steps {
    /// Overwrites bodies of records that redactions before `end` redact, durably. These redactions
    /// are on the disk. Returns whether there may be more.
    pub(super) fn overwrite(&self, end: u64) -> io::Result<bool> {
        self.finish_noted()?;
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
                Some(position) => positions.push((position, *target)),
                None => match runs.holder_of(*target).map_err(as_io)? {
                    Some(Holder::Segment(position)) => positions.push((position, *target)),
                    Some(Holder::Run(_)) => merged.push(*target),
                    None => {}
                },
            }
        }
        positions.sort_unstable();
        let in_log = self.shared.segments.read().clone();
        let base_of = |position: u64| {
            let mut in_log = in_log.iter();
            let found = in_log.find(|segment| (segment.base..segment.end()).contains(&position));
            let base = found.map(|segment| segment.base);
            // A repair gave the segment up if there is none.
            base.or_else(|| runs.kept().base_of(position))
        };
        let placed = positions.into_iter();
        let placed: Vec<Place> = placed
            .filter_map(|(position, target)| Some((base_of(position)?, position, target)))
            .collect();
        let parts: Vec<&[Place]> = placed.chunk_by(|a, b| a.0 == b.0).collect();
        for parts in parts.chunks(SEGMENTS_AT_ONCE) {
            self.overwrite_in(&runs, parts)?;
        }
        let merged: HashSet<Target> = merged.into_iter().collect();
        let stays = self.stays.lock();
        let is_overwritten =
            |(target, _): &Applied| !merged.contains(target) && !stays.contains(target);
        let mut index = self.shared.index.write();
        index.redactions_mut().settle(&waiting, is_overwritten);
        Ok(true)
    }

    /// Overwrites the bodies of these records, durably. Each part has the records of one segment.
    fn overwrite_in(&self, runs: &Runs, parts: &[&[Place]]) -> io::Result<()> {
        let backend = &*self.shared.backend;
        let mut segments: Vec<Segment> = Vec::new();
        let mut overwrites: Vec<Overwrite> = Vec::new();
        for part in parts {
            // A file of its own: its error of a sync is not that of the writer's file.
            let name = segment::segment_name(part[0].0);
            let segment = match Segment::open(backend, &name, self.plan.store_id) {
                Ok(segment) => segment,
                // A damaged segment must not keep the store from taking records.
                Err(error) if is_damaged(&error) => {
                    part.iter()
                        .for_each(|place| self.text_stays(place.2, &error.to_string()));
                    continue;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            };
            let mut window = Window::default();
            for &(_, position, target) in *part {
                match Overwrite::plan(&segment, position, &mut window) {
                    Ok(planned) => overwrites.extend(planned),
                    // Nor must a damaged record.
                    Err(error) if is_damage(&error) => {
                        self.text_stays(target, &error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            segments.push(segment);
        }
        if overwrites.is_empty() {
            return Ok(());
        }
        // A backup links no segment while it changes.
        let _files = self.shared.files.lock();
        self.shared.overwritten.note(&overwrites);
        self.is_noted.store(true, Ordering::Release);
        let note = || overwrite::note(backend, self.plan.store_id, &overwrites);
        self.ballast.lift(backend, note)?;
        for overwrite in &overwrites {
            let segment = segments
                .iter()
                .find(|segment| segment.base == overwrite.base);
            if let Some(segment) = segment {
                let _rewriting = runs.segments().map(|files| files.rewriting.lock());
                overwrite.apply(&*segment.file)?;
            }
        }
        for segment in &segments {
            segment.file.sync_data()?;
        }
        backend.remove(overwrite::NAME)?;
        self.is_noted.store(false, Ordering::Release);
        Ok(())
    }

    /// Overwrites again what a step noted that then failed: its frames may be neither old nor new, and
    /// the next note would replace what says so.
    fn finish_noted(&self) -> io::Result<()> {
        if !self.is_noted.load(Ordering::Acquire) {
            return Ok(());
        }
        let backend = &*self.shared.backend;
        let _files = self.shared.files.lock();
        if let Some(noted) = overwrite::read(backend, self.plan.store_id)? {
            // A backup that began meanwhile may have copied such a frame.
            self.shared.overwritten.note(&noted);
        }
        let runs = self.shared.runs();
        let _rewriting = runs.segments().map(|files| files.rewriting.lock());
        overwrite::finish(backend, self.plan.store_id)?;
        self.is_noted.store(false, Ordering::Release);
        Ok(())
    }

    /// Notes a record that cannot be read, so that its redaction stays in force for readers: the
    /// disk may return the record later.
    fn text_stays(&self, target: Target, error: &str) {
        self.stays.lock().insert(target);
        let text = format!("the text of a recalled record stays on the disk: {error}");
        self.shared.condition.notice(text);
    }
}

/// Returns whether an error says that a record is damaged.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData || backend::is_lost(error)
}

/// Returns whether an error of opening a segment says that it is damaged.
fn is_damaged(error: &OpenError) -> bool {
    match error {
        OpenError::Corrupt { .. } => true,
        OpenError::Io { source, .. } => {
            backend::is_lost(source) || source.kind() == io::ErrorKind::NotFound
        }
        _ => false,
    }
}
