//! Frames: the units of the log. docs/storage-format.md has their layout as tables.
//!
//! Both checksums of a frame are seeded with the segment's salt and the frame's position, so bytes
//! that were valid elsewhere, or in an earlier use of the file, never validate here.

use crc32c::crc32c_append;

/// The size of a frame's header in bytes.
pub(crate) const HEADER: usize = 24;
/// The alignment of frames in bytes.
pub(crate) const ALIGN: usize = 8;
/// The first three bytes of every frame; the fourth byte is its kind. They are not zero, so
/// zero-filled space never looks like a frame.
const MAGIC: [u8; 3] = *b"TRK";
/// The value for a distance that is too long to write. Such a frame makes no claim about durable
/// data.
const DISTANCE_UNKNOWN: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A record: an event with its fan-out.
    Record,
    /// A record whose body was overwritten with zeros, because the record was redacted.
    Redacted,
    /// A state: a value of the caller under a key.
    State,
    /// A state inside the payload of a record with many states, so that one of them is read and checked
    /// without the others. It is no frame of the log: readers of the log pass it with its record.
    Inner,
    /// A mark without content, written when the store closes. Everything before it is durable,
    /// including the last batch.
    Anchor,
    /// A mark without content at the end of a segment. The log continues in the next segment.
    Seal,
    /// A hole in place of frames that a repair removed. It reaches to the next frame, and readers
    /// skip its payload.
    Hole,
}

