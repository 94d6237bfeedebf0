//! Ids of timelines: keyed hashes of their names, and a hasher for maps of ids.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

/// The id of a timeline: a keyed hash of 16 bytes.
///
/// [`StoreKey::id`] makes the ids, so they are spread evenly, and nobody without the store's key
/// can choose one. `Hash` uses only the low 64 bits, which is enough for [`IdBuildHasher`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TimelineId(pub u128);

impl Hash for TimelineId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

impl fmt::Debug for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimelineId({:032x})", self.0)
    }
}

/// The secret key of a store, with which the ids of its timelines are made.
///
/// The store draws the key at its creation and keeps it in the file `identity`. A person who knows
/// it can craft names that collide in a hash map, so `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoreKey([u8; 16]);

impl StoreKey {
    /// Makes a key of the given bytes, for tests and for stores made elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        StoreKey(bytes)
    }

    /// Returns the bytes of the key. They are secret.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Returns the id of the timeline with the name `parts` in `domain`: SipHash-1-3 with 128 bits
    /// of output.
    ///
    /// The hash covers the length of each part, so `["ab", "c"]` and `["a", "bc"]` have different
    /// ids. Equal names in different domains have different ids too. The same store always returns
    /// the same id.
    #[must_use]
    pub fn id(&self, domain: u8, parts: &[&[u8]]) -> TimelineId {
        let mut name = Pieces::new(&self.0);
        name.add(&[domain]);
        for part in parts {
            name.add(&(part.len() as u64).to_le_bytes());
            name.add(part);
        }
        TimelineId(name.finish())
    }
}

/// Feeds a hasher with large pieces. Each call of the hasher has a cost of its own, and a name consists
/// of many short parts.
struct Pieces {
    hasher: SipHasher13,
    bytes: [u8; Self::MOST],
    used: usize,
}

impl Pieces {
    /// The most bytes in a piece: the names of a direct conversation usually fit in one.
    const MOST: usize = 96;

    #[inline]
    fn new(key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(key),
            bytes: [0; Self::MOST],
            used: 0,
        }
    }

    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes[self.used..].get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.used += bytes.len();
        } else {
            self.hasher.write(&self.bytes[..self.used]);
            self.hasher.write(bytes);
            self.used = 0;
        }
    }

    #[inline]
    fn finish(mut self) -> u128 {
        self.hasher.write(&self.bytes[..self.used]);
        self.hasher.finish128().as_u128()
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(..)")
    }
}

/// Builds [`IdHasher`]s: the third type parameter of a map with [`TimelineId`] keys.
pub type IdBuildHasher = BuildHasherDefault<IdHasher>;

/// A hasher that returns 64 bits of its input unchanged, because ids are keyed hashes already.
///
/// It is safe against chosen keys only because [`StoreKey::id`] is keyed. Do not use it for names
/// that clients choose.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(1) ^ value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    const KEY: StoreKey = StoreKey::from_bytes([7; 16]);

    #[test]
    fn the_pieces_of_a_name_do_not_change_its_id() {
        let long = [b'x'; 3 * Pieces::MOST];
        for first in 0..long.len() {
            for second in [0, 1, 30, Pieces::MOST] {
                let parts = [&long[..first], &long[..second], b"end"];
                let mut hasher = SipHasher13::new_with_key(&KEY.0);
                hasher.write(&[9]);
                for part in parts {
                    hasher.write(&(part.len() as u64).to_le_bytes());
                    hasher.write(part);
                }
                let expected = TimelineId(hasher.finish128().as_u128());
                assert_eq!(KEY.id(9, &parts), expected, "{first} and {second} bytes");
            }
        }
    }

    #[test]
    fn parts_and_domains_cannot_be_confused() {
        let names: [(u8, &[&[u8]]); 7] = [
            (0, &[b"ab", b"c"]),
            (0, &[b"a", b"bc"]),
            (0, &[b"abc"]),
            (0, &[b"abc", b""]),
            (0, &[b"", b"abc"]),
            (1, &[b"abc"]),
            (0, &[]),
        ];
        for (i, a) in names.iter().enumerate() {
            for b in &names[i + 1..] {
                assert_ne!(KEY.id(a.0, a.1), KEY.id(b.0, b.1), "{a:?} {b:?}");
            }
        }
        assert_ne!(
            KEY.id(0, &[b"a"]),
            StoreKey::from_bytes([8; 16]).id(0, &[b"a"])
        );
    }

    #[test]
    fn an_id_never_changes() {
        // Ids are on disk: a change of library or byte order must not move them.
        let id = KEY.id(1, &[b"user", b"alice"]);
        assert_eq!(
            format!("{id:?}"),
            "TimelineId(4093593c158a81d207aeb2b4ca217eb0)"
        );
    }

    #[test]
    fn ids_hash_to_their_low_half() {
        let id = TimelineId(0x1111_2222_3333_4444_5555_6666_7777_8888);
        assert_eq!(IdBuildHasher::default().hash_one(id), 0x5555_6666_7777_8888);
    }

    #[test]
    fn debug_keeps_the_secret() {
        assert_eq!(format!("{KEY:?}"), "StoreKey(..)");
    }
}
