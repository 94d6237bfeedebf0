//! Random numbers from a seed, so that a failure can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose moments and names.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Returns a generator and a line to print that names its seed: TRUNKLINE_TEST_SEED, or the
    /// clock where that is not set.
    ///
    /// # Panics
    /// TRUNKLINE_TEST_SEED is not a number.
    pub fn announced() -> (Self, String) {
        let seed = match std::env::var("TRUNKLINE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("TRUNKLINE_TEST_SEED is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |now| now.as_nanos() as u64),
        };
        let note = format!("TRUNKLINE_TEST_SEED={seed}");
        (Self(seed), note)
    }

    /// Returns a generator with this seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number, any `u64`.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }
}
