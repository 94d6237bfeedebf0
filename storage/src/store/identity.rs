//! The file `identity` and its copy: the id and the secret key of the store.

use std::io;

use crc32c::crc32c;

use crate::backend::{self, Backend};
use crate::error::OpenError;
use crate::error::io_error;
use crate::{Origin, StoreKey};

pub(crate) const NAME: &str = "identity";
/// The name of the copy. Without the key no timeline can be found.
pub(crate) const COPY: &str = "identity.copy";
/// The version of the file of a store with a log of its own.
const VERSION: u32 = 1;
/// The version of the file of a store whose log other stores have too. Programs that know nothing of such logs
/// refuse it: they would write to the log what the others do not have.
const SHARED_VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"TRKIDENT";
const BYTES: usize = 64;

/// The identity of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The id of the store. Every file of the store carries it, so files of two stores cannot be
    /// mixed up.
    pub(crate) store_id: [u8; 16],
    pub(crate) key: StoreKey,
    /// Whether the log of the store is that of other stores too.
    pub(crate) is_shared: bool,
}

impl Identity {
    /// Draws the identity of a new store. The key is that of `origin`, if there is one.
    pub(crate) fn new(backend: &dyn Backend, origin: Option<&Origin>) -> Result<Self, OpenError> {
        let mut random = [0; 32];
        backend
            .fill_random(&mut random)
            .map_err(|source| OpenError::Io {
                file: backend.path(NAME),
                action: "draw random bytes for",
                source,
            })?;
        let (store_id, key) = random.split_at(16);
        let mut identity = Identity {
            store_id: [0; 16],
            key: StoreKey::from_bytes([0; 16]),
            is_shared: origin.is_some(),
        };
        identity.store_id.copy_from_slice(store_id);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(key);
        identity.key = origin.map_or(StoreKey::from_bytes(bytes), |origin| origin.key);
        Ok(identity)
    }

    /// Checks that the store is of the log that an opening names.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self, origin: Option<&Origin>) -> Result<(), OpenError> {
        let reason = match origin {
            None if self.is_shared => {
                "the store is one of several with the same log, and must be opened with the origin of that log"
            }
            Some(_) if !self.is_shared => {
                "the store has a log of its own: a store that shares a log begins in an empty folder"
            }
            Some(origin) if origin.key != self.key => {
                "the store is of another log: give it the origin of that log, or an empty folder"
            }
            _ => return Ok(()),
        };
        Err(OpenError::Options(reason.into()))
    }

    pub(crate) fn read(backend: &dyn Backend, name: &str) -> Result<Self, OpenError> {
        let file = backend.path(name);
        let mut bytes = [0; BYTES + 1];
        let read = backend
            .open(name)
            .and_then(|handle| handle.read_at(&mut bytes, 0))
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => OpenError::Corrupt {
                    file: file.clone(),
                    offset: 0,
                    reason: "the file is missing".into(),
                },
                _ => OpenError::Io {
                    file: file.clone(),
                    action: "read",
                    source,
                },
            })?;
        let corrupt = |offset: usize, reason: &str| OpenError::Corrupt {
            file: file.clone(),
            offset: offset as u64,
            reason: reason.into(),
        };
        if read != BYTES {
            return Err(corrupt(read.min(BYTES), "the file does not have its size"));
        }
        let (bytes, crc) = bytes[..BYTES].split_at(BYTES - 4);
        if bytes[..8] != MAGIC || crc != crc32c(bytes).to_le_bytes() {
            return Err(corrupt(0, "the identity is not what was written"));
        }
        let mut version = [0; 4];
        version.copy_from_slice(&bytes[8..12]);
        let found = u32::from_le_bytes(version);
        if ![VERSION, SHARED_VERSION].contains(&found) {
            return Err(OpenError::Version {
                file,
                found,
                supported: SHARED_VERSION,
            });
        }
        let mut identity = Identity {
            store_id: [0; 16],
            key: StoreKey::from_bytes([0; 16]),
            is_shared: found == SHARED_VERSION,
        };
        identity.store_id.copy_from_slice(&bytes[16..32]);
        let mut key = [0; 16];
        key.copy_from_slice(&bytes[32..48]);
        identity.key = StoreKey::from_bytes(key);
        Ok(identity)
    }

    pub(crate) fn write(&self, backend: &dyn Backend, name: &str) -> Result<(), OpenError> {
        backend::write_atomically(backend, name, &self.encode()).map_err(|source| OpenError::Io {
            file: backend.path(name),
            action: "write",
            source,
        })
    }

    /// Writes the copy if it is missing or damaged. Call it after the store was read with this
    /// identity, which proves that it is the right one.
    pub(crate) fn keep_copy(&self, backend: &dyn Backend) -> Result<(), OpenError> {
        let mut bytes = [0; BYTES + 1];
        let known = backend
            .open(COPY)
            .and_then(|file| file.read_at(&mut bytes, 0));
        if matches!(known, Ok(BYTES)) && bytes[..BYTES] == self.encode() {
            return Ok(());
        }
        // The process that renamed the identity may have died before the name was on the disk. A
        // copy without the identity would look like a loss.
        backend
            .sync_dir()
            .map_err(io_error(backend, NAME, "make durable"))?;
        match self.write(backend, COPY) {
            // Opening must work on a full disk. A later opening writes the copy.
            Err(OpenError::Io { source, .. }) if backend::is_full(&source) => {
                let _ = backend.remove(&format!("{COPY}.tmp"));
                Ok(())
            }
            written => written,
        }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let version = if self.is_shared {
            SHARED_VERSION
        } else {
            VERSION
        };
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..48].copy_from_slice(&self.key.bytes());
        let crc = crc32c(&bytes[..BYTES - 4]);
        bytes[BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}
