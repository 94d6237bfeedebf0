//! Connections that listen to one thing, in an order that one can stop in and go on from.

use slab::Slab;

/// Connections of a shard that listen to a topic or watch a user, each with a note.
///
/// Each has a key that stays the same; a walk by keys can be put off to a later turn and misses
/// nobody who was there all the time.
#[derive(Debug, Default)]
pub(super) struct Listeners<T> {
    slots: Slab<Listener<T>>,
    /// Behind every key in use.
    end: usize,
}

#[derive(Debug)]
pub(super) struct Listener<T> {
    /// The connection.
    pub(super) slot: u32,
    pub(super) note: T,
}

impl<T> Listeners<T> {
    /// Adds a connection; its key.
    pub(super) fn add(&mut self, slot: u32, note: T) -> u32 {
        let key = self.slots.insert(Listener { slot, note });
        self.end = self.end.max(key + 1);
        key as u32
    }

    pub(super) fn remove(&mut self, key: u32) {
        self.slots.try_remove(key as usize);
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Listener<T>> {
        self.slots.get_mut(key as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Behind every key in use: where a walk from 0 ends.
    pub(super) const fn end(&self) -> u32 {
        self.end as u32
    }
}
