//! A map from each user to a few values, nearly always to one.
//!
//! Two such maps have an entry for each session, so an entry is small: the 16 bytes of the user's id
//! without alignment, and the value. A second map holds the values of users with several.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;
use trunkline_storage::{IdBuildHasher, TimelineId};

use crate::ids::UserId;

/// The number of entries for which the map always keeps room.
const ROOM: usize = 1 << 10;

/// The values of each user, in the order in which they were added.
#[derive(Debug, Default)]
pub struct PerUser<T> {
    /// The only value of a user, or [`Thing::SEVERAL`].
    one: HashMap<Key, T, IdBuildHasher>,
    /// The values of users with several.
    several: HashMap<UserId, SmallVec<[T; 8]>, IdBuildHasher>,
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

/// The bytes of an id. They need no alignment, unlike a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u8; 16]);

impl Key {
    fn of(user: UserId) -> Self {
        Self(user.0.to_ne_bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TimelineId(u128::from_ne_bytes(self.0)).hash(state);
    }
}

impl<T: Thing> PerUser<T> {
    /// Returns the values of a user.
    #[inline]
    pub fn get(&self, user: UserId) -> &[T] {
        match self.one.get(&Key::of(user)) {
            None => &[],
            Some(one) if *one == T::SEVERAL => {
                self.several.get(&user).map_or(&[], SmallVec::as_slice)
            }
            Some(thing) => std::slice::from_ref(thing),
        }
    }

    /// Adds a value to a user.
    pub fn add(&mut self, user: UserId, thing: T) {
        let one = self.one.entry(Key::of(user));
        one.and_modify(|one| {
            let several = self.several.entry(user).or_default();
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
        let key = Key::of(user);
        match self.one.get(&key) {
            None => false,
            Some(one) if *one == T::SEVERAL => {
                let Some(several) = self.several.get_mut(&user) else {
                    return false;
                };
                if let Some(at) = several.iter().position(|other| *other == thing) {
                    several.remove(at);
                }
                if several.is_empty() {
                    self.several.remove(&user);
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
    use super::*;

    const ALICE: UserId = TimelineId(1 << 70 | 5);
    const BOB: UserId = TimelineId(2 << 70 | 5);

    #[test]
    fn room_for_many_is_given_back() {
        let mut map = PerUser::default();
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
        let mut map = PerUser::default();
        assert_eq!(map.get(ALICE), [0u32; 0]);
        map.add(ALICE, 7);
        // Of the same hash.
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
        let mut map = PerUser::default();
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
    fn an_entry_is_small() {
        assert_eq!(size_of::<(Key, crate::directory::Seat)>(), 21);
        assert_eq!(size_of::<(Key, u32)>(), 20);
    }
}
