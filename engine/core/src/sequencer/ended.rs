//! Windows of a user's inbox that end: each enters a piece, and the nodes above it say where the piece lies. An
//! erasure of the user removes pieces and nodes, some at a time.

use std::collections::BTreeMap;

use super::batch::{Changes, OpenBatch};
use super::refused::Refused;
use crate::state::{self, Bucket, Closed, NODE, Node, Window};
use trunkline_storage::TimelineId;

/// The pieces and nodes of the closed windows of one inbox that a record changes.
pub(super) struct Ended<'b> {
    batch: &'b OpenBatch,
    /// The key of the inbox.
    inbox: TimelineId,
    /// The nodes that change, by level and number.
    nodes: BTreeMap<(u32, u64), Node>,
    /// The pieces that are full, and the slots that are no longer used.
    values: Changes,
}

impl<'b> Ended<'b> {
    /// Returns no changes of the closed windows of the inbox under this key.
    pub(super) fn new(batch: &'b OpenBatch, inbox: TimelineId) -> Self {
        Self {
            batch,
            inbox,
            nodes: BTreeMap::new(),
            values: Changes::new(),
        }
    }

    /// Keeps a window that ended after all others in `closed`, unless nothing can be in it.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn close(&mut self, closed: &mut Closed, window: Window) -> Result<(), Refused> {
        if window.after >= window.until {
            return Ok(());
        }
        let Some(piece) = closed.add(window) else {
            return Ok(());
        };
        let (mut number, mut reach) = (piece.number, piece.reach());
        let entries = piece.windows;
        let key = self.batch.ids().closed(self.inbox, 0, number);
        self.values.push((key, state::encode(&Bucket { entries })));
        for level in 1.. {
            let place = number % NODE;
            number /= NODE;
            let node = self.node(level, number, place == 0)?;
            node.put(place, reach);
            match node.full() {
                Some(all) => reach = all,
                None => break,
            }
        }
        Ok(())
    }

    /// Removes the windows from a stretch of [`NODE`] pieces on, with the nodes that those began. Windows that are in
    /// no piece go too. Removes pieces behind the stretch that `closed` does not count as well, while one follows the
    /// other: an erasure by an earlier version left them. Returns whether it did: nothing changes if `closed` counts
    /// pieces behind the stretch, which have to go before.
    pub(super) fn forget(&mut self, closed: &mut Closed, stretch: u64) -> bool {
        let first = stretch * NODE;
        if closed.pieces > first + NODE {
            return false;
        }
        closed.rest.clear();
        for number in first..first + NODE {
            let is_counted = number < closed.pieces;
            if !self.remove_stored(0, number, is_counted) {
                break;
            }
            if let Some((level, number)) = Closed::node_begun_by(number) {
                self.remove_stored(level, number, is_counted);
            }
        }
        closed.pieces = closed.pieces.min(first);
        if closed.pieces == 0 {
            closed.end = 0;
        }
        true
    }

    /// Removes a piece or a node, if it is in the store, and returns whether it is. What cannot be read is there, and
    /// what `closed` counts does not have to be read: an erasure does not wait for the repair of what it removes.
    fn remove_stored(&mut self, level: u32, number: u64, is_counted: bool) -> bool {
        let key = self.batch.ids().closed(self.inbox, level, number);
        let is_there = is_counted || !matches!(self.batch.value(key), Ok(None));
        if is_there {
            self.remove(key);
        }
        is_there
    }

    /// Returns whether nothing changes.
    pub(super) fn is_unchanged(&self) -> bool {
        self.values.is_empty() && self.nodes.is_empty()
    }

    /// Removes the value under a key.
    pub(super) fn remove(&mut self, key: TimelineId) {
        self.values.push((key, Vec::new()));
    }

    /// Adds what changed to `changes`.
    pub(super) fn write(self, changes: &mut Changes) {
        changes.extend(self.values);
        for ((level, number), node) in self.nodes {
            let key = self.batch.ids().closed(self.inbox, level, number);
            changes.push((key, state::encode(&node)));
        }
    }

    fn node(&mut self, level: u32, number: u64, is_new: bool) -> Result<&mut Node, Refused> {
        use std::collections::btree_map::Entry;
        match self.nodes.entry((level, number)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let key = self.batch.ids().closed(self.inbox, level, number);
                let stored = if is_new {
                    None
                } else {
                    self.batch.decoded(key)?
                };
                Ok(vacant.insert(stored.unwrap_or_default()))
            }
        }
    }
}
