//! Media that clients upload: where they are kept, what is known of each, and links to them.

mod link;
mod owner;
mod place;
mod range;
mod store;
mod sweep;
mod types;
mod uploaded;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_core::clock::Clock;
use trunkline_core::cost::Cost;
use trunkline_core::ids::UserId;
use trunkline_core::media::Access;
use trunkline_core::metrics::Counter;

pub(crate) use self::link::Links;
pub use self::owner::MediaOwner;
pub use self::place::{MediaPlace, Opened as OpenedMedia, PLACE_WORDS};
pub(crate) use self::range::{Part, part};
pub(crate) use self::store::{About, Store, Unreachable, Writer};
pub(crate) use self::sweep::run as sweep;
pub use self::types::MediaTypes;
pub(crate) use self::types::{essence, is_type};
pub use self::uploaded::{MediaFiles, erase_media, list_media};
use crate::turns::Turns;

/// The most bytes of all uploads together that are in memory. One user has a quarter of them at most.
const UPLOADS: usize = 64 << 20;

/// The limits of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLimits {
    /// The most bytes of one file.
    pub most: u64,
    /// The types that clients may upload.
    pub types: MediaTypes,
    /// The time after which a file is removed that no message names.
    pub unnamed_life: Duration,
    /// The disk space that uploads into a folder leave free, in bytes, beside the file itself.
    pub reserve: u64,
}

/// The counters of media.
#[derive(Debug, Default)]
pub struct MediaMetrics {
    /// The files that clients have uploaded.
    pub uploads: Counter,
    /// The bytes of these files.
    pub uploaded_bytes: Counter,
    /// The files, or parts of files, that clients have begun to download.
    pub downloads: Counter,
    /// The files that were removed because no message named them.
    pub removed: Counter,
    /// The times that the place of media could not be reached, or failed.
    pub unreachable: Counter,
}

/// Everything that the part for media needs.
pub struct MediaParts {
    /// The place of media.
    pub place: OpenedMedia,
    /// The limits.
    pub limits: MediaLimits,
    /// The owner of the place.
    pub owner: MediaOwner,
    /// Looks up who may read media.
    pub access: Access,
    /// Returns the free bytes of the disk with the folder of the store.
    pub free_bytes: Box<dyn Fn() -> std::io::Result<u64> + Send + Sync>,
    /// The clock of the gateway.
    pub clock: Arc<Clock>,
    /// Returns whether the folder of the store was moved or removed, or is another one now.
    pub is_lost: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The media of a gateway.
pub(crate) struct Media {
    pub(crate) store: Store,
    pub(crate) limits: MediaLimits,
    pub(crate) links: Links,
    pub(crate) metrics: Arc<MediaMetrics>,
    /// The memory of uploads.
    pub(crate) room: Turns<UserId>,
    owner: MediaOwner,
    access: Access,
    free_bytes: Box<dyn Fn() -> std::io::Result<u64> + Send + Sync>,
    is_lost: Box<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<Clock>,
}

impl Media {
    /// Puts the parts together. `patience` is the most time for one step at the place of media.
    pub(crate) fn new(parts: MediaParts, patience: Duration, metrics: Arc<MediaMetrics>) -> Self {
        Self {
            store: Store::new(parts.place, patience, Arc::clone(&metrics)),
            limits: parts.limits,
            links: Links::new(parts.access.link_secret()),
            metrics,
            room: Turns::new(UPLOADS, UPLOADS / 4),
            owner: parts.owner,
            access: parts.access,
            free_bytes: parts.free_bytes,
            is_lost: parts.is_lost,
            clock: parts.clock,
        }
    }

    /// Returns a new id. Nobody can guess it.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new_id() -> Result<String, Unreachable> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| Unreachable::Away)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns the steady time, in milliseconds since 1970 UTC: no leap of the system clock moves it.
    pub(crate) fn steady(&self) -> u64 {
        self.clock.steady()
    }

    /// Returns whether the folder of the store was moved or removed. Then no message can name a file, and a
    /// file that is acknowledged may be lost with the folder.
    pub(crate) fn is_lost(&self) -> bool {
        (self.is_lost)()
    }

    /// Returns whether the disk has room for one more file of the largest size.
    pub(crate) fn has_room(&self) -> bool {
        let needed = self.limits.most.saturating_add(self.limits.reserve);
        // A disk that cannot be asked fails at the upload, with a reason.
        (self.free_bytes)().map_or(true, |free| free >= needed)
    }

    /// Returns whether a user may read media, and what it cost to find out.
    ///
    /// # Errors
    /// The store of messages could not be read.
    pub(crate) async fn may_read(
        &self,
        id: &str,
        about: &About,
        user: UserId,
    ) -> Result<(bool, Cost), Unreachable> {
        let owner = self.access.user(&about.namespace, &about.owner);
        if owner == user {
            return Ok((true, Cost::NONE));
        }
        let (access, id) = (self.access.clone(), id.to_owned());
        // The store may read the disk.
        let looked = tokio::task::spawn_blocking(move || access.may_read(&id, owner, user));
        match looked.await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Unreachable::Away),
        }
    }

    /// Returns whether a message names media.
    ///
    /// # Errors
    /// The store of messages could not be read.
    async fn is_named(&self, id: &str) -> Result<bool, Unreachable> {
        let (access, id) = (self.access.clone(), id.to_owned());
        let looked = tokio::task::spawn_blocking(move || access.is_named(&id));
        match looked.await {
            Ok(Ok(named)) => Ok(named),
            _ => Err(Unreachable::Away),
        }
    }
}
