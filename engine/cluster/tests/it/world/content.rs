//! The content of groups and answers in the world of the tests.

use bytes::Bytes;
use trunkline_cluster::envelope::Hash;

use super::CommandId;
use crate::made::life;

/// The names of the nodes.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

/// What was decided, and on which state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// The digest of the state on which it was decided.
    pub(super) digest: u64,
    /// The epoch in which it was decided.
    pub(super) epoch: u64,
    pub(super) commands: Vec<CommandId>,
}

impl Content {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut to = self.digest.to_le_bytes().to_vec();
        to.extend_from_slice(&self.epoch.to_le_bytes());
        for (node, number) in &self.commands {
            let at = NAMES.iter().position(|name| *name == node.node.as_str());
            to.push(at.expect("one of the nodes") as u8);
            to.extend_from_slice(&node.number.to_le_bytes());
            to.extend_from_slice(&number.to_le_bytes());
        }
        to
    }

    pub(super) fn read(bytes: &Bytes) -> Self {
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let (digest, rest) = bytes.split_at(8);
        let (epoch, rest) = rest.split_at(8);
        let commands = rest.chunks_exact(17).map(|one| {
            let name = NAMES[usize::from(one[0])];
            (life(name, long(&one[1..9])), long(&one[9..]))
        });
        Self {
            digest: long(digest),
            epoch: long(epoch),
            commands: commands.collect(),
        }
    }

    /// The digest of the state after this.
    pub(super) fn digest_after(&self, transcript: &Bytes) -> u64 {
        let hash = Hash::of(&[&self.digest.to_le_bytes()[..], transcript].concat());
        u64::from_le_bytes(hash.0[..8].try_into().expect("eight bytes"))
    }
}
