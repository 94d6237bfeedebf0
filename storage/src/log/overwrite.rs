//! Overwriting content of records in their segments: bodies of redacted records, replacements that a
//! later redaction replaces, and what a program erases.
//!
//! The new header and the place of each piece are first noted in the file `redacting`, durably. An
//! opening that finds the file does what it says again: so a crash never leaves a frame that is
//! neither old nor new.

use std::io;
use std::sync::Arc;

use crc32c::{crc32c, crc32c_append};

use crate::backend::{self, Backend, BackendFile};
use crate::log::frame::{self, FrameHeader, FrameKind};
use crate::log::record;
use crate::log::segment::{self, Segment, SegmentHeader};
use crate::log::window::Window;

/// The file that notes what is overwritten.
pub(crate) const NAME: &str = "redacting";
const MAGIC: [u8; 8] = *b"TRKREDAC";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const ENTRY: usize = 48;

/// The parts of a record that are overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The body. The frame then becomes one of kind [`FrameKind::Redacted`].
    pub(crate) body: bool,
    /// The body of the redaction that the record makes.
    pub(crate) redaction: bool,
    /// The body, if the record has no sequence. Others are redacted instead.
    pub(crate) unnumbered_body: bool,
}

impl Content {
    pub(crate) const BODY: Content = Content {
        body: true,
        redaction: false,
        unnumbered_body: false,
    };

    pub(crate) const REDACTION: Content = Content {
        body: false,
        redaction: true,
        unnumbered_body: false,
    };

    pub(crate) const UNNUMBERED_BODY: Content = Content {
        body: false,
        redaction: false,
        unnumbered_body: true,
    };

    /// Returns the parts of either.
    pub(crate) const fn with(self, other: Content) -> Content {
        Content {
            body: self.body || other.body,
            redaction: self.redaction || other.redaction,
            unnumbered_body: self.unnumbered_body || other.unnumbered_body,
        }
    }
}

/// The bytes of a frame that an overwriting changes: its header, and a piece that becomes zeros. A
/// frame of which several pieces become zeros has one of these for each, all with the same header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overwrite {
    /// The base of the segment.
    pub(crate) base: u64,
    /// The position of the frame.
    pub(crate) position: u64,
    header: [u8; frame::HEADER],
    /// The distance of the piece from the beginning of the frame, in bytes.
    body: u32,
    body_len: u32,
}

