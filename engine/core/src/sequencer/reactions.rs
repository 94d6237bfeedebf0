//! Changes of the reactions to one message.

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::refused::{CORRUPT, Refused};
use crate::state::{
    self, Form, Full, Reacted, ReactionCount, ReactionHead, Reactions, Room, SMALL_REACTIONS,
};

/// One reaction of a user, which a command sets or removes.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnReaction<'a> {
    pub(super) user: &'a str,
    pub(super) reaction: &'a str,
    /// Whether the command removes the reaction.
    pub(super) remove: bool,
}

/// Sets or removes a reaction to the message whose reactions are under `key`, and adds the changed
/// values to `changes`. Returns whether anything changed.
///
/// # Errors
/// The message has no room for the reaction, or the store could not be read.
pub(super) fn set(
    batch: &OpenBatch,
    key: TimelineId,
    own: OwnReaction<'_>,
    changes: &mut Changes,
) -> Result<bool, Refused> {
    let value = batch.value(key)?.unwrap_or_default();
    if is_head(&value) {
        let head = state::decode(&value).ok_or(CORRUPT)?;
        return set_among_many(batch, key, head, own, changes);
    }
    let mut reactions = list(&value)?;
    let set = reactions.set(own.user, own.reaction, own.remove);
    if !set.map_err(no_room)? {
        return Ok(false);
    }
    if reactions.list.is_empty() {
        changes.push((key, Vec::new()));
    } else if reactions.list.len() <= SMALL_REACTIONS {
        changes.push((key, state::encode(&reactions)));
    } else {
        spread(batch, key, &reactions, changes)?;
    }
    Ok(true)
}

/// Removes all reactions under `key`, if there are any.
///
/// # Errors
/// The store could not be read.
pub(super) fn remove_all(
    batch: &OpenBatch,
    key: TimelineId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let Some(value) = batch.value(key)? else {
        return Ok(());
    };
    if is_head(&value) {
        let head: ReactionHead = state::decode(&value).ok_or(CORRUPT)?;
        let mut all = Buckets::<Reacted>::new(batch, key, head.spread).all()?;
        all.sort_unstable_by(|one, other| one.reaction.cmp(&other.reaction));
        all.dedup_by(|one, other| one.reaction == other.reaction);
        let counts = all.iter().map(|one| count_key(batch, key, &one.reaction));
        let buckets = (0..head.spread.buckets()).map(|number| batch.ids().bucket(key, number));
        changes.extend(counts.chain(buckets).map(|key| (key, Vec::new())));
    }
    changes.push((key, Vec::new()));
    Ok(())
}

/// Returns whether a value is the head of many reactions.
fn is_head(value: &[u8]) -> bool {
    value.first() == Some(&ReactionHead::TAG)
}

/// Decodes a list of reactions; an empty value is an empty list.
fn list(value: &[u8]) -> Result<Reactions<'_>, Refused> {
    if value.is_empty() {
        return Ok(Reactions::default());
    }
    state::decode(value).ok_or(CORRUPT)
}

/// Adds the values of a list that became too long for one value.
///
/// # Errors
/// The store could not be read.
fn spread(
    batch: &OpenBatch,
    key: TimelineId,
    reactions: &Reactions<'_>,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let entries = reactions.list.iter().zip(0..);
    let entries = entries.map(|(&(user, reaction), order)| Reacted {
        user: user.to_owned(),
        reaction: reaction.to_owned(),
        order,
    });
    let different = reactions.different();
    for &(reaction, count) in &different {
        let count = state::encode(&ReactionCount(count));
        changes.push((count_key(batch, key, reaction), count));
    }
    let head = ReactionHead {
        spread: Buckets::gathered(batch, key, entries.collect()).write(changes)?,
        different: different.len() as u32,
        next: reactions.list.len() as u64,
    };
    changes.push((key, state::encode(&head)));
    Ok(())
}

