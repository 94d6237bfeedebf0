//! Filters: they tell which timelines a run does not have, without a search in the run.
//!
//! A filter is a Bloom filter in lines of 64 bytes, each with its own checksum. A look-up reads one
//! line.

use crc32c::crc32c_append;

/// The bytes of a line: bits and their checksum.
pub(super) const LINE: usize = 64;
const BITS: u64 = (LINE as u64 - 4) * 8;
/// The timelines per line, sixteen bits for each. A look-up asks every run. With fewer bits, many
/// look-ups would read a block in vain.
const PER_LINE: usize = 30;
/// The number of bits set for a timeline.
const PROBES: u32 = 8;

/// Returns an evenly distributed hash of an id, also of a hand-made one.
pub(super) fn hash(id: u128) -> u64 {
    let folded = id as u64 ^ ((id >> 64) as u64).rotate_left(32);
    let mixed = (folded ^ (folded >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Returns the number of lines of a filter for this many timelines.
pub(super) fn lines(timelines: usize) -> usize {
    timelines.div_ceil(PER_LINE).max(1)
}

/// Returns the line of a hash.
pub(super) fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> u64::BITS) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let step = hash.wrapping_mul(0x94D0_49BB_1331_11EB);
    (0..PROBES).map(move |i| (((step.rotate_left(i * 8) & 0xFFFF) * BITS) >> 16) as usize)
}

/// Builds the filter of these hashes.
pub(super) fn build(hashes: &[u64], seed: u32) -> Vec<u8> {
    let lines = lines(hashes.len());
    let mut bytes = vec![0; lines * LINE];
    for &hash in hashes {
        let line = &mut bytes[line_of(hash, lines) * LINE..][..LINE];
        for bit in bits(hash) {
            line[bit / 8] |= 1 << (bit % 8);
        }
    }
    for line in bytes.chunks_exact_mut(LINE) {
        let (bits, crc) = line.split_at_mut(LINE - 4);
        crc.copy_from_slice(&crc32c_append(seed, bits).to_le_bytes());
    }
    bytes
}

/// A line as stored in a file.
#[derive(Clone, Copy)]
#[repr(align(64))] // So that a look-up waits for one line of the processor's cache.
pub(super) struct Line(pub(super) [u8; LINE]);

impl Line {
    /// Returns whether the line's checksum is valid.
    pub(super) fn is_whole(&self, seed: u32) -> bool {
        let (set, crc) = self.0.split_at(LINE - 4);
        crc32c_append(seed, set).to_le_bytes() == crc
    }

    /// Returns whether the line may have `hash`. The hash must belong to this line.
    pub(super) fn admits(&self, hash: u64) -> bool {
        bits(hash).all(|bit| self.0[bit / 8] >> (bit % 8) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_is_admitted_and_little_else() {
        let hashes: Vec<u64> = (0..10_000).map(hash).collect();
        let filter = build(&hashes, 3);
        let admitted = |id| {
            let hash = hash(id);
            let at = line_of(hash, lines(hashes.len())) * LINE;
            let line = Line(*filter[at..].first_chunk().unwrap());
            assert!(line.is_whole(3));
            line.admits(hash)
        };
        assert!((0..10_000).all(admitted));
        let wrong = (10_000..20_000).filter(|&id| admitted(id)).count();
        assert!(wrong < 50, "{wrong} of 10,000");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let filter = build(&[hash(1)], 3);
        let line = Line(filter.as_slice().try_into().unwrap());
        assert!(line.is_whole(3) && line.admits(hash(1)));
        assert!(!line.is_whole(4));
        for bit in 0..LINE * 8 {
            let mut line = line;
            line.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!line.is_whole(3), "bit {bit}");
        }
    }
}
