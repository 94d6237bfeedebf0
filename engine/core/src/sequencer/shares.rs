//! The conversations in which messages and pictures of groups name media that the gateway keeps.

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::refused::{CORRUPT, Refused};
use crate::event::Body;
use crate::exchange::Members;
use crate::ids::UserId;
use crate::media;
use crate::state::{
    self, Added, FEW_SHARES, Form, KeptShare, Passing, Place, Share, Shares, SharesHead,
};

const TOO_MANY_SHARES: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "these media are named in as many conversations as media may be: upload them again",
);

/// Notes that a message names media: the members of the conversation may read them, until it expires. `due` is
/// the steady time at which it does; `None` if it stays.
///
/// # Errors
/// The media are named in as many conversations as may be, or the store could not be read.
pub(super) fn of_message(
    batch: &OpenBatch,
    command: Asked<'_>,
    due: Option<u64>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let body = Body::read(command.body).ok_or(CORRUPT)?;
    let Some(id) = body.url.and_then(media::id_in) else {
        return Ok(());
    };
    let share = share(command);
    add(batch, id, share, changes)?;
    if let Some(due) = due {
        let key = share.passing(batch.ids(), batch.ids().media(id));
        let passing: Passing = batch.decoded(key)?.unwrap_or_default();
        let passing = Passing {
            messages: passing.messages.saturating_add(1),
            until: passing.until.max(due),
        };
        changes.push((key, state::encode(&passing)));
    }
    Ok(())
}

/// Notes one more conversation in which media with this id are named.
///
/// # Errors
/// The media are named in as many conversations as may be, or the store could not be read.
pub(super) fn add(
    batch: &OpenBatch,
    id: &str,
    share: Share,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().media(id);
    if let Some(head) = head(batch, key)? {
        return add_to_many(batch, key, head, share, changes);
    }
    let mut shares: Shares = batch.decoded(key)?.unwrap_or_default();
    match shares.add(share) {
        Added::Already => {}
        Added::New if shares.0.len() > FEW_SHARES => spread(batch, key, shares, changes)?,
        Added::New => changes.push((key, state::encode(&shares))),
        Added::Full => return Err(TOO_MANY_SHARES),
    }
    Ok(())
}

/// Returns the head of the entries under a key, if they are in buckets.
fn head(batch: &OpenBatch, key: TimelineId) -> Result<Option<SharesHead>, Refused> {
    let value = batch.value(key)?.unwrap_or_default();
    if value.first() != Some(&SharesHead::TAG) {
        return Ok(None);
    }
    state::decode(&value).ok_or(CORRUPT).map(Some)
}

/// Moves the entries of a list that is too long for one value into buckets.
fn spread(
    batch: &OpenBatch,
    key: TimelineId,
    Shares(list): Shares,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let next = list.len() as u64;
    let kept = list.into_iter().zip(0..);
    let kept = kept.map(|(share, order)| KeptShare { share, order });
    let spread = Buckets::gathered(batch, key, kept.collect()).write(changes)?;
    changes.push((key, state::encode(&SharesHead { spread, next })));
    Ok(())
}

/// Adds a message to its entry in the buckets, or a new entry.
fn add_to_many(
    batch: &OpenBatch,
    key: TimelineId,
    mut head: SharesHead,
    share: Share,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let mut all = Buckets::<KeptShare>::new(batch, key, head.spread);
    let hash = KeptShare::hash_of(&share);
    match all.take(hash, |kept| kept.share.is_of(&share))? {
        // One of an earlier version, which stays as it is.
        Some(kept) if kept.share.messages == 0 => return Ok(()),
        Some(mut kept) => {
            kept.share.messages = kept.share.messages.saturating_add(1);
            all.insert(hash, kept);
        }
        None => {
            if !state::has_room(all.all()?.iter().map(|kept| &kept.share), share.by) {
                return Err(TOO_MANY_SHARES);
            }
            let order = head.next;
            head.next += 1;
            all.insert(hash, KeptShare { share, order });
        }
    }
    write(all, key, head, changes)
}

