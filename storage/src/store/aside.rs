//! Indexing a large batch while the disk syncs it.
//!
//! The entries are hidden until the batch is published, so it does not matter which is done first.
//! The writer syncs by itself and offers the indexing to a thread: if that was not given the
//! processor in time, the writer takes the work back.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::log::batch::Batch;
use crate::store::shared::Shared;

/// From how many records on another thread is worth the two wakes.
pub(crate) const LARGE: usize = 256;

pub(crate) struct Aside {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    shared: Arc<Shared>,
    work: Mutex<Work>,
    changed: Condvar,
}

enum Work {
    None,
    Offered(Arc<Batch>),
    Begun,
    Done,
    Over,
}

impl Aside {
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let desk = Arc::new(Desk {
            shared,
            work: Mutex::new(Work::None),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("storage-index".into());
        let thread = {
            let desk = desk.clone();
            thread.spawn(move || desk.run())?
        };
        Ok(Aside {
            desk,
            thread: Some(thread),
        })
    }

    /// Has `batch` indexed while `sync` does its work; both are done when this returns.
    pub(crate) fn index_during<T>(&self, batch: &Arc<Batch>, sync: impl FnOnce() -> T) -> T {
        *self.desk.work.lock() = Work::Offered(batch.clone());
        self.desk.changed.notify_one();
        let synced = sync();
        let mut work = self.desk.work.lock();
        while matches!(*work, Work::Begun) {
            self.desk.changed.wait(&mut work);
        }
        let left = matches!(*work, Work::Offered(_));
        *work = Work::None;
        drop(work);
        if left {
            self.desk.shared.insert(batch);
        }
        synced
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        *self.desk.work.lock() = Work::Over;
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn run(&self) {
        let mut work = self.work.lock();
        loop {
            match std::mem::replace(&mut *work, Work::Begun) {
                Work::Offered(batch) => {
                    drop(work);
                    self.shared.insert(&batch);
                    drop(batch);
                    work = self.work.lock();
                    *work = Work::Done;
                    self.changed.notify_one();
                }
                Work::Over => return,
                other => {
                    *work = other;
                    self.changed.wait(&mut work);
                }
            }
        }
    }
}
