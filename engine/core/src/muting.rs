//! Who has muted which conversation, for those who tell users of messages in other ways.

use trunkline_storage::{ReadError, Reader, TimelineId};

use crate::ids::{Ids, UserId};
use crate::state::{self, Settings};

/// Looks up muted conversations. It reads the store: call it where a thread may wait.
#[derive(Clone)]
pub struct Muting {
    store: Reader,
    ids: Ids,
}

impl Muting {
    /// Returns the look-ups of a store.
    pub fn new(store: &Reader) -> Self {
        Self {
            store: store.clone(),
            ids: Ids(store.key()),
        }
    }

    /// Returns whether a user mutes a conversation at `now`, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// The store could not be read, or has settings of another form.
    pub fn is_muted(
        &self,
        user: UserId,
        conversation: TimelineId,
        now: u64,
    ) -> Result<bool, ReadError> {
        let key = self.ids.settings(user, conversation);
        let Some(value) = self.store.state(key)? else {
            return Ok(false);
        };
        let settings: Settings = state::decode(&value).ok_or(ReadError::NoRecord)?;
        Ok(settings.muted_until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_storage::backend::sim::SimDisk;
    use trunkline_storage::{Options, Store};

    use super::*;

    #[test]
    fn a_conversation_is_muted_for_one_user_and_until_a_time() {
        let options = Options {
            background: false,
            ..Options::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let mut opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
        let muting = Muting::new(&opened.reader);
        let ids = muting.ids;
        let (alice, bob) = (ids.user("", "alice"), ids.user("", "bob"));
        let eng = ids.group("", "eng");
        let settings = Settings {
            muted_until: 1_000,
            ..Settings::default()
        };
        let key = ids.settings(alice, eng);
        opened
            .writer
            .set_state(key, &state::encode(&settings))
            .unwrap();
        opened.writer.commit().unwrap();
        let at = |user, now| muting.is_muted(user, eng, now).unwrap();
        assert!(at(alice, 999) && !at(alice, 1_000) && !at(bob, 999));
    }
}
