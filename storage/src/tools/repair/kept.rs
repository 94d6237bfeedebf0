//! The kept segments of a damaged store: gives up the records that are damaged, and only those.

use std::ops::Range;

use super::RepairWork;
use super::files::newest_copy;
use super::log::{digits, stretches};
use super::part::{LogPart, Patch};
use crate::error::{OpenError, io_error};
use crate::log::frame;
use crate::log::scan::{self, ScanEnd};
use crate::log::segment::{self, segment_name};
use crate::run::manifest::Manifest;

/// A damaged kept segment.
pub(super) struct DamagedSegment {
    part: LogPart,
    /// What takes the place of damaged frames.
    patches: Vec<Patch>,
}

/// Finds the damaged segments among those that `manifest` keeps. Notes in the manifest what is given
/// up. Whole segments that are lost are kept no longer.
pub(super) fn find(
    work: &mut RepairWork<'_>,
    store_id: [u8; 16],
    manifest: &mut Manifest,
) -> Result<Vec<DamagedSegment>, OpenError> {
    let names = work.names()?;
    let mut damaged = Vec::new();
    let mut lost = Vec::new();
    let segments: Vec<(u64, u64)> = manifest.kept.segments().collect();
    for (base, size) in segments {
        let part = part_at(work, store_id, &names, (base, size))?;
        if part.source.is_some() {
            work.advance(size);
        }
        if part.frames.is_none() || part.size != size {
            manifest.kept.given_up.push((base, base + size));
            lost.push(base);
            let (part, patches) = (
                LogPart {
                    frames: None,
                    ..part
                },
                Vec::new(),
            );
            damaged.push(DamagedSegment { part, patches });
            continue;
        }
        let patches =
            patches_of(&part).map_err(io_error(work.backend, &segment_name(base), "read"))?;
        for Range { start, end } in stretches(&patches, part.end()) {
            manifest.kept.given_up.push((start, end));
        }
        if !patches.is_empty() || part.fault.is_some() {
            damaged.push(DamagedSegment { part, patches });
        }
    }
    manifest.kept.retain(|base, _| !lost.contains(&base));
    manifest.kept.given_up.sort_unstable();
    manifest.kept.given_up.dedup();
    Ok(damaged)
}

/// Returns the part at `base`: from its file, or else from the copy that an interrupted repair made.
fn part_at(
    work: &RepairWork<'_>,
    store_id: [u8; 16],
    names: &[String],
    (base, size): (u64, u64),
) -> Result<LogPart, OpenError> {
    let next = Some(base + size);
    let name = segment_name(base);
    if names.contains(&name)
        && let Some(part) = LogPart::read(work.backend, store_id, base, &name, next)?
    {
        return Ok(part);
    }
    if let Some(copy) = newest_copy(names, &digits(base))
        && let Some(mut part) = LogPart::read(work.backend, store_id, base, &copy, next)?
    {
        part.fault = Some(format!("the file is missing, but there is {copy}"));
        return Ok(part);
    }
    Ok(LogPart::missing(base, size))
}

/// Returns what takes the place of the damaged frames of a part. All its frames were on the disk.
fn patches_of(part: &LogPart) -> std::io::Result<Vec<Patch>> {
    let Some(frames) = &part.frames else {
        return Ok(Vec::new());
    };
    let (mut patches, mut from) = (Vec::new(), part.first());
    // The session of the last whole frame. A segment has several if the store was opened meanwhile.
    let mut session = None;
    loop {
        let end = scan::frames_after(&frames.segment, from, &mut session, &mut |_| ())?;
        let damaged = match end {
            ScanEnd::Sealed(_) => return Ok(patches),
            ScanEnd::Open(at) => at,
        };
        let mut next = None;
        let search = damaged + frame::HEADER as u64;
        // A frame of a dead writer, behind a tail that was cut off, says that less was on the disk.
        scan::search(&frames.segment, search, &mut |position, header| {
            let goes_on = session.is_none_or(|session| session == header.session);
            if header.durable(position) >= damaged || goes_on {
                next = Some((position, header.session));
            }
            next.is_none()
        })?;
        let Some((to, behind)) = next else {
            patches.extend(part.close(damaged, session.unwrap_or_default()));
            return Ok(patches);
        };
        session = Some(behind);
        patches.push(Patch::Hole {
            from: damaged,
            to,
            session: behind,
        });
        from = to;
    }
}

/// Writes the damaged segments anew, without what is given up. The manifest that says so must be in
/// force.
pub(super) fn mend(
    work: &mut RepairWork<'_>,
    store_id: [u8; 16],
    damaged: &[DamagedSegment],
) -> Result<(), OpenError> {
    for DamagedSegment { part, patches } in damaged {
        let name = segment_name(part.base);
        let copy = match &part.source {
            Some(source) if *source == name => Some(work.set_aside(&name, &digits(part.base))?),
            other => other.clone(),
        };
        let is_lost = part.frames.is_none();
        if !work.dry_run && !is_lost {
            part.write(work.backend, store_id, patches)
                .map_err(io_error(work.backend, &name, "write"))?;
        }
        if part.fault.is_some() || is_lost {
            let fault = part.fault.as_deref().unwrap_or("not what was written");
            let step = work.damaged(&name, 0, fault);
            if is_lost {
                step.action = "removed as a whole, with all records in it".into();
                step.bytes = part.size - segment::HEADER_BYTES;
                work.lost.stretch(part.first(), part.end());
            } else {
                step.action = "written again from its own content".into();
                step.records = Some(0);
            }
            work.kept(copy.as_deref());
        }
        for Range { start, end } in stretches(patches, part.end()) {
            let fault = "no valid record there, although one was on the disk";
            let step = work.damaged(&name, start - part.base, fault);
            step.action = format!("removed the records up to offset {}", end - part.base);
            step.bytes = end - start;
            work.lost.stretch(start, end);
            work.kept(copy.as_deref());
        }
    }
    Ok(())
}