/// Adds the changed buckets to `changes`, and the head.
fn write(
    all: Buckets<'_, KeptShare>,
    key: TimelineId,
    mut head: SharesHead,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let is_empty = all.len() == 0;
    head.spread = all.write(changes)?;
    let value = match is_empty {
        true => Vec::new(),
        false => state::encode(&head),
    };
    changes.push((key, value));
    Ok(())
}

/// Notes that a message is gone, or names its media no more. Media that no message names any more are
/// removed.
///
/// # Errors
/// The store could not be read.
pub(super) fn remove(
    batch: &OpenBatch,
    share: Share,
    message: &Body<'_>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let Some(id) = message.url.and_then(media::id_in) else {
        return Ok(());
    };
    let key = batch.ids().media(id);
    if message.extras.is_some() && message.extras().ttl > 0 {
        remove_passing(batch, share.passing(batch.ids(), key), changes)?;
    }
    remove_share(batch, key, share, changes)
}

/// Takes one message out of those that expire. One of an earlier version is not among them.
fn remove_passing(
    batch: &OpenBatch,
    key: TimelineId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let Some(mut passing) = batch.decoded::<Passing>(key)? else {
        return Ok(());
    };
    passing.messages = passing.messages.saturating_sub(1);
    let value = match passing.messages {
        0 => Vec::new(),
        _ => state::encode(&passing),
    };
    changes.push((key, value));
    Ok(())
}

/// Takes one message out of its entry under the key of the media.
fn remove_share(
    batch: &OpenBatch,
    key: TimelineId,
    share: Share,
    changes: &mut Changes,
) -> Result<(), Refused> {
    if let Some(head) = head(batch, key)? {
        let mut all = Buckets::<KeptShare>::new(batch, key, head.spread);
        let hash = KeptShare::hash_of(&share);
        return match all.take(hash, |kept| kept.share.is_of(&share))? {
            Some(kept) if kept.share.messages > 0 => {
                let mut kept = kept;
                kept.share.messages -= 1;
                if kept.share.messages > 0 {
                    all.insert(hash, kept);
                }
                write(all, key, head, changes)
            }
            _ => Ok(()),
        };
    }
    let mut shares: Shares = batch.decoded(key)?.unwrap_or_default();
    if shares.remove(share) {
        let value = match shares.0.is_empty() {
            true => Vec::new(),
            false => state::encode(&shares),
        };
        changes.push((key, value));
    }
    Ok(())
}

/// Returns the entry of a message in the command's conversation.
pub(super) fn share(command: Asked<'_>) -> Share {
    let other = match command.members {
        Members::Direct { other, .. } => Some(other),
        Members::Group => None,
    };
    of(command.user, other, command.conversation)
}

