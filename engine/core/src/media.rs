//! Media that the gateway keeps for its clients: who may read them.
//!
//! The uploader may, and the members of each conversation in which a message names them. The sequencer
//! notes such conversations with the message. A message counts only if its sender might read the media
//! before: whoever learns an id gains nothing by sending it.

use std::sync::Arc;

use trunkline_storage::{ReadError, Reader, TimelineId};

use crate::clock::Clock;
use crate::cost::Cost;
use crate::ids::{Ids, UserId};
use crate::state::{
    self, Bucket, KeptShare, Member, Passing, Place, Role, Share, Shares, SharesHead,
};

/// The beginning of the paths of media.
pub const PATH: &str = "/api/v1/media/";

/// The length of an id: 16 random bytes in base64url.
pub const ID_BYTES: usize = 22;

/// The most look-ups of memberships for one answer. Beyond it the answer is no.
const LOOK_UPS: usize = 512;

/// The maximum number of attempts to read the conversations of a file while messages change them.
const ATTEMPTS: usize = 100;

/// The cost of one look-up in the store.
const LOOK_UP: Cost = Cost::nanos(1_500);

/// Returns whether a text is an id of media.
pub fn is_id(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == ID_BYTES && text.bytes().all(sign)
}

/// Returns the id in a URL of media: a path, or a whole URL with this path.
pub fn id_in(url: &str) -> Option<&str> {
    let path = match url.split_once("://") {
        None => url,
        Some((_, rest)) => &rest[rest.find('/')?..],
    };
    let id = path.strip_prefix(PATH)?;
    let id = id.split(['?', '#']).next().unwrap_or_default();
    is_id(id).then_some(id)
}

/// Looks up who may read media. Each method reads the store: call it where a thread may wait.
#[derive(Clone)]
pub struct Access {
    store: Reader,
    ids: Ids,
    clock: Arc<Clock>,
}

/// The look-ups for one answer.
struct LookUps<'a> {
    access: &'a Access,
    left: usize,
    /// The values that were read to find the conversations.
    read: usize,
}

impl Access {
    /// Returns the look-ups of a store. The clock says which messages have expired.
    pub fn new(store: &Reader, clock: &Arc<Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            store: store.clone(),
            ids: Ids(store.key()),
        }
    }

    /// Returns the id of a user.
    pub fn user(&self, namespace: &str, name: &str) -> UserId {
        self.ids.user(namespace, name)
    }

    /// Returns the secret that signs links.
    pub fn link_secret(&self) -> u128 {
        self.ids.media_links()
    }

    /// Returns whether a message names these media.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn is_named(&self, id: &str) -> Result<bool, ReadError> {
        Ok(self.store.state(self.ids.media(id))?.is_some())
    }

    /// Returns whether a user may read media that `owner` has uploaded, and what it cost to find out.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn may_read(
        &self,
        id: &str,
        owner: UserId,
        user: UserId,
    ) -> Result<(bool, Cost), ReadError> {
        let mut look_ups = LookUps {
            access: self,
            left: LOOK_UPS,
            read: 0,
        };
        let may = user == owner || look_ups.decide(id, owner, user)?;
        let done = LOOK_UPS - look_ups.left + look_ups.read;
        Ok((may, LOOK_UP.times(done)))
    }
}

impl LookUps<'_> {
    /// Returns whether a user may read media of another one.
    fn decide(&mut self, id: &str, owner: UserId, user: UserId) -> Result<bool, ReadError> {
        let key = self.access.ids.media(id);
        let mut valid: Vec<Share> = Vec::new();
        for share in self.shares(id)? {
            let sender = TimelineId(share.by);
            let mut counts = sender == owner;
            for earlier in &valid {
                counts = counts || self.grants(key, earlier, sender)?;
            }
            if !counts {
                continue;
            }
            if self.grants(key, &share, user)? {
                return Ok(true);
            }
            valid.push(share);
        }
        Ok(false)
    }

    /// Returns the entries of a file, in their order.
    fn shares(&mut self, id: &str) -> Result<Vec<Share>, ReadError> {
        let key = self.access.ids.media(id);
        for _ in 0..ATTEMPTS {
            let value = self.value(key)?.unwrap_or_default();
            let Some(head) = state::decode::<SharesHead>(&value) else {
                let Shares(list) = state::decode(&value).unwrap_or_default();
                return Ok(list);
            };
            let mut all: Vec<KeptShare> = Vec::with_capacity(head.spread.len());
            for number in 0..head.spread.buckets() {
                let bucket = self.value(self.access.ids.bucket(key, number))?;
                let bucket = bucket.and_then(|value| state::decode::<Bucket<KeptShare>>(&value));
                all.extend(bucket.into_iter().flat_map(|bucket| bucket.entries));
            }
            let now = self.value(key)?.unwrap_or_default();
            let now: Option<SharesHead> = state::decode(&now);
            if now.is_some_and(|now| now.spread.is_laid_out_as(head.spread)) {
                all.sort_unstable_by_key(|kept| kept.order);
                return Ok(all.into_iter().map(|kept| kept.share).collect());
            }
        }
        Err(ReadError::NoRecord)
    }

    fn value(&mut self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        self.read += 1;
        self.access.store.state(key)
    }

    /// Returns whether an entry lets a user read the media. `media` is their key.
    fn grants(
        &mut self,
        media: TimelineId,
        share: &Share,
        user: UserId,
    ) -> Result<bool, ReadError> {
        Ok(self.has(share, user)? && !self.is_over(media, share)?)
    }

    /// Returns whether all messages of an entry have expired. Such an entry stays until their content is
    /// removed from the store. `media` is the key of the media.
    fn is_over(&mut self, media: TimelineId, share: &Share) -> Result<bool, ReadError> {
        let value = self.value(share.passing(&self.access.ids, media))?;
        let passing = value.and_then(|value| state::decode::<Passing>(&value));
        let now = self.access.clock.steady();
        Ok(passing.is_some_and(|passing| passing.is_over(share, now)))
    }

    /// Returns whether a user is in the conversation of an entry.
    fn has(&mut self, share: &Share, user: UserId) -> Result<bool, ReadError> {
        let group = match share.with {
            Place::User(other) => return Ok(user.0 == share.by || user.0 == other),
            Place::Group(group) => TimelineId(group),
        };
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.is_member(group, user)
    }

    fn is_member(&self, group: TimelineId, user: UserId) -> Result<bool, ReadError> {
        let key = self.access.ids.member(group, user);
        let value = self.access.store.state(key)?;
        let member: Option<Member> = value.and_then(|value| state::decode(&value));
        Ok(member.is_some_and(|member| member.role != Role::Left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_paths_and_urls() {
        let id = "AbcdefghijklmnopqrstU_";
        for url in [
            "/api/v1/media/ID",
            "https://chat.example/api/v1/media/ID",
            "http://127.0.0.1:7702/api/v1/media/ID?expires=1&signature=x",
            "/api/v1/media/ID#t=1",
        ] {
            assert_eq!(id_in(&url.replace("ID", id)), Some(id), "{url}");
        }
        for url in [
            "",
            "ID",
            "/api/v1/media/",
            "/api/v1/media/IDx",
            "/api/v1/media/ID/link",
            "/api/v1/media/../ID",
            "https://chat.example",
            "https://chat.example/other/ID",
        ] {
            assert_eq!(id_in(&url.replace("ID", id)), None, "{url}");
        }
    }
}
