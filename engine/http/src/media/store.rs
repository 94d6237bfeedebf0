//! The place of media: a file with the bytes, and a file with what is known of them.
//!
//! The second one is written last, so a file without it is the rest of an upload that did not end.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutPayload,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trunkline_core::media::is_id;
use trunkline_core::store::is_full;

use super::MediaMetrics;
use super::place::Opened;

/// The longest time for one step at the place of media.
const STEP: Duration = Duration::from_secs(20);

/// The bytes that the first piece of an upload has room for.
const FIRST: usize = 64 << 10;

/// The pieces of downloads from another machine. While many clients download, those that find no room for
/// large ones get small ones.
const LARGE: u64 = 1 << 20;
const SMALL: u64 = 128 << 10;

/// The maximum number of large pieces of all downloads together.
const LARGE_ONES: usize = 64;

/// The time between two lines of the log about a place that cannot be reached.
const REPORT: Duration = Duration::from_secs(60);

/// The most bytes of a reason in the log.
const REASON: usize = 500;

/// The end of the names of files that say what is known of another one.
const ABOUT: &str = ".json";

/// The name of the file that says whose place this is.
const OWNER: &str = "trunkline-owner";

/// The most bytes of it that are read.
const OWNER_BYTES: u64 = 1 << 10;

/// A part of a file, piece by piece.
pub(crate) type Pieces = BoxStream<'static, object_store::Result<Bytes>>;

/// The failure of the place of media. The log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The place takes no more bytes: its disk is full, or a quota or a limit is reached.
    Full,
    /// The place cannot be reached or read, or failed otherwise.
    Away,
}

