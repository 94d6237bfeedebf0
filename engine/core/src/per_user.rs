//! A map from each user to a few values, nearly always to one.
//!
//! Two such maps have an entry for each session, so an entry is small: a part of the user's id without
//! alignment, and the value. A second map holds the values of users with several.
//!
//! Two users may have the same part of the id. The map does not tell them apart: each of them gets the
//! values of both.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;
use trunkline_storage::IdBuildHasher;

use crate::ids::UserId;

/// The number of entries for which the map always keeps room.
const ROOM: usize = 32;

/// The values of each user, in the order in which they were added. `K` is the part of the id by which
/// users are told apart.
#[derive(Debug)]
pub struct PerUser<K, T> {
    /// The only value of a user, or [`Thing::SEVERAL`].
    one: HashMap<K, T, IdBuildHasher>,
    /// The values of users with several.
    several: HashMap<K, SmallVec<[T; 8]>, IdBuildHasher>,
}

impl<K, T> Default for PerUser<K, T> {
    fn default() -> Self {
        Self {
            one: HashMap::default(),
            several: HashMap::default(),
        }
    }
}

/// A value of a [`PerUser`] map.
pub trait Thing: Copy + Eq {
    /// A marker for several values, which is never a value itself.
    const SEVERAL: Self;
}

/// The slot of a connection in a shard. A shard has fewer slots than the marker.
impl Thing for u32 {
    const SEVERAL: Self = Self::MAX;
}

/// A part of a user's id, the key of a [`PerUser`] map.
pub trait Key: Copy + Eq + Hash {
    /// Returns this part of an id.
    fn of(user: UserId) -> Self;
}

/// The low 64 bits of a user's id. Among two million users, two have the same ones with a probability of
/// one in ten million; ids are keyed hashes, so no client can choose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half([u8; 8]);

/// The low 32 bits of a user's id. Some users of a gateway have the same ones: compare the whole ids too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarter([u8; 4]);

/// The whole id of a user, without alignment, for maps that say whom they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole([u8; 16]);

impl Whole {
    /// Returns the id of the user.
    pub const fn id(self) -> UserId {
        trunkline_storage::TimelineId(u128::from_ne_bytes(self.0))
    }
}

impl Key for Whole {
    fn of(user: UserId) -> Self {
        Self(user.0.to_ne_bytes())
    }
}

impl Hash for Whole {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl Key for Half {
    fn of(user: UserId) -> Self {
        Self((user.0 as u64).to_ne_bytes())
    }
}

impl Key for Quarter {
    fn of(user: UserId) -> Self {
        Self((user.0 as u32).to_ne_bytes())
    }
}

impl Hash for Half {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(self.0));
    }
}

impl Hash for Quarter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The table chooses a place by the low bits, and compares the highest ones.
        let bits = u64::from(u32::from_ne_bytes(self.0));
        state.write_u64(bits << 32 | bits);
    }
}

impl<K: Key, T: Thing> PerUser<K, T> {
    /// Returns the values of a user, and those of other users with the same key.
    #[inline]
    pub fn get(&self, user: UserId) -> &[T] {
        let key = K::of(user);
        match self.one.get(&key) {
            None => &[],
            Some(one) if *one == T::SEVERAL => {
                self.several.get(&key).map_or(&[], SmallVec::as_slice)
            }
            Some(thing) => std::slice::from_ref(thing),
        }
    }

    /// Calls `each` with every key and its values.
    pub fn each(&self, mut each: impl FnMut(K, &[T])) {
        for (key, one) in &self.one {
            if *one == T::SEVERAL {
                each(*key, self.several.get(key).map_or(&[], SmallVec::as_slice));
            } else {
                each(*key, std::slice::from_ref(one));
            }
        }
    }

    /// Adds a value to a user.
    pub fn add(&mut self, user: UserId, thing: T) {
        let key = K::of(user);
        let one = self.one.entry(key);
        one.and_modify(|one| {
            let several = self.several.entry(key).or_default();
            if *one != T::SEVERAL {
                several.push(*one);
                *one = T::SEVERAL;
            }
            several.push(thing);
        })
        .or_insert(thing);
    }

