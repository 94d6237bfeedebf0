//! The media that a user has uploaded: they are found by looking at all files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::owner::{MediaOwner, Owner};
use super::store::{About, Store, id_of};
use super::{MediaMetrics, MediaPlace};

/// The number of files after which the disk has a rest, and the rest.
const PIECE: usize = 64;
const REST: Duration = Duration::from_millis(5);

/// The time between two looks whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// The most time for one step at the place of media.
const PATIENCE: Duration = Duration::from_secs(30);

/// The place of media for a look at all files: the place, the file of its credentials, and the owner of the place.
pub type MediaFiles<'a> = (&'a MediaPlace, Option<&'a Path>, &'a MediaOwner);

/// Removes the media in a place that a user has uploaded, whoever names them: it looks at all files. The user is
/// namespace and name. It blocks its thread, and ends early when `goes_on` returns `false`.
///
/// # Errors
/// The place of media cannot be reached, or another gateway uses it. The text says what to do.
pub fn erase_media(
    files: MediaFiles<'_>,
    metrics: &Arc<MediaMetrics>,
    user: (&str, &str),
    goes_on: &dyn Fn() -> bool,
) -> Result<(), String> {
    each_of(files, metrics, user, goes_on, async |store, id, _| {
        store.remove(id).await.map_err(|_| unreachable())?;
        metrics.removed.one();
        Ok(())
    })
}

/// Gives what is known of each file in a place of media that a user has uploaded to `each`: its address, type, size
/// in bytes, SHA-256 and name. See [`erase_media`] for the rest.
///
/// # Errors
/// As [`erase_media`].
pub fn list_media(
    files: MediaFiles<'_>,
    metrics: &Arc<MediaMetrics>,
    user: (&str, &str),
    goes_on: &dyn Fn() -> bool,
    each: &mut dyn FnMut(Value),
) -> Result<(), String> {
    each_of(files, metrics, user, goes_on, async |_, id, about| {
        each(json!({
            "url": format!("{}{id}", trunkline_core::media::PATH),
            "type": about.kind,
            "size": about.size,
            "sha256": about.sha256,
            "name": about.name,
        }));
        Ok(())
    })
}

fn unreachable() -> String {
    "the place of media cannot be reached: the log says why".to_owned()
}

/// Lets `act` see each file of a user.
fn each_of(
    (place, s3_file, owner): MediaFiles<'_>,
    metrics: &Arc<MediaMetrics>,
    (namespace, user): (&str, &str),
    goes_on: &dyn Fn() -> bool,
    mut act: impl AsyncFnMut(&Store, &str, &About) -> Result<(), String>,
) -> Result<(), String> {
    if place.folder().is_some_and(|folder| !folder.exists()) {
        return Ok(());
    }
    let opened = place.open(s3_file)?;
    let failed = |error: std::io::Error| format!("the media cannot be read: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(failed)?;
    let store = Store::new(opened, PATIENCE, Arc::clone(metrics));
    let looking = async {
        let owner = Owner::new(owner.clone());
        if !owner.is_own(&store).await.map_err(|_| unreachable())? {
            let why = "another gateway uses the place of media, and may have media of a user of this name: give \
                       each gateway its own place, and remove the object trunkline-owner there";
            return Err(why.to_owned());
        }
        let (mut files, mut looked) = (store.list(), 0);
        while let Some(file) = files.next().await {
            let file = file.map_err(|error| format!("the media cannot be listed: {error}"))?;
            looked += 1;
            if looked % PIECE == 0 {
                tokio::time::sleep(REST).await;
            }
            let Some((id, true)) = id_of(&file) else {
                continue;
            };
            let about = store.about(id).await.map_err(|_| unreachable())?;
            let is_users = |about: &About| about.owner == user && about.namespace == namespace;
            if let Some(about) = about.filter(is_users) {
                act(&store, id, &about).await?;
            }
        }
        Ok(())
    };
    let stopped = async {
        while goes_on() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let looked = runtime.block_on(async {
        tokio::select! {
            looked = looking => looked,
            () = stopped => Ok(()),
        }
    });
    // A disk that hangs keeps a thread for as long as it hangs.
    runtime.shutdown_background();
    looked
}
