//! The connections that listen to one thing, in an order that a walk can stop in and go on from.

use slab::Slab;

/// Connections of a shard that subscribe to one topic or watch one user, each with a note.
///
/// The key of a connection stays the same. So a walk by keys can go on in a later turn, and misses
/// no connection that was there all the time.
#[derive(Debug)]
pub(super) struct Listeners<T> {
    slots: Slab<Listener<T>>,
    /// One more than the largest key that was ever in use.
    end: usize,
}

/// A connection that listens to something.
#[derive(Debug)]
pub(super) struct Listener<T> {
    /// The slot of the connection.
    pub(super) slot: u32,
    /// The state that was last pushed to the connection.
    pub(super) note: T,
}

impl<T> Default for Listeners<T> {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            end: 0,
        }
    }
}

impl<T> Listeners<T> {
    /// Adds a connection. Returns its key.
    pub(super) fn add(&mut self, slot: u32, note: T) -> u32 {
        let key = self.slots.insert(Listener { slot, note });
        self.end = self.end.max(key + 1);
        key as u32
    }

    /// Removes the connection with this key.
    pub(super) fn remove(&mut self, key: u32) {
        self.slots.try_remove(key as usize);
    }

    /// The connection with this key, if there is one.
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Listener<T>> {
        self.slots.get_mut(key as usize)
    }

    /// Returns whether there is no listener.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The key at which a walk from 0 ends: greater than every key in use.
    pub(super) const fn end(&self) -> u32 {
        self.end as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_and_a_walk_to_the_end_meets_everybody() {
        let mut listeners = Listeners::default();
        let keys: Vec<_> = (10..15).map(|slot| listeners.add(slot, 0)).collect();
        listeners.remove(keys[1]);
        listeners.remove(keys[1]);
        let again = listeners.add(20, 7);
        let mut met = Vec::new();
        for key in 0..listeners.end() {
            met.extend(listeners.get_mut(key).map(|listener| listener.slot));
        }
        met.sort_unstable();
        assert_eq!(met, [10, 12, 13, 14, 20]);
        assert_eq!(listeners.get_mut(again).map(|found| found.note), Some(7));
        for key in 0..listeners.end() {
            listeners.remove(key);
        }
        assert!(listeners.is_empty());
    }
}