impl FrameKind {
    const fn byte(self) -> u8 {
        match self {
            FrameKind::Record => b'R',
            FrameKind::Redacted => b'X',
            FrameKind::State => b'T',
            FrameKind::Inner => b'I',
            FrameKind::Anchor => b'A',
            FrameKind::Seal => b'S',
            FrameKind::Hole => b'H',
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'R' => Some(FrameKind::Record),
            b'X' => Some(FrameKind::Redacted),
            b'T' => Some(FrameKind::State),
            b'I' => Some(FrameKind::Inner),
            b'A' => Some(FrameKind::Anchor),
            b'S' => Some(FrameKind::Seal),
            b'H' => Some(FrameKind::Hole),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) payload_len: u32,
    /// The distance in bytes from the end of what was durable, when this frame was written, to this
    /// frame.
    pub(crate) distance: u32,
    pub(crate) payload_crc: u32,
    /// The session number of the writer. Each opening of the store draws one at random.
    pub(crate) session: u32,
}

/// Returns the size in the log of a frame with this payload length, in bytes.
pub(crate) const fn frame_len(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

/// Returns the seed of the checksums of the frame at `position`.
pub(crate) fn seed(salt: u32, position: u64) -> u32 {
    crc32c_append(salt, &position.to_le_bytes())
}

/// Returns the distance to write into a frame at `position`.
pub(crate) fn distance(position: u64, durable: u64) -> u32 {
    u32::try_from(position - durable).unwrap_or(DISTANCE_UNKNOWN)
}

/// Returns what a frame at `position` gives as the end of what was durable, if its batch is
/// acknowledged before it is durable. That is a byte less than the end: all ends are multiples of 8,
/// so [`FrameHeader::is_weak`] knows such a frame. A frame with distance 0 stays as it is, since it
/// may begin a session.
pub(crate) fn weak(position: u64, durable: u64) -> u64 {
    match durable == position {
        true => durable,
        false => durable.saturating_sub(1),
    }
}

/// Returns whether a frame could begin with these eight bytes: a cheap test for a search.
pub(crate) fn may_begin(word: u64) -> bool {
    word as u32 & 0x00FF_FFFF == u32::from_le_bytes([MAGIC[0], MAGIC[1], MAGIC[2], 0])
}

impl FrameHeader {
    pub(crate) fn encode(&self, seed: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = self.kind.byte();
        bytes[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.distance.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.session.to_le_bytes());
        let crc = crc32c_append(seed, &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header in the first 24 of `bytes`; `None` if its checksum does not match.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let header = Self::decode_trusted(bytes)?;
        (crc32c_append(seed, &bytes[..20]) == word(bytes, 20)).then_some(header)
    }

    /// Reads a header without checking its checksum, for bytes that this process wrote or has
    /// checked.
    #[inline]
    pub(crate) fn decode_trusted(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes[..3] != MAGIC {
            return None;
        }
        Some(FrameHeader {
            kind: FrameKind::from_byte(bytes[3])?,
            payload_len: word(bytes, 4),
            distance: word(bytes, 8),
            payload_crc: word(bytes, 12),
            session: word(bytes, 16),
        })
    }

    pub(crate) fn payload_is_whole(&self, payload: &[u8], seed: u32) -> bool {
        crc32c_append(seed, payload) == self.payload_crc
    }

    /// Returns the size of the whole frame in the log, in bytes.
    pub(crate) const fn len(&self) -> usize {
        frame_len(self.payload_len as usize)
    }

    /// Returns the end of what was durable when the frame at `position` was written, as its header
    /// says.
    pub(crate) fn durable(&self, position: u64) -> u64 {
        if self.distance == DISTANCE_UNKNOWN {
            return 0;
        }
        let claim = position.saturating_sub(u64::from(self.distance));
        claim.next_multiple_of(ALIGN as u64)
    }

    /// Returns whether this frame's batch was acknowledged before it was durable, as the durability
    /// levels below `sync` do. A frame with distance 0, or with one that is too long, does not tell.
    pub(crate) fn is_weak(&self) -> bool {
        self.distance != DISTANCE_UNKNOWN && !self.distance.is_multiple_of(ALIGN as u32)
    }

    /// Returns whether this frame may follow a frame of session `current`.
    ///
    /// Bytes behind a cut tail can be valid frames of an earlier session, even after recovery
    /// zeroed them, because a failed sync can leave the old bytes on the disk. Such frames must not
    /// continue what a later session writes over the cut. A frame with distance 0 says that
    /// everything before it was durable, so no cut was ever made before it: such a frame may begin
    /// a session.
    pub(crate) fn continues(&self, current: Option<u32>) -> bool {
        self.distance == 0 || current == Some(self.session)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Appends a frame without content to `buffer`.
pub(crate) fn push_mark(buffer: &mut Vec<u8>, kind: FrameKind, at: FrameContext) {
    buffer.extend_from_slice(&bare(kind, 0, at));
}

/// Returns the header of a frame that covers the lost part of the log from `at` up to `end`. The
/// caller fills the rest of the part with zeros.
pub(crate) fn hole(at: FrameContext, end: u64) -> [u8; HEADER] {
    let len = end - at.position - HEADER as u64;
    bare(FrameKind::Hole, len as u32, at)
}

/// Returns the header of a frame without content. Readers skip the `payload_len` bytes that follow
/// it.
fn bare(kind: FrameKind, payload_len: u32, at: FrameContext) -> [u8; HEADER] {
    let seed = seed(at.salt, at.position);
    let header = FrameHeader {
        kind,
        payload_len,
        distance: distance(at.position, at.durable),
        payload_crc: crc32c_append(seed, &[]),
        session: at.session,
    };
    header.encode(seed)
}

/// The fields of a frame's header that do not depend on its payload: the frame's place and its
/// writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameContext {
    pub(crate) position: u64,
    pub(crate) durable: u64,
    pub(crate) salt: u32,
    pub(crate) session: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: FrameContext = FrameContext {
        position: 4096,
        durable: 4000,
        salt: 99,
        session: 5,
    };

    #[test]
    fn a_weak_frame_claims_what_others_claim() {
        let header = |durable| FrameHeader {
            kind: FrameKind::Record,
            payload_len: 0,
            distance: distance(4096, durable),
            payload_crc: 0,
            session: 5,
        };
        for durable in [0, 8, 4000, 4088] {
            let (strong, marked) = (header(durable), header(weak(4096, durable)));
            assert_eq!((strong.is_weak(), strong.durable(4096)), (false, durable));
            let expected = (durable > 0, durable);
            assert_eq!((marked.is_weak(), marked.durable(4096)), expected);
        }
        let begins = header(weak(4096, 4096));
        assert_eq!((begins.distance, begins.is_weak()), (0, false));
        assert!(begins.continues(None));
    }

    fn mark() -> Vec<u8> {
        let mut bytes = Vec::new();
        push_mark(&mut bytes, FrameKind::Anchor, PLACE);
        bytes
    }

    #[test]
    fn a_header_reads_back() {
        let header = FrameHeader::decode(&mark(), seed(99, 4096)).unwrap();
        assert_eq!(header.kind, FrameKind::Anchor);
        assert_eq!(
            (header.payload_len, header.distance, header.session),
            (0, 96, 5)
        );
        assert_eq!(header.durable(4096), 4000);
        assert!(header.payload_is_whole(&[], seed(99, 4096)));
        assert_eq!(header.len(), HEADER);
    }

    #[test]
    fn a_hole_reaches_to_its_end() {
        let header = FrameHeader::decode(&hole(PLACE, 8000), seed(99, 4096)).unwrap();
        assert_eq!(header.kind, FrameKind::Hole);
        assert_eq!(4096 + header.len(), 8000);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..HEADER * 8 {
            let mut bytes = mark();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                FrameHeader::decode(&bytes, seed(99, 4096)),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn bytes_of_another_place_or_use_do_not_validate() {
        assert_eq!(FrameHeader::decode(&mark(), seed(99, 4104)), None);
        assert_eq!(FrameHeader::decode(&mark(), seed(98, 4096)), None);
    }

    #[test]
    fn a_distance_too_long_claims_nothing() {
        assert_eq!(distance(u64::from(u32::MAX) + 7, 7), DISTANCE_UNKNOWN);
        let header = FrameHeader {
            kind: FrameKind::Record,
            payload_len: 0,
            distance: DISTANCE_UNKNOWN,
            payload_crc: 0,
            session: 0,
        };
        assert_eq!(header.durable(u64::MAX), 0);
    }

    #[test]
    fn only_distance_zero_begins_a_session() {
        let header = |distance| FrameHeader {
            kind: FrameKind::Record,
            payload_len: 0,
            distance,
            payload_crc: 0,
            session: 3,
        };
        assert!(header(0).continues(None));
        assert!(header(0).continues(Some(2)));
        assert!(header(8).continues(Some(3)));
        assert!(!header(8).continues(Some(2)));
        assert!(!header(8).continues(None));
    }
}