impl Overwrite {
    /// Plans to overwrite `content` of the record at `position`, and appends the plan to `into`. Does
    /// nothing if all of it was overwritten before.
    ///
    /// # Errors
    /// `InvalidData` if there is no whole record, or the error of the file system.
    pub(crate) fn plan(
        segment: &Segment,
        position: u64,
        content: Content,
        window: &mut Window,
        into: &mut Vec<Overwrite>,
    ) -> io::Result<()> {
        let damaged = || {
            let text = format!(
                "{}: damaged at offset {}",
                segment.name,
                segment.offset(position)
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let (header, payload) = window.frame(segment, position)?.ok_or_else(damaged)?;
        if !matches!(header.kind, FrameKind::Record | FrameKind::Redacted) {
            return Err(damaged());
        }
        let record = record::decode_payload(position, payload).ok_or_else(damaged)?;
        let mut pieces: Vec<&[u8]> = Vec::new();
        if let Some(redaction) = record.redacts.filter(|_| content.redaction) {
            pieces.push(redaction.body);
        }
        pieces.retain(|piece| piece.iter().any(|byte| *byte != 0));
        let body_goes = content.body || (content.unnumbered_body && record.seq == 0);
        let becomes_redacted = body_goes && header.kind == FrameKind::Record;
        if becomes_redacted {
            pieces.push(record.body);
        }
        let mut after = payload.to_vec();
        let mut places = Vec::new();
        for piece in pieces {
            let from = piece.as_ptr() as usize - payload.as_ptr() as usize;
            after[from..from + piece.len()].fill(0);
            places.push((from, piece.len()));
        }
        let seed = segment.seed(position);
        let kind = match becomes_redacted {
            true => FrameKind::Redacted,
            false => header.kind,
        };
        let header = FrameHeader {
            kind,
            payload_crc: crc32c_append(seed, &after),
            ..header
        };
        let header = header.encode(seed);
        into.extend(places.into_iter().map(|(from, len)| Overwrite {
            base: segment.base,
            position,
            header,
            body: (frame::HEADER + from) as u32,
            body_len: len as u32,
        }));
        Ok(())
    }

    /// Overwrites header and piece, without a sync.
    pub(crate) fn apply(&self, file: &dyn BackendFile) -> io::Result<()> {
        let mut pieces = self.pieces().into_iter();
        pieces.try_for_each(|(at, bytes)| file.write_all_at(&bytes, at))
    }

    /// Returns the bytes that are written to the segment, with their places in its file, in their order.
    pub(crate) fn pieces(&self) -> [(u64, Vec<u8>); 2] {
        let at = self.position - self.base;
        let zeros = vec![0; self.body_len as usize];
        [
            (at + u64::from(self.body), zeros),
            (at, self.header.to_vec()),
        ]
    }
}

/// Returns the body of a redaction, or a value, as it reads: an empty one if it was overwritten, because a
/// later one replaced it. Without damage the later one counts.
pub(crate) fn present(body: &[u8]) -> &[u8] {
    match body.iter().all(|byte| *byte == 0) {
        true => &[],
        false => body,
    }
}

/// Notes durably what is going to be overwritten.
pub(crate) fn note(
    backend: &dyn Backend,
    store_id: [u8; 16],
    overwrites: &[Overwrite],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER + ENTRY * overwrites.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(overwrites.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&store_id);
    for overwrite in overwrites {
        bytes.extend_from_slice(&overwrite.base.to_le_bytes());
        bytes.extend_from_slice(&overwrite.position.to_le_bytes());
        bytes.extend_from_slice(&overwrite.header);
        bytes.extend_from_slice(&overwrite.body.to_le_bytes());
        bytes.extend_from_slice(&overwrite.body_len.to_le_bytes());
    }
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    backend::write_atomically(backend, NAME, &bytes)
}

/// Reads what was going to be overwritten. Returns `None` if there is no note. A note that is
/// damaged, or that belongs to another store, says nothing: damage in a segment is noticed there.
pub(crate) fn read(
    backend: &dyn Backend,
    store_id: [u8; 16],
) -> io::Result<Option<Vec<Overwrite>>> {
    let file = match backend.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; file.len()? as usize];
    backend::read_exact_at(&*file, &mut bytes, 0)?;
    Ok(Some(decode(&bytes, store_id).unwrap_or_default()))
}

fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<Vec<Overwrite>> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    let (header, entries) = bytes.split_first_chunk::<HEADER>()?;
    let is_ours = header[..8] == MAGIC
        && header[8..12] == VERSION.to_le_bytes()
        && header[16..] == store_id
        && crc32c(bytes).to_le_bytes() == *crc;
    let entries = is_ours.then(|| entries.chunks_exact(ENTRY))?;
    Some(entries.filter_map(decode_entry).collect())
}

fn decode_entry(entry: &[u8]) -> Option<Overwrite> {
    let (base, rest) = entry.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let (header, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_first_chunk()?;
    let body_len = rest.first_chunk()?;
    Some(Overwrite {
        base: u64::from_le_bytes(*base),
        position: u64::from_le_bytes(*position),
        header: *header,
        body: u32::from_le_bytes(*body),
        body_len: u32::from_le_bytes(*body_len),
    })
}

/// Overwrites again what an interrupted process was going to overwrite, durably, and removes the
/// note.
pub(crate) fn finish(backend: &dyn Backend, store_id: [u8; 16]) -> io::Result<()> {
    let Some(overwrites) = read(backend, store_id)? else {
        return Ok(());
    };
    for same in overwrites.chunk_by(|a, b| a.base == b.base) {
        let file = match backend.open(&segment::segment_name(same[0].base)) {
            Ok(file) => file,
            // The segment has expired.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        for overwrite in same {
            let end = overwrite.position - overwrite.base
                + u64::from(overwrite.body)
                + u64::from(overwrite.body_len);
            if end <= len {
                overwrite.apply(&*file)?;
            }
        }
        file.sync_data()?;
    }
    backend.remove(NAME)
}

/// A segment file as it is once everything noted is overwritten. It is read only. A frame that has changed
/// since is shown as it is, and so is one that the note does not fit: the note may be about a newer file of
/// the segment.
pub(crate) struct Overwritten {
    file: Arc<dyn BackendFile>,
    overwrites: Vec<Overwrite>,
    /// The headers of the frames before, in the order of `overwrites`.
    before: Vec<[u8; frame::HEADER]>,
}

impl Overwritten {
    /// Shows a file with these overwrites.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn new(file: Arc<dyn BackendFile>, overwrites: Vec<Overwrite>) -> io::Result<Self> {
        let overwrites = fitting(&*file, overwrites)?;
        let before = overwrites.iter().map(|one| header_of(&*file, one));
        Ok(Overwritten {
            before: before.collect::<io::Result<_>>()?,
            file,
            overwrites,
        })
    }
}

