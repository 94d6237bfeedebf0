//! The log: segment files, the frames and records in them, and the batches that are written to
//! them.
//!
//! **Invariants:** bytes of a segment are written once, in ascending order, and change only when a
//! failed write is taken back, or when a body is overwritten. A new file without old values can take a
//! segment's place. Every frame
//! carries checksums that depend on its position and on its segment, so a frame is valid only where
//! it was written. Nothing here waits or starts a thread.

pub(crate) mod batch;
pub(crate) mod failed_write;
pub(crate) mod frame;
pub(crate) mod kept;
pub(crate) mod old_values;
pub(crate) mod overwrite;
pub(crate) mod page;
pub(crate) mod read_ahead;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod transcript;
pub(crate) mod window;
