//! Removes media that no message names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;

use super::owner::Owner;
use super::store::id_of;
use super::{Media, Unreachable};

/// The parts of the life of unnamed media after each of which all files are looked at.
const LOOKS: u32 = 24;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(500);

/// The most unnamed files that are known at a time. Others wait for a later look.
const MOST: usize = 100_000;

/// The number of files after which other tasks have their turn, and the rest before the next ones.
const PIECE: usize = 64;
const REST: Duration = Duration::from_millis(5);

/// Looks again and again. The future ends never.
pub(crate) async fn run(media: Arc<Media>) {
    let life = media.limits.unnamed_life;
    let pause = (life / LOOKS).max(SHORTEST);
    // When a file was first seen without a message that names it. A clock that leaps is not enough to
    // remove one.
    let mut unnamed = HashMap::new();
    let mut owner = Owner::new(media.owner.clone());
    loop {
        tokio::time::sleep(pause).await;
        // The log has the reasons. The next look tries again.
        if !matches!(owner.may_remove(&media.store).await, Ok(true)) {
            continue;
        }
        let _ = look(&media, &mut unnamed, pause).await;
    }
}

async fn look(
    media: &Media,
    unnamed: &mut HashMap<String, Instant>,
    pause: Duration,
) -> Result<(), Unreachable> {
    let (began, life) = (Instant::now(), media.limits.unnamed_life);
    let mut files = media.store.list();
    let (mut still, mut looked) = (HashMap::new(), 0);
    let mut removed = HashSet::new();
    while let Some(file) = files.next().await {
        let file = file.map_err(|error| media.store.failed(&error))?;
        looked += 1;
        if looked % PIECE == 0 {
            tokio::time::sleep(REST).await;
        }
        let age = SystemTime::now().duration_since(file.last_modified.into());
        let Some((id, _)) = id_of(&file).filter(|_| age.is_ok_and(|age| age >= life)) else {
            continue;
        };
        // A file has two entries.
        if removed.contains(id) || media.is_named(id).await? {
            continue;
        }
        let since = *unnamed.get(id).unwrap_or(&began);
        if began.duration_since(since) >= pause && is_old(media, id).await? {
            if !media.owner.leads() {
                // Another node may have a message by now that names the file.
                return Ok(());
            }
            media.store.remove(id).await?;
            media.metrics.removed.one();
            removed.insert(id.to_owned());
        } else if still.len() < MOST {
            still.insert(id.to_owned(), since);
        }
    }
    *unnamed = still;
    Ok(())
}

/// Returns whether the life of a file is over by the steady time. The time of its last change is another
/// machine's, or that of a system clock that was wrong.
async fn is_old(media: &Media, id: &str) -> Result<bool, Unreachable> {
    let about = media.store.about(id).await?;
    let age = about
        .and_then(|about| about.uploaded)
        .map(|uploaded| Duration::from_millis(media.steady().saturating_sub(uploaded)));
    // The rest of an upload that did not end, and files of earlier versions, have only that time.
    Ok(age.is_none_or(|age| age >= media.limits.unnamed_life))
}
