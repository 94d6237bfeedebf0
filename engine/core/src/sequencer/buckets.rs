//! Changes of a set whose entries are spread over several values.
//!
//! A change has two steps. First entries are looked up, taken out and noted for insertion, in the
//! buckets as they are stored. Then [`Buckets::write`] finds the new form of the set, and moves each
//! entry once, however many come and go.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, TimelineId};

use super::batch::{Changes, OpenBatch};
use super::refused::Refused;
use crate::state::{self, Bucket, BucketEntry, Spread};

/// A set under change. It reads the buckets that the changes concern, and no others.
pub(super) struct Buckets<'b, E> {
    batch: &'b OpenBatch,
    /// The key of the set, from which the keys of its buckets follow.
    set: TimelineId,
    /// How the entries are spread in the store.
    spread: Spread,
    /// The buckets read so far, by their [`place`].
    read: HashMap<u64, Read<E>, IdBuildHasher>,
    /// The entries to insert, with their hashes.
    added: Vec<(u64, E)>,
    /// The number of entries that were taken out.
    removed: usize,
}

/// A bucket that was read.
struct Read<E> {
    number: u32,
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
            read: HashMap::default(),
            added: Vec::new(),
            removed: 0,
        }
    }

    /// Returns a set whose entries an earlier version kept in one value. They all enter one bucket,
    /// and the next changes split it.
    pub(super) fn gathered(batch: &'b OpenBatch, set: TimelineId, entries: Vec<E>) -> Self {
        let spread = Spread::in_one(entries.len());
        let mut set = Self::new(batch, set, spread);
        let first = Read {
            number: 0,
            entries,
            is_changed: true,
        };
        set.read.insert(place(0), first);
        set
    }

    /// Returns the keys of the buckets that a change reads which looks for entries with this hash, and adds and
    /// removes so many with it. A key may come several times.
    pub(super) fn keys(
        batch: &'b OpenBatch,
        set: TimelineId,
        spread: Spread,
        hash: u64,
        (added, removed): (usize, usize),
    ) -> impl Iterator<Item = TimelineId> {
        let after = spread.changed(added, removed);
        [spread.bucket(hash), after.bucket(hash)]
            .into_iter()
            .chain(spread.read_for(after))
            .filter(move |number| *number < spread.buckets().max(1))
            .map(move |number| batch.ids().bucket(set, number))
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        (self.spread.len() + self.added.len()).saturating_sub(self.removed)
    }

    /// Returns the stored entries of the bucket for this hash, without those to insert.
    ///
    /// # Errors
    /// The store could not be read, or the bucket has another form.
    pub(super) fn near(&mut self, hash: u64) -> Result<&[E], Refused> {
        let bucket = self.spread.bucket(hash);
        Ok(&self.bucket(bucket)?.entries)
    }

    /// Adds an entry that is not in the set. `hash` is its hash. It is in no bucket before
    /// [`write`](Self::write).
    pub(super) fn insert(&mut self, hash: u64, entry: E) {
        self.added.push((hash, entry));
    }

    /// Removes and returns the stored entry with this hash for which `is_it` returns true; `None` if
    /// there is none.
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
        self.removed += 1;
        Ok(Some(taken))
    }

    /// Returns all stored entries that were not taken out.
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

    /// Sets the values of the first `most` buckets anew, also of those that the set no longer has: an erasure then finds
    /// their keys in the record, and removes what stood under them. Entries stay, and an empty set has no bucket after
    /// that. Nothing else changes the set with the same record.
    ///
    /// # Errors
    /// The store could not be read, or a bucket has another form.
    pub(super) fn renew_all(&mut self, most: u32) -> Result<(), Refused> {
        let buckets = match self.len() {
            // Nothing has to be read, so damage does not matter.
            0 => 0,
            _ => self.spread.buckets(),
        };
        for number in 0..buckets {
            self.bucket(number)?.is_changed = true;
        }
        for number in buckets..most.max(self.spread.buckets()) {
            let empty = Read {
                number,
                entries: Vec::new(),
                is_changed: true,
            };
            self.read.insert(place(number), empty);
        }
        if buckets == 0 {
            self.spread = self.spread.emptied();
        }
        Ok(())
    }

    /// Adds the changed buckets to `changes`. Returns how the entries are spread, for the head.
    ///
    /// # Errors
    /// The store could not be read, or a bucket has another form.
    pub(super) fn write(mut self, changes: &mut Changes) -> Result<Spread, Refused> {
        self.settle()?;
        let changed = self.read.into_values().filter(|read| read.is_changed);
        let mut changed: Vec<_> = changed.collect();
        changed.sort_unstable_by_key(|read| read.number);
        changes.reserve(changed.len());
        for Read {
            number, entries, ..
        } in changed
        {
            let value = if entries.is_empty() {
                Vec::new()
            } else {
                state::encode(&Bucket { entries })
            };
            changes.push((self.batch.ids().bucket(self.set, number), value));
        }
        Ok(self.spread)
    }

    /// Gives the set the form for its new number of entries, and puts those to insert into their
    /// buckets.
    fn settle(&mut self) -> Result<(), Refused> {
        let added = std::mem::take(&mut self.added);
        let before = self.spread;
        let after = before.changed(added.len(), self.removed);
        let mut moved = Vec::new();
        for from in before.left_for(after) {
            let from = self.bucket(from)?;
            from.is_changed = true;
            moved.append(&mut from.entries);
        }
        self.spread = after;
        for number in before.buckets().max(1)..after.buckets() {
            // There is nothing to read in a new bucket.
            let new = Read {
                number,
                entries: Vec::new(),
                is_changed: true,
            };
            self.read.insert(place(number), new);
        }
        for entry in moved {
            self.put(entry.hash(self.batch.ids()), entry)?;
        }
        for (hash, entry) in added {
            self.put(hash, entry)?;
        }
        Ok(())
    }

    /// Puts an entry into its bucket.
    fn put(&mut self, hash: u64, entry: E) -> Result<(), Refused> {
        let bucket = self.spread.bucket(hash);
        let bucket = self.bucket(bucket)?;
        bucket.entries.push(entry);
        bucket.is_changed = true;
        Ok(())
    }

    fn bucket(&mut self, number: u32) -> Result<&mut Read<E>, Refused> {
        use std::collections::hash_map::Entry;
        match self.read.entry(place(number)) {
            Entry::Occupied(read) => Ok(read.into_mut()),
            Entry::Vacant(vacant) => {
                let key = self.batch.ids().bucket(self.set, number);
                let bucket: Option<Bucket<E>> = self.batch.decoded(key)?;
                Ok(vacant.insert(Read {
                    number,
                    entries: bucket.map_or_else(Vec::new, |bucket| bucket.entries),
                    is_changed: false,
                }))
            }
        }
    }
}

/// Returns the key of a bucket in the map of those that were read: its number, spread over 64 bits.
fn place(number: u32) -> u64 {
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
