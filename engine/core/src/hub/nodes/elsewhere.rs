//! The devices of users at other nodes.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::{STRIPES, stripe_of};
use crate::ids::{DeviceMark, UserId};
use crate::per_user::{PerUser, Thing, Whole};

/// The maximum number of devices at other nodes. Further ones are not known here: their users seem to be offline. Each
/// takes about 40 bytes.
const MOST: usize = 1 << 23;

/// A node, by the number that this node gives to its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeNumber(pub u8);

/// The marks of a user's devices at one node, each once.
pub type Devices = SmallVec<[DeviceMark; 4]>;

/// The numbers of some nodes.
pub(super) type NodeNumbers = SmallVec<[NodeNumber; 4]>;

/// A device at another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    /// The number of the node. It is less than 255.
    node: u8,
    device: DeviceMark,
}

impl Thing for At {
    const SEVERAL: Self = Self {
        node: u8::MAX,
        device: DeviceMark::NONE,
    };
}

type Stripe = Mutex<PerUser<Whole, At>>;

/// The devices of users at other nodes.
pub(super) struct Elsewhere {
    stripes: Box<[CachePadded<Stripe>]>,
    /// The number of devices in all stripes.
    devices: AtomicUsize,
    most: usize,
    /// The number of devices that found no room.
    lost: AtomicU64,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            devices: AtomicUsize::new(0),
            most: MOST,
            lost: AtomicU64::new(0),
        }
    }
}

impl Elsewhere {
    fn stripe(&self, user: UserId) -> &Stripe {
        &self.stripes[stripe_of(user)]
    }

    /// Returns the number of devices that are known.
    pub(super) fn count(&self) -> usize {
        self.devices.load(Relaxed)
    }

    /// Returns how many devices found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Sets the devices of a user at one node. Returns whether they were others before.
    pub(super) fn set(&self, node: NodeNumber, user: UserId, devices: &[DeviceMark]) -> bool {
        let mut stripe = self.stripe(user).lock();
        let here = stripe.get(user).iter().filter(|at| at.node == node.0);
        let before: Devices = here.map(|at| at.device).collect();
        let mut changed = false;
        for &device in before.iter().filter(|device| !devices.contains(device)) {
            let node = node.0;
            stripe.remove(user, At { node, device });
            self.devices.fetch_sub(1, Relaxed);
            changed = true;
        }
        for &device in devices.iter().filter(|device| !before.contains(device)) {
            // One thread adds, so the number stays below.
            if self.devices.load(Relaxed) >= self.most {
                self.lost.fetch_add(1, Relaxed);
                continue;
            }
            let node = node.0;
            stripe.add(user, At { node, device });
            self.devices.fetch_add(1, Relaxed);
            changed = true;
        }
        changed
    }

    /// Returns the devices of a user at all other nodes. A device that is at two nodes comes twice.
    pub(super) fn devices(&self, user: UserId) -> Devices {
        if self.devices.load(Relaxed) == 0 {
            return Devices::new();
        }
        let stripe = self.stripe(user).lock();
        stripe.get(user).iter().map(|at| at.device).collect()
    }

    /// Returns the nodes that have devices of a user, and the number of these devices.
    pub(super) fn nodes(&self, user: UserId) -> (NodeNumbers, usize) {
        let mut nodes = NodeNumbers::new();
        if self.devices.load(Relaxed) == 0 {
            return (nodes, 0);
        }
        let stripe = self.stripe(user).lock();
        let all = stripe.get(user);
        for at in all {
            if !nodes.contains(&NodeNumber(at.node)) {
                nodes.push(NodeNumber(at.node));
            }
        }
        (nodes, all.len())
    }

    /// Returns the users of one stripe within a range of ids who have devices at a node.
    pub(super) fn users_at(
        &self,
        node: NodeNumber,
        stripe: usize,
        range: &RangeInclusive<u128>,
    ) -> Vec<UserId> {
        let mut users = Vec::new();
        self.stripes[stripe].lock().each(|user: Whole, all| {
            let user = user.id();
            if range.contains(&user.0) && all.iter().any(|at| at.node == node.0) {
                users.push(user);
            }
        });
        users
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    const ALICE: UserId = TimelineId(3 << 64 | 7);
    const A: NodeNumber = NodeNumber(0);
    const B: NodeNumber = NodeNumber(9);

    fn marks(devices: &[u8]) -> Devices {
        devices.iter().map(|n| DeviceMark([*n; 4])).collect()
    }

    #[test]
    fn each_node_has_its_own_devices() {
        let all = Elsewhere::default();
        assert!(all.devices(ALICE).is_empty());
        assert!(all.set(A, ALICE, &marks(&[1, 2])));
        assert!(!all.set(A, ALICE, &marks(&[2, 1])), "the same");
        assert!(all.set(B, ALICE, &marks(&[2])));
        assert_eq!(all.devices(ALICE), marks(&[1, 2, 2]));
        let (nodes, devices) = all.nodes(ALICE);
        assert_eq!((&nodes[..], devices), (&[A, B][..], 3));
        assert!(all.set(A, ALICE, &marks(&[3])));
        assert_eq!(all.devices(ALICE), marks(&[2, 3]));
        let whole = 0..=u128::MAX;
        assert_eq!(all.users_at(A, 3, &whole), [ALICE]);
        assert_eq!(all.users_at(A, 4, &whole), []);
        assert_eq!(all.users_at(A, 3, &(0..=6)), []);
        assert!(all.set(A, ALICE, &[]) && all.set(B, ALICE, &[]));
        assert!(!all.set(B, ALICE, &[]));
        assert_eq!((all.count(), all.users_at(A, 3, &whole).len()), (0, 0));
    }

    #[test]
    fn bounded() {
        let all = Elsewhere {
            most: 3,
            ..Elsewhere::default()
        };
        assert!(all.set(A, ALICE, &marks(&[1, 2])));
        assert!(all.set(B, ALICE, &marks(&[1, 2])));
        assert_eq!((all.count(), all.lost()), (3, 1));
        assert!(!all.set(B, ALICE, &marks(&[1, 2])), "there is no room");
        assert!(all.set(A, ALICE, &[]));
        assert!(all.set(B, ALICE, &marks(&[1, 2])));
        assert_eq!(all.count(), 2);
    }
}
