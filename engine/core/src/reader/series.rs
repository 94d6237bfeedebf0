//! Searches in indexes that grow at their end.

use trunkline_storage::TimelineId;

use super::failure::CORRUPT;
use super::reading::Reading;
use crate::exchange::Failure;
use crate::state::{self, Piece, Series};

/// A series as it was when its head was read.
pub(super) struct Stored<'r> {
    reading: &'r Reading,
    key: TimelineId,
    head: Series,
}

impl<'r> Stored<'r> {
    /// Reads the head of the series under a key; an empty one if there is none.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn read(reading: &'r Reading, key: TimelineId) -> Result<Self, Failure> {
        Ok(Self {
            reading,
            key,
            head: reading.value(key)?.unwrap_or_default(),
        })
    }

    /// Returns the last sequences above `seq`, at most `most`, in descending order.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn above(&self, seq: u64, most: usize) -> Result<Vec<u64>, Failure> {
        let mut found = Vec::new();
        for number in (0..=self.head.pieces).rev() {
            let seqs = self.piece(number)?;
            let is_last = seqs.first().is_some_and(|first| *first <= seq);
            found.extend(seqs.into_iter().rev().filter(|found| *found > seq));
            if is_last || found.len() >= most {
                break;
            }
            self.reading.pause_if_due().await;
        }
        found.truncate(most);
        Ok(found)
    }

    /// Returns the sequences of a piece. The last one is in the head.
    fn piece(&self, number: u32) -> Result<Vec<u64>, Failure> {
        if number >= self.head.pieces {
            return Ok(self.head.rest.seqs());
        }
        let key = self.reading.ids().bucket(self.key, number);
        let value = self.reading.bytes(key)?.ok_or(CORRUPT)?;
        let piece: Piece = state::decode(&value).ok_or(CORRUPT)?;
        Ok(piece.seqs())
    }

    /// Returns the number of the first piece that has a sequence of at least `seq`, or of the last
    /// piece. Reads as many pieces as their number has bits.
    async fn find(&self, seq: u64) -> Result<u32, Failure> {
        let (mut low, mut high) = (0, self.head.pieces);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.piece(middle)?.last() {
                Some(last) if *last < seq => low = middle + 1,
                _ => high = middle,
            }
            self.reading.pause_if_due().await;
        }
        Ok(low)
    }

    /// Returns the first sequences from `seq` on, at most `most`, in ascending order.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn from(&self, seq: u64, most: usize) -> Result<Vec<u64>, Failure> {
        let (mut found, first) = (Vec::new(), self.find(seq).await?);
        for number in first..=self.head.pieces {
            if found.len() >= most {
                break;
            }
            let seqs = self.piece(number)?.into_iter();
            found.extend(seqs.filter(|found| *found >= seq));
            self.reading.pause_if_due().await;
        }
        found.truncate(most);
        Ok(found)
    }

    /// Returns the last sequences below `seq`, at most `most`, in ascending order.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn below(&self, seq: u64, most: usize) -> Result<Vec<u64>, Failure> {
        let (mut found, last) = (Vec::new(), self.find(seq).await?);
        for number in (0..=last).rev() {
            if found.len() >= most {
                break;
            }
            let seqs = self.piece(number)?.into_iter().rev();
            found.extend(seqs.filter(|found| *found < seq));
            self.reading.pause_if_due().await;
        }
        found.truncate(most);
        found.reverse();
        Ok(found)
    }
}
