//! The place of media: a file with the bytes, and a file with what is known of them.
//!
//! The second one is written last, so a file without it is the rest of an upload that did not end.

use std::fmt;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutPayload,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::MediaMetrics;

/// The bytes of a file that are in memory at a time while it is uploaded.
const PIECE: usize = 1 << 20;

/// The time between two lines of the log about a place that cannot be reached.
const REPORT: Duration = Duration::from_secs(60);

/// The end of the names of files that say what is known of another one.
const ABOUT: &str = ".json";

/// The failure of the place of media. The log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The namespace of the uploader.
    pub(crate) namespace: String,
    /// The name of the uploader.
    pub(crate) owner: String,
    /// The media type.
    pub(crate) kind: String,
    /// The name of the file, as its uploader's form gave it.
    pub(crate) name: Option<String>,
    /// The number of bytes.
    pub(crate) size: u64,
    /// The checksum, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// The place where media are kept.
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    metrics: Arc<MediaMetrics>,
    reported: Mutex<Option<Instant>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

/// Returns the path of a file. Folders have the first signs of ids as names, to be small.
fn path(id: &str) -> Path {
    let folder = id.get(..2).unwrap_or_default();
    Path::from_iter([folder, id])
}

fn about_path(id: &str) -> Path {
    let folder = id.get(..2).unwrap_or_default();
    Path::from_iter([folder.to_owned(), format!("{id}{ABOUT}")])
}

/// Returns the id of a listed file, and whether it says what is known of another one.
pub(super) fn id_of(listed: &ObjectMeta) -> Option<(&str, bool)> {
    let name = listed.location.as_ref().rsplit('/').next()?;
    Some(match name.strip_suffix(ABOUT) {
        Some(id) => (id, true),
        None => (name, false),
    })
}

impl Store {
    /// Opens a folder, and makes it if it is missing. Only the gateway's user may enter it.
    ///
    /// # Errors
    /// The folder cannot be made, or is not a folder.
    pub(crate) fn folder(folder: &FilePath, metrics: Arc<MediaMetrics>) -> std::io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(std::io::Error::other)?;
        Ok(Self {
            // What is acknowledged is durable.
            objects: Arc::new(objects.with_fsync(true)),
            metrics,
            reported: Mutex::new(None),
        })
    }

    /// Counts a failure, and logs it once a minute.
    fn failed(&self, error: &Error) -> Unreachable {
        self.metrics.unreachable.one();
        let mut reported = self.reported.lock();
        if reported.is_none_or(|at| at.elapsed() >= REPORT) {
            *reported = Some(Instant::now());
            tracing::warn!(%error, place = ?self, "media cannot be kept or read now");
        }
        Unreachable
    }

    /// Begins to write a file.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn begin(&self, id: &str) -> Result<Writer<'_>, Unreachable> {
        let upload = self.objects.put_multipart(&path(id)).await;
        Ok(Writer {
            store: self,
            upload: upload.map_err(|error| self.failed(&error))?,
            piece: Vec::new(),
        })
    }

    /// Says what is known of a file. Only then the file is there.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn note(&self, id: &str, about: &About) -> Result<(), Unreachable> {
        // Texts and numbers: this does not fail.
        let text = serde_json::to_vec(about).unwrap_or_default();
        let put = self.objects.put(&about_path(id), text.into()).await;
        put.map(|_| ()).map_err(|error| self.failed(&error))
    }

    /// Returns what is known of a file; `None` if there is no such file.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn about(&self, id: &str) -> Result<Option<About>, Unreachable> {
        let got = match self.objects.get(&about_path(id)).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Reads a part of a file, piece by piece.
    ///
    /// # Errors
    /// The place cannot be reached, or the file is gone.
    pub(crate) async fn read(
        &self,
        id: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, Unreachable> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let got = self.objects.get_opts(&path(id), options).await;
        let got = got.map_err(|error| self.failed(&error))?;
        Ok(got.into_stream())
    }

    /// Removes a file and what is known of it.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Unreachable> {
        // First: a file that nothing is known of is not there.
        for path in [about_path(id), path(id)] {
            match self.objects.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    /// Lists all files, of both sorts.
    pub(super) fn list(&self) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(None)
    }
}

/// A file that is being written. Call [`Writer::end`] or [`Writer::abort`].
pub(crate) struct Writer<'s> {
    store: &'s Store,
    upload: Box<dyn MultipartUpload>,
    piece: Vec<u8>,
}

impl Writer<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Unreachable> {
        while !bytes.is_empty() {
            let room = PIECE - self.piece.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.put().await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self) -> Result<(), Unreachable> {
        let piece = std::mem::take(&mut self.piece);
        let put = self.upload.put_part(PutPayload::from(piece)).await;
        put.map_err(|error| self.store.failed(&error))
    }

    /// Ends the file, which is durable then.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn end(&mut self) -> Result<(), Unreachable> {
        if !self.piece.is_empty() {
            self.put().await?;
        }
        let done = self.upload.complete().await;
        done.map(|_| ()).map_err(|error| self.store.failed(&error))
    }

    /// Removes what was written.
    pub(crate) async fn abort(&mut self) {
        let _ = self.upload.abort().await;
    }
}
