//! Finds a salt from the checksums that were seeded with it.
//!
//! A checksum reveals its seed, because for given bytes exactly one seed leads to it. So the first
//! checksum of a frame reveals the checksum of the salt, and the second one of the frame proves it.

/// CRC-32C of each byte, as the reflected algorithm shifts it in.
const TABLE: [u32; 256] = table();
/// The index of the entry in [`TABLE`] with a given highest byte.
const BY_HIGHEST: [u8; 256] = by_highest();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

const fn by_highest() -> [u8; 256] {
    let mut entries = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        entries[(TABLE[byte] >> 24) as usize] = byte as u8;
        byte += 1;
    }
    entries
}

/// Returns the seed with which `bytes` have the checksum `crc`.
pub(crate) fn seed_of(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    for &byte in bytes.iter().rev() {
        let entry = BY_HIGHEST[(state >> 24) as usize];
        state = (state ^ TABLE[usize::from(entry)]) << 8 | u32::from(entry ^ byte);
    }
    !state
}

/// Returns a salt with the checksum `crc`. It can replace the original salt, because only the
/// checksum of a salt is used.
pub(crate) fn with_checksum(crc: u32) -> u64 {
    // Shifting four bytes in equals changing the state by them, and then shifting zeros in.
    let needed = !seed_of(crc, &[0; 4]);
    let before = !crc32c::crc32c(&[0; 4]);
    u64::from(needed ^ before) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc32c::{crc32c, crc32c_append};

    #[test]
    fn a_checksum_tells_its_seed() {
        for seed in [0, 1, 77, u32::MAX, 0x1234_5678] {
            for bytes in [&b""[..], b"x", b"some bytes \0\xff"] {
                assert_eq!(seed_of(crc32c_append(seed, bytes), bytes), seed);
            }
        }
    }

    #[test]
    fn a_salt_is_made_for_any_checksum() {
        for crc in [0, 1, 99, u32::MAX, 0xDEAD_BEEF] {
            assert_eq!(crc32c(&with_checksum(crc).to_le_bytes()), crc);
        }
    }
}