/// Returns whether a failure means that the disk of the place is full.
fn is_for_room(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(is_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

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
    /// The steady time of the upload, in milliseconds since 1970 UTC; `None` if an earlier version took it.
    #[serde(default)]
    pub(crate) uploaded: Option<u64>,
}

/// The place where media are kept.
#[derive(Clone)]
pub(crate) struct Store {
    place: Arc<Opened>,
    /// The time for one step.
    patience: Duration,
    large: Arc<Semaphore>,
    metrics: Arc<MediaMetrics>,
    reported: Arc<Mutex<Option<Instant>>>,
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

/// Returns the id of a listed file, and whether it says what is known of another one; `None` if the gateway
/// did not put it there.
pub(super) fn id_of(listed: &ObjectMeta) -> Option<(&str, bool)> {
    let place = &listed.location;
    let name = place.as_ref().rsplit('/').next()?;
    let (id, is_about) = match name.strip_suffix(ABOUT) {
        Some(id) => (id, true),
        None => (name, false),
    };
    let is_own = is_id(id) && *place == if is_about { about_path(id) } else { path(id) };
    is_own.then_some((id, is_about))
}

impl Store {
    /// Keeps media in an open place. `patience` is the time for one step, if it is shorter than usual.
    pub(crate) fn new(place: Opened, patience: Duration, metrics: Arc<MediaMetrics>) -> Self {
        Self {
            place: Arc::new(place),
            patience: patience.min(STEP),
            large: Arc::new(Semaphore::new(LARGE_ONES)),
            metrics,
            reported: Arc::default(),
        }
    }

    fn objects(&self) -> &dyn ObjectStore {
        &*self.place.objects
    }

    /// The bytes of a file that are in memory at a time while it is uploaded.
    pub(crate) fn piece(&self) -> usize {
        self.place.piece
    }

    /// Waits for a step, for a bounded time.
    async fn within<T>(
        &self,
        step: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let step = async {
            self.place.check().await?;
            step.await
        };
        let done = tokio::time::timeout(self.patience, step).await;
        done.unwrap_or_else(|late| {
            Err(Error::Generic {
                store: "media",
                source: Box::new(late),
            })
        })
    }

    /// Counts a failure, and logs it once a minute.
    pub(super) fn failed(&self, error: &Error) -> Unreachable {
        self.metrics.unreachable.one();
        let mut reported = self.reported.lock();
        if reported.is_none_or(|at| at.elapsed() >= REPORT) {
            *reported = Some(Instant::now());
            let mut error = self.place.reason(error);
            let end = (0..=REASON).rev().find(|end| error.is_char_boundary(*end));
            error.truncate(end.unwrap_or_default());
            let place = &self.place.shown;
            tracing::warn!(%error, place, "media cannot be kept or read now; further failures are counted in /metrics");
        }
        match is_for_room(error) {
            true => Unreachable::Full,
            false => Unreachable::Away,
        }
    }

    /// Begins to write a file. Nothing is at the place before the first piece is full.
    pub(crate) fn begin(&self, id: &str) -> Writer {
        Writer {
            store: self.clone(),
            path: path(id),
            upload: None,
            piece: Vec::new(),
        }
    }

    /// Says what is known of a file. Only then the file is there.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn note(&self, id: &str, about: &About) -> Result<(), Unreachable> {
        // Texts and numbers: this does not fail.
        let text = serde_json::to_vec(about).unwrap_or_default();
        let path = about_path(id);
        let put = self.within(self.objects().put(&path, text.into())).await;
        put.map(|_| ()).map_err(|error| self.failed(&error))
    }

    /// Returns what is known of a file; `None` if there is no such file.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn about(&self, id: &str) -> Result<Option<About>, Unreachable> {
        let path = about_path(id);
        let got = self.within(async { self.objects().get(&path).await?.bytes().await });
        match got.await {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Reads a part of a file, piece by piece.
    ///
    /// # Errors
    /// The place cannot be reached, or the file is gone.
    pub(crate) async fn read(&self, id: &str, range: Range<u64>) -> Result<Pieces, Unreachable> {
        let path = path(id);
        if !self.place.is_remote {
            let got = self.within(self.get(&path, range)).await;
            let got = got.map_err(|error| self.failed(&error))?;
            return Ok(got.into_stream());
        }
        // A client that reads slowly must hold no connection to the store: each piece is a request.
        let mut reading = Reading {
            store: self.clone(),
            path,
            range,
            _large: None,
        };
        let first = reading.next().await;
        let first = first.map_err(|error| self.failed(&error))?;
        let pieces =
            futures_util::stream::try_unfold((reading, first), |(mut reading, first)| async move {
                let next = match first {
                    Some(first) => Some(first),
                    None => reading.next().await?,
                };
                Ok(next.map(|piece| (piece, (reading, None))))
            });
        let store = self.clone();
        Ok(pieces
            .inspect_err(move |error| {
                store.failed(error);
            })
            .boxed())
    }

    async fn get(
        &self,
        path: &Path,
        range: Range<u64>,
    ) -> object_store::Result<object_store::GetResult> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        self.objects().get_opts(path, options).await
    }

    /// Removes a file and what is known of it.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Unreachable> {
        // First: a file that nothing is known of is not there.
        for path in [about_path(id), path(id)] {
            match self.within(self.objects().delete(&path)).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    /// Returns the token of the gateway whose place this is; `None` if nobody's.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(super) async fn owner(&self) -> Result<Option<String>, Unreachable> {
        let path = Path::from(OWNER);
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..OWNER_BYTES)),
            ..GetOptions::default()
        };
        let got = async { self.objects().get_opts(&path, options).await?.bytes().await };
        let got = self.within(got);
        match got.await {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Puts a token there.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(super) async fn set_owner(&self, token: &str) -> Result<(), Unreachable> {
        let (path, token) = (Path::from(OWNER), token.to_owned());
        let put = self.within(self.objects().put(&path, token.into())).await;
        put.map(|_| ()).map_err(|error| self.failed(&error))
    }

    /// Logs that others use the place too.
    pub(super) fn is_shared(&self) {
        let (place, object) = (&self.place.shown, OWNER);
        tracing::warn!(
            place,
            object,
            "media that no message names stay: another gateway uses this place, or did so before this store \
             was restored; give each gateway its own place, and then remove the object"
        );
    }

    /// Lists all files, of both sorts.
    pub(super) fn list(&self) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects().list(None)
    }
}

/// A part of a file that is being read from another machine.
struct Reading {
    store: Store,
    path: Path,
    /// What is still to be read.
    range: Range<u64>,
    /// The room of the last piece, while it is large.
    _large: Option<OwnedSemaphorePermit>,
}

