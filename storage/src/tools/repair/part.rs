//! A segment of a damaged log: reads what is left of its file, and writes it anew.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::files::Readable;
use super::salt;
use crate::backend::{self, Backend, BackendFile};
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::frame::{self, FrameContext, FrameHeader, FrameKind};
use crate::log::scan;
use crate::log::segment::{self, HEADER_BYTES, HeaderFault, Segment, SegmentHeader};
use crate::log::window::Window;

/// The bytes that are copied at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// The smallest segment in bytes: a header, and as much again.
const MIN_BYTES: u64 = 2 * HEADER_BYTES;

/// The stretch of the log that one segment holds, or should hold.
pub(super) struct LogPart {
    pub(super) base: u64,
    pub(super) size: u64,
    /// The file with what is left of the segment.
    pub(super) source: Option<String>,
    /// The frames, if a salt to check them is known.
    pub(super) frames: Option<Frames>,
    /// What is wrong with the file as a whole.
    pub(super) fault: Option<String>,
    /// Whether the whole segment behind the header is there and holds only zeros.
    pub(super) is_zero: bool,
}

/// A segment whose frames can be checked.
pub(super) struct Frames {
    pub(super) segment: Segment,
    header: SegmentHeader,
    file: Arc<Readable>,
}

/// A replacement for frames that were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patch {
    /// A hole. It has the session of the frame behind it.
    Hole { from: u64, to: u64, session: u32 },
    /// The end of the segment's frames.
    Seal { at: u64, session: u32 },
}

impl LogPart {
    pub(super) const fn end(&self) -> u64 {
        self.base + self.size
    }

    pub(super) const fn first(&self) -> u64 {
        self.base + HEADER_BYTES
    }

    /// Makes a part without any file.
    pub(super) fn missing(base: u64, size: u64) -> LogPart {
        LogPart {
            base,
            size,
            source: None,
            frames: None,
            fault: Some("the file is missing".into()),
            is_zero: true,
        }
    }

    /// Reads the part at `base` from the file `source`. Returns `None` if the file does not belong
    /// to the part. The next file of the log begins at `next`.
    pub(super) fn read(
        backend: &dyn Backend,
        store_id: [u8; 16],
        base: u64,
        source: &str,
        next: Option<u64>,
    ) -> Result<Option<LogPart>, OpenError> {
        let io = io_error(backend, source, "read");
        let file = Arc::new(Readable::open(backend, source)?);
        let mut bytes = [0; segment::HEADER_USED];
        file.read_at(&mut bytes, 0).map_err(&io)?;
        let (header, mut fault) = match SegmentHeader::decode(&bytes) {
            Ok(header) if header.base != base || header.store_id != store_id => return Ok(None),
            Ok(header) => (Some(header), None),
            Err(HeaderFault::Version(found)) => {
                return Err(OpenError::Version {
                    file: backend.path(source),
                    found,
                    supported: segment::FORMAT_VERSION,
                });
            }
            Err(HeaderFault::Damaged) => {
                let size = likely_size(file.size, next.map(|next| next - base));
                let salt = salt_of(&file, base, size).map_err(&io)?;
                let header = salt.map(|salt| SegmentHeader {
                    version: segment::FORMAT_VERSION,
                    flags: 0,
                    base,
                    size,
                    salt,
                    store_id,
                });
                (header, Some("the header is not what was written"))
            }
        };
        let size = match &header {
            Some(header) => header.size,
            None => likely_size(file.size, next.map(|next| next - base)),
        };
        if fault.is_none() && file.size != size {
            fault = Some("the file does not have its size");
        }
        let segment = |header: &SegmentHeader| header.into_segment(file.clone());
        // The search for zeros works with any header.
        let any = SegmentHeader {
            version: segment::FORMAT_VERSION,
            flags: 0,
            base,
            size,
            salt: 0,
            store_id,
        };
        let all = segment(header.as_ref().unwrap_or(&any));
        let is_zero =
            scan::search(&all, all.first(), &mut |_, _| true).map_err(&io)? == all.first();
        let unreadable = file.is_unreadable();
        let fault = fault.map(str::to_owned);
        let fault = match unreadable {
            true => Some("the disk does not return parts of it".to_owned()),
            false => fault,
        };
        Ok(Some(LogPart {
            base,
            size,
            source: Some(source.into()),
            frames: header.map(|header| Frames {
                segment: segment(&header),
                header,
                file: file.clone(),
            }),
            fault,
            is_zero: is_zero && !unreadable && file.size >= size,
        }))
    }

    /// Returns the session of the first frame, if there is one.
    pub(super) fn first_session(&self) -> io::Result<Option<u32>> {
        let Some(Frames { segment, .. }) = &self.frames else {
            return Ok(None);
        };
        let mut window = Window::default();
        let frame = window.frame(segment, segment.first())?;
        Ok(frame.map(|(header, _)| header.session))
    }

    /// Returns whether a frame may have been lost at `position`, where no valid frame is: that
    /// place is behind the end of the file, or the disk did not return it. Otherwise the frame was
    /// not written completely.
    pub(super) fn is_unknown(&self, position: u64) -> io::Result<bool> {
        let Some(Frames { segment, file, .. }) = &self.frames else {
            return Ok(true);
        };
        let offset = segment.offset(position);
        let mut bytes = [0; frame::HEADER];
        file.read_at(&mut bytes, offset)?;
        let header = FrameHeader::decode(&bytes, segment.seed(position));
        let len = header.map_or(frame::HEADER, |header| header.len());
        Ok(!file.is_known(offset, offset + len as u64))
    }

