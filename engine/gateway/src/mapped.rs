//! Buffers that wait for long have memory of their own, which goes back to the kernel when they end.

/// The bytes from which on the allocator maps a buffer by itself, so that the kernel has its memory back
/// when it ends. The gateway sets its allocator so (`MALLOC_MMAP_THRESHOLD_`).
///
/// Smaller buffers lie between others on the heap. After a crowd that did not read, free ones stay in
/// the process: 3,000 connections with 16 KB each left 86 MiB. Of a mapped buffer only those pages take
/// memory that were written.
pub const MAPPED_BYTES: usize = 32 << 10;

/// The bytes from which on a buffer is worth a page.
pub(crate) const LEAST: usize = 1 << 10;

/// The size of a page of memory in bytes, as on nearly all machines.
const PAGE: usize = 4 << 10;

/// Moves the bytes from `sent` on into a buffer of its own, if they are worth it and the buffer is a
/// small one. Returns whether it did: nothing is sent of the buffer then.
pub(crate) fn settle(buffer: &mut Vec<u8>, sent: usize) -> bool {
    let moves = buffer.len() >= sent + LEAST && buffer.capacity() < MAPPED_BYTES;
    if moves {
        let mut own = Vec::with_capacity(MAPPED_BYTES);
        own.extend_from_slice(&buffer[sent..]);
        *buffer = own;
    }
    moves
}

/// Whether a buffer of this size lies on the heap and is worth a move.
pub(crate) const fn is_small(bytes: usize) -> bool {
    bytes >= LEAST && bytes < MAPPED_BYTES
}

/// Gives a buffer that is to take more bytes the least room of a mapped one, if it has less.
pub(crate) fn make_room(buffer: &mut Vec<u8>) {
    if buffer.capacity() < MAPPED_BYTES {
        let mut own = Vec::with_capacity(MAPPED_BYTES);
        own.extend_from_slice(buffer);
        *buffer = own;
    }
}

/// Returns the memory of a buffer in bytes: of a mapped one, the pages that have been written.
pub(crate) fn memory(buffer: &Vec<u8>) -> usize {
    match buffer.capacity() {
        capacity @ MAPPED_BYTES.. => buffer.len().next_multiple_of(PAGE).min(capacity),
        capacity => capacity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_moves_once_and_counts_by_its_pages() {
        let mut buffer = [7; 9].repeat(LEAST);
        buffer.shrink_to_fit();
        assert_eq!(memory(&buffer), 9 * LEAST);
        assert!(settle(&mut buffer, 8 * LEAST));
        assert_eq!(buffer, [7].repeat(LEAST));
        assert_eq!(memory(&buffer), PAGE);
        buffer.resize(PAGE + 1, 7);
        assert!(!settle(&mut buffer, 0));
        assert_eq!(memory(&buffer), 2 * PAGE);
        buffer.resize(2 * MAPPED_BYTES, 7);
        assert_eq!(memory(&buffer), 2 * MAPPED_BYTES);
        let mut fresh = Vec::new();
        make_room(&mut fresh);
        assert_eq!((memory(&fresh), fresh.capacity()), (0, MAPPED_BYTES));
        let mut few = [7].repeat(2 * LEAST - 1);
        assert!(!settle(&mut few, LEAST));
        assert_eq!(few.len(), 2 * LEAST - 1);
    }
}
