//! Masking of client frames (RFC 6455 §5.3).

/// XORs `data` with the masking key, the first byte with `key[offset % 4]`.
///
/// Masking and unmasking are the same operation. `offset` is the number of payload bytes before
/// `data`, for payloads that arrive in pieces.
pub fn apply(data: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let word = u32::from_ne_bytes(key);
    let wide = (u64::from(word) << 32) | u64::from(word);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    // Eight is a multiple of four, so the key starts again at its first byte.
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_as_byte_by_byte() {
        let key = [0x12, 0x34, 0x56, 0x78];
        for len in 0..70 {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut fast = plain.clone();
                apply(&mut fast, key, offset);
                let slow: Vec<u8> = plain
                    .iter()
                    .enumerate()
                    .map(|(i, b)| b ^ key[(i + offset) % 4])
                    .collect();
                assert_eq!(fast, slow, "length {len}, offset {offset}");
            }
        }
    }
}
