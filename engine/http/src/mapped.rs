//! Buffers that may wait for long.

/// The bytes from which on the allocator maps a buffer by itself, so that the kernel has its memory back when it
/// ends. The gateway sets its allocator so (`MALLOC_MMAP_THRESHOLD_`).
pub const MAPPED_BYTES: usize = 32 << 10;
