//! Removes the media that a user has uploaded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::owner::Owner;
use super::store::{Store, id_of};
use super::{MediaMetrics, MediaPlace};

/// The number of files after which the disk has a rest, and the rest.
const PIECE: usize = 64;
const REST: Duration = Duration::from_millis(5);

/// The time between two looks whether the erasure goes on.
const LOOK: Duration = Duration::from_millis(50);

/// The most time for one step at the place of media.
const PATIENCE: Duration = Duration::from_secs(30);

/// Removes the media in a place that a user has uploaded, whoever names them: it looks at all files. The
/// place comes with the file of its credentials and the file that says whose it is, the user as namespace and
/// name. It blocks its thread, and ends early when `goes_on` returns `false`.
///
/// # Errors
/// The place of media cannot be reached, or another gateway uses it. The text says what to do.
pub fn erase_media(
    (place, s3_file, owner_file): (&MediaPlace, Option<&Path>, &Path),
    metrics: &Arc<MediaMetrics>,
    (namespace, user): (&str, &str),
    goes_on: &dyn Fn() -> bool,
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
    let erasing = async {
        let unreachable = || "the place of media cannot be reached: the log says why".to_owned();
        let owner = Owner::new(owner_file.to_owned());
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
            if about.is_some_and(|about| about.owner == user && about.namespace == namespace) {
                store.remove(id).await.map_err(|_| unreachable())?;
                metrics.removed.one();
            }
        }
        Ok(())
    };
    let stopped = async {
        while goes_on() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let erased = runtime.block_on(async {
        tokio::select! {
            erased = erasing => erased,
            () = stopped => Ok(()),
        }
    });
    // A disk that hangs keeps a thread for as long as it hangs.
    runtime.shutdown_background();
    erased
}
