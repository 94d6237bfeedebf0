//! Places where media are kept: a folder, or a bucket that speaks S3.

mod answer;
mod refusal;
mod remote;
mod variables;

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use crate::dial::KEPT;

/// How an address of a bucket begins.
const S3: &str = "s3://";

/// What a place looks like, for errors.
pub const PLACE_WORDS: &str = "a folder, or s3://bucket/prefix";

/// The bytes of a file that are in memory at a time while it is uploaded into a folder.
const FOLDER_PIECE: usize = 1 << 20;

/// The same with S3, which takes no smaller parts.
const REMOTE_PIECE: usize = 5 << 20;

/// Where media are kept, as the setting says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPlace {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, and the beginning of the names in it; empty for none.
    S3 {
        /// The bucket.
        bucket: String,
        /// The beginning of the names, without a slash at its ends.
        prefix: String,
    },
}

impl Default for MediaPlace {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

impl FromStr for MediaPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(S3) else {
            if text.contains("://") {
                return Err(format!("media are kept in {PLACE_WORDS}, and nowhere else"));
            }
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
            return Err(format!(
                "the name of a bucket has 3 to 63 letters, digits, dots and hyphens: give \
                 {S3}bucket/prefix"
            ));
        }
        let prefix = prefix.trim_matches('/');
        if Path::parse(prefix).is_err() {
            return Err(format!(
                "the part behind the bucket is not a path: give {S3}bucket/prefix"
            ));
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for MediaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "{S3}{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "{S3}{bucket}/{prefix}"),
        }
    }
}

impl MediaPlace {
    /// Returns the folder; `None` for a bucket.
    pub fn folder(&self) -> Option<&FilePath> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::S3 { .. } => None,
        }
    }

    /// Returns the number of descriptors that connections to the place take at most.
    pub const fn descriptors(&self) -> u64 {
        match self {
            Self::Folder(_) => 0,
            // Those in use, and those that are kept.
            Self::S3 { .. } => (remote::AT_ONCE + KEPT) as u64,
        }
    }

    /// Opens the place. A folder is made if it is missing, and only the gateway's user may enter it.
    /// `variables` is the file with variables of S3; the environment has others. Whether a bucket can be
    /// reached is not tried.
    ///
    /// # Errors
    /// The folder cannot be made, or is not a folder; the variables do not say enough, or contradict
    /// each other.
    pub fn open(&self, variables: Option<&FilePath>) -> Result<Opened, String> {
        let mut held = None;
        let (objects, piece): (Arc<dyn ObjectStore>, _) = match self {
            Self::Folder(folder) => {
                let failed = |error: &dyn fmt::Display| {
                    format!("the folder of media, {}: {error}", folder.display())
                };
                let mut builder = std::fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(folder);
                made.map_err(|error| failed(&error))?;
                let open = File::open(folder).map_err(|error| failed(&error))?;
                let path = within(&open).map_err(|error| failed(&error))?;
                held = Some(Arc::new(Held {
                    folder: open,
                    name: folder.clone(),
                }));
                // What is acknowledged is durable.
                let objects = LocalFileSystem::new().with_fsync(true);
                (Arc::new(PrefixStore::new(objects, path)), FOLDER_PIECE)
            }
            Self::S3 { bucket, prefix } => {
                let objects = variables::bucket(bucket, variables)
                    .map_err(|why| format!("the place of media, {self}: {why}"))?;
                let objects = PrefixStore::new(objects, Path::from(&**prefix));
                (Arc::new(objects), REMOTE_PIECE)
            }
        };
        Ok(Opened {
            objects,
            held,
            piece,
            is_remote: self.folder().is_none(),
            shown: self.to_string(),
        })
    }
}

/// Returns the path by which the system reaches an open folder, wherever the folder is moved to. By its name
/// a client would make a folder anew that somebody has moved away, and that could not be put back then.
///
/// # Errors
/// The path cannot be used, or is not that of a folder.
fn within(folder: &File) -> std::io::Result<Path> {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    if !std::fs::metadata(&path)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Path::parse(path).map_err(std::io::Error::other)
}

/// A folder that is held open, and its name.
struct Held {
    folder: File,
    name: PathBuf,
}

impl Held {
    /// Checks that the folder has its name still.
    fn check(&self) -> std::io::Result<()> {
        let (own, named) = (self.folder.metadata()?, std::fs::metadata(&self.name)?);
        if (own.dev(), own.ino()) == (named.dev(), named.ino()) {
            return Ok(());
        }
        Err(std::io::Error::other(
            "another folder, or a file, is in the place of the folder of media: put the right one back",
        ))
    }
}

/// A place that is open.
pub struct Opened {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The folder, by whose descriptor all of it is reached; `None` for a bucket.
    held: Option<Arc<Held>>,
    /// The bytes of a file that are in memory at a time while it is uploaded.
    pub(super) piece: usize,
    /// Whether it is reached by the network.
    pub(super) is_remote: bool,
    /// Its name in the log.
    pub(super) shown: String,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets of the store are in no log.
        f.debug_tuple("Opened").field(&self.shown).finish()
    }
}

#[cfg(test)]
impl Opened {
    /// Returns a place that nothing else uses.
    pub(super) fn in_memory() -> Self {
        Self {
            objects: Arc::new(object_store::memory::InMemory::new()),
            held: None,
            piece: 1,
            is_remote: false,
            shown: String::new(),
        }
    }
}

impl Opened {
    /// Checks that a folder was not moved or replaced: what is written into it then may be lost with it.
    ///
    /// # Errors
    /// The folder is elsewhere, or cannot be looked at.
    pub(super) async fn check(&self) -> object_store::Result<()> {
        let Some(held) = self.held.clone() else {
            return Ok(());
        };
        // The disk may be slow.
        let checked = tokio::task::spawn_blocking(move || held.check()).await;
        let checked = checked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        checked.map_err(|error| object_store::Error::Generic {
            store: "media",
            source: Box::new(error),
        })
    }

    /// Returns the reason of a failure, for the log.
    pub(super) fn reason(&self, error: &object_store::Error) -> String {
        if self.is_remote {
            return refusal::reason(error);
        }
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        let of = |bucket: &str, prefix: &str| MediaPlace::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (text, place, again) in [
            ("/var/media", MediaPlace::Folder("/var/media".into()), ""),
            ("s3://chat", of("chat", ""), ""),
            ("s3://chat/", of("chat", ""), "s3://chat"),
            ("s3://chat/a/b", of("chat", "a/b"), ""),
            (
                "s3://chat.example/a/",
                of("chat.example", "a"),
                "s3://chat.example/a",
            ),
        ] {
            assert_eq!(text.parse(), Ok(place.clone()), "{text}");
            let again = if again.is_empty() { text } else { again };
            assert_eq!(place.to_string(), again);
        }
        for (text, word) in [
            ("s3://", "bucket"),
            ("s3://a b/c", "bucket"),
            ("s3://chat//a//b", "path"),
            ("gs://chat", "s3://"),
            ("https://chat.s3.amazonaws.com", "s3://"),
        ] {
            let said = text.parse::<MediaPlace>().unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