    /// Returns the patches that end this part at `from`: a hole up to its end, if there is room for
    /// one, and a seal.
    pub(super) fn close(&self, from: u64, session: u32) -> Vec<Patch> {
        let seal = self.end() - frame::HEADER as u64;
        if from + frame::HEADER as u64 > seal {
            return vec![Patch::Seal { at: from, session }];
        }
        vec![
            Patch::Hole {
                from,
                to: seal,
                session,
            },
            Patch::Seal { at: seal, session },
        ]
    }

    /// Writes the segment under its name, with what is left of it and with `patches`.
    pub(super) fn write(
        &self,
        backend: &dyn Backend,
        store_id: [u8; 16],
        patches: &[Patch],
    ) -> io::Result<()> {
        let name = segment::segment_name(self.base);
        let temporary = format!("{name}.tmp");
        let header = match &self.frames {
            Some(frames) => frames.header,
            None => {
                let mut salt = [0; 8];
                backend.fill_random(&mut salt)?;
                SegmentHeader {
                    version: segment::FORMAT_VERSION,
                    flags: 0,
                    base: self.base,
                    size: self.size,
                    salt: u64::from_le_bytes(salt),
                    store_id,
                }
            }
        };
        let file = backend.create(&temporary)?;
        if let Some(frames) = &self.frames {
            copy(&frames.file, &*file, self.size)?;
        }
        let segment = header.into_segment(file.clone());
        for patch in patches {
            patch.write(&segment)?;
        }
        file.write_all_at(&header.encode(), 0)?;
        // Writing the last byte sets the length of the file, if only zeros come before it.
        if file.len()? < self.size {
            file.write_all_at(&[0], self.size - 1)?;
        }
        file.sync_data()?;
        backend.rename(&temporary, &name)?;
        backend.sync_dir()
    }
}

impl Patch {
    /// Returns the stretch of the log that the patch replaces, in a part that ends at `end`.
    pub(super) const fn stretch(&self, end: u64) -> Range<u64> {
        match *self {
            Patch::Hole { from, to, .. } => from..to,
            Patch::Seal { at, .. } => at..end,
        }
    }

    fn write(&self, segment: &Segment) -> io::Result<()> {
        let Range {
            start: from,
            end: to,
        } = self.stretch(segment.end());
        let (Patch::Hole { session, .. } | Patch::Seal { session, .. }) = *self;
        let place = FrameContext {
            position: from,
            // Frames behind the seal report everything before it as durable, which is true from now
            // on.
            durable: from,
            salt: segment.salt,
            session,
        };
        segment::zero(segment, from, to)?;
        let mut bytes = Vec::new();
        match self {
            Patch::Hole { .. } => bytes.extend_from_slice(&frame::hole(place, to)),
            Patch::Seal { .. } => frame::push_mark(&mut bytes, FrameKind::Seal, place),
        }
        segment.file.write_all_at(&bytes, segment.offset(from))
    }
}

/// Copies everything behind the header.
fn copy(from: &Readable, to: &dyn BackendFile, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES.min(size) as usize];
    let mut at = HEADER_BYTES;
    while at < size {
        let len = (size - at).min(CHUNK_BYTES) as usize;
        backend::read_exact_at(from, &mut buffer[..len], at)?;
        to.write_all_at(&buffer[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

/// Returns the likely size of a segment without a readable header, from the size of its file and
/// from the distance to the next segment.
fn likely_size(file: u64, distance: Option<u64>) -> u64 {
    let whole = file.is_multiple_of(HEADER_BYTES) && file >= MIN_BYTES;
    match distance {
        Some(distance) if !whole || file > distance => distance,
        _ => file.next_multiple_of(HEADER_BYTES).max(MIN_BYTES),
    }
}

/// Returns the salt of a segment without a readable header: the salt under which the most bytes are
/// valid frames. `None` if there are no frames.
///
/// The header's checksum of each frame reveals a salt, and the checksum of its payload proves it. A
/// client may put such frames into its messages, but the real frames around them have more bytes.
fn salt_of(file: &Arc<Readable>, base: u64, size: u64) -> io::Result<Option<u64>> {
    let mut bytes_by_salt: HashMap<u32, u64> = HashMap::new();
    let (end, mut buffer) = (base + size, Vec::new());
    let mut chunk = vec![0; CHUNK_BYTES.min(size) as usize];
    let mut at = HEADER_BYTES;
    while at < size {
        let len = (size - at).min(CHUNK_BYTES) as usize;
        file.read_at(&mut chunk[..len], at)?;
        for (i, word) in chunk[..len].chunks_exact(frame::ALIGN).enumerate() {
            let mut bytes = [0; frame::ALIGN];
            bytes.copy_from_slice(word);
            if !frame::may_begin(u64::from_le_bytes(bytes)) {
                continue;
            }
            let offset = at + (i * frame::ALIGN) as u64;
            let mut bytes = [0; frame::HEADER];
            file.read_at(&mut bytes, offset)?;
            let Some(header) = FrameHeader::decode_trusted(&bytes) else {
                continue;
            };
            let position = base + offset;
            if position + header.len() as u64 > end {
                continue;
            }
            let crc = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
            let seed = salt::seed_of(crc, &bytes[..20]);
            buffer.clear();
            if header.kind != FrameKind::Hole {
                buffer.resize(header.payload_len as usize, 0);
                file.read_at(&mut buffer, offset + frame::HEADER as u64)?;
            }
            if header.payload_is_whole(&buffer, seed) {
                let salt = salt::seed_of(seed, &position.to_le_bytes());
                *bytes_by_salt.entry(salt).or_default() += header.len() as u64;
            }
        }
        at += len as u64;
    }
    let best = bytes_by_salt.into_iter().max_by_key(|&(_, bytes)| bytes);
    Ok(best.map(|(crc, _)| salt::with_checksum(crc)))
}