/// Returns the overwrites after which a frame of the file is whole. A file without a readable header gets all
/// of them.
fn fitting(file: &dyn BackendFile, overwrites: Vec<Overwrite>) -> io::Result<Vec<Overwrite>> {
    let mut header = [0; segment::HEADER_USED];
    let read = file.read_at(&mut header, 0)?;
    let Ok(header) = SegmentHeader::decode(&header) else {
        return Ok(overwrites);
    };
    let (len, salt) = (file.len()?, crc32c(&header.salt.to_le_bytes()));
    let mut fitting = Vec::new();
    for same in overwrites.chunk_by(|a, b| a.position == b.position) {
        let Some(frame) = FrameHeader::decode_trusted(&same[0].header) else {
            continue;
        };
        let at = same[0].position.saturating_sub(same[0].base);
        if read < segment::HEADER_USED || at + frame.len() as u64 > len {
            continue;
        }
        let mut payload = vec![0; frame.payload_len as usize];
        backend::read_exact_at(file, &mut payload, at + frame::HEADER as u64)?;
        for piece in same {
            let from = (piece.body as usize).saturating_sub(frame::HEADER);
            let to = from.saturating_add(piece.body_len as usize);
            if let Some(piece) = payload.get_mut(from..to) {
                piece.fill(0);
            }
        }
        if frame.payload_is_whole(&payload, frame::seed(salt, same[0].position)) {
            fitting.extend_from_slice(same);
        }
    }
    Ok(fitting)
}

/// Returns the present header of the frame that is overwritten.
fn header_of(file: &dyn BackendFile, overwrite: &Overwrite) -> io::Result<[u8; frame::HEADER]> {
    let mut header = [0; frame::HEADER];
    backend::read_exact_at(file, &mut header, overwrite.position - overwrite.base)?;
    Ok(header)
}

impl BackendFile for Overwritten {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        let end = offset + read as u64;
        for (overwrite, before) in self.overwrites.iter().zip(&self.before) {
            let at = overwrite.position - overwrite.base;
            let frame_end = at + u64::from(overwrite.body) + u64::from(overwrite.body_len);
            if at >= end || frame_end <= offset {
                continue;
            }
            let now = header_of(&*self.file, overwrite)?;
            if now != *before && now != overwrite.header {
                continue;
            }
            let body = vec![0; overwrite.body_len as usize];
            put_over(&mut buffer[..read], offset, &overwrite.header, at);
            put_over(
                &mut buffer[..read],
                offset,
                &body,
                at + u64::from(overwrite.body),
            );
        }
        Ok(read)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Copies the part of `bytes`, which belong at `at`, that lies in `buffer`, which begins at `offset`.
fn put_over(buffer: &mut [u8], offset: u64, bytes: &[u8], at: u64) {
    let from = at.max(offset);
    let to = (at + bytes.len() as u64).min(offset + buffer.len() as u64);
    if from < to {
        let part = &bytes[(from - at) as usize..(to - at) as usize];
        buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERWRITE: Overwrite = Overwrite {
        base: 8192,
        position: 12288,
        header: [7; frame::HEADER],
        body: 60,
        body_len: 5,
    };

    #[test]
    fn a_note_reads_back_and_every_flipped_bit_is_noticed() {
        let disk = backend::sim::SimDisk::new(1);
        let noted = [OVERWRITE; 3];
        note(&disk, [1; 16], &noted).unwrap();
        assert_eq!(read(&disk, [1; 16]).unwrap().as_deref(), Some(&noted[..]));
        assert_eq!(read(&disk, [2; 16]).unwrap().as_deref(), Some(&[][..]));
        let bits = disk.contents(NAME).unwrap().len() * 8;
        for bit in 0..bits {
            let disk = disk.fork(1);
            disk.flip(NAME, bit);
            let found = read(&disk, [1; 16]).unwrap();
            assert_eq!(found.as_deref(), Some(&[][..]), "bit {bit}");
        }
    }

    #[test]
    fn any_part_of_a_file_reads_as_overwritten() {
        let disk = backend::sim::SimDisk::new(1);
        let file = disk.create("segment").unwrap();
        file.write_all_at(&[1; 4200], 0).unwrap();
        let mut expected = vec![1; 4200];
        expected[4096..4120].fill(7);
        expected[4156..4161].fill(0);
        let overwritten = Overwritten::new(file.clone(), vec![OVERWRITE]).unwrap();
        for from in 4080..4170 {
            for to in from..4170 {
                let mut read = vec![9; to - from];
                overwritten.read_at(&mut read, from as u64).unwrap();
                assert_eq!(read, expected[from..to], "{from}..{to}");
            }
        }
        // Another change of the frame counts.
        file.write_all_at(&[3; frame::HEADER], 4096).unwrap();
        let mut read = vec![9; 70];
        overwritten.read_at(&mut read, 4096).unwrap();
        assert_eq!((read[0], read[60]), (3, 1));
    }
}
