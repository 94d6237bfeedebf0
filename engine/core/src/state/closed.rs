//! The closed windows of a user: stretches of channels from which the user no longer receives events, and
//! which devices that were away still catch up from.
//!
//! Others add and remove a user as often as they like, so no number of closed windows may push earlier ones
//! out. All of them stay, in the order of their ends: the last few in the inbox, earlier ones in pieces of
//! [`PIECE`] under keys of their own. A node of level 1 says of each of [`NODE`] pieces in which positions its
//! windows lie; a node of level 2 says the same of nodes of level 1, and so on. Pieces never change, and of each
//! level only the last node does, unless an erasure removes them. So one more window costs the same however many
//! there are, and a page of events finds the windows of its positions without a look at the others.

use serde::{Deserialize, Serialize};

use super::{Form, Window};

/// The number of windows of a piece. The inbox itself holds fewer.
pub(crate) const PIECE: usize = 8;

/// The number of pieces, or of nodes of the level below, in a node.
pub(crate) const NODE: u64 = 64;

/// The closed windows of a user, as the inbox has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// The number of pieces, which come before `rest`.
    pub(crate) pieces: u64,
    /// The end of the last window in a piece; 0 without any.
    pub(crate) end: u64,
    /// The last windows, in the order of their ends.
    pub(crate) rest: Vec<Window>,
}

/// The positions in which some windows lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// The position after which the first of the windows begins.
    pub(crate) after: u64,
    /// The position of the last event in any of the windows; 0 if they are not known.
    pub(crate) end: u64,
}

/// The positions in which the windows of some pieces lie, or those of some nodes of the level below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node(Vec<Reach>);

impl Form<'_> for Node {
    const TAG: u8 = 29;
}

/// A piece that is full, with its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) number: u64,
    pub(crate) windows: Vec<Window>,
}

impl Closed {
    /// Adds a window that ended after all others. Returns the piece to store, if one became full.
    pub(crate) fn add(&mut self, window: Window) -> Option<Piece> {
        self.rest.push(window);
        if self.rest.len() < PIECE {
            return None;
        }
        self.pieces += 1;
        self.end = window.until;
        Some(Piece {
            number: self.pieces - 1,
            windows: std::mem::take(&mut self.rest),
        })
    }

    /// Returns the number of the piece that becomes full with the next window; `None` if that fills none.
    pub(crate) fn fills_next(&self) -> Option<u64> {
        (self.rest.len() + 1 >= PIECE).then_some(self.pieces)
    }

    /// Returns the node that the piece with this number began, by its level and number; `None` if all nodes above
    /// the piece were there before.
    pub(crate) const fn node_begun_by(piece: u64) -> Option<(u32, u64)> {
        let (mut level, mut number) = (1, piece);
        loop {
            let place = number % NODE;
            number /= NODE;
            if place == 0 {
                return Some((level, number));
            }
            // Only a full node enters the one above it.
            if place != NODE - 1 {
                return None;
            }
            level += 1;
        }
    }

    /// Returns the last node of each level, the highest level first: those have all pieces below them, the
    /// oldest first. Each comes with its level, its number and its length.
    pub(crate) fn last_nodes(&self) -> Vec<(u32, u64, usize)> {
        let (mut nodes, mut below) = (Vec::new(), self.pieces);
        for level in 1.. {
            if below == 0 {
                break;
            }
            let (number, len) = (below / NODE, (below % NODE) as usize);
            if len > 0 {
                nodes.push((level, number, len));
            }
            below = number;
        }
        nodes.reverse();
        nodes
    }
}

impl Piece {
    /// Returns the positions in which the windows of the piece lie.
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            after: self.windows.iter().map(|one| one.after).min().unwrap_or(0),
            end: self.windows.iter().map(|one| one.until).max().unwrap_or(0),
        }
    }
}

impl Node {
    /// Sets the entry at `place`, behind all others. A repair can have lost entries before it, or have brought
    /// a node back that is longer.
    pub(crate) fn put(&mut self, place: u64, reach: Reach) {
        self.0.resize(place as usize, Reach::default());
        self.0.push(reach);
    }

    /// Returns what the node says of all of its entries; `None` while it has room.
    pub(crate) fn full(&self) -> Option<Reach> {
        (self.0.len() as u64 >= NODE).then(|| Reach {
            after: self.0.iter().map(|one| one.after).min().unwrap_or(0),
            end: self.0.iter().map(|one| one.end).max().unwrap_or(0),
        })
    }

    /// Returns the entries.
    pub(crate) fn reaches(&self) -> &[Reach] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_nodes_have_all_pieces_below_them() {
        for pieces in [0, 1, 63, 64, 65, 127, 4_095, 4_096, 4_097, 300_000] {
            let closed = Closed {
                pieces,
                ..Closed::default()
            };
            let mut next = 0;
            for (level, number, len) in closed.last_nodes() {
                let each = NODE.pow(level - 1);
                assert_eq!(number * NODE * each, next, "{pieces}");
                next += len as u64 * each;
            }
            assert_eq!(next, pieces);
        }
    }

    #[test]
    fn a_node_begins_with_one_piece() {
        let begun = |piece| Closed::node_begun_by(piece);
        assert_eq!([0, 64].map(begun), [Some((1, 0)), Some((1, 1))]);
        assert_eq!([1, 62, 65].map(begun), [None; 3]);
        assert_eq!([63, 4_159].map(begun), [Some((2, 0)), Some((2, 1))]);
        assert_eq!([127, 4_095].map(begun), [None, Some((3, 0))]);
    }

    #[test]
    fn a_node_keeps_its_places_if_entries_were_lost() {
        let (mut node, reach) = (Node::default(), Reach { after: 3, end: 9 });
        node.put(2, reach);
        assert_eq!(node.reaches(), [Reach::default(), Reach::default(), reach]);
        node.put(1, reach);
        assert_eq!(node.reaches(), [Reach::default(), reach]);
        for place in 2..NODE {
            assert_eq!(node.full(), None);
            node.put(place, reach);
        }
        assert_eq!(node.full(), Some(Reach { after: 0, end: 9 }));
    }
}
