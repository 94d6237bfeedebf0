//! Which node numbers the publications of which topic.

use parking_lot::RwLock;

use super::super::TopicId;
use super::elsewhere::NodeNumber;

/// A node that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Living {
    /// A number that all nodes know this life of the node by.
    pub life: u64,
    /// The number by which this node knows it; `None` for this node itself.
    pub node: Option<NodeNumber>,
}

/// The nodes that live, as this one knows. All nodes that know the same ones agree on who numbers the publications of each
/// topic. A node that begins or ends changes that for its share of the topics.
#[derive(Debug, Default)]
pub(super) struct Owners(RwLock<Vec<Living>>);

impl Owners {
    /// Sets the nodes that live.
    pub(super) fn set(&self, living: Vec<Living>) {
        *self.0.write() = living;
    }

    /// Returns the node that numbers the publications of a topic; `None` if it is this one.
    pub(super) fn of(&self, topic: TopicId) -> Option<NodeNumber> {
        let living = self.0.read();
        let first = living
            .iter()
            .max_by_key(|one| (weight(one.life, topic), one.life));
        first.and_then(|first| first.node)
    }
}

/// Returns the weight of a life for a topic: the greatest one decides (rendezvous hashing).
fn weight(life: u64, topic: TopicId) -> u64 {
    let mut mixed = life ^ (topic.0 >> 64) as u64 ^ (topic.0 as u64).rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    fn owners(lives: &[u64], me: u64) -> Owners {
        let owners = Owners::default();
        let living = |&life: &u64| Living {
            life,
            node: (life != me).then_some(NodeNumber(life as u8)),
        };
        owners.set(lives.iter().map(living).collect());
        owners
    }

    /// Returns the lives that own each of many topics.
    fn all(owners: &Owners, me: u64) -> Vec<u64> {
        let topic = |n: u128| TimelineId((n << 64) | (n * 0x9e37_79b9));
        let owner = |n| owners.of(topic(n)).map_or(me, |node| node.0.into());
        (0..3_000).map(owner).collect()
    }

    #[test]
    fn nodes_agree_share_and_keep_what_they_have() {
        let lives = [17, 40, 99];
        let by_17 = all(&owners(&lives, 17), 17);
        assert_eq!(all(&owners(&[99, 17, 40], 40), 40), by_17);
        for life in lives {
            let share = by_17.iter().filter(|owner| **owner == life).count();
            assert!((800..1_200).contains(&share), "{share} of {life}");
        }
        let without = all(&owners(&[17, 40], 17), 17);
        let moved = by_17
            .iter()
            .zip(&without)
            .filter(|(before, now)| before != now);
        assert!(moved.into_iter().all(|(before, _)| *before == 99));
        assert_eq!(owners(&[], 1).of(TimelineId(7)), None, "a node alone");
    }
}
