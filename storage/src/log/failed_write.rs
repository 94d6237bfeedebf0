//! A write to the end of the log that failed, and taking it back.
//!
//! Some of a batch may be in the segments when writing it fails. Frames of it that stayed there
//! would follow the next batch as if they belonged to the log. So before anything else is written
//! what is there is overwritten with zeros, as the segment was made, and that is synced: a crash
//! must not bring it back between frames of a later batch. Then zeros are written over all that
//! was to be written, which shows whether the disk takes it by now.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log::batch::Batch;
use crate::log::segment::{self, Segment};

/// How often an append may ask for another attempt.
const PAUSE: Duration = Duration::from_millis(250);

/// How much is read at once.
const CHUNK_BYTES: u64 = 64 << 10;

pub(crate) struct FailedWrite {
    /// What was to be written, in the order of the log.
    stretches: Vec<SegmentStretch>,
    /// Some of it may be there.
    dirty: bool,
    tried: Instant,
}

/// A part of one segment: the positions in `[from, to)`.
pub(crate) struct SegmentStretch {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What kept a failed write from being taken back.
pub(crate) struct TakeBackError {
    pub(crate) segment: Arc<Segment>,
    /// The sync of it failed, after which nothing is known.
    pub(crate) synced: bool,
    pub(crate) error: io::Error,
}

impl FailedWrite {
    /// A batch of which some may be written.
    pub(crate) fn of(batch: &Batch) -> Self {
        let stretches = batch.writes().map(|write| SegmentStretch {
            segment: write.segment.clone(),
            from: write.position,
            to: write.end(),
        });
        Self::at(stretches.collect())
    }

    /// Parts of segments to which some bytes may be written.
    pub(crate) fn at(stretches: Vec<SegmentStretch>) -> Self {
        FailedWrite {
            stretches,
            dirty: true,
            tried: Instant::now(),
        }
    }

    /// Whether some of what is to be taken back may be there.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether an append may ask for another attempt.
    pub(crate) fn may_try(&self) -> bool {
        self.tried.elapsed() >= PAUSE
    }

    /// Takes back what was written.
    pub(crate) fn clean(&mut self) -> Result<(), TakeBackError> {
        self.tried = Instant::now();
        if !self.dirty {
            return Ok(());
        }
        // From the end, so that what is left of it is never without what is before it.
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

    /// Tries whether the disk takes what it refused; call it once it is clean.
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

/// Where the last byte of `[from, to)` ends that is not zero; `from` if all are.
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
