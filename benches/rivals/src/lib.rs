//! Code that the key-value contenders share.

use trunkline_contender::{Entry, Message};

/// The size of each store's block cache in bytes, if it can be set: four times that of our store.
pub const CACHE_BYTES: usize = 256 << 20;

/// A key: a list and a place in it, sorted by both.
pub type Key = [u8; 24];

/// Returns the key of the message `seq` of `timeline`, or of an entry of a list.
pub fn key(list: u128, number: u64) -> Key {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&list.to_be_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Returns the sequence in a key that the store returned.
pub fn seq_of(key: &[u8]) -> u64 {
    let bytes = key.get(16..24).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_be_bytes)
}

/// Returns key and value of a message's index entry. The value names the message.
pub fn entry(entry: &Entry, message: &Message) -> (Key, Key) {
    let to = key(message.timeline, message.seq);
    (key(entry.list, entry.number), to)
}
