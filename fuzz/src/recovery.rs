//! Recovery of the log: whatever a disk does to the files, acknowledged records are there after an
//! opening, or the opening says what is damaged; whatever is written into them, nothing panics.
//!
//! Input: one byte (bit 0: damage or forgery), then changes: file, place, how, bytes.

use std::sync::LazyLock;

use crate::store::Sample;

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new(false));

pub(crate) fn feed(input: &[u8]) {
    SAMPLE.feed(input, |name| name != "LOCK");
}
