//! Parts of a group that wait for the others.

use bytes::{Bytes, BytesMut};

use crate::envelope::{Hash, Head, Part};

/// The parts of one group that came in order.
///
/// Between two calls: `pieces` is empty, or `1 <= pieces.len() < of`, `head` is that of the first part, and `len` is the
/// sum of the pieces and no more than the head says.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    head: Option<Head>,
    pieces: Vec<Bytes>,
    len: usize,
    of: u16,
    /// The hash of the last part.
    last: Option<Hash>,
}

/// What became of a part.
#[derive(Debug)]
pub(super) enum Added {
    /// The part waits for others.
    Waits,
    /// The part is not the next of its group.
    No,
    /// The group is whole.
    All {
        ahead: i64,
        transcript: Bytes,
        told: Bytes,
    },
}

impl Parts {
    /// Drops the parts that wait for others.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a part of the next group of the current epoch. The link of a first part has been checked.
    pub(super) fn add(&mut self, part: Part, hash: Hash) -> Added {
        if usize::from(part.part) != self.pieces.len() {
            return Added::No;
        }
        let of = if let Some(head) = part.head {
            (self.head, self.len) = (Some(head), 0);
            part.of
        } else {
            if self.last != Some(part.link.before) || part.of != self.of {
                return Added::No;
            }
            self.of
        };
        let Some(head) = self.head else {
            return Added::No;
        };
        let len = self.len + part.piece.len();
        let is_last = part.part + 1 == of;
        // A group that is longer or shorter than it says never ends: all nodes drop it here.
        if len > head.len() || is_last && len != head.len() {
            self.clear();
            return Added::No;
        }
        if !is_last {
            self.pieces.push(part.piece);
            (self.len, self.of, self.last) = (len, of, Some(hash));
            return Added::Waits;
        }
        let content = self.join(part.piece, len);
        self.clear();
        let transcript = head.transcript as usize;
        Added::All {
            ahead: head.ahead,
            transcript: content.slice(..transcript),
            told: content.slice(transcript..),
        }
    }

    /// Joins the pieces and the last one. A group of one part is not copied.
    fn join(&self, last: Bytes, len: usize) -> Bytes {
        if self.pieces.is_empty() {
            return last;
        }
        let mut content = BytesMut::with_capacity(len);
        for piece in &self.pieces {
            content.extend_from_slice(piece);
        }
        content.extend_from_slice(&last);
        content.freeze()
    }

    /// Checks the invariant of the type.
    pub(super) fn check(&self) {
        debug_assert!(self.pieces.is_empty() || self.pieces.len() < usize::from(self.of));
        debug_assert!(self.pieces.is_empty() || self.last.is_some());
        debug_assert_eq!(self.len, self.pieces.iter().map(Bytes::len).sum::<usize>());
    }
}
