//! A store for unit tests.

use trunkline_storage::{Options, Reader, Store};

/// Opens a new, empty store. It lasts as long as the folder that is returned with it.
pub(crate) fn open() -> (tempfile::TempDir, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        ..Options::default()
    };
    let opened = Store::open(dir.path(), options, &mut |_| ()).unwrap();
    (dir, opened.reader)
}
