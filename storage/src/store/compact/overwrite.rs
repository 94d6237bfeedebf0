//! Overwrites content of records in their segments: the bodies of redacted records, soon after the
//! redaction, and what the program erases.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;

use super::steps::Steps;
use crate::backend;
use crate::error::OpenError;
use crate::log::overwrite::{self, Content, Overwrite};
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

/// A record that has content to overwrite.
#[derive(Clone, Copy)]
struct Place {
    /// The base of the record's segment.
    base: u64,
    position: u64,
    content: Content,
    /// The record, if its body is overwritten because it was redacted.
    target: Option<Target>,
}

/// Content to overwrite, before its segment is known.
type Wanted = (u64, Content, Option<Target>);

impl Steps {
    /// Overwrites bodies of records that redactions before `end` redact, and bodies of redactions that
    /// these replace, durably. These redactions are on the disk. Returns whether there may be more.
    pub(super) fn overwrite(&self, end: u64) -> io::Result<bool> {
        self.finish_noted()?;
        let (waiting, replaced) = {
            let index = self.shared.index.read();
            let redactions = index.redactions();
            let replaced = redactions.replaced(end, AT_ONCE);
            (redactions.waiting(end, AT_ONCE), replaced)
        };
        if waiting.is_empty() && replaced.is_empty() {
            return Ok(false);
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut merged = Vec::new();
        // While these are held, no segment that they name is removed.
        let runs = self.shared.runs();
        for &(target, by) in &waiting {
            let body = |position| (position, Content::BODY, Some(target));
            let position = self.shared.index.read().get(target.0, target.1);
            match position {
                Some(position) => wanted.push(body(position)),
                None => match runs.holder_of(target).map_err(as_io)? {
                    Some(Holder::Segment(position)) => wanted.push(body(position)),
                    Some(Holder::Run(_)) => merged.push(target),
                    None => {}
                },
            }
            // A redaction in runs is not in memory any more.
            let before = runs.redactor(target).map_err(as_io)?;
            let before = before.filter(|before| *before < by);
            wanted.extend(before.map(|before| (before, Content::REDACTION, None)));
        }
        let no_target = |position: &u64| (*position, Content::REDACTION, None);
        wanted.extend(replaced.iter().map(no_target));
        self.overwrite_all(&runs, wanted)?;
        let merged: HashSet<Target> = merged.into_iter().collect();
        let stays = self.stays.lock();
        let is_overwritten =
            |(target, _): &Applied| !merged.contains(target) && !stays.contains(target);
        let mut index = self.shared.index.write();
        let redactions = index.redactions_mut();
        redactions.settle(&waiting, is_overwritten);
        redactions.settle_replaced(replaced.len());
        Ok(true)
    }

    /// Overwrites some of the bodies that the program wants to be erased, durably, or goes on with the
    /// erasure of old values. Returns whether there may be more.
    pub(super) fn erase(&self) -> io::Result<bool> {
        self.finish_noted()?;
        let some = self.shared.erasures.first(self.shared.durable(), AT_ONCE);
        if some.is_empty() {
            return Ok(self.erase_values());
        }
        let runs = self.shared.runs();
        let body = |position: &u64| (*position, Content::UNNUMBERED_BODY, None);
        let failed = self.overwrite_all(&runs, some.iter().map(body).collect())?;
        self.shared.erasures.done(some.len(), failed);
        Ok(true)
    }

    /// Overwrites content of records, durably. Leaves out records that have expired, or that a repair
    /// gave up. Returns how many could not be overwritten, because they are damaged.
    fn overwrite_all(&self, runs: &Runs, mut wanted: Vec<Wanted>) -> io::Result<u64> {
        wanted.sort_unstable_by_key(|(position, ..)| *position);
        let in_log = self.shared.segments.read().clone();
        let base_of = |position: u64| {
            let mut in_log = in_log.iter();
            let found = in_log.find(|segment| (segment.base..segment.end()).contains(&position));
            let base = found.map(|segment| segment.base);
            base.or_else(|| runs.kept().base_of(position))
        };
        let mut places: Vec<Place> = Vec::new();
        for (position, content, target) in wanted {
            match places.last_mut() {
                // One plan for each frame: each has the checksum of the whole frame afterwards.
                Some(last) if last.position == position => {
                    last.content = last.content.with(content);
                    last.target = last.target.or(target);
                }
                _ if runs.kept().is_given_up(position) => {}
                _ => places.extend(base_of(position).map(|base| Place {
                    base,
                    position,
                    content,
                    target,
                })),
            }
        }
        let parts: Vec<&[Place]> = places.chunk_by(|a, b| a.base == b.base).collect();
        let mut damaged = 0;
        for parts in parts.chunks(SEGMENTS_AT_ONCE) {
            damaged += self.overwrite_in(runs, parts)?;
        }
        Ok(damaged)
    }

    /// Overwrites content of these records, durably. Each part has the records of one segment. Returns how
    /// many are damaged.
    fn overwrite_in(&self, runs: &Runs, parts: &[&[Place]]) -> io::Result<u64> {
        let backend = &*self.shared.backend;
        let mut segments: Vec<Segment> = Vec::new();
        let mut overwrites: Vec<Overwrite> = Vec::new();
        let mut damaged = 0;
        for part in parts {
            // A file of its own: its error of a sync is not that of the writer's file.
            let name = segment::segment_name(part[0].base);
            let segment = match Segment::open(backend, &name, self.plan.store_id) {
                Ok(segment) => segment,
                // A damaged segment must not keep the store from taking records.
                Err(error) if is_damaged(&error) => {
                    part.iter()
                        .for_each(|place| self.text_stays(place.target, &error.to_string()));
                    damaged += part.len() as u64;
                    continue;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            };
            let mut window = Window::default();
            for place in *part {
                let planned = Overwrite::plan(
                    &segment,
                    place.position,
                    place.content,
                    &mut window,
                    &mut overwrites,
                );
                match planned {
                    Ok(()) => {}
                    // Nor must a damaged record.
                    Err(error) if is_damage(&error) => {
                        self.text_stays(place.target, &error.to_string());
                        damaged += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            segments.push(segment);
        }
        if overwrites.is_empty() {
            return Ok(damaged);
        }
        // A backup links no segment while it changes.
        let _files = self.shared.files.lock();
        self.interrupt_values(&|base| segments.iter().any(|segment| segment.base == base));
        self.shared.overwritten.note(&overwrites);
        self.is_noted.store(true, Ordering::Release);
        let note = || overwrite::note(backend, self.plan.store_id, &overwrites);
        self.ballast.lift(backend, note)?;
        for same in overwrites.chunk_by(|a, b| a.position == b.position) {
            let Some(segment) = { segments.iter() }.find(|segment| segment.base == same[0].base)
            else {
                continue;
            };
            let _rewriting = runs.segments().map(|files| files.rewriting.lock());
            same.iter()
                .try_for_each(|piece| piece.apply(&*segment.file))?;
        }
        for segment in &segments {
            segment.file.sync_data()?;
        }
        backend.remove(overwrite::NAME)?;
        self.is_noted.store(false, Ordering::Release);
        Ok(damaged)
    }

    /// Overwrites again what a step noted that then failed: its frames may be neither old nor new, and
    /// the next note would replace what says so.
    fn finish_noted(&self) -> io::Result<()> {
        if !self.is_noted.load(Ordering::Acquire) {
            return Ok(());
        }
        let backend = &*self.shared.backend;
        let _files = self.shared.files.lock();
        self.interrupt_values(&|_| true);
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
    fn text_stays(&self, target: Option<Target>, error: &str) {
        self.stays.lock().extend(target);
        let text = format!("text of a recalled or erased record stays on the disk: {error}");
        self.shared.condition.notice(text);
    }
}

/// Returns whether an error says that a record is damaged.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData || backend::is_lost(error)
}

/// Returns whether an error of opening a segment says that it is damaged.
pub(super) fn is_damaged(error: &OpenError) -> bool {
    match error {
        OpenError::Corrupt { .. } => true,
        OpenError::Io { source, .. } => {
            backend::is_lost(source) || source.kind() == io::ErrorKind::NotFound
        }
        _ => false,
    }
}
