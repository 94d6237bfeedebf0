//! The log of a damaged store: finds what is left of it, and mends its segments.

use std::ops::Range;

use super::RepairWork;
use super::files::newest_copy;
use super::part::{LogPart, Patch};
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::frame;
use crate::log::scan::{self, Scan, ScanEnd};
use crate::log::segment::{self, SegmentFactory, segment_base, segment_name};
use crate::run::manifest::Manifest;

/// Mends the log from the position where `manifest` says that it begins.
pub(super) fn mend(
    work: &mut RepairWork<'_>,
    factory: &SegmentFactory,
    manifest: &Manifest,
) -> Result<(), OpenError> {
    let names = work.names()?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| segment_base(name)).collect();
    bases.retain(|&base| base >= manifest.low_water);
    bases.sort_unstable();
    let mut log = Log {
        work,
        factory,
        names,
        bases,
        parts: Vec::new(),
        foreign: Vec::new(),
    };
    log.read(manifest.low_water)?;
    let plan = log.plan(manifest.scan())?;
    log.carry_out(&plan)
}

/// The treatment of a part of the log by the repair.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The part stays. These patches correct its file; there may be none.
    Stays(Vec<Patch>),
    /// The part begins anew, empty.
    Blank,
    /// The part is behind the end of the log, and is removed.
    Goes,
}

struct Log<'a, 'b> {
    work: &'a mut RepairWork<'b>,
    factory: &'a SegmentFactory,
    names: Vec<String>,
    /// The bases in file names, ascending.
    bases: Vec<u64>,
    parts: Vec<LogPart>,
    /// The segments that belong to another place or store.
    foreign: Vec<u64>,
}

impl Log<'_, '_> {
    /// Reads all segments from `low_water` on.
    fn read(&mut self, low_water: u64) -> Result<(), OpenError> {
        let mut expected = low_water;
        loop {
            let part = self.part_at(expected)?;
            expected = part.end();
            if part.source.is_some() {
                self.work.advance(part.size);
            }
            self.parts.push(part);
            if self.bases.last().is_none_or(|&last| last < expected) {
                return Ok(());
            }
        }
    }

    /// Returns the part that begins at `base`: from its file, or else from the copy that an
    /// interrupted repair made.
    fn part_at(&mut self, base: u64) -> Result<LogPart, OpenError> {
        let later = self.bases.iter().copied();
        let next = later.clone().find(|&later| later > base);
        let (backend, store_id) = (self.work.backend, self.factory.store_id);
        if later.clone().any(|known| known == base) {
            let found = LogPart::read(backend, store_id, base, &segment_name(base), next)?;
            if let Some(part) = found {
                return Ok(part);
            }
            self.foreign.push(base);
        }
        if let Some(copy) = newest_copy(&self.names, &digits(base))
            && let Some(mut part) = LogPart::read(backend, store_id, base, &copy, next)?
        {
            part.fault = Some(format!("the file is missing, but there is {copy}"));
            return Ok(part);
        }
        let like = self
            .parts
            .last()
            .map_or(self.factory.size, |part| part.size);
        let size = next.map_or(like, |next| next - base);
        Ok(LogPart::missing(base, size))
    }