/// Sets or removes a reaction to a message that has many.
fn set_among_many(
    batch: &OpenBatch,
    key: TimelineId,
    mut head: ReactionHead,
    own: OwnReaction<'_>,
    changes: &mut Changes,
) -> Result<bool, Refused> {
    let OwnReaction {
        user,
        reaction,
        remove,
    } = own;
    let hash = batch.ids().hash_of_name(user);
    let mut all = Buckets::<Reacted>::new(batch, key, head.spread);
    let is_it = |one: &Reacted| one.user == user && one.reaction == reaction;
    let near = all.near(hash)?;
    if near.iter().any(is_it) != remove {
        return Ok(false);
    }
    let of_user = near.iter().filter(|one| one.user == user).count();
    let count_key = count_key(batch, key, reaction);
    let ReactionCount(mut count) = batch.decoded(count_key)?.unwrap_or_default();
    if remove {
        all.take(hash, is_it)?;
        count = count.saturating_sub(1);
        head.different -= u32::from(count == 0);
    } else {
        let room = Room {
            own: of_user,
            all: all.len(),
            different: head.different as usize,
            is_known: count > 0,
        };
        room.check().map_err(no_room)?;
        let reacted = Reacted {
            user: user.to_owned(),
            reaction: reaction.to_owned(),
            order: head.next,
        };
        all.insert(hash, reacted);
        head.next += 1;
        head.different += u32::from(count == 0);
        count += 1;
    }
    let value_of = |is_empty: bool, value: Vec<u8>| if is_empty { Vec::new() } else { value };
    let counted = state::encode(&ReactionCount(count));
    changes.push((count_key, value_of(count == 0, counted)));
    let is_empty = all.len() == 0;
    head.spread = all.write(changes)?;
    changes.push((key, value_of(is_empty, state::encode(&head))));
    Ok(true)
}

fn count_key(batch: &OpenBatch, key: TimelineId, reaction: &str) -> TimelineId {
    batch.ids().reaction_count(key, reaction)
}

/// Returns the refusal of a reaction that finds no room at its message.
fn no_room(full: Full) -> Refused {
    let text = match full {
        Full::OfUser => "you have 20 reactions to this message: take one back first",
        Full::Different => {
            "a message has at most 100 different reactions: choose one that is there"
        }
        Full::All => {
            "a message has at most 2,000 reactions, and from 1,000 on one more of each user who has none"
        }
    };
    Refused::new(ErrorCode::LimitExceeded, text)
}

#[cfg(test)]
mod tests {
    use trunkline_storage::Draft;

    use super::super::fixture::{Fixture, most};
    use super::*;

    const KEY: TimelineId = TimelineId(7);

    fn react(fixture: &mut Fixture, user: &str, reaction: &str, remove: bool) -> bool {
        let own = OwnReaction {
            user,
            reaction,
            remove,
        };
        let mut changes = Changes::new();
        let is_set = set(&fixture.batch, KEY, own, &mut changes).unwrap();
        assert_eq!(is_set, !changes.is_empty());
        apply(fixture, &mut changes);
        is_set
    }

    fn apply(fixture: &mut Fixture, changes: &mut Changes) {
        fixture.batch.append(&Draft::default(), changes).unwrap();
    }

    /// Returns the stored reactions as users and reactions, in their order.
    fn stored(fixture: &Fixture) -> Vec<(String, String)> {
        let value = fixture.batch.value(KEY).unwrap().unwrap_or_default();
        if !is_head(&value) {
            let list = list(&value).unwrap().list.into_iter();
            return list.map(|(user, one)| (user.into(), one.into())).collect();
        }
        let head: ReactionHead = state::decode(&value).unwrap();
        let mut all = Buckets::<Reacted>::new(&fixture.batch, KEY, head.spread)
            .all()
            .unwrap();
        all.sort_unstable_by_key(|one| one.order);
        let pairs = all.into_iter().map(|one| (one.user, one.reaction));
        pairs.collect()
    }

    /// Checks that no value of the reactions is left.
    fn assert_nothing_is_left(fixture: &Fixture) {
        let ids = fixture.ids();
        let counts = (0..100).map(|n| ids.reaction_count(KEY, &format!("r{n}")));
        let buckets = (0..400).map(|number| ids.bucket(KEY, number));
        for key in counts.chain(buckets).chain([KEY]) {
            assert_eq!(fixture.batch.value(key), Ok(None));
        }
    }

