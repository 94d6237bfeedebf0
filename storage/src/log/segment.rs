//! Segment files: fixed-size pieces of the endless log.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crc32c::crc32c;

use crate::backend::{self, Backend, BackendFile};
use crate::error::OpenError;
use crate::log::{frame, overwrite};

/// The space for a segment's header in bytes: a whole block, so that no frame shares its sectors.
pub(crate) const HEADER_BYTES: u64 = 4096;
/// The space that stays free behind the last record of a segment in bytes: for one anchor and the
/// seal.
pub(crate) const END_RESERVE: u64 = 2 * frame::HEADER as u64;
/// The version of the storage format, which new segments have.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// The oldest version of segments in which a record may have its states apart.
pub(crate) const APART_VERSION: u32 = 3;
/// The oldest version of segments that is read. These segments have no bodies that were overwritten.
const OLDEST_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"TRKLOG\r\n";
/// The used bytes of the header. The last four are the checksum of the others.
pub(crate) const HEADER_USED: usize = 64;
/// A flag of a segment's header: old values in it were overwritten with zeros, so a value of zeros alone is
/// none.
pub(crate) const VALUES_ERASED: u32 = 1;
/// The bytes of a new segment that are synced at a time. A commit that syncs meanwhile waits for no
/// more of them: a disk that has 64 MiB to write at once makes it wait for 50 ms.
const SYNCED_BYTES: u64 = 256 << 10;
/// The zeros that are written at once. Linux keeps the bytes of one write in one piece of its cache,
/// if the file system can, and finds records in large pieces sooner.
static ZEROS: [u8; SYNCED_BYTES as usize] = [0; SYNCED_BYTES as usize];

/// An open segment file.
pub(crate) struct Segment {
    /// The position of the file's first byte.
    pub(crate) base: u64,
    /// The size of the file in bytes.
    pub(crate) size: u64,
    /// The version of the format in which it was begun.
    pub(crate) version: u32,
    /// The checksum of the segment's random salt, from which the seeds of its frames are made.
    pub(crate) salt: u32,
    /// Whether old values in it were overwritten with zeros.
    pub(crate) values_erased: bool,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn BackendFile>,
}

impl Segment {
    /// Returns the position of the first frame.
    pub(crate) const fn first(&self) -> u64 {
        self.base + HEADER_BYTES
    }

    /// Returns the position behind the last byte: the base of the next segment.
    pub(crate) const fn end(&self) -> u64 {
        self.base + self.size
    }

    /// Returns the position of the first frame of the next segment.
    pub(crate) const fn first_of_next(&self) -> u64 {
        self.end() + HEADER_BYTES
    }

    /// Returns whether a frame of `len` bytes may begin at `position`.
    pub(crate) const fn fits(&self, position: u64, len: usize) -> bool {
        position + len as u64 + END_RESERVE <= self.end()
    }

    /// Returns the offset in the file of a position.
    pub(crate) const fn offset(&self, position: u64) -> u64 {
        position - self.base
    }

    pub(crate) fn seed(&self, position: u64) -> u32 {
        frame::seed(self.salt, position)
    }

    /// Returns a value of a frame in this segment as it reads: an empty one if it was overwritten, because a
    /// later one replaced it. Without damage the later one counts.
    pub(crate) fn present<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        match self.values_erased {
            true => overwrite::present(value),
            false => value,
        }
    }

    /// Opens the file `name` and checks its header.
    pub(crate) fn open(
        backend: &dyn Backend,
        name: &str,
        store_id: [u8; 16],
    ) -> Result<Segment, OpenError> {
        let io = |action| {
            move |source| OpenError::Io {
                file: backend.path(name),
                action,
                source,
            }
        };
        let corrupt = |offset, reason: &str| OpenError::Corrupt {
            file: backend.path(name),
            offset,
            reason: reason.into(),
        };
        let file = backend.open(name).map_err(io("open"))?;
        let len = file.len().map_err(io("read"))?;
        if len < HEADER_BYTES {
            return Err(corrupt(len, "the file is shorter than its header"));
        }
        let mut bytes = [0; HEADER_USED];
        backend::read_exact_at(&*file, &mut bytes, 0).map_err(io("read"))?;
        let header = SegmentHeader::decode(&bytes).map_err(|fault| match fault {
            HeaderFault::Damaged => corrupt(0, "the segment header is not what was written"),
            HeaderFault::Version(found) => OpenError::Version {
                file: backend.path(name),
                found,
                supported: FORMAT_VERSION,
            },
        })?;
        if header.store_id != store_id {
            return Err(corrupt(0, "the segment belongs to another store"));
        }
        if name != segment_name(header.base) {
            return Err(corrupt(
                0,
                "the file was renamed: its header has another position",
            ));
        }
        if len != header.size {
            return Err(corrupt(
                len.min(header.size),
                "the file does not have its size",
            ));
        }
        Ok(header.into_segment(file))
    }
}

/// Returns the name of the segment that begins at `base`.
pub(crate) fn segment_name(base: u64) -> String {
    format!("log-{base:016x}.seg")
}