    /// Decides the fate of each part. Goes from frame to frame like an opening, and also past
    /// damage, if a later frame proves that it is damage.
    fn plan(&mut self, mut scan: Scan) -> Result<Vec<Fate>, OpenError> {
        let mut plan = Vec::new();
        let mut durable = None;
        loop {
            let at = plan.len();
            // The damaged segment was the last one, so the end of the log is unknown.
            if at == self.parts.len() {
                let part = self.part_at(self.parts[at - 1].end())?;
                self.parts.push(part);
            }
            let part = &self.parts[at];
            let Some(frames) = &part.frames else {
                let goes_on = self.parts[at + 1..].iter().any(|part| !part.is_zero);
                let was_lost = at > 0 && plan[at - 1] != Fate::Stays(vec![]);
                if part.is_zero && !goes_on && (part.source.is_some() || was_lost) {
                    self.work.log_end = part.first();
                    plan.push(Fate::Blank);
                    break;
                }
                let session = self.session_behind(at, &scan)?;
                scan.session = Some(session);
                plan.push(Fate::Stays(part.close(part.first(), session)));
                continue;
            };
            let (mut patches, mut from) = (Vec::new(), part.first());
            let io = io_error(self.work.backend, &frames.segment.name, "read");
            let sealed = loop {
                let end = scan.segment_from(&frames.segment, from, &mut |_| ());
                let damaged = match end.map_err(&io)? {
                    ScanEnd::Sealed(_) => break true,
                    ScanEnd::Open(end) => end,
                };
                let durable = match durable {
                    Some(durable) => durable,
                    None => *durable.insert(self.durable(at, damaged)?),
                };
                let unknown = part.is_unknown(damaged).map_err(&io)?;
                if durable <= damaged && !unknown {
                    self.work.log_end = damaged;
                    break false;
                }
                let Some((to, session)) = self.next_frame(at, damaged, durable, scan.session)?
                else {
                    let session = self.session_behind(at, &scan)?;
                    scan.session = Some(session);
                    patches.extend(part.close(damaged, session));
                    break true;
                };
                patches.push(Patch::Hole {
                    from: damaged,
                    to,
                    session,
                });
                scan.session = Some(session);
                from = to;
            };
            plan.push(Fate::Stays(patches));
            if !sealed {
                break;
            }
        }
        // No frame says that data behind the end was on the disk. An opening copies it and cuts it
        // off, if it can read it.
        for part in &self.parts[plan.len()..] {
            plan.push(match &part.fault {
                Some(_) => Fate::Goes,
                None => Fate::Stays(Vec::new()),
            });
        }
        Ok(plan)
    }

    /// Returns the greatest end of the log that a frame behind `from`, in part `at` or later,
    /// reports as durable. A part whose content cannot be checked proves by itself that the log
    /// continued in it.
    fn durable(&self, at: usize, from: u64) -> Result<u64, OpenError> {
        let mut durable = 0;
        for part in &self.parts[at..] {
            let Some(frames) = &part.frames else {
                durable = durable.max(if part.is_zero { 0 } else { part.end() });
                continue;
            };
            let segment = &frames.segment;
            scan::search(segment, from.max(part.first()), &mut |position, header| {
                durable = durable.max(header.durable(position));
                true
            })
            .map_err(io_error(self.work.backend, &segment.name, "read"))?;
        }
        Ok(durable)
    }

    /// Returns the first frame of part `at` that belongs to the log behind the damaged one at
    /// `damaged`, and its session. `durable` is the end that later frames report as durable.
    /// `current` is the session of the frame before.
    ///
    /// A frame of a dead writer, behind a tail that was cut off, does not belong to the log. It
    /// reports nothing about the frames written over that tail, and has another session.
    fn next_frame(
        &self,
        at: usize,
        damaged: u64,
        durable: u64,
        current: Option<u32>,
    ) -> Result<Option<(u64, u32)>, OpenError> {
        let part = &self.parts[at];
        let Some(frames) = &part.frames else {
            return Ok(None);
        };
        let mut found = None;
        let from = damaged + frame::HEADER as u64;
        scan::search(&frames.segment, from, &mut |position, header| {
            let claim = header.durable(position);
            let goes_on = current.is_none_or(|current| current == header.session);
            let acknowledged = position < durable && (goes_on || claim == damaged);
            if claim > damaged || acknowledged {
                found = Some((position, header.session));
            }
            found.is_none()
        })
        .map_err(io_error(self.work.backend, &frames.segment.name, "read"))?;
        Ok(found)
    }

    /// Returns the session of the first frame behind part `at`, so that the frame continues the
    /// frames put before it.
    fn session_behind(&self, at: usize, scan: &Scan) -> Result<u32, OpenError> {
        let session = match self.parts.get(at + 1) {
            Some(next) => next.first_session().map_err(io_error(
                self.work.backend,
                &segment_name(next.base),
                "read",
            ))?,
            None => None,
        };
        Ok(session.or(scan.session).unwrap_or_default())
    }

    /// Carries out `plan`, from the first part to the last.
    fn carry_out(&mut self, plan: &[Fate]) -> Result<(), OpenError> {
        let known = |base| self.parts.iter().any(|part| part.base == base);
        let strays = self.bases.iter().copied().filter(|&base| !known(base));
        let away: Vec<u64> = self.foreign.iter().copied().chain(strays).collect();
        for base in away {
            let name = segment_name(base);
            let copy = self.work.set_aside(&name, &digits(base))?;
            let step = self
                .work
                .damaged(&name, 0, "the file is of another log or place");
            step.action = "set aside".into();
            self.work.kept(Some(&copy));
        }
        for (at, fate) in plan.iter().enumerate() {
            match fate {
                Fate::Stays(patches) if patches.is_empty() && self.parts[at].fault.is_none() => {}
                Fate::Stays(patches) => self.rewrite(at, patches)?,
                Fate::Blank => self.begin_anew(at)?,
                Fate::Goes => self.give_up_unused(at)?,
            }
        }
        Ok(())
    }

