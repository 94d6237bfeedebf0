//! The users of a run, and the part of them that one generator thread plays.
//!
//! Users are dealt to threads like cards. The users of a thread write only to each other, so that
//! both ends of a message meet in one checker without a lock. (The gateway still sees messages
//! between any two of its shards, as it chooses the shard of each connection.) Within a thread,
//! user `u` writes to `u ± d` for a few seeded distances `d`: contacts are mutual, evenly spread,
//! bounded in number, and take no memory.

use std::fmt::Write as _;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

/// The most devices of a user.
pub(crate) const MAX_DEVICES: u32 = 8;
/// The fewest users of a run, because each needs two distinct contacts.
pub(crate) const MIN_USERS: u64 = 3;
/// The number of digits of a user's number in its name. It is fixed, so that names sort like
/// numbers.
const DIGITS: usize = 9;

/// The population of a whole run.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    /// The name of the run in user names. So two runs against one gateway share no user.
    pub(crate) run: String,
    /// The number of users, online or not.
    pub(crate) users: u32,
    /// The number of users who connect: those with the lower numbers.
    pub(crate) online: u32,
    /// The mean number of devices of a connected user, in thousandths.
    pub(crate) devices_milli: u32,
    /// The number of contacts of a user; even.
    pub(crate) contacts: u32,
    /// The seed of all random numbers.
    pub(crate) seed: u64,
}

/// The sender of a stream, and the slot of the contact that it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamParts {
    pub(crate) user: u32,
    pub(crate) slot: u32,
}

/// One thread's part. Users, devices, streams and conversations are dense numbers from zero. Stream
/// `u * slots + slot` has the messages of user `u` to the contact in `slot`.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    run: String,
    thread: u32,
    threads: u32,
    users: u32,
    online: u32,
    devices_milli: u64,
    distances: Vec<u32>,
}

impl Population {
    /// Returns the part of thread `thread` of `threads`.
    pub(crate) fn part(&self, thread: u32, threads: u32) -> Part {
        let deal = |count: u32| count / threads + u32::from(thread < count % threads);
        let users = deal(self.users);
        // Distances are below half the circle, so that u+d and u-d are never the same user.
        let most = users.saturating_sub(1) / 2;
        let wanted = (self.contacts / 2).min(most).max(1) as usize;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ 0x7472_756e_6b6c_696e);
        let mut distances = Vec::with_capacity(wanted);
        while distances.len() < wanted {
            let distance = if most as usize == wanted {
                distances.len() as u32 + 1
            } else {
                rng.random_range(1..=most)
            };
            if !distances.contains(&distance) {
                distances.push(distance);
            }
        }
        Part {
            run: self.run.clone(),
            thread,
            threads,
            users,
            online: deal(self.online),
            devices_milli: u64::from(self.devices_milli),
            distances,
        }
    }

    /// Returns the number of threads that can be used. Each needs [`MIN_USERS`] users, at least one
    /// of them online.
    pub(crate) fn usable_threads(&self, wanted: u32) -> u32 {
        let most = (u64::from(self.users) / MIN_USERS)
            .min(u64::from(self.online))
            .max(1);
        wanted.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1)
    }
}

impl Part {
    /// Returns the name of the run in user names.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Returns the number of the part, and the number of parts.
    pub(crate) fn of(&self) -> (u32, u32) {
        (self.thread, self.threads)
    }

    /// Returns the number of users, online or not.
    pub(crate) fn users(&self) -> u32 {
        self.users
    }

    /// Returns the most devices that a user has.
    pub(crate) fn most_devices(&self) -> u32 {
        self.devices_milli.div_ceil(1000) as u32
    }

    /// Returns the number of users who connect: users `0..online`.
    pub(crate) fn online(&self) -> u32 {
        self.online
    }

    /// Returns the number of contacts per user.
    pub(crate) fn slots(&self) -> u32 {
        self.distances.len() as u32 * 2
    }

    /// Returns the number of streams: one per user and contact.
    pub(crate) fn streams(&self) -> usize {
        self.users as usize * self.slots() as usize
    }

    /// Returns the number of conversations: one per pair of contacts.
    pub(crate) fn conversations(&self) -> usize {
        self.streams() / 2
    }

    /// Returns the number of devices of all online users.
    pub(crate) fn devices(&self) -> u32 {
        self.first_device(self.online)
    }

    /// Returns the number of a user's first device; its other devices follow.
    pub(crate) fn first_device(&self, user: u32) -> u32 {
        (u64::from(user.min(self.online)) * self.devices_milli / 1000) as u32
    }

    /// Returns how many devices a user has; 0 if offline.
    pub(crate) fn device_count(&self, user: u32) -> u32 {
        if user >= self.online {
            return 0;
        }
        self.first_device(user + 1) - self.first_device(user)
    }

    /// Returns the user of a device.
    pub(crate) fn user_of(&self, device: u32) -> u32 {
        let mut user = (u64::from(device) * 1000 / self.devices_milli) as u32;
        while self.first_device(user + 1) <= device {
            user += 1;
        }
        while self.first_device(user) > device {
            user -= 1;
        }
        user
    }

    /// Returns which of its user's devices a device is, from zero.
    pub(crate) fn device_index(&self, device: u32) -> u32 {
        device - self.first_device(self.user_of(device))
    }

    /// Returns the contact of `user` in `slot`; the contact has `user` in slot `slot ^ 1`.
    pub(crate) fn contact(&self, user: u32, slot: u32) -> u32 {
        let distance = self.distances[(slot / 2) as usize];
        let n = u64::from(self.users);
        let step = if slot.is_multiple_of(2) {
            u64::from(distance)
        } else {
            n - u64::from(distance)
        };
        ((u64::from(user) + step) % n) as u32
    }

