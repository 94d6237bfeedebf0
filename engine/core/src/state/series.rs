//! Sequences of messages of one conversation, in ascending order: an index that grows at its end.
//!
//! The last sequences are in the head. When it has [`PIECE`] of them, they become a piece of their
//! own, which does not change any more. So a new sequence costs the bytes of half a piece on average,
//! however long the series is, and a search looks at a few pieces.

use serde::{Deserialize, Serialize};

use super::Form;

/// The number of sequences of a piece.
pub(crate) const PIECE: usize = 64;

/// The head of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// The number of pieces, which come before `rest`.
    pub(crate) pieces: u32,
    /// The last sequences, as [`Piece`] has them.
    pub(crate) rest: Piece,
}

/// Some sequences in ascending order. Each is stored as the difference to the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece(Vec<u64>);

impl Form<'_> for Series {
    const TAG: u8 = 40;
}

impl Form<'_> for Piece {
    const TAG: u8 = 41;
}

impl Series {
    /// Adds a sequence, which is greater than all before. Returns the piece that is full now, and must
    /// be stored under the number before [`pieces`](Self::pieces).
    pub(crate) fn add(&mut self, seq: u64) -> Option<Piece> {
        self.rest.add(seq);
        if self.rest.0.len() < PIECE {
            return None;
        }
        self.pieces += 1;
        Some(std::mem::take(&mut self.rest))
    }
}

impl Piece {
    fn add(&mut self, seq: u64) {
        let last: u64 = self.0.iter().sum();
        self.0.push(seq.saturating_sub(last));
    }

    /// Returns the sequences.
    pub(crate) fn seqs(&self) -> Vec<u64> {
        let sum = |last: &mut u64, difference: &u64| {
            *last = last.saturating_add(*difference);
            Some(*last)
        };
        self.0.iter().scan(0, sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn full_pieces_leave_the_head() {
        let (mut series, mut pieces) = (Series::default(), Vec::new());
        let seqs: Vec<u64> = (1..=150).map(|n| n * n).collect();
        for seq in &seqs {
            pieces.extend(series.add(*seq));
            let bytes = state::encode(&series);
            assert!(bytes.len() < 160, "{}", bytes.len());
            assert_eq!(state::decode(&bytes), Some(series.clone()));
        }
        assert_eq!((series.pieces, pieces.len()), (2, 2));
        pieces.push(series.rest);
        let all: Vec<u64> = pieces.iter().flat_map(Piece::seqs).collect();
        assert_eq!(all, seqs);
    }
}
