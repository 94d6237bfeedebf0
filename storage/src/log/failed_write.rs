//! A failed write to the end of the log, and how the store takes it back.
//!
//! A failed write may leave part of a batch in the segments. Frames that stay there would follow
//! the next batch as if they belonged to the log. So before the store writes anything else:
//!
//! 1. It overwrites what is there with zeros, as the segment was made, and syncs that. A crash must
//!    not bring the frames back between those of a later batch.
//! 2. It writes zeros over everything that was to be written, which shows whether the disk takes
//!    writes again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log::batch::Batch;
use crate::log::segment::{self, Segment};

/// The least time between two attempts that appends start.
const PAUSE: Duration = Duration::from_millis(250);

/// The bytes that are read at once.
const CHUNK_BYTES: u64 = 64 << 10;

pub(crate) struct FailedWrite {
    /// The parts of segments that the write was for, in the order of the log.
    stretches: Vec<SegmentStretch>,
    /// Whether part of the write may still be in the segments.
    dirty: bool,
    tried: Instant,
}

/// A part of one segment: the positions in `[from, to)`.
pub(crate) struct SegmentStretch {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The error of taking a failed write back.
pub(crate) struct TakeBackError {
    pub(crate) segment: Arc<Segment>,
    /// Whether the sync failed, after which the content of the segment is unknown.
    pub(crate) synced: bool,
    pub(crate) error: io::Error,
}

impl FailedWrite {
    /// Makes the failed write of a batch.
    pub(crate) fn of(batch: &Batch) -> Self {
        let stretches = batch.writes().map(|write| SegmentStretch {
            segment: write.segment.clone(),
            from: write.position,
            to: write.end(),
        });
        Self::at(stretches.collect())
    }

    /// Makes the failed write of these parts of segments.
    pub(crate) fn at(stretches: Vec<SegmentStretch>) -> Self {
        FailedWrite {
            stretches,
            dirty: true,
            tried: Instant::now(),
        }
    }

    /// Returns whether part of the write may still be in the segments.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Returns whether enough time has passed for an append to start another attempt.
    pub(crate) fn may_try(&self) -> bool {
        self.tried.elapsed() >= PAUSE
    }

    /// Takes the write back: overwrites it with zeros and syncs.
    pub(crate) fn clean(&mut self) -> Result<(), TakeBackError> {
        self.tried = Instant::now();
        if !self.dirty {
            return Ok(());
        }
        // From the end towards the beginning, so that what remains is always a beginning of the
        // write.
        for SegmentStretch { segment, from, to } in self.stretches.iter().rev() {
            let failed = |synced| {
                let segment = segment.clone();
                move |error| TakeBackError {
                    segment,
                    synced,
                    error,
                }
            };
            let end = written(segment, *from, *to).map_err(failed(false))?;
            if end > *from {
                segment::zero(segment, *from, end).map_err(failed(false))?;
                segment.file.sync_data().map_err(failed(true))?;
            }
        }
        self.dirty = false;
        Ok(())
    }

    /// Checks that the disk takes what it refused. Call it after [`clean`](Self::clean) succeeded.
    pub(crate) fn probe(&self) -> Result<(), TakeBackError> {
        for SegmentStretch { segment, from, to } in &self.stretches {
            segment::zero(segment, *from, *to).map_err(|error| TakeBackError {
                segment: segment.clone(),
                synced: false,
                error,
            })?;
        }
        Ok(())
    }
}

/// Returns the position behind the last byte of `[from, to)` that is not zero; `from` if all are
/// zero.
fn written(segment: &Segment, from: u64, to: u64) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES.min(to - from) as usize];
    let (mut at, mut end) = (from, from);
    while at < to {
        let len = (to - at).min(CHUNK_BYTES) as usize;
        let read = segment
            .file
            .read_at(&mut buffer[..len], segment.offset(at))?;
        if let Some(last) = buffer[..read].iter().rposition(|&byte| byte != 0) {
            end = at + last as u64 + 1;
        }
        at += len as u64;
    }
    Ok(end)
}