    /// Renames the file of a part to a copy. Returns the name of the copy, which may already exist.
    fn set_aside(&mut self, at: usize) -> Result<Option<String>, OpenError> {
        let part = &self.parts[at];
        let name = segment_name(part.base);
        match &part.source {
            Some(source) if *source == name => {
                Ok(Some(self.work.set_aside(&name, &digits(part.base))?))
            }
            other => Ok(other.clone()),
        }
    }

    /// Writes a part anew, without what the repair gives up.
    fn rewrite(&mut self, at: usize, patches: &[Patch]) -> Result<(), OpenError> {
        let copy = self.set_aside(at)?;
        let part = &self.parts[at];
        let name = segment_name(part.base);
        if !self.work.dry_run {
            part.write(self.work.backend, self.factory.store_id, patches)
                .map_err(io_error(self.work.backend, &name, "write"))?;
        }
        let is_lost = part.frames.is_none();
        if let Some(fault) = &part.fault {
            let step = self.work.damaged(&name, 0, fault);
            if is_lost {
                step.action = "removed as a whole, with all records and states in it".into();
                step.bytes = part.size - segment::HEADER_BYTES;
                self.work.lost.stretch(part.first(), part.end());
            } else {
                step.action = "written again from its own content".into();
                step.records = Some(0);
            }
            self.work.kept(copy.as_deref());
        }
        if is_lost {
            return Ok(());
        }
        for Range {
            start: from,
            end: to,
        } in stretches(patches, part.end())
        {
            let step = self.work.damaged(
                &name,
                from - part.base,
                "no valid record there, although one was on the disk",
            );
            step.action = format!(
                "removed the records and states up to offset {}",
                to - part.base
            );
            step.bytes = to - from;
            self.work.lost.stretch(from, to);
            self.work.kept(copy.as_deref());
        }
        Ok(())
    }

    /// Puts a new segment in the place of one that was empty, or behind one that is lost.
    fn begin_anew(&mut self, at: usize) -> Result<(), OpenError> {
        let copy = self.set_aside(at)?;
        let part = &self.parts[at];
        let name = segment_name(part.base);
        if !self.work.dry_run {
            let factory = SegmentFactory {
                size: part.size,
                ..self.factory.clone()
            };
            factory
                .create(part.base)
                .map_err(io_error(self.work.backend, &name, "create"))?;
        }
        let (fault, action) = match (&part.source, &part.fault) {
            (Some(_), Some(fault)) => (fault.as_str(), "made again: it was empty"),
            _ => {
                self.work.lost.end_of_log(part.base, part.size);
                (
                    "the segment before was the last one",
                    "made, so that the log can continue",
                )
            }
        };
        let step = self.work.damaged(&name, 0, fault);
        step.action = action.into();
        step.records = Some(0);
        self.work.kept(copy.as_deref());
        Ok(())
    }

    /// Renames a segment behind the end of the log to a copy.
    fn give_up_unused(&mut self, at: usize) -> Result<(), OpenError> {
        let part = &self.parts[at];
        let name = segment_name(part.base);
        if part.source.as_ref() != Some(&name) {
            return Ok(());
        }
        let copy = self.set_aside(at)?;
        let fault = self.parts[at].fault.as_deref().unwrap_or_default();
        let step = self.work.damaged(&name, 0, fault);
        step.action = "renamed to a copy: it is behind the end of the log".into();
        step.records = Some(0);
        self.work.kept(copy.as_deref());
        Ok(())
    }
}

/// Returns the stretches that patches cover. A seal and the hole before it are one stretch.
pub(super) fn stretches(patches: &[Patch], end: u64) -> Vec<Range<u64>> {
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for patch in patches {
        let next = patch.stretch(end);
        match stretches.last_mut() {
            Some(last) if last.end == next.start => last.end = next.end,
            _ => stretches.push(next),
        }
    }
    stretches
}

/// Returns the digits in the name of the segment at `base`, for the name of its copy.
pub(super) fn digits(base: u64) -> String {
    format!("{base:016x}")
}
