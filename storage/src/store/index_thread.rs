//! Indexes a large batch while the disk syncs it.
//!
//! The entries are hidden until the batch is published, so the order of indexing and syncing does
//! not matter. The writer syncs itself and offers the indexing to a thread. If the thread has not
//! started in time, the writer indexes the batch itself.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::log::batch::Batch;
use crate::store::shared::Shared;

/// The number of records from which indexing on another thread is worth its two wake-ups.
pub(crate) const LARGE: usize = 256;

pub(crate) struct IndexThread {
    shared_work: Arc<IndexWork>,
    thread: Option<JoinHandle<()>>,
}

struct IndexWork {
    shared: Arc<Shared>,
    work: Mutex<IndexJob>,
    changed: Condvar,
}

enum IndexJob {
    None,
    Offered(Arc<Batch>),
    Begun,
    Done,
    Over,
}

impl IndexThread {
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let shared_work = Arc::new(IndexWork {
            shared,
            work: Mutex::new(IndexJob::None),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("storage-index".into());
        let thread = {
            let shared_work = shared_work.clone();
            thread.spawn(move || shared_work.run())?
        };
        Ok(IndexThread {
            shared_work,
            thread: Some(thread),
        })
    }

    /// Runs `sync` and indexes `batch` at the same time. Both are complete when this returns.
    pub(crate) fn index_during<T>(&self, batch: &Arc<Batch>, sync: impl FnOnce() -> T) -> T {
        *self.shared_work.work.lock() = IndexJob::Offered(batch.clone());
        self.shared_work.changed.notify_one();
        let synced = sync();
        let mut work = self.shared_work.work.lock();
        while matches!(*work, IndexJob::Begun) {
            self.shared_work.changed.wait(&mut work);
        }
        let left = matches!(*work, IndexJob::Offered(_));
        *work = IndexJob::None;
        drop(work);
        if left {
            self.shared_work.shared.insert(batch);
        }
        synced
    }
}

impl Drop for IndexThread {
    fn drop(&mut self) {
        *self.shared_work.work.lock() = IndexJob::Over;
        self.shared_work.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl IndexWork {
    fn run(&self) {
        let mut work = self.work.lock();
        loop {
            match std::mem::replace(&mut *work, IndexJob::Begun) {
                IndexJob::Offered(batch) => {
                    drop(work);
                    self.shared.insert(&batch);
                    drop(batch);
                    work = self.work.lock();
                    *work = IndexJob::Done;
                    self.changed.notify_one();
                }
                IndexJob::Over => return,
                other => {
                    *work = other;
                    self.changed.wait(&mut work);
                }
            }
        }
    }
}
