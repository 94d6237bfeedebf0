//! Hashes of records.

use std::fmt;

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// The hash of a message of the stream: SipHash-1-3 with 128 bits, under a key of zeros.
///
/// Each record has the hash of the one before it, so equal hashes mean equal histories. That guards against
/// mistakes, such as a stream that was made anew, and not against attackers who may publish to the stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 16]);

impl Hash {
    /// Returns the hash of a message.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(message);
        Self(hasher.finish128().as_bytes())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The name of a log among all logs: the first eight bytes of the hash of its genesis.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

impl LogId {
    /// Returns the name of the log whose genesis has this hash.
    #[must_use]
    pub fn of(genesis: Hash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = genesis.0;
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
