//! The log: its files, the frames and records in them, and batches on their way there.

pub(crate) mod batch;
pub(crate) mod failed_write;
pub(crate) mod frame;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod window;
