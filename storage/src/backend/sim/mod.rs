//! A simulated disk that forgets, tears, fails and fills up on request.
//!
//! The disk does the worst that POSIX allows. A crash keeps or loses unsynced bytes by sectors of
//! 512 bytes, each sector in any of its unsynced versions, and unsynced changes of names one by
//! one. All choices come from a seed, so a failure can be replayed.

mod state;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Backend, BackendFile, Lock};
pub use state::Random;
use state::{DiskState, NameChange, PlannedFailure, Verdict, crashed};

/// A disk in memory with one folder. Clones share the disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

/// An operation that a test can let fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`BackendFile::write_all_at`]: part of the bytes may be written.
    Write,
    /// [`BackendFile::sync_data`]: the unsynced bytes count as clean from then on, whether or not
    /// they reached the disk, as on Linux.
    Sync,
    /// [`Backend::sync_dir`].
    SyncDir,
    /// [`Backend::create`].
    Create,
    /// [`BackendFile::read_at`]. It counts as no operation, because it changes nothing.
    Read,
}

impl SimDisk {
    /// Makes an empty disk that derives its choices from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SimDisk {
            state: Arc::new(Mutex::new(DiskState::new(seed))),
        }
    }

    /// Returns a separate disk in the same state, for tests that try several futures.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state.lock();
        SimDisk {
            state: Arc::new(Mutex::new(state.fork(seed))),
        }
    }

    /// Returns the number of operations so far that change the disk.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets the disk crash in the operation with this number, counted from 0 at the disk's
    /// creation. That operation is done at most in part, and every later one fails until
    /// [`kill`](Self::kill) or [`power_cycle`](Self::power_cycle).
    pub fn crash_at(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// Lets the `nth` operation of this kind from now on fail with an I/O error; 0 is the next one.
    pub fn fail(&self, operation: Operation, nth: u64) {
        self.fail_times(operation, nth, 1);
    }

    /// Lets `times` operations of this kind fail with an I/O error, from the `nth` one on; 0 is the
    /// next one.
    pub fn fail_times(&self, operation: Operation, nth: u64, times: u64) {
        self.state.lock().fail = (times > 0).then_some(PlannedFailure {
            operation,
            left: nth,
            times,
        });
    }

    /// Ends the running program: its handles and its lock become invalid. The disk keeps everything
    /// that the program wrote.
    pub fn kill(&self) {
        self.state.lock().start();
    }

    /// Cuts the power: the seed decides which unsynced bytes and names survive.
    pub fn power_cycle(&self) {
        let mut state = self.state.lock();
        state.lose_power();
        state.start();
    }

    /// Sets how many bytes the disk holds.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Inverts one bit of a file, in memory and on the disk.
    ///
    /// # Panics
    /// The disk has no such file or bit.
    pub fn flip(&self, name: &str, bit: usize) {
        let byte = self
            .contents(name)
            .map(|bytes| bytes[bit / 8])
            .unwrap_or_default();
        self.overwrite(name, bit / 8, &[byte ^ 1 << (bit % 8)]);
    }

    /// Replaces bytes of a file, in memory and on the disk.
    ///
    /// # Panics
    /// The disk has no such bytes.
    pub fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) {
        let mut state = self.state.lock();
        let inode = state.names[name];
        state.inodes[inode].overwrite(offset, bytes);
    }

    /// Returns the bytes of a file as programs see them; `None` if the file does not exist.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state
            .names
            .get(name)
            .map(|&inode| state.inodes[inode].cache.clone())
    }

    /// Returns the offsets in files that programs asked to read ahead since the last call, in the
    /// order in which they asked.
    #[must_use]
    pub fn take_prefetched(&self) -> Vec<u64> {
        std::mem::take(&mut self.state.lock().prefetched)
    }

    fn handle(&self, state: &DiskState, inode: usize) -> Arc<dyn BackendFile> {
        Arc::new(SimFile {
            state: self.state.clone(),
            boot: state.boot,
            inode,
        })
    }
}

impl Backend for SimDisk {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state.lock();
        state.alive()?;
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            state: self.state.clone(),
            boot: state.boot,
        }))
    }

    fn is_locked(&self) -> bool {
        self.state.lock().locked
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        let mut state = self.state.lock();
        state.alive()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let verdict = state.judge(Some(Operation::Create))?;
        let inode = state.add_inode();
        state.change_name(NameChange::Set(name.into(), inode), verdict)?;
        Ok(self.handle(&state, inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        let state = self.state.lock();
        state.alive()?;
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&state, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let verdict = state.judge(None)?;
        state.change_name(NameChange::Rename(from.into(), to.into(), inode), verdict)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let verdict = state.judge(None)?;
        state.change_name(NameChange::Remove(name.into()), verdict)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.alive()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        match state.judge(Some(Operation::SyncDir))? {
            Verdict::Do => {
                state.unsynced_names.clear();
                state.durable_names = state.names.clone();
                Ok(())
            }
            _ => Err(crashed()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state.lock();
        state.alive()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        for byte in buffer {
            *byte = state.random.next() as u8;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }
}

struct SimFile {
    state: Arc<Mutex<DiskState>>,
    boot: u64,
    inode: usize,
}

impl SimFile {
    fn alive(&self, state: &DiskState) -> io::Result<()> {
        if state.boot == self.boot {
            state.alive()
        } else {
            Err(crashed())
        }
    }
}

impl BackendFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        state.fail_planned(Some(Operation::Read))?;
        let cache = &state.inodes[self.inode].cache;
        let rest = cache.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        let verdict = state.judge(Some(Operation::Write));
        let end = offset as usize + bytes.len();
        let grows = end.saturating_sub(state.inodes[self.inode].cache.len()) as u64;
        if grows > state.capacity.saturating_sub(state.used()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let done = match verdict {
            Ok(Verdict::Do) => bytes.len(),
            _ => state.random.below(bytes.len() as u64 + 1) as usize,
        };
        state.inodes[self.inode].write(&bytes[..done], offset as usize);
        match verdict? {
            Verdict::Do => Ok(()),
            _ => Err(crashed()),
        }
    }

    fn prefetch(&self, offset: u64, _len: u64) {
        self.state.lock().prefetched.push(offset);
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        let verdict = state.judge(Some(Operation::Sync));
        let DiskState { random, inodes, .. } = &mut *state;
        let inode = &mut inodes[self.inode];
        match verdict {
            Ok(Verdict::Do) => {
                inode.sync();
                Ok(())
            }
            Ok(_) => Err(crashed()),
            Err(error) => {
                inode.write_back(random);
                Err(error)
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.state.lock();
        self.alive(&state)?;
        Ok(state.inodes[self.inode].cache.len() as u64)
    }
}

struct SimLock {
    state: Arc<Mutex<DiskState>>,
    boot: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.boot == self.boot {
            state.locked = false;
        }
    }
}