/// Returns the entry of a message of `author` to another user, or without one to a group.
pub(super) fn of(author: UserId, other: Option<UserId>, conversation: TimelineId) -> Share {
    let group = Place::Group(conversation.0);
    Share {
        by: author.0,
        with: other.map_or(group, |other| Place::User(other.0)),
        messages: 1,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::Draft;

    use super::super::fixture::{Fixture, most};
    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const URL: &str = "/api/v1/media/AAAAAAAAAAAAAAAAAAAAAA";

    /// Returns the entry of the message of a user to a group. Ids are spread evenly.
    fn entry(fixture: &Fixture, by: usize, group: usize) -> Share {
        let by = fixture.user(&format!("user{by}"));
        of(by, None, fixture.user(&format!("group{group}")))
    }

    fn apply(fixture: &mut Fixture, mut changes: Changes) {
        fixture
            .batch
            .append(&Draft::default(), &mut changes)
            .unwrap();
    }

    fn name(fixture: &mut Fixture, share: Share) -> Result<(), Refused> {
        let mut changes = Changes::new();
        add(&fixture.batch, ID, share, &mut changes)?;
        apply(fixture, changes);
        Ok(())
    }

    fn forget(fixture: &mut Fixture, share: Share) {
        let mut changes = Changes::new();
        let message = Body {
            url: Some(URL),
            ..Body::default()
        };
        remove(&fixture.batch, share, &message, &mut changes).unwrap();
        apply(fixture, changes);
    }

    /// Returns all entries, in their order.
    fn stored(fixture: &Fixture) -> Vec<Share> {
        let batch = &fixture.batch;
        let key = batch.ids().media(ID);
        let Some(head) = head(batch, key).unwrap() else {
            let list: Option<Shares> = batch.decoded(key).unwrap();
            return list.unwrap_or_default().0;
        };
        let mut all = Buckets::<KeptShare>::new(batch, key, head.spread);
        let mut all = all.all().unwrap();
        all.sort_unstable_by_key(|kept| kept.order);
        all.iter().map(|kept| kept.share).collect()
    }

    #[test]
    fn one_more_message_costs_the_same_for_media_that_many_name() {
        let mut fixture = Fixture::new();
        let mut work = Vec::new();
        let mut expected = Vec::new();
        for group in 0..250 {
            let share = entry(&fixture, group / 60, group);
            name(&mut fixture, share).unwrap();
            expected.push(share);
            fixture.batch.take_work();
            // A second message in the same conversation, and its end.
            name(&mut fixture, share).unwrap();
            work.push(fixture.batch.take_work());
            forget(&mut fixture, share);
            work.push(fixture.batch.take_work());
        }
        let ((_, few), (_, many)) = (most(&work[..16]), most(&work[450..]));
        assert!(many < 3 * few, "{few} {many}");
        assert_eq!(stored(&fixture), expected);
        // In any order, and none is left.
        for number in 0..250 {
            forget(&mut fixture, expected[number * 7 % 250]);
        }
        assert_eq!(stored(&fixture), []);
        let key = fixture.ids().media(ID);
        assert_eq!(fixture.batch.value(key), Ok(None));
        for number in 0..100 {
            let key = fixture.ids().bucket(key, number);
            assert_eq!(fixture.batch.value(key), Ok(None), "{number}");
        }
    }

    #[test]
    fn many_entries_have_the_limits_of_few_ones() {
        let mut fixture = Fixture::new();
        for group in 0..64 {
            let share = entry(&fixture, 0, group);
            name(&mut fixture, share).unwrap();
        }
        let one_more = entry(&fixture, 0, 64);
        assert_eq!(name(&mut fixture, one_more), Err(TOO_MANY_SHARES));
        for number in 64..256 {
            let share = entry(&fixture, number, 0);
            name(&mut fixture, share).unwrap();
        }
        let one_more = entry(&fixture, 256, 0);
        assert_eq!(name(&mut fixture, one_more), Err(TOO_MANY_SHARES));
        // A message in a conversation that is known, and the place of one that is gone.
        let known = entry(&fixture, 0, 3);
        name(&mut fixture, known).unwrap();
        let gone = entry(&fixture, 70, 0);
        forget(&mut fixture, gone);
        name(&mut fixture, one_more).unwrap();
        assert_eq!(stored(&fixture).len(), 256);
    }

    #[test]
    fn a_list_of_an_earlier_version_moves_and_none_is_lost() {
        let mut fixture = Fixture::new();
        let key = fixture.ids().media(ID);
        let mut expected: Vec<_> = (0..100)
            .map(|number| Share {
                // The oldest ones are of a version that did not count.
                messages: u32::from(number >= 50),
                ..entry(&fixture, number, 0)
            })
            .collect();
        let value = state::encode(&Shares(expected.clone()));
        fixture.batch.set(key, &value).unwrap();
        for share in [expected[10], expected[60]] {
            name(&mut fixture, share).unwrap();
            forget(&mut fixture, share);
        }
        assert_eq!(stored(&fixture), expected);
        for number in [10, 60] {
            forget(&mut fixture, expected[number]);
        }
        expected.remove(60);
        let new = entry(&fixture, 100, 0);
        name(&mut fixture, new).unwrap();
        expected.push(new);
        assert_eq!(stored(&fixture), expected);
    }
}
