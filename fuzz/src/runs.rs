//! Files of runs and the manifest: damage is told where it is read, and forgeries do not panic.
//!
//! Input: one byte (bit 0: damage or forgery), then changes: file, place, how, bytes.

use std::sync::LazyLock;

use crate::store::Sample;

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new(true));

pub(crate) fn feed(input: &[u8]) {
    SAMPLE.feed(input, |name| name.ends_with(".tbl") || name == "manifest");
}