    /// Returns the slot in which `user` has `other`.
    pub(crate) fn slot_of(&self, user: u32, other: u32) -> Option<u32> {
        (0..self.slots()).find(|slot| self.contact(user, *slot) == other)
    }

    /// Returns the stream of what `user` writes to the contact in `slot`.
    pub(crate) fn stream(&self, user: u32, slot: u32) -> u32 {
        user * self.slots() + slot
    }

    /// Returns the sender and the slot of a stream.
    pub(crate) fn stream_parts(&self, stream: u32) -> StreamParts {
        StreamParts {
            user: stream / self.slots(),
            slot: stream % self.slots(),
        }
    }

    /// Returns the conversation that a stream belongs to.
    pub(crate) fn conversation(&self, stream: u32) -> u32 {
        let StreamParts { user, slot } = self.stream_parts(stream);
        let owner = if slot.is_multiple_of(2) {
            user
        } else {
            self.contact(user, slot)
        };
        owner * (self.slots() / 2) + slot / 2
    }

    /// Returns the two streams of a conversation.
    pub(crate) fn conversation_streams(&self, conversation: u32) -> [u32; 2] {
        let half = self.slots() / 2;
        let (owner, slot) = (conversation / half, conversation % half * 2);
        [
            self.stream(owner, slot),
            self.stream(self.contact(owner, slot), slot + 1),
        ]
    }

    /// Returns the number of a user in the whole run.
    pub(crate) fn global(&self, user: u32) -> u32 {
        user * self.threads + self.thread
    }

    /// Returns the user with this number in the whole run, if it is in this part.
    pub(crate) fn local(&self, global: u32) -> Option<u32> {
        let user = global / self.threads;
        (global % self.threads == self.thread && user < self.users).then_some(user)
    }

    /// Appends the name of a user.
    pub(crate) fn write_user(&self, user: u32, out: &mut String) {
        out.push_str(&self.run);
        out.push('.');
        let mut digits = [b'0'; DIGITS];
        let mut rest = self.global(user);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // Digits are ASCII: the lossless conversion cannot fail.
        out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }

    /// Returns the user of a name, if the user is in this part.
    pub(crate) fn parse_user(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(self.run.as_str())?.strip_prefix('.')?;
        if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.local(digits.parse().ok()?)
    }

    /// Appends the name of a device.
    pub(crate) fn write_device(&self, device: u32, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "d{}", self.device_index(device));
    }

    /// Appends the id of the conversation between two users.
    pub(crate) fn write_conversation(&self, one: u32, other: u32, out: &mut String) {
        out.push_str("u:");
        self.write_user(one.min(other), out);
        out.push(':');
        self.write_user(one.max(other), out);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn population(users: u32, devices_milli: u32, contacts: u32) -> Population {
        Population {
            run: "t1".into(),
            users,
            online: users,
            devices_milli,
            contacts,
            seed: 1,
        }
    }

    #[test]
    fn contacts_are_mutual_and_distinct() {
        for (users, contacts) in [(3, 8), (4, 2), (10, 4), (999, 8)] {
            let part = population(users, 1000, contacts).part(0, 1);
            for user in 0..users {
                let mut seen = vec![user];
                for slot in 0..part.slots() {
                    let contact = part.contact(user, slot);
                    assert!(
                        !seen.contains(&contact),
                        "{users} users: {user} has {contact} twice"
                    );
                    assert_eq!(part.contact(contact, slot ^ 1), user);
                    seen.push(contact);
                }
            }
        }
    }

    #[test]
    fn both_streams_of_a_pair_are_one_conversation() {
        let part = population(50, 1000, 6).part(0, 1);
        for stream in 0..part.streams() as u32 {
            let StreamParts { user, slot } = part.stream_parts(stream);
            let back = part.stream(part.contact(user, slot), slot ^ 1);
            assert_eq!(part.conversation(stream), part.conversation(back));
            assert!(
                part.conversation_streams(part.conversation(stream))
                    .contains(&stream)
            );
        }
    }

    #[test]
    fn devices_are_dealt_evenly() {
        let part = population(1000, 1200, 4).part(0, 1);
        assert_eq!(part.devices(), 1200);
        for device in 0..1200 {
            let user = part.user_of(device);
            let first = part.first_device(user);
            assert!((first..first + part.device_count(user)).contains(&device));
        }
    }

    #[test]
    fn threads_share_all_users() {
        let all = population(1001, 1000, 4);
        let mut seen = std::collections::BTreeSet::new();
        for thread in 0..3 {
            let part = all.part(thread, 3);
            seen.extend((0..part.users).map(|user| part.global(user)));
        }
        assert_eq!(seen.len(), 1001);
        assert_eq!(all.usable_threads(8), 8);
        assert_eq!(population(5, 1000, 4).usable_threads(8), 1);
    }

    #[test]
    fn names_go_both_ways() {
        let part = population(1000, 1000, 4).part(1, 2);
        let mut name = String::new();
        part.write_user(321, &mut name);
        assert_eq!(name, "t1.000000643");
        assert_eq!(part.parse_user(&name), Some(321));
        assert_eq!(part.parse_user("t1.000000642"), None);
        assert_eq!(part.parse_user("t2.000000643"), None);
        let mut id = String::new();
        part.write_conversation(9, 4, &mut id);
        let (one, other) = id.strip_prefix("u:").unwrap().split_once(':').unwrap();
        assert_eq!(
            (part.parse_user(one), part.parse_user(other)),
            (Some(4), Some(9))
        );
    }
}
