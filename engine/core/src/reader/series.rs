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

    /// Returns the sequences of a piece. The last one is in the head. One that is missing is empty: a repair of the
    /// store gave up the record that made it, and the head still counts it.
    fn piece(&self, number: u32) -> Result<Vec<u64>, Failure> {
        if number >= self.head.pieces {
            return Ok(self.head.rest.seqs());
        }
        let key = self.reading.ids().bucket(self.key, number);
        let Some(value) = self.reading.bytes(key)? else {
            return Ok(Vec::new());
        };
        let piece: Piece = state::decode(&value).ok_or(CORRUPT)?;
        Ok(piece.seqs())
    }

    /// Returns the number of the first piece that has a sequence of at least `seq`, or of the last
    /// piece. Reads as many pieces as their number has bits.
    async fn find(&self, seq: u64) -> Result<u32, Failure> {
        let (mut low, mut high) = (0, self.head.pieces);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut last = None;
            // An empty piece says nothing; the one before it does.
            for number in (low..=middle).rev() {
                last = self.piece(number)?.last().copied();
                self.reading.pause_if_due().await;
                if last.is_some() {
                    break;
                }
            }
            match last {
                Some(last) if last >= seq => high = middle,
                _ => low = middle + 1,
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_storage::backend::sim::SimDisk;
    use trunkline_storage::{Options, Store};

    use super::*;
    use crate::exchange::slices::at_once;

    #[test]
    fn pieces_that_a_repair_gave_up_are_empty() {
        const KEY: TimelineId = TimelineId(7);
        let options = Options {
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let mut opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
        let reading = Reading::of_tests(&opened.reader);
        let (mut head, mut pieces, mut last) = (Series::default(), Vec::new(), 0);
        while pieces.len() < 5 {
            last += 1;
            pieces.extend(head.add(last));
        }
        // What a piece has, by its number.
        let seqs: Vec<_> = pieces.iter().map(Piece::seqs).collect();
        opened.writer.set_state(KEY, &state::encode(&head)).unwrap();
        for lost in 0_usize..32 {
            let is_lost = |number: usize| lost >> number & 1 == 1;
            let mut left: Vec<u64> = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                let key = reading.ids().bucket(KEY, number as u32);
                let value = match is_lost(number) {
                    true => Vec::new(),
                    false => {
                        left.extend(&seqs[number]);
                        state::encode(piece)
                    }
                };
                opened.writer.set_state(key, &value).unwrap();
            }
            opened.writer.commit().unwrap();
            left.extend(head.rest.seqs());
            let stored = Stored::read(&reading, KEY).unwrap();
            for seq in 0..=last + 1 {
                let above: Vec<_> = left.iter().rev().filter(|it| **it > seq).collect();
                let found = at_once(stored.above(seq, 1_000)).unwrap();
                assert!(found.iter().eq(above), "{lost:b} above {seq}");
                let from: Vec<_> = left.iter().filter(|it| **it >= seq).collect();
                let found = at_once(stored.from(seq, 1_000)).unwrap();
                assert!(found.iter().eq(from), "{lost:b} from {seq}");
                let below: Vec<_> = left.iter().filter(|it| **it < seq).collect();
                let found = at_once(stored.below(seq, 1_000)).unwrap();
                assert!(found.iter().eq(below), "{lost:b} below {seq}");
            }
        }
    }
}
