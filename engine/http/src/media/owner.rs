//! Whose place of media this is. A gateway removes what no message of its own store names, so two gateways
//! at one place would remove each other's media.
//!
//! An object at the place has a token, which a file beside the store has too. Every start makes a new one,
//! so a copy of the store is noticed when both gateways have run. Whoever finds another token than its own
//! puts [`SHARED`] there, and then nobody removes anything.
//!
//! The nodes of a cluster have the same messages, and may use one place: its token is that of the cluster, and only the
//! node that leads removes what no message names, because it has all messages.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_core::media::is_id;

use super::{Media, Store, Unreachable};

/// The name of the file with the tokens, in the data folder.
const OWNER_FILE: &str = "media-owner";

/// The object at a place that more than one gateway uses. It is no token.
const SHARED: &str = "shared";

/// The most bytes of the file with the tokens.
const FILE: u64 = 1 << 10;

/// Who owns a place of media.
#[derive(Clone)]
pub struct MediaOwner {
    /// The file with the tokens that may be at the place: the one before this start, and the last.
    file: PathBuf,
    cluster: Option<Cluster>,
}

/// The cluster that owns a place.
#[derive(Clone)]
struct Cluster {
    token: String,
    leads: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl MediaOwner {
    /// Makes the gateway with this data folder the owner.
    pub fn gateway(data: &Path) -> Self {
        Self {
            file: data.join(OWNER_FILE),
            cluster: None,
        }
    }

    /// Makes a cluster the owner, of which the gateway with this data folder is a node. `log` is the name of the cluster's log
    /// among all logs, and `leads` says whether this node leads.
    pub fn cluster(
        data: &Path,
        log: [u8; 16],
        leads: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let token = URL_SAFE_NO_PAD.encode(log);
        let leads = Arc::new(leads);
        Self {
            cluster: Some(Cluster { token, leads }),
            ..Self::gateway(data)
        }
    }
}

impl MediaOwner {
    /// Returns whether this gateway may remove files of its place: one that works alone, or the node that leads.
    pub(super) fn leads(&self) -> bool {
        self.cluster.as_ref().is_none_or(|it| (it.leads)())
    }
}

/// What a gateway knows of the owner of its place.
pub(super) struct Owner {
    of: MediaOwner,
    /// The token of this start, once it is at the place.
    token: Option<String>,
    /// Whether the log says that others use the place.
    is_reported: bool,
}

impl Owner {
    pub(super) const fn new(of: MediaOwner) -> Self {
        Self {
            of,
            token: None,
            is_reported: false,
        }
    }

    /// Returns whether files at the place may be removed. The first time after a start they may not, so
    /// that another gateway has time to notice.
    ///
    /// # Errors
    /// The place cannot be reached, or the file not be read or written.
    pub(super) async fn may_remove(&mut self, store: &Store) -> Result<bool, Unreachable> {
        let there = store.owner().await?;
        if there.is_some() && there == self.token {
            return Ok(self.of.leads());
        }
        if there
            .as_deref()
            .is_some_and(|text| text != SHARED && !is_id(text))
        {
            // No gateway has put it there.
            self.report(store);
            return Ok(false);
        }
        let claimed = self.claim(there.clone()).await?;
        let Some(token) = claimed else {
            self.token = None;
            if !self.of.leads() {
                // The leader may be the node that had the place alone, and is about to take it for all.
                return Ok(false);
            }
            if there.as_deref() != Some(SHARED) {
                store.set_owner(SHARED).await?;
            }
            self.report(store);
            return Ok(false);
        };
        store.set_owner(&token).await?;
        (self.token, self.is_reported) = (Some(token), false);
        Ok(false)
    }

    /// Returns whether no other gateway uses the place, as far as is known.
    ///
    /// # Errors
    /// The place cannot be reached, or the file not be read.
    pub(super) async fn is_own(&self, store: &Store) -> Result<bool, Unreachable> {
        let Some(there) = store.owner().await? else {
            return Ok(true);
        };
        if let Some(cluster) = &self.of.cluster {
            return Ok(there == cluster.token);
        }
        let file = self.of.file.clone();
        let known = tokio::task::spawn_blocking(move || read(&file)).await;
        match known.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(known) => Ok(known.lines().any(|line| line == there)),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn unusable(&self, error: &io::Error) -> Unreachable {
        let file = self.of.file.display();
        tracing::warn!(%file, %error, "media stay: the file that says whose they are cannot be read or written");
        Unreachable::Away
    }

    /// Says once that the place is not this gateway's alone.
    fn report(&mut self, store: &Store) {
        if !std::mem::replace(&mut self.is_reported, true) {
            store.is_shared();
        }
    }

    /// Returns the token for the place: a new one, which it writes into the file, or that of the cluster. Returns `None` if the
    /// token at the place is that of somebody else. A node takes a place that was its own before there was a cluster.
    async fn claim(&self, there: Option<String>) -> Result<Option<String>, Unreachable> {
        let (file, is_lost) = (self.of.file.clone(), self.token.is_some());
        let of_cluster = self
            .of
            .cluster
            .as_ref()
            .map(|cluster| cluster.token.clone());
        if there.is_some() && there == of_cluster {
            return Ok(of_cluster);
        }
        let claim = move || {
            let known = read(&file)?;
            if let Some(there) = &there
                && (is_lost || !known.lines().any(|line| line == there))
            {
                return Ok(None);
            }
            if of_cluster.is_some() {
                return Ok(of_cluster);
            }
            let token = Media::new_id().map_err(|_| io::Error::other("no random numbers"))?;
            // Both: the gateway may end before the new one is at the place.
            write(&file, &format!("{}\n{token}\n", there.unwrap_or_default()))?;
            Ok(Some(token))
        };
        let done = tokio::task::spawn_blocking(claim).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| self.unusable(&error))
    }
}

/// Reads the file with tokens. It may be missing.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    match fs::File::open(file) {
        Ok(file) => file.take(FILE).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text)
}