    /// Frees memory when few entries are left.
    fn give_back(&mut self) {
        let (left, room) = (self.one.len(), self.one.capacity());
        if room > ROOM && left < room / 8 {
            self.one.shrink_to(2 * left);
        }
        let (left, room) = (self.several.len(), self.several.capacity());
        if room > ROOM && left < room / 8 {
            self.several.shrink_to(2 * left);
        }
    }

    /// Removes one occurrence of a value from a user. Returns whether any value is left.
    pub fn remove(&mut self, user: UserId, thing: T) -> bool {
        let key = K::of(user);
        match self.one.get(&key) {
            None => false,
            Some(one) if *one == T::SEVERAL => {
                let Some(several) = self.several.get_mut(&key) else {
                    return false;
                };
                if let Some(at) = several.iter().position(|other| *other == thing) {
                    several.remove(at);
                }
                if several.is_empty() {
                    self.several.remove(&key);
                    self.one.remove(&key);
                    self.give_back();
                }
                self.one.contains_key(&key)
            }
            Some(one) if *one == thing => {
                self.one.remove(&key);
                self.give_back();
                false
            }
            Some(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;
    use crate::directory::Seat;

    const ALICE: UserId = TimelineId(1 << 70 | 5);
    const BOB: UserId = TimelineId(2 << 70 | 6);

    #[test]
    fn room_for_many_is_given_back() {
        let mut map = PerUser::<Quarter, u32>::default();
        for user in 0..100_000_u32 {
            map.add(TimelineId(user.into()), user);
        }
        let room = map.one.capacity();
        for user in 10..100_000_u32 {
            assert!(!map.remove(TimelineId(user.into()), user));
        }
        assert!(map.one.capacity() < room / 16, "{}", map.one.capacity());
        for user in 0..10 {
            assert_eq!(map.get(TimelineId(user.into())), [user]);
        }
    }

    #[test]
    fn one_and_several() {
        let mut map = PerUser::<Half, u32>::default();
        assert_eq!(map.get(ALICE), [0u32; 0]);
        map.add(ALICE, 7);
        map.add(BOB, 1);
        assert_eq!((map.get(ALICE), map.get(BOB)), (&[7][..], &[1][..]));
        for slot in 8..20 {
            map.add(ALICE, slot);
        }
        let all: Vec<u32> = (7..20).collect();
        assert_eq!(map.get(ALICE), all);
        assert!(map.remove(ALICE, 9));
        // What is not there changes nothing.
        assert!(map.remove(ALICE, 9) && map.remove(BOB, 9));
        assert_eq!(map.get(ALICE)[..3], [7, 8, 10]);
        for slot in 7..19 {
            assert!(map.remove(ALICE, slot));
        }
        assert!(!map.remove(ALICE, 19) && !map.remove(BOB, 1) && !map.remove(BOB, 1));
        assert_eq!((map.get(ALICE), map.get(BOB)), (&[][..], &[][..]));
        assert!(map.one.is_empty() && map.several.is_empty());
    }

    #[test]
    fn the_same_thing_twice() {
        let mut map = PerUser::<Half, u32>::default();
        for shard in [3u32, 3, 5, 3] {
            map.add(ALICE, shard);
        }
        assert!(map.remove(ALICE, 3));
        assert_eq!(map.get(ALICE), [3, 5, 3]);
        assert!(map.remove(ALICE, 3) && map.remove(ALICE, 3));
        assert_eq!(map.get(ALICE), [5]);
        assert!(!map.remove(ALICE, 5));
    }

    #[test]
    fn users_with_the_same_key_have_their_values_together() {
        let [one, other] = [TimelineId(1 << 32 | 5), TimelineId(2 << 32 | 5)];
        let mut map = PerUser::<Quarter, u32>::default();
        map.add(one, 7);
        map.add(other, 8);
        assert_eq!((map.get(one), map.get(other)), (&[7, 8][..], &[7, 8][..]));
        assert!(map.remove(one, 7));
        assert_eq!(map.get(other), [8]);
        let mut map = PerUser::<Half, u32>::default();
        map.add(one, 7);
        map.add(other, 8);
        assert_eq!((map.get(one), map.get(other)), (&[7][..], &[8][..]));
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(Half, Seat)>(), 13);
        assert_eq!(size_of::<(Quarter, u32)>(), 8);
    }
}
