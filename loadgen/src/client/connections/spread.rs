//! The targets of a thread's connections, and the one at which each device is.
//!
//! A device begins at its home, and each further attempt goes to another target. So the users of a
//! target that is down come back at the others, and each return is at a gateway that did not have
//! the session before.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::population::Part;
use crate::random::mix;
use crate::tls::Trust;

/// The most targets of a run. A place in the list of targets is a byte, with a bit beside it.
pub(crate) const TARGETS_MAX: usize = 64;

/// The bit of a device that has not been connected: its next attempt goes to its home.
const FRESH: u8 = 0x80;
const _: () = assert!(TARGETS_MAX <= FRESH as usize);

/// A target of connections.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    /// The trusted certificates; with them, connections use TLS.
    pub(crate) tls: Option<Trust>,
}

/// The use of a target, as the run saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct TargetTally {
    /// Sessions that were opened there, for the first time or again.
    pub(crate) sessions: u64,
    /// Sends that were acknowledged there.
    pub(crate) acknowledged: u64,
}

impl TargetTally {
    /// Adds the use of the same target by others.
    pub(crate) fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.acknowledged += other.acknowledged;
    }
}

/// The targets of a thread, and the one of each device.
#[derive(Debug)]
pub(in crate::client) struct Spread {
    targets: Vec<Destination>,
    tallies: Vec<TargetTally>,
    /// The target of each device, by its place in the list, with [`FRESH`] before the first attempt;
    /// empty if there is one target.
    at: Vec<u8>,
    /// The number of moves so far. Each changes which target the next one takes.
    moves: u64,
}

impl Spread {
    /// Spreads the devices of a part over these targets. The devices of a user begin at different
    /// ones. There is one target at least.
    pub(in crate::client) fn new(targets: Vec<Destination>, part: &Part) -> Self {
        let count = targets.len() as u64;
        let home = |device: u32| {
            let user = mix(u64::from(part.global(part.user_of(device))));
            let place = (user % count + u64::from(part.device_index(device))) % count;
            place as u8 | FRESH
        };
        let at = match count {
            1 => Vec::new(),
            // The place behind those of the users is for a helper of the dialogue.
            _ => (0..part.devices()).map(home).chain([FRESH]).collect(),
        };
        Self::with(targets, at)
    }

    /// Makes the targets of a connection that plays no user, which begins at this one.
    pub(in crate::client) fn of_one(targets: Vec<Destination>, home: usize) -> Self {
        let at = match targets.len() {
            1 => Vec::new(),
            count => vec![(home % count) as u8 | FRESH],
        };
        Self::with(targets, at)
    }

    fn with(targets: Vec<Destination>, at: Vec<u8>) -> Self {
        Self {
            tallies: vec![TargetTally::default(); targets.len()],
            targets,
            at,
            moves: 0,
        }
    }

    /// Returns whether connections use TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.targets.iter().any(|it| it.tls.is_some())
    }

    /// Returns the place in the list of the target of a device.
    pub(super) fn place(&self, device: u32) -> usize {
        let at = self.at.get(device as usize).copied().unwrap_or(0);
        usize::from(at & !FRESH)
    }

    /// Returns the target of a device.
    pub(super) fn target(&self, device: u32) -> &Destination {
        &self.targets[self.place(device)]
    }

    /// Notes that an attempt of a device begins: at its home, or at another target than the last one.
    pub(super) fn begin(&mut self, device: u32) {
        let count = self.targets.len() as u64;
        let Some(at) = self.at.get_mut(device as usize) else {
            return;
        };
        if *at & FRESH != 0 {
            *at &= !FRESH;
            return;
        }
        self.moves += 1;
        let step = 1 + mix(self.moves ^ u64::from(device) << 32) % (count - 1);
        *at = ((u64::from(*at) + step) % count) as u8;
    }

    /// Notes that the session of a device was opened.
    pub(super) fn opened(&mut self, device: u32) {
        let place = self.place(device);
        self.tallies[place].sessions += 1;
    }

    /// Notes that a send of a device was acknowledged.
    pub(super) fn acknowledged(&mut self, device: u32) {
        let place = self.place(device);
        self.tallies[place].acknowledged += 1;
    }

    /// Returns the use of each target.
    pub(super) fn into_tallies(self) -> Vec<TargetTally> {
        self.tallies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::tests::population;

    fn targets(count: u16) -> Vec<Destination> {
        let target = |port| Destination {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: None,
        };
        (1..=count).map(target).collect()
    }

    #[test]
    fn users_are_spread_and_their_devices_begin_at_different_targets() {
        let part = population(3_000, 2_000, 4).part(0, 1);
        let spread = Spread::new(targets(3), &part);
        let mut homes = [0; 3];
        for user in 0..part.online() {
            let first = part.first_device(user);
            assert_ne!(spread.place(first), spread.place(first + 1), "{user}");
            homes[spread.place(first)] += 1;
        }
        for home in homes {
            assert!((900..1_100).contains(&home), "{homes:?}");
        }
        // The same users are there in every run, and with any number of threads.
        let other = population(3_000, 2_000, 4).part(1, 2);
        let others = Spread::new(targets(3), &other);
        for user in 0..other.online() {
            let whole = part.first_device(other.global(user));
            assert_eq!(
                others.place(other.first_device(user)),
                spread.place(whole),
                "{user}"
            );
        }
    }

    #[test]
    fn each_further_attempt_is_at_another_target() {
        let part = population(300, 1_000, 4).part(0, 1);
        let mut spread = Spread::new(targets(3), &part);
        let mut seen = [0; 3];
        for device in 0..part.devices() {
            let home = spread.place(device);
            spread.begin(device);
            assert_eq!(spread.place(device), home, "the first is at home");
            for _ in 0..4 {
                let before = spread.place(device);
                spread.begin(device);
                assert_ne!(spread.place(device), before);
                seen[spread.place(device)] += 1;
            }
        }
        for target in seen {
            assert!((300..500).contains(&target), "{seen:?}");
        }
        let mut one = Spread::new(targets(1), &part);
        one.begin(7);
        one.begin(7);
        assert_eq!((one.place(7), one.at.len()), (0, 0));
    }
}