/// Writes the file with tokens, whole or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut written = fs::File::create(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    // The token at the place must not outlive the file.
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::media::OpenedMedia;

    async fn look(owner: &mut Owner, store: &Store) -> bool {
        owner.may_remove(store).await.unwrap()
    }

    #[tokio::test]
    async fn of_two_gateways_at_a_place_none_removes_anything() {
        let place = OpenedMedia::in_memory();
        let store = &Store::new(place, Duration::from_secs(9), Arc::default());
        let folder = tempfile::tempdir().unwrap();
        let data = |name: &str| {
            let data = folder.path().join(name);
            fs::create_dir_all(&data).unwrap();
            data
        };
        let owner = |name: &str| MediaOwner::gateway(&data(name));
        let mut first = Owner::new(owner("first"));
        assert!(!look(&mut first, store).await);
        assert!(look(&mut first, store).await && look(&mut first, store).await);
        // After a restart it is still the owner.
        let mut first = Owner::new(owner("first"));
        assert!(!look(&mut first, store).await && look(&mut first, store).await);
        // A copy of its store runs too.
        fs::copy(
            data("first").join(OWNER_FILE),
            data("copy").join(OWNER_FILE),
        )
        .unwrap();
        let mut copy = Owner::new(owner("copy"));
        assert!(!look(&mut copy, store).await && look(&mut copy, store).await);
        assert!(!first.is_own(store).await.unwrap() || !copy.is_own(store).await.unwrap());
        for owner in [&mut first, &mut copy, &mut Owner::new(owner("first"))] {
            assert!(!look(owner, store).await && !look(owner, store).await);
        }
        // Something else has the name.
        store.set_owner("a file of somebody else").await.unwrap();
        assert!(!look(&mut first, store).await && !look(&mut first, store).await);
        let there = store.owner().await.unwrap();
        assert_eq!(there.as_deref(), Some("a file of somebody else"));
        // Somebody removes the object, and one gateway.
        store.remove_owner().await;
        assert!(!look(&mut first, store).await && look(&mut first, store).await);
        assert!(first.is_own(store).await.unwrap());
        // Another store, or a backup of this one.
        let mut other = Owner::new(owner("other"));
        assert!(!other.is_own(store).await.unwrap());
        assert!(!look(&mut other, store).await);
        assert!(!look(&mut first, store).await && !look(&mut other, store).await);
    }

    #[tokio::test]
    async fn a_start_that_ends_between_file_and_place_is_no_other_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::new(MediaOwner::gateway(folder.path()));
        let token = owner.claim(None).await.unwrap().unwrap();
        owner.claim(Some(token.clone())).await.unwrap().unwrap();
        assert!(owner.claim(Some(token)).await.unwrap().is_some());
        assert!(owner.claim(Some("another".into())).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_the_nodes_of_a_cluster_the_leader_removes() {
        let place = OpenedMedia::in_memory();
        let store = &Store::new(place, Duration::from_secs(9), Arc::default());
        let folder = tempfile::tempdir().unwrap();
        let data = |name: &str| {
            let data = folder.path().join(name);
            fs::create_dir_all(&data).unwrap();
            data
        };
        // The first node worked alone before.
        let mut alone = Owner::new(MediaOwner::gateway(&data("a")));
        assert!(!look(&mut alone, store).await && look(&mut alone, store).await);
        let leader = Arc::new(Mutex::new("a"));
        let node = |name: &'static str, log: u8| {
            let leader = Arc::clone(&leader);
            let leads = move || *leader.lock().unwrap() == name;
            Owner::new(MediaOwner::cluster(&data(name), [log; 16], leads))
        };
        let (mut a, mut b) = (node("a", 7), node("b", 7));
        // A node that does not lead leaves the place to the one that had it.
        assert!(!look(&mut b, store).await && !b.is_own(store).await.unwrap());
        for owner in [&mut a, &mut b] {
            assert!(!look(owner, store).await && owner.is_own(store).await.unwrap());
        }
        assert!(look(&mut a, store).await && !look(&mut b, store).await);
        *leader.lock().unwrap() = "b";
        assert!(!look(&mut a, store).await && look(&mut b, store).await);
        // The gateway as it was before, and another cluster.
        let mut other = node("b", 8);
        assert!(!alone.is_own(store).await.unwrap() && !other.is_own(store).await.unwrap());
        assert!(!look(&mut other, store).await && !look(&mut other, store).await);
        assert!(!look(&mut b, store).await && !b.is_own(store).await.unwrap());
    }
}