    #[test]
    fn few_and_many_reactions_behave_the_same() {
        let mut fixture = Fixture::new();
        let mut expected = Vec::<(String, String)>::new();
        let (mut step, mut random) = (0, 1_u64);
        // Sets of 200 possible reactions grow from nothing and shrink to nothing, twice.
        while step < 4_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (user, reaction) = (random >> 33 & 31, random >> 40 & 7);
            let pair = (format!("u{user}"), format!("r{reaction}"));
            let remove = step % 2_000 >= 1_000;
            let at = expected.iter().position(|one| *one == pair);
            let is_set = react(&mut fixture, &pair.0, &pair.1, remove);
            assert_eq!(is_set, at.is_some() == remove, "{step} {pair:?}");
            match at {
                Some(at) if remove => drop(expected.remove(at)),
                None if !remove => expected.push(pair),
                _ => {}
            }
            if step % 50 == 0 {
                assert_eq!(stored(&fixture), expected);
            }
            step += 1;
        }
        for (user, reaction) in expected {
            assert!(react(&mut fixture, &user, &reaction, true));
        }
        assert_nothing_is_left(&fixture);
    }

    #[test]
    fn the_limits_of_many_reactions_are_those_of_few() {
        let mut fixture = Fixture::new();
        for n in 0..20 {
            react(&mut fixture, "mallory", &format!("r{n}"), false);
        }
        let try_one = |fixture: &Fixture, user, reaction| {
            let own = OwnReaction {
                user,
                reaction,
                remove: false,
            };
            set(&fixture.batch, KEY, own, &mut Changes::new())
        };
        let more = try_one(&fixture, "mallory", "r20");
        assert_eq!(more, Err(no_room(Full::OfUser)));
        for n in 20..100 {
            react(
                &mut fixture,
                &format!("u{}", n / 10),
                &format!("r{n}"),
                false,
            );
        }
        let other = try_one(&fixture, "bob", "one more");
        assert_eq!(other, Err(no_room(Full::Different)));
        assert_eq!(try_one(&fixture, "bob", "r99"), Ok(true));
        assert!(react(&mut fixture, "mallory", "r0", true));
        assert_eq!(try_one(&fixture, "bob", "one more"), Ok(true), "r0 is gone");
    }

    #[test]
    fn one_reaction_costs_the_same_for_messages_with_many() {
        let mut fixture = Fixture::new();
        let mut work = Vec::new();
        for n in 0..1_000 {
            fixture.batch.take_work();
            react(&mut fixture, &format!("user-{n}"), "like", false);
            work.push(fixture.batch.take_work());
        }
        let ((few, few_bytes), (many, many_bytes)) = (most(&work[..20]), most(&work[980..]));
        assert!(many <= few + 2, "{few} {many}");
        assert!(many_bytes < 2 * few_bytes, "{few_bytes} {many_bytes}");
        let mut changes = Changes::new();
        remove_all(&fixture.batch, KEY, &mut changes).unwrap();
        apply(&mut fixture, &mut changes);
        assert_nothing_is_left(&fixture);
    }

    #[test]
    fn a_long_list_of_an_earlier_version_moves_and_nothing_is_lost() {
        let mut fixture = Fixture::new();
        let pairs: Vec<_> = (0..300)
            .map(|n| (format!("u{n}"), format!("r{}", n % 40)))
            .collect();
        let list = pairs.iter().map(|(user, one)| (&**user, &**one));
        let reactions = Reactions {
            list: list.collect(),
        };
        fixture.batch.set(KEY, &state::encode(&reactions)).unwrap();
        assert!(!react(&mut fixture, "u7", "r7", false), "it is there");
        assert!(react(&mut fixture, "u7", "r7", true));
        assert!(react(&mut fixture, "zoe", "r0", false));
        let mut expected = pairs;
        expected.remove(7);
        expected.push(("zoe".to_owned(), "r0".to_owned()));
        assert_eq!(stored(&fixture), expected);
        for (user, reaction) in expected {
            assert!(react(&mut fixture, &user, &reaction, true));
        }
        assert_nothing_is_left(&fixture);
    }
}
