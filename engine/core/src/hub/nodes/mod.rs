//! What the hub of a node of a cluster knows of other nodes, and what it tells them.
//!
//! A gateway that works alone has none of this. In a cluster one thread speaks with the other nodes:
//!
//! - It takes the users who came or left here ([`Nodes::take_changed`]), and reads how each of them is now
//!   ([`Hub::here`]). What it sends is a state, so a message that comes twice does no harm.
//! - It says what it heard: how one user is at another node ([`Hub::hear`]), who all is there in a part of the
//!   users ([`Hub::hear_all`]), and that a node has ended ([`Hub::node_ended`]).
//!
//! Events for users at other nodes go to those nodes that have devices of them ([`Nodes::take_events`]), and
//! [`Hub::pass_here`] passes those of others on. So what a user types costs the nodes of the other members of the
//! conversation, and not all nodes of the cluster: with N nodes, most 1:1 conversations are between two of them.
//!
//! Each node notes who left another one, as it does for its own users. So whoever leads stores the last-seen times of the
//! users of all nodes, and the others forget them when the log has them ([`Hub::last_seen_stored`]).
//!
//! Times do not leave a node: nodes tell each other how long ago something was.

mod changed;
mod elsewhere;
mod events;
mod line;
mod owners;
mod topics;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::exchange::{Job, Wake};
use crate::ids::{DeviceMark, UserId};

use super::{EphemeralEvent, Hub, Publication, PushFrames, STRIPES, stripe_of};
use changed::Changed;
use elsewhere::Elsewhere;
use line::Line;
use owners::Owners;

pub use elsewhere::{Devices, NodeNumber};
pub use events::EventElsewhere;
pub use owners::Living;

/// The time by which two nodes may differ about when a user left.
const DIFFERENCE: u64 = 1_000;

/// The stripes of waiting last-seen times that one call of [`Hub::drop_returned`] looks at.
const STRIPES_A_CALL: usize = 4;

/// What the hub of a node has for the other nodes of its cluster.
pub struct Nodes {
    elsewhere: Elsewhere,
    changed: Changed,
    events: Line<EventElsewhere>,
    owners: Owners,
    questions: Line<Box<Job>>,
    publications: Line<Arc<Publication>>,
    /// Wakes the thread that speaks with other nodes.
    wake: Arc<dyn Wake>,
}

/// The recipients of an event at other nodes.
#[derive(Default)]
pub(super) struct Recipients {
    /// The nodes, with the users who have devices there.
    pub(super) nodes: SmallVec<[(NodeNumber, SmallVec<[UserId; 2]>); 2]>,
    /// The number of these devices.
    pub(super) devices: usize,
}

/// How a user is at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAtNode {
    /// The user.
    pub user: UserId,
    /// The devices that are connected there.
    pub devices: Devices,
    /// How long ago a connection of the user ended last, if the node knows.
    pub left_ago: Option<Duration>,
}

/// The users of one stripe with ids in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The number of the stripe: less than [`STRIPES`].
    pub stripe: usize,
    /// The ids.
    pub ids: RangeInclusive<u128>,
}

impl Stretch {
    /// Returns the number of the stripe that a user is in.
    pub const fn stripe_of(user: UserId) -> usize {
        stripe_of(user)
    }
}