impl Reading {
    /// Reads the next piece; `None` at the end.
    async fn next(&mut self) -> object_store::Result<Option<Bytes>> {
        self._large = None;
        let left = self.range.end.saturating_sub(self.range.start);
        if left == 0 {
            return Ok(None);
        }
        let large = Arc::clone(&self.store.large);
        self._large = large.try_acquire_owned().ok().filter(|_| left > SMALL);
        let most = if self._large.is_some() { LARGE } else { SMALL };
        let piece = self.range.start..self.range.start + left.min(most);
        let store = &self.store;
        let got = store.within(async { store.get(&self.path, piece.clone()).await?.bytes().await });
        let bytes = got.await?;
        if bytes.len() as u64 != piece.end - piece.start {
            return Err(Error::Generic {
                store: "media",
                source: "the store answers another number of bytes than it was asked for".into(),
            });
        }
        self.range.start = piece.end;
        Ok(Some(bytes))
    }
}

/// A file that is being written. Call [`Writer::end`], or [`Writer::abort`] if that fails.
pub(crate) struct Writer {
    store: Store,
    path: Path,
    /// `None` before the first piece is full.
    upload: Option<Box<dyn MultipartUpload>>,
    piece: Vec<u8>,
}

impl Writer {
    /// Appends bytes. Returns whether the place was waited for.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<bool, Unreachable> {
        let mut has_waited = false;
        let most = self.store.piece();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at((most - self.piece.len()).min(bytes.len()));
            self.grow(now.len());
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == most {
                self.put().await?;
                has_waited = true;
            }
        }
        Ok(has_waited)
    }

    /// Makes room for this number of bytes, and at the end for a piece and no more.
    fn grow(&mut self, more: usize) {
        let (length, room) = (self.piece.len(), self.piece.capacity());
        if length + more > room {
            let wanted = (2 * room).max(FIRST).max(length + more);
            let wanted = wanted.min(self.store.piece());
            self.piece.reserve_exact(wanted.saturating_sub(length));
        }
    }

    async fn put(&mut self) -> Result<(), Unreachable> {
        let store = &self.store;
        let put = async {
            let upload = match &mut self.upload {
                Some(upload) => upload,
                none => none.insert(
                    store
                        .within(store.objects().put_multipart(&self.path))
                        .await?,
                ),
            };
            let piece = std::mem::take(&mut self.piece);
            store.within(upload.put_part(PutPayload::from(piece))).await
        };
        put.await.map_err(|error| store.failed(&error))
    }

    /// Ends the file, which is durable then.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub(crate) async fn end(&mut self) -> Result<(), Unreachable> {
        if self.upload.is_some() && !self.piece.is_empty() {
            self.put().await?;
        }
        let store = &self.store;
        let done = match &mut self.upload {
            Some(upload) => store.within(upload.complete()).await,
            None => {
                let piece = std::mem::take(&mut self.piece);
                store
                    .within(store.objects().put(&self.path, piece.into()))
                    .await
            }
        };
        done.map(|_| ()).map_err(|error| store.failed(&error))
    }

    /// Removes what was written, without anybody waiting for it.
    pub(crate) fn abort(self) {
        if let Some(mut upload) = self.upload {
            tokio::spawn(async move {
                let _ = self.store.within(upload.abort()).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Store {
        pub(crate) async fn remove_owner(&self) {
            self.objects().delete(&Path::from(OWNER)).await.unwrap();
        }
    }

    #[test]
    fn files_of_others_have_no_id() {
        let of = |place: &str| {
            let listed = ObjectMeta {
                location: Path::from(place),
                last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
                size: 1,
                e_tag: None,
                version: None,
            };
            id_of(&listed).map(|(id, is_about)| (id.to_owned(), is_about))
        };
        let id = "AbCdEfGhIjKlMnOpQrSt-_";
        assert_eq!(of(&format!("Ab/{id}")), Some((id.to_owned(), false)));
        assert_eq!(of(&format!("Ab/{id}.json")), Some((id.to_owned(), true)));
        for other in [
            id,
            OWNER,
            "Ab/owner",
            "photos/cat.jpg",
            &format!("Xy/{id}"),
            &format!("other/Ab/{id}"),
            &format!("Ab/{id}.json.json"),
            &format!("Ab/{id}x"),
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