/// Returns the base in a segment's file name; `None` for other names.
pub(crate) fn segment_base(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    if digits.len() != 16 {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// The content of a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    /// [`VALUES_ERASED`], or 0.
    pub(crate) flags: u32,
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) salt: u64,
    pub(crate) store_id: [u8; 16],
}

/// The reason why bytes are not a valid header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_USED] {
        let mut bytes = [0; HEADER_USED];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.store_id);
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_USED]) -> Result<Self, HeaderFault> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != MAGIC || u32_at(60) != crc32c(&bytes[..60]) {
            return Err(HeaderFault::Damaged);
        }
        let version = u32_at(8);
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderFault::Version(version));
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&bytes[40..56]);
        Ok(SegmentHeader {
            version,
            flags: u32_at(12),
            base: u64_at(16),
            size: u64_at(24),
            salt: u64_at(32),
            store_id,
        })
    }

    pub(crate) fn into_segment(self, file: Arc<dyn BackendFile>) -> Segment {
        Segment {
            base: self.base,
            size: self.size,
            version: self.version,
            salt: crc32c(&self.salt.to_le_bytes()),
            values_erased: self.flags & VALUES_ERASED != 0,
            name: segment_name(self.base),
            file,
        }
    }
}

/// Makes segments for one store.
#[derive(Clone)]
pub(crate) struct SegmentFactory {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) store_id: [u8; 16],
    pub(crate) size: u64,
    /// The version of the format.
    pub(crate) version: u32,
}

impl SegmentFactory {
    /// Creates the segment at `base` with all blocks allocated, and makes its header and its name
    /// durable.
    ///
    /// The file gets its name only when it is complete, so every segment that recovery finds is
    /// whole. The function writes real zeros: merely reserved space would make the `fdatasync` of
    /// every commit wait for the journal of the file system.
    pub(crate) fn create(&self, base: u64) -> io::Result<Segment> {
        self.make(base, None)
    }

    /// Creates a segment as [`Self::create`] does, in pieces that are synced one by one. After each
    /// piece it calls `rest` with the time that the disk needed, so that commits get in between.
    pub(crate) fn create_in_pieces(
        &self,
        base: u64,
        rest: &dyn Fn(Duration),
    ) -> io::Result<Segment> {
        self.make(base, Some(rest))
    }

    fn make(&self, base: u64, rest: Option<&dyn Fn(Duration)>) -> io::Result<Segment> {
        let name = segment_name(base);
        let temporary = format!("{name}.tmp");
        let file = backend::create_anew(&*self.backend, &temporary)?;
        let created = self.fill(base, &*file, rest);
        let header = match created {
            Ok(header) => header,
            Err(error) => {
                // Frees the space. The next opening removes files that cannot be removed now.
                drop(file);
                let _ = self.backend.remove(&temporary);
                return Err(error);
            }
        };
        self.backend.rename(&temporary, &name)?;
        self.backend.sync_dir()?;
        Ok(header.into_segment(file))
    }

    fn fill(
        &self,
        base: u64,
        file: &dyn BackendFile,
        rest: Option<&dyn Fn(Duration)>,
    ) -> io::Result<SegmentHeader> {
        let mut salt = [0; 8];
        self.backend.fill_random(&mut salt)?;
        let header = SegmentHeader {
            version: self.version,
            flags: 0,
            base,
            size: self.size,
            salt: u64::from_le_bytes(salt),
            store_id: self.store_id,
        };
        let mut offset = 0;
        while offset < self.size {
            let begun = Instant::now();
            let end = self.size.min(offset + SYNCED_BYTES);
            while offset < end {
                let len = (end - offset).min(ZEROS.len() as u64);
                file.write_all_at(&ZEROS[..len as usize], offset)?;
                offset += len;
            }
            if let Some(rest) = rest {
                file.sync_data()?;
                rest(begun.elapsed());
            }
        }
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        Ok(header)
    }
}

/// Overwrites `[from, to)` of a segment, given as positions, with zeros.
pub(crate) fn zero(segment: &Segment, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS.len() as u64);
        segment
            .file
            .write_all_at(&ZEROS[..len as usize], segment.offset(at))?;
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        version: FORMAT_VERSION,
        flags: VALUES_ERASED,
        base: 1 << 40,
        size: 8192,
        salt: 77,
        store_id: [3; 16],
    };

    #[test]
    fn names_and_bases_agree() {
        assert_eq!(segment_name(0x4000), "log-0000000000004000.seg");
        assert_eq!(segment_base("log-0000000000004000.seg"), Some(0x4000));
        for other in [
            "log-4000.seg",
            "log-0000000000004000.seg.tmp",
            "identity",
            "torn-1.bak",
        ] {
            assert_eq!(segment_base(other), None, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        let old = SegmentHeader {
            version: OLDEST_VERSION,
            ..HEADER
        };
        assert_eq!(SegmentHeader::decode(&old.encode()), Ok(old));
        for bit in 0..HEADER_USED * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = HEADER.encode();
        bytes[8..12].copy_from_slice(&4u32.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(4)));
    }
}