impl Nodes {
    fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            elsewhere: Elsewhere::default(),
            changed: Changed::default(),
            events: Line::default(),
            owners: Owners::default(),
            questions: Line::default(),
            publications: Line::default(),
            wake,
        }
    }

    /// Notes that a user came to this node or left it.
    pub(super) fn note(&self, user: UserId) {
        if self.changed.note(user) {
            self.wake.wake();
        }
    }

    /// Moves the users who came or left since the last call to the end of a list. Returns whether some are missing because
    /// too many waited.
    pub fn take_changed(&self, to: &mut VecDeque<UserId>) -> bool {
        self.changed.take(to)
    }

    /// Returns whether users came or left since the last call of [`take_changed`](Self::take_changed).
    pub fn has_changed(&self) -> bool {
        self.changed.has_some()
    }

    /// Returns the events for users at other nodes, in order.
    pub fn take_events(&self) -> VecDeque<EventElsewhere> {
        self.events.take()
    }

    /// Returns whether there may be events for users at other nodes.
    pub fn has_events(&self) -> bool {
        self.events.has_some()
    }

    /// Returns how many events for users at other nodes found no room.
    pub fn events_refused(&self) -> u64 {
        self.events.refused()
    }

    /// Returns which of these users have devices at which other nodes.
    pub(super) fn recipients(&self, users: &[UserId]) -> Recipients {
        let mut recipients = Recipients::default();
        for &user in users {
            let (nodes, devices) = self.elsewhere.nodes(user);
            recipients.devices += devices;
            for node in nodes {
                let of_node = { recipients.nodes.iter_mut() }.find(|(other, _)| *other == node);
                match of_node {
                    Some((_, users)) => users.push(user),
                    None => recipients.nodes.push((node, [user].into_iter().collect())),
                }
            }
        }
        recipients
    }

    /// Passes an event to other nodes. Returns the number of those for which there was no room.
    pub(super) fn pass(
        &self,
        recipients: Recipients,
        frames: &Arc<PushFrames>,
        trifle: bool,
    ) -> u64 {
        let mut refused = 0;
        for (node, users) in recipients.nodes {
            let event = EventElsewhere {
                node,
                users,
                frames: Arc::clone(frames),
                trifle,
            };
            let bytes = event.bytes();
            match self.events.add(event, bytes) {
                Ok(true) => self.wake.wake(),
                Ok(false) => {}
                Err(_) => refused += 1,
            }
        }
        refused
    }

    /// Returns the number of devices at other nodes.
    pub fn devices(&self) -> usize {
        self.elsewhere.count()
    }

    /// Returns how many devices at other nodes found no room.
    pub fn lost(&self) -> u64 {
        self.elsewhere.lost()
    }
}

impl Hub {
    /// Makes this the hub of a node of a cluster. Call it before the first session begins. `wake` wakes the thread that
    /// speaks with other nodes. A second call returns what the first one made.
    pub fn join(&self, wake: Arc<dyn Wake>) -> Arc<Nodes> {
        Arc::clone(self.nodes.get_or_init(|| Arc::new(Nodes::new(wake))))
    }

    /// Returns the number of devices with which a user is connected to any node. A device at two nodes counts once.
    pub(super) fn devices(&self, user: UserId) -> u32 {
        let Some(nodes) = self.nodes.get() else {
            return self.directory.devices(user);
        };
        let mut devices = nodes.elsewhere.devices(user);
        if devices.is_empty() {
            return self.directory.devices(user);
        }
        devices.extend(self.directory.device_marks(user));
        devices.sort_unstable();
        devices.dedup();
        devices.len() as u32
    }

    /// Returns whether a user is connected to another node.
    pub fn is_elsewhere(&self, user: UserId) -> bool {
        let nodes = self.nodes.get();
        nodes.is_some_and(|nodes| !nodes.elsewhere.devices(user).is_empty())
    }

    /// Returns the number of a user's devices that are connected to other nodes, without those that are connected here and
    /// without `device`, which is about to be: a device that moves between nodes is not in its own way. It is 0 in a gateway
    /// that works alone.
    pub fn devices_elsewhere(&self, user: UserId, device: DeviceMark) -> u32 {
        let Some(nodes) = self.nodes.get() else {
            return 0;
        };
        let mut devices = nodes.elsewhere.devices(user);
        if devices.is_empty() {
            return 0;
        }
        let here = self.directory.device_marks(user);
        devices.retain(|other| *other != device && !here.contains(other));
        devices.sort_unstable();
        devices.dedup();
        devices.len() as u32
    }

