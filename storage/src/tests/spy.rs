//! A disk that tells when it syncs, and what the store shows at that moment.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::backend::{Backend, BackendFile, Lock};

/// A simulated disk that calls a function before each sync of a file.
pub(super) struct Spy {
    pub(super) disk: SimDisk,
    pub(super) on_sync: Arc<dyn Fn() + Send + Sync>,
}

struct SpyFile {
    file: Arc<dyn BackendFile>,
    on_sync: Arc<dyn Fn() + Send + Sync>,
}

impl Spy {
    fn wrap(&self, file: Arc<dyn BackendFile>) -> Arc<dyn BackendFile> {
        Arc::new(SpyFile {
            file,
            on_sync: self.on_sync.clone(),
        })
    }
}

impl Backend for Spy {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.disk.lock()
    }

    fn is_locked(&self) -> bool {
        self.disk.is_locked()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        Ok(self.wrap(self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        Ok(self.wrap(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.fill_random(buffer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl BackendFile for SpyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.on_sync)();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[test]
fn readers_see_nothing_of_a_batch_until_it_is_synced() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    let reader: Arc<OnceLock<crate::Reader>> = Arc::default();
    let seen = Arc::new(AtomicU64::new(0));
    let on_sync = {
        let (reader, seen) = (reader.clone(), seen.clone());
        Arc::new(move || {
            if let Some(reader) = reader.get() {
                let mut page = Page::new();
                let until = Position(u64::MAX);
                reader
                    .sync(user(0), Position::ZERO, until, 99, &mut page)
                    .unwrap();
                assert_eq!(page.len() as u64, reader.last_seq(TimelineId(1)));
                assert_eq!(reader.stats().records, reader.last_seq(TimelineId(1)));
                seen.fetch_max(reader.last_seq(TimelineId(1)) + 1, SeqCst);
            }
        })
    };
    let spy = Spy {
        disk: SimDisk::new(3),
        on_sync,
    };
    let mut opened = Store::open_with(Arc::new(spy), small(), &mut |_| {}).unwrap();
    reader.set(opened.reader.clone()).unwrap_or_default();
    for number in 1..30 {
        let event = Event {
            timeline: 1,
            fanout: vec![user(0)],
            ..event(number, number, 300)
        };
        opened.writer.append(&event.draft()).unwrap();
        opened.writer.commit().unwrap();
        assert_eq!(
            seen.load(SeqCst),
            number,
            "during the sync the batch was not visible"
        );
        assert_eq!(opened.reader.last_seq(TimelineId(1)), number);
    }
}
