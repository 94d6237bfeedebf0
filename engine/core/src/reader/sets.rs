//! Sets whose entries are spread over several values.

use std::io;

use trunkline_storage::{ReadError, TimelineId};

use super::reading::Reading;
use crate::state::{
    self, Bucket, BucketEntry, Contact, Contacts, Reacted, ReactionHead, Reactions, Spread,
};

/// The maximum number of attempts to read a set while commands change it. An attempt fails only if
/// a commit changed the set meanwhile.
const ATTEMPTS: usize = 100;

/// Reads a set until no command changes it meanwhile. `attempt` returns `None` if one did.
///
/// # Errors
/// The error of an attempt, or [`ReadError::Io`] if commands changed the set during each of
/// [`ATTEMPTS`] attempts.
pub(super) fn steady<T>(
    mut attempt: impl FnMut() -> Result<Option<T>, ReadError>,
) -> Result<T, ReadError> {
    for _ in 0..ATTEMPTS {
        if let Some(read) = attempt()? {
            return Ok(read);
        }
    }
    Err(ReadError::Io {
        file: "a set of values".into(),
        source: io::Error::other("commands changed it during each attempt to read it"),
    })
}

/// Returns the entries of the set under the key `set`. A caller that reads the head of the set again
/// afterwards finds out whether entries moved meanwhile.
///
/// # Errors
/// The store could not be read, or holds a bucket of another form.
pub(super) fn entries<E: BucketEntry>(
    reading: &Reading,
    set: TimelineId,
    spread: Spread,
) -> Result<Vec<E>, ReadError> {
    let keys = (0..spread.buckets()).map(|number| reading.ids().bucket(set, number));
    buckets(reading, &keys.collect::<Vec<_>>())
}

/// Returns the entries of the buckets under these keys.
pub(super) fn buckets<E: BucketEntry>(
    reading: &Reading,
    keys: &[TimelineId],
) -> Result<Vec<E>, ReadError> {
    let mut entries = Vec::new();
    for value in reading.stored_all(keys)?.into_iter().flatten() {
        let bucket: Bucket<E> = state::decode(&value).ok_or(ReadError::NoRecord)?;
        entries.extend(bucket.entries);
    }
    Ok(entries)
}

/// Returns the names of the users of a set, in bytewise order: of contacts, or of blocked users. `key`
/// is the key of the set.
///
/// # Errors
/// The store could not be read, or holds a set of another form.
pub(super) fn users(reading: &Reading, key: TimelineId) -> Result<Vec<String>, ReadError> {
    let head = || match reading.stored(key)? {
        Some(value) => state::decode(&value).ok_or(ReadError::NoRecord),
        None => Ok(Contacts::default()),
    };
    let all = steady(|| {
        let Contacts { users, gathered } = head()?;
        if !gathered.is_empty() {
            return Ok(Some(gathered));
        }
        let read = entries(reading, key, users)?;
        Ok(head()?.users.is_laid_out_as(users).then_some(read))
    });
    let mut names: Vec<_> = all?.into_iter().map(|Contact(name)| name).collect();
    names.sort_unstable();
    Ok(names)
}

/// The reactions to a message, as the store keeps them.
pub(super) enum StoredReactions {
    /// The value with a list of a few reactions; empty if there are none.
    Few(Vec<u8>),
    /// Many reactions, in the order in which users added them.
    Many(Vec<Reacted>),
}

impl StoredReactions {
    /// Reads the reactions under a key of [`Ids::reactions`](crate::ids::Ids::reactions).
    ///
    /// # Errors
    /// The store could not be read, or holds reactions of another form.
    pub(super) fn read(reading: &Reading, key: TimelineId) -> Result<Self, ReadError> {
        steady(|| {
            let value = reading.stored(key)?.unwrap_or_default();
            let Some(head) = head(&value) else {
                return Ok(Some(Self::Few(value)));
            };
            let mut all: Vec<Reacted> = entries(reading, key, head.spread)?;
            let now = reading.stored(key)?.as_deref().and_then(self::head);
            if !now.is_some_and(|now| now.spread.is_laid_out_as(head.spread)) {
                return Ok(None);
            }
            all.sort_unstable_by_key(|one| one.order);
            Ok(Some(Self::Many(all)))
        })
    }

    /// Returns the pairs of user and reaction, in the order in which users added them.
    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Few(value) => {
                state::decode::<Reactions<'_>>(value)
                    .unwrap_or_default()
                    .list
            }
            Self::Many(all) => {
                let pairs = all.iter().map(|one| (&*one.user, &*one.reaction));
                pairs.collect()
            }
        }
    }
}

/// Decodes the head of many reactions; `None` if the value is none.
fn head(value: &[u8]) -> Option<ReactionHead> {
    state::decode(value)
}

#[cfg(test)]
mod tests {
    use super::super::failure::{failure, is_lasting};
    use super::*;

    #[test]
    fn a_set_that_always_changes_is_not_said_to_be_damaged() {
        let mut attempts = 0;
        let error = steady(|| -> Result<Option<()>, _> {
            attempts += 1;
            Ok(None)
        });
        let error = error.unwrap_err();
        assert!(attempts > 1 && !error.is_damage(), "{attempts} {error}");
        // The failure passes: a client that asks again may get an answer.
        assert!(!is_lasting(&failure(&error)), "{error}");
        let mut left = 3;
        let found = steady(|| {
            left -= 1;
            Ok((left == 0).then_some("found"))
        });
        assert_eq!(found.unwrap(), "found");
        let lost = steady(|| -> Result<Option<()>, _> { Err(ReadError::NoRecord) });
        assert!(is_lasting(&failure(&lost.unwrap_err())));
    }
}
