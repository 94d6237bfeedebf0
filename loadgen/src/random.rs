//! Numbers that look random and follow from a seed.

/// Spreads the bits of `x` over the whole result. Equal numbers have equal results; the results of
/// different numbers look unrelated.
pub(crate) fn mix(x: u64) -> u64 {
    // The finalizer of MurmurHash3 with Stafford's constants (variant 13).
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns six letters and digits that follow from a number: the name of a run in user names.
pub(crate) fn short_name(number: u64) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mixed = mix(number);
    (0..6)
        .map(|i| char::from(LETTERS[(mixed >> (i * 5)) as usize % 32]))
        .collect()
}
