//! The end of the log after a crash: judged, cut, and made durable.

use std::io;
use std::sync::Arc;

use super::{TornEnd, TornTail};
use crate::Position;
use crate::backend::{self, Backend};
use crate::error::{OpenError, io_error};
use crate::log::record::MIN_RECORD;
use crate::log::scan::{self, Leftover};
use crate::log::segment::{self, Segment};

/// The bytes that are copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// The data behind the end of the log, by segment: first in the segment in which the log ends, then
/// in later ones.
pub(crate) struct Survey {
    leftovers: Vec<Leftover>,
    /// The data; `None` if only zeros follow the end.
    pub(crate) torn: Option<TornEnd>,
}

/// Reads everything behind `end`, where no valid frame follows.
///
/// # Errors
/// [`OpenError::Corrupt`] if a later frame reports `end` as durable.
pub(crate) fn survey(
    backend: &dyn Backend,
    segments: &[Arc<Segment>],
    later: &[Arc<Segment>],
    end: u64,
) -> Result<Survey, OpenError> {
    let mut leftovers = Vec::new();
    let mut torn = TornEnd {
        position: Position(end),
        bytes: 0,
        records: 0,
        skip: 0,
    };
    let last = segments.last().into_iter();
    for segment in last.clone().chain(later) {
        let from = end.max(segment.first());
        let leftover =
            scan::leftover(segment, from, end).map_err(io_error(backend, &segment.name, "read"))?;
        if let (Some(claim), Some(damaged)) = (leftover.claim, segments.last()) {
            return Err(OpenError::Corrupt {
                file: backend.path(&damaged.name),
                offset: damaged.offset(end),
                reason: format!(
                    "no valid record there, though the one at offset {} of {} says that it was \
                     on disk",
                    segment.offset(claim),
                    segment.name
                ),
            });
        }
        torn.bytes += leftover.end - from;
        torn.records += leftover.weak;
        leftovers.push(leftover);
    }
    if torn.records > 0 {
        torn.skip = torn.bytes.div_ceil(MIN_RECORD);
    }
    Ok(Survey {
        leftovers,
        torn: (torn.bytes > 0).then_some(torn),
    })
}

/// Copies the data behind `end` aside, and removes it. Returns a report of what was cut, and the
/// next segment if it exists and is unused.
pub(crate) fn cut(
    backend: &dyn Backend,
    segments: &[Arc<Segment>],
    later: Vec<Arc<Segment>>,
    survey: Survey,
    end: u64,
) -> Result<(Option<TornTail>, Option<Arc<Segment>>), OpenError> {
    let mut torn = survey.torn.map(|end| TornTail {
        end,
        copies: Vec::new(),
        copies_incomplete: false,
    });
    // All copies are durable before the first byte is overwritten.
    for (segment, leftover) in segments
        .last()
        .into_iter()
        .chain(&later)
        .zip(&survey.leftovers)
    {
        let from = end.max(segment.first());
        if let Some(torn) = &mut torn
            && leftover.end > from
        {
            keep_copy(backend, segment, from, leftover.end, torn)?;
        }
    }
    let mut leftovers = survey.leftovers.into_iter();
    let mut next = None;
    let mut expected = 0;
    if let (Some(segment), Some(leftover)) = (segments.last(), leftovers.next()) {
        expected = segment.end();
        if leftover.end > end {
            segment::zero(segment, end, leftover.end)
                .and_then(|()| segment.file.sync_data())
                .map_err(io_error(backend, &segment.name, "cut"))?;
        }
    }
    let mut removed = false;
    for (segment, leftover) in later.into_iter().zip(leftovers) {
        if next.is_none() && segment.base == expected && leftover.end == segment.first() {
            next = Some(segment);
        } else {
            backend
                .remove(&segment.name)
                .map_err(io_error(backend, &segment.name, "remove"))?;
            removed = true;
        }
    }
    if removed {
        backend.sync_dir().map_err(io_error(backend, "", "sync"))?;
    }
    Ok((torn, next))
}

/// Keeps a copy of `[from, to)` as a file of its own.
///
/// A full disk is no reason not to open: the copy is then left out, and the report says so.
fn keep_copy(
    backend: &dyn Backend,
    segment: &Segment,
    from: u64,
    to: u64,
    torn: &mut TornTail,
) -> Result<(), OpenError> {
    let names = backend.list().map_err(io_error(backend, "", "list"))?;
    // A second cut at the same place must not overwrite the first one's copy.
    let name = std::iter::once(format!("torn-{from:016x}.bak"))
        .chain((1..).map(|n: u64| format!("torn-{from:016x}-{n}.bak")))
        .find(|name| !names.contains(name))
        .unwrap_or_default();
    match copy(backend, segment, from, to, &name) {
        Ok(()) => torn.copies.push(backend.path(&name)),
        Err(error) if backend::is_full(&error) => {
            // Removed here or with the other temporary files at the next opening.
            let _ = backend.remove(&format!("{name}.tmp"));
            torn.copies_incomplete = true;
        }
        Err(error) => return Err(io_error(backend, &name, "write")(error)),
    }
    Ok(())
}

fn copy(
    backend: &dyn Backend,
    segment: &Segment,
    from: u64,
    to: u64,
    name: &str,
) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = backend::create_anew(backend, &temporary)?;
    each_chunk(segment, from, to, |at, bytes| {
        file.write_all_at(bytes, at - from)
    })?;
    file.sync_data()?;
    backend.rename(&temporary, name)?;
    backend.sync_dir()
}

/// Makes the part `[covered, end)` of the log durable, which no frame reports as durable. `written`
/// has the segments of that part and the end of their frames.
///
/// Writes the part again before the sync. A failed sync in the last process may have left pages
/// that look clean and never reached the disk.
pub(crate) fn settle(
    backend: &dyn Backend,
    written: &[(&Arc<Segment>, u64)],
    covered: u64,
) -> Result<(), OpenError> {
    for &(segment, end) in written {
        let from = covered.max(segment.first());
        if from < end {
            each_chunk(segment, from, end, |at, bytes| {
                segment.file.write_all_at(bytes, segment.offset(at))
            })
            .and_then(|()| segment.file.sync_data())
            .map_err(io_error(backend, &segment.name, "make durable"))?;
        }
    }
    Ok(())
}

/// Reads `[from, to)` of a segment in chunks.
fn each_chunk(
    segment: &Segment,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES.min(to - from) as usize];
    let mut at = from;
    while at < to {
        let len = (to - at).min(CHUNK_BYTES) as usize;
        backend::read_exact_at(&*segment.file, &mut buffer[..len], segment.offset(at))?;
        each(at, &buffer[..len])?;
        at += len as u64;
    }
    Ok(())
}
