//! The bytes of a copy on its way: `docs/storage-format.md`, "Copies on their way".

use crc32c::{crc32c, crc32c_append};

/// The beginning of a stream: magic, version and checksum.
pub(crate) const HEAD: usize = 16;
const MAGIC: [u8; 8] = *b"TRKCOPY\n";
const VERSION: u32 = 1;

/// The bytes of a file in one frame, at most.
pub(crate) const PIECE: usize = 1 << 20;

/// The content of a frame, at most: a place in a file, and bytes.
pub(crate) const CONTENT: usize = 8 + PIECE;

/// The bytes of a frame before its content: kind and length.
pub(crate) const FRAME_HEAD: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file begins: its size (8) and its name.
    File = b'F' as isize,
    /// Bytes of the current file: their place (8) and themselves. What is not sent of a file is zeros.
    Bytes = b'B' as isize,
    /// A file that was sent changes: its name. Bytes follow.
    Change = b'C' as isize,
    /// The copy is whole: the number of files (8), and of bytes of files that were sent (8).
    End = b'E' as isize,
    /// The sender cannot go on: why, as text.
    Failed = b'X' as isize,
}

impl Kind {
    pub(crate) const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'F' => Self::File,
            b'B' => Self::Bytes,
            b'C' => Self::Change,
            b'E' => Self::End,
            b'X' => Self::Failed,
            _ => return None,
        })
    }
}

/// Returns the beginning of a stream.
pub(crate) fn head() -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What the beginning of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// A stream of this version, with the checksum that the first frame continues.
    Known(u32),
    /// A stream of another version.
    Version(u32),
    /// No stream of a copy.
    Other,
}

pub(crate) fn read_head(head: &[u8; HEAD]) -> Head {
    let (content, crc) = head.split_at(12);
    if content[..8] != MAGIC || crc != crc32c(content).to_le_bytes() {
        return Head::Other;
    }
    let mut version = [0; 4];
    version.copy_from_slice(&content[8..]);
    match u32::from_le_bytes(version) {
        VERSION => Head::Known(crc32c(content)),
        other => Head::Version(other),
    }
}

/// Returns the checksum behind a frame: it covers all frames so far.
pub(crate) fn chain(before: u32, frame: &[u8]) -> u32 {
    crc32c_append(before, frame)
}
