//! Changes of a set whose entries are spread over several values.

use std::collections::BTreeMap;

use trunkline_storage::TimelineId;

use super::batch::{Changes, OpenBatch};
use super::refused::Refused;
use crate::state::{self, Bucket, BucketEntry, Move, Spread};

/// A set under change. It reads the buckets that the changes concern, and no others.
pub(super) struct Buckets<'b, E> {
    batch: &'b OpenBatch,
    /// The key of the set, from which the keys of its buckets follow.
    set: TimelineId,
    spread: Spread,
    /// The buckets read so far, by number.
    read: BTreeMap<u32, Read<E>>,
}

/// A bucket that was read.
struct Read<E> {
    entries: Vec<E>,
    is_changed: bool,
}

impl<'b, E: BucketEntry> Buckets<'b, E> {
    /// Returns the set under the key `set`, as the batch leaves it. `spread` is part of its head.
    pub(super) fn new(batch: &'b OpenBatch, set: TimelineId, spread: Spread) -> Self {
        Self {
            batch,
            set,
            spread,
            read: BTreeMap::new(),
        }
    }

    /// Returns a set whose entries an earlier version kept in one value. They all enter one bucket,
    /// and the next changes split it.
    pub(super) fn gathered(batch: &'b OpenBatch, set: TimelineId, entries: Vec<E>) -> Self {
        let spread = Spread::in_one(entries.len());
        let mut set = Self::new(batch, set, spread);
        let first = Read {
            entries,
            is_changed: true,
        };
        set.read.insert(0, first);
        set
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.spread.len()
    }

    /// Returns the entries of the bucket for this hash.
    ///
    /// # Errors
    /// The store could not be read, or the bucket has another form.
    pub(super) fn near(&mut self, hash: u64) -> Result<&[E], Refused> {
        let bucket = self.spread.bucket(hash);
        Ok(&self.bucket(bucket)?.entries)
    }

    /// Adds an entry that is not in the set.
    ///
    /// # Errors
    /// The store could not be read, or a bucket has another form.
    pub(super) fn insert(&mut self, entry: E) -> Result<(), Refused> {
        let step = self.spread.add();
        self.carry_out(step)?;
        self.put(entry)
    }

    /// Removes and returns the entry with this hash for which `is_it` returns true; `None` if there
    /// is none.
    ///
    /// # Errors
    /// The store could not be read, or a bucket has another form.
    pub(super) fn take(
        &mut self,
        hash: u64,
        is_it: impl Fn(&E) -> bool,
    ) -> Result<Option<E>, Refused> {
        let bucket = self.spread.bucket(hash);
        let bucket = self.bucket(bucket)?;
        let Some(at) = bucket.entries.iter().position(is_it) else {
            return Ok(None);
        };
        let taken = bucket.entries.remove(at);
        bucket.is_changed = true;
        let step = self.spread.remove();
        self.carry_out(step)?;
        Ok(Some(taken))
    }

    /// Returns all entries.
    ///
    /// # Errors
    /// The store could not be read, or a bucket has another form.
    pub(super) fn all(&mut self) -> Result<Vec<E>, Refused> {
        let mut all = Vec::new();
        for number in 0..self.spread.buckets() {
            all.extend_from_slice(&self.bucket(number)?.entries);
        }
        Ok(all)
    }

    /// Adds the changed buckets to `changes`. Returns how the entries are spread, for the head.
    pub(super) fn write(self, changes: &mut Changes) -> Spread {
        let changed = self.read.into_iter().filter(|(_, read)| read.is_changed);
        for (number, Read { entries, .. }) in changed {
            let value = if entries.is_empty() {
                Vec::new()
            } else {
                state::encode(&Bucket { entries })
            };
            changes.push((self.batch.ids().bucket(self.set, number), value));
        }
        self.spread
    }

    /// Moves the entries of buckets that were split or merged.
    fn carry_out(&mut self, step: Option<Move>) -> Result<(), Refused> {
        let from = match step {
            None => return Ok(()),
            Some(Move::Split { from, to }) => {
                // There is nothing to read in a new bucket.
                let new = Read {
                    entries: Vec::new(),
                    is_changed: true,
                };
                self.read.insert(to, new);
                from
            }
            Some(Move::Merge { from, .. }) => from,
        };
        let from = self.bucket(from)?;
        from.is_changed = true;
        for entry in std::mem::take(&mut from.entries) {
            self.put(entry)?;
        }
        Ok(())
    }

    /// Puts an entry into its bucket.
    fn put(&mut self, entry: E) -> Result<(), Refused> {
        let bucket = self.spread.bucket(entry.hash(self.batch.ids()));
        let bucket = self.bucket(bucket)?;
        bucket.entries.push(entry);
        bucket.is_changed = true;
        Ok(())
    }

    fn bucket(&mut self, number: u32) -> Result<&mut Read<E>, Refused> {
        use std::collections::btree_map::Entry;
        match self.read.entry(number) {
            Entry::Occupied(read) => Ok(read.into_mut()),
            Entry::Vacant(place) => {
                let key = self.batch.ids().bucket(self.set, number);
                let bucket: Option<Bucket<E>> = self.batch.decoded(key)?;
                Ok(place.insert(Read {
                    entries: bucket.map_or_else(Vec::new, |bucket| bucket.entries),
                    is_changed: false,
                }))
            }
        }
    }
}