    /// Returns how a user is at this node.
    pub fn here(&self, user: UserId) -> UserAtNode {
        // The reverse order of `leave`.
        let devices = self.directory.device_marks(user);
        let left = self.presence.left(user);
        let ago = |left| Duration::from_millis(self.clock.now().saturating_sub(left));
        UserAtNode {
            user,
            devices,
            left_ago: left.map(ago),
        }
    }

    /// Takes what another node said about one of its users.
    pub fn hear(&self, node: NodeNumber, at: &UserAtNode) {
        let left = at.left_ago.map(|ago| self.time_ago(ago));
        self.set(node, at.user, &at.devices, left);
    }

    /// Takes a list of all users that another node has in a stretch. The others whom it was known to have there have left
    /// at a time that nobody knows: now.
    pub fn hear_all(&self, node: NodeNumber, stretch: &Stretch, all: &[UserAtNode]) {
        let Some(nodes) = self.nodes.get() else {
            return;
        };
        let known = nodes
            .elsewhere
            .users_at(node, stretch.stripe % STRIPES, &stretch.ids);
        // In the order of the ids, as the other node wrote them; a list in another order costs no more than time.
        let mut named: Vec<_> = all.iter().map(|at| at.user).collect();
        named.sort_unstable();
        for user in known {
            if named.binary_search(&user).is_err() {
                self.set(node, user, &[], Some(self.clock.now()));
            }
        }
        for at in all {
            self.hear(node, at);
        }
    }

    /// Passes an event of another node to all connections of these users at this one. Returns the number of shards without
    /// room for it.
    pub fn pass_here(&self, users: &[UserId], frames: PushFrames, trifle: bool) -> u64 {
        let shards = users.iter().map(|user| self.directory.shards(*user));
        let shards = shards.fold(0, |all, shards| all | shards);
        if shards == 0 {
            return 0;
        }
        let event = EphemeralEvent::ToUsers {
            users: users.into(),
            frames: Arc::new(frames),
            trifle,
        };
        self.lanes.pass(shards, &event)
    }

    /// Notes that a node has ended, or cannot be heard. Its users left when it was heard last.
    pub fn node_ended(&self, node: NodeNumber, ago: Duration) {
        let Some(nodes) = self.nodes.get() else {
            return;
        };
        let left = self.time_ago(ago);
        for stripe in 0..STRIPES {
            for user in nodes.elsewhere.users_at(node, stripe, &(0..=u128::MAX)) {
                self.set(node, user, &[], Some(left));
            }
        }
    }

    fn time_ago(&self, ago: Duration) -> u64 {
        self.clock.now().saturating_sub(ago.as_millis() as u64)
    }

    /// Sets the devices of a user at another node. `left`: when a connection of the user ended last, if that is known.
    fn set(&self, node: NodeNumber, user: UserId, devices: &[DeviceMark], left: Option<u64>) {
        let Some(nodes) = self.nodes.get() else {
            return;
        };
        // The time comes first, as in `leave`. An earlier one than is known says nothing new.
        if let Some(left) = left
            && self.presence.left(user).is_none_or(|known| known < left)
        {
            self.presence.note_left(user, left);
            self.unsaved.note(user, left);
        }
        if nodes.elsewhere.set(node, user, devices) {
            self.lanes.changed(self.presence.watchers(user), user);
        }
    }

    /// Forgets that the last-seen time of a user waits to be stored: another node has stored `time`.
    pub(crate) fn last_seen_stored(&self, user: UserId, time: u64) {
        self.unsaved.stored_until(user, time + DIFFERENCE);
    }

    /// Forgets the last-seen times of users who are back, in a few stripes from `stripe` on. Returns the stripe at which
    /// the next call goes on.
    pub(crate) fn drop_returned(&self, stripe: usize) -> usize {
        for step in 0..STRIPES_A_CALL {
            let stripe = (stripe + step) % STRIPES;
            self.unsaved.keep_only(stripe, |user| self.is_gone(user));
        }
        (stripe + STRIPES_A_CALL) % STRIPES
    }
}

#[cfg(test)]
mod tests;
