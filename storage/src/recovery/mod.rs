//! Recovery: finding the end of the log at an opening.
//!
//! 1. The recovery scans the log frame by frame up to the first place X at which no valid frame
//!    follows.
//! 2. If a valid frame anywhere behind X reports data behind X as durable, acknowledged data is
//!    damaged, and the store does not open.
//! 3. Otherwise no frame proves that what is behind X was on the disk. The recovery copies it aside
//!    and zeroes it.
//! 4. With the durability levels below `Sync` it may have been acknowledged. If there are records whose
//!    headers say so, sequences skip those that it can have used. Nothing can tell that records were
//!    there of which no header is left.
//! 5. The part before X may be only in the page cache. The recovery writes it again and syncs it
//!    before anybody sees it.
//!
//! **Invariant:** recovery never removes data that was on the disk when it was acknowledged.

pub(crate) mod tail;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Position;
use crate::backend::Backend;
use crate::error::{OpenError, io_error};
use crate::index::Index;
use crate::log::record::Record;
use crate::log::scan::{Entry, ScanEnd};
use crate::log::segment::{self, Segment};
use crate::run::manifest::Manifest;

/// Data behind the end of the log, of which no record says that it was on the disk.
///
/// With [`Durability::Sync`](crate::Durability::Sync) it was not acknowledged. With the other levels
/// it may have been, if the machine lost power or a byte was damaged afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornEnd {
    /// The position at which the log ends.
    pub position: Position,
    /// The number of bytes behind it, up to the last one that is not zero.
    pub bytes: u64,
    /// The number of records in it that were written with a level below `Sync`, as far as their headers
    /// are whole. They may have been acknowledged.
    pub records: u64,
    /// The number of sequences that timelines skip because of these records; 0 if there are none. A
    /// timeline whose last record lies before [`position`](Self::position), or that has no record,
    /// goes on this many sequences later.
    pub skip: u64,
}

/// An unfinished end of the log that an opening cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// What was cut off.
    pub end: TornEnd,
    /// The copies of these bytes, one file for each segment.
    pub copies: Vec<PathBuf>,
    /// Whether the disk had no space for all copies. Bytes without a copy are gone.
    pub copies_incomplete: bool,
}

/// The recovered log, ready to be read and continued.
pub(crate) struct Recovered {
    /// The segments with records. The log goes on in the last one.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The segment after them, if it was prepared.
    pub(crate) next: Option<Arc<Segment>>,
    pub(crate) index: Index,
    pub(crate) head: u64,
    /// The position of the next frame. Everything before it is durable.
    pub(crate) end: u64,
    pub(crate) records_end: u64,
    /// The end of the data that a frame reports as durable.
    pub(crate) covered: u64,
    /// The time of the first record in the last segment, in milliseconds; `None` if it has none.
    pub(crate) first_time: Option<u64>,
    /// The time of the last record; `None` if there is none.
    pub(crate) last_time: Option<u64>,
    pub(crate) last_session: Option<u32>,
    /// The number of replayed records.
    pub(crate) records: u64,
    /// The number of scanned bytes of the log.
    pub(crate) bytes: u64,
    /// The unfinished end of the log that was cut off, if there was one.
    pub(crate) torn: Option<TornTail>,
    /// The duration of the recovery.
    pub(crate) duration: Duration,
}

/// Recovers the log of the store `store_id`, from the position at which it begins by `manifest`.
/// Gives the log's records to `replay` in order, and an unfinished end to `before_cut` before it cuts it
/// off.
pub(crate) fn recover(
    backend: &dyn Backend,
    store_id: [u8; 16],
    manifest: &Manifest,
    by_segment: bool,
    replay: &mut dyn FnMut(&Record<'_>),
    before_cut: &mut dyn FnMut(&TornEnd) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    let began = Instant::now();
    let mut segments = open_segments(backend, store_id, manifest)?;
    let mut index = Index::new(manifest.low_water, by_segment);
    let mut scan = manifest.scan();
    let mut ends = Vec::new();
    let mut first_time;
    let mut last_time = None;
    let end = loop {
        let segment = &segments[ends.len()];
        index.begin(segment.base);
        first_time = None;
        let found = scan
            .segment(segment, &mut |entry| match entry {
                Entry::Record(record) => {
                    first_time.get_or_insert(record.time);
                    last_time = Some(record.time);
                    index.insert(record);
                    index.apply(record);
                    replay(record);
                }
                Entry::State(position, state) => index.set_state(state.key, position),
            })
            .map_err(io_error(backend, &segment.name, "read"))?;
        match found {
            ScanEnd::Sealed(end) => ends.push(end),
            ScanEnd::Open(end) => {
                ends.push(end);
                break end;
            }
        }
        let base = segment.end();
        if segments
            .get(ends.len())
            .is_none_or(|next| next.base != base)
        {
            return Err(missing(backend, base));
        }
    };
    index.show(scan.head);
    let later = segments.split_off(ends.len());
    let survey = tail::survey(backend, &segments, &later, end)?;
    if let Some(torn) = &survey.torn {
        before_cut(torn)?;
    }
    let (torn, next) = tail::cut(backend, &segments, later, survey, end)?;
    let written: Vec<_> = segments.iter().zip(ends).collect();
    tail::settle(backend, &written, scan.covered)?;

    let scanned = written
        .iter()
        .map(|(segment, end)| end - segment.first())
        .sum();
    Ok(Recovered {
        next,
        index,
        head: scan.head,
        end,
        records_end: scan.records_end,
        covered: scan.covered,
        first_time,
        last_time,
        last_session: scan.session,
        records: scan.records,
        bytes: scanned,
        torn,
        duration: began.elapsed(),
        segments,
    })
}

/// Opens all segments that are not in runs yet, by ascending base. Removes earlier segments that
/// the manifest does not name, which a crash left. Checks that those that it names are there.
fn open_segments(
    backend: &dyn Backend,
    store_id: [u8; 16],
    manifest: &Manifest,
) -> Result<Vec<Arc<Segment>>, OpenError> {
    let low_water = manifest.low_water;
    let names = backend.list().map_err(io_error(backend, "", "list"))?;
    let mut bases: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::segment_base(name))
        .collect();
    bases.sort_unstable();
    let kept = bases.split_off(bases.partition_point(|&base| base < low_water));
    let named: Vec<u64> = manifest.kept.segments().map(|(base, _)| base).collect();
    if let Some(&base) = named.iter().find(|base| bases.binary_search(base).is_err()) {
        return Err(missing_kept(backend, base));
    }
    bases.retain(|base| named.binary_search(base).is_err());
    for name in bases.into_iter().map(segment::segment_name) {
        backend
            .remove(&name)
            .map_err(io_error(backend, &name, "remove"))?;
    }
    let bases = kept;
    if bases.first() != Some(&low_water) {
        return Err(missing(backend, low_water));
    }
    bases
        .into_iter()
        .map(|base| Segment::open(backend, &segment::segment_name(base), store_id).map(Arc::new))
        .collect()
}

fn missing_kept(backend: &dyn Backend, base: u64) -> OpenError {
    OpenError::Corrupt {
        file: backend.path(&segment::segment_name(base)),
        offset: 0,
        reason: "the file is missing, though runs name records in it".into(),
    }
}

fn missing(backend: &dyn Backend, base: u64) -> OpenError {
    OpenError::Corrupt {
        file: backend.path(&segment::segment_name(base)),
        offset: 0,
        reason: "the file is missing, though the log goes on in it".into(),
    }
}
