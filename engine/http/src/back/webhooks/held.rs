//! Senders of whom a back end refuses many messages: what they send next is left to the log.
//!
//! A sender can name any number of recipients whom a back end does not know. What was refused is tried again for a
//! long time, so it must not take the places of others. Beyond a share of all places, the sender with the most of
//! them leaves the newer half to the log, and the log is followed for all others meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use trunkline_core::ids::UserId;
use trunkline_core::reader::{Among, Look, Users};
use trunkline_core::store::{IdBuildHasher, Position};

use super::WAITING_HOOKS;
use super::queue::longest_pause;

/// The number of messages in lines whose head was refused, from which on a sender leaves some to the log.
pub const REFUSED: usize = WAITING_HOOKS / 4;

/// A sender with fewer of them leaves none.
pub const FEW_REFUSED: usize = 64;

/// The maximum number of senders whose messages are left to the log.
pub const HELD_SENDERS: usize = 1_000;

/// The number of messages up to which a look may bring some back.
const ROOM: usize = REFUSED / 2;

/// The first pause is the one of this many failures of a try: at most 16 s.
const FIRST_FAILURES: u32 = 5;

/// Where the messages of a sender go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The position of the last record before them.
    pub(super) after: Position,
    /// How often the sender left messages to the log.
    pub(super) failures: u32,
    /// They are not looked for before this time.
    pub(super) due: Instant,
}

/// The messages in lines whose head was refused, by the sender of the head.
#[derive(Debug, Default)]
pub(super) struct Refused {
    by_sender: HashMap<UserId, usize, IdBuildHasher>,
    all: usize,
}

impl Refused {
    /// Adds the messages of a line.
    pub(super) fn add(&mut self, sender: UserId, count: usize) {
        *self.by_sender.entry(sender).or_default() += count;
        self.all += count;
    }

    /// Returns the sender who has to leave some to the log, if there are too many.
    pub(super) fn largest(&self) -> Option<UserId> {
        let largest = self.by_sender.iter().max_by_key(|(_, count)| **count);
        let (sender, count) = largest.filter(|_| self.all > REFUSED)?;
        (*count >= FEW_REFUSED).then_some(*sender)
    }

    /// Returns whether messages of a sender may come back from the log.
    fn has_room(&self, sender: UserId) -> bool {
        let own = self.by_sender.get(&sender).copied().unwrap_or(0);
        self.all <= ROOM || (own < FEW_REFUSED && self.all <= 2 * REFUSED)
    }
}

/// Senders whose messages are left to the log.
#[derive(Debug, Default)]
pub(super) struct Held {
    senders: HashMap<UserId, Place, IdBuildHasher>,
    /// Those who are looked for now.
    wanted: Users,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.senders.len()
    }

    /// Returns all senders, and where their messages go on.
    pub(super) fn all(&self) -> impl Iterator<Item = (UserId, &Place)> {
        self.senders.iter().map(|(user, place)| (*user, place))
    }

    /// Returns whether the message of a sender at a position is left to the log.
    pub(super) fn has(&self, sender: UserId, at: Position) -> bool {
        let place = self.senders.get(&sender);
        place.is_some_and(|place| at > place.after)
    }

    /// Leaves the messages of a sender behind a position to the log, for a pause that is `share` of the longest
    /// one. Returns the position behind which they are left; `None` if there is no room for a further sender.
    pub(super) fn leave(
        &mut self,
        sender: UserId,
        after: Position,
        (now, share): (Instant, f64),
    ) -> Option<Position> {
        let old = self.senders.get(&sender).copied();
        if old.is_none() && self.senders.len() >= HELD_SENDERS {
            return None;
        }
        let failures = old.map_or(1, |old| old.failures.saturating_add(1));
        let pause: Duration = longest_pause(failures.saturating_add(FIRST_FAILURES - 1));
        let place = Place {
            after: old.map_or(after, |old| old.after.min(after)),
            failures,
            due: now + pause.mul_f64(share),
        };
        self.senders.insert(sender, place);
        self.wanted.remove(&sender);
        Some(place.after)
    }

    /// Takes a sender over from the process before.
    pub(super) fn keep(&mut self, sender: UserId, place: Place) {
        self.senders.insert(sender, place);
    }

    /// Chooses the senders who are looked for from now on.
    pub(super) fn choose(&mut self, refused: &Refused, now: Instant) {
        let senders = self.senders.iter();
        let wanted = senders.filter(|(user, place)| place.due <= now && refused.has_room(**user));
        self.wanted = wanted.map(|(user, _)| *user).collect();
    }

    /// Returns a look for messages of the chosen senders, which ends after `most` messages; `None` if nobody is
    /// chosen.
    pub(super) fn look(&self, until: Position, most: usize) -> Option<Look<'_>> {
        let places = self.wanted.iter().filter_map(|user| self.senders.get(user));
        let after = places.map(|place| place.after).min()?;
        Some(Look {
            after,
            until,
            most: most.min(ROOM),
            among: Among::Senders(&self.wanted),
        })
    }

    /// Returns whether a message that was found by the [look](Self::look) is one that was left to the log.
    pub(super) fn takes(&self, sender: UserId, at: Position) -> bool {
        self.wanted.contains(&sender) && self.has(sender, at)
    }

    /// Notes that the log was looked through up to `reached`, and that `found` messages were. Senders of whom all
    /// up to `followed` were found go on with all others. If some were, it is looked on after the next choice.
    pub(super) fn looked(&mut self, reached: Position, found: usize, followed: Position) {
        for user in &self.wanted {
            let Some(place) = self.senders.get_mut(user) else {
                continue;
            };
            place.after = reached.max(place.after);
            if place.after >= followed {
                self.senders.remove(user);
            }
        }
        if found > 0 {
            self.wanted.clear();
        } else {
            self.wanted.retain(|user| self.senders.contains_key(user));
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    const ALICE: UserId = TimelineId(1);
    const BOB: UserId = TimelineId(2);

    #[test]
    fn the_sender_with_the_most_refused_messages_leaves_some() {
        let mut refused = Refused::default();
        for other in 0..100 {
            refused.add(TimelineId(100 + other), FEW_REFUSED / 2);
        }
        assert!(refused.all > REFUSED && refused.largest().is_none());
        refused.add(BOB, FEW_REFUSED);
        refused.add(ALICE, FEW_REFUSED + 1);
        assert_eq!(refused.largest(), Some(ALICE));
        let mut few = Refused::default();
        few.add(ALICE, REFUSED);
        assert_eq!(few.largest(), None);
        // Who has few is not kept out by others.
        assert!(!few.has_room(ALICE) && few.has_room(BOB));
    }

    #[test]
    fn what_a_sender_left_is_looked_for_after_a_pause_that_grows() {
        let (mut held, now) = (Held::default(), Instant::now());
        let longest = (now, 1.0);
        assert_eq!(held.leave(ALICE, Position(50), longest), Some(Position(50)));
        assert_eq!(held.leave(ALICE, Position(70), longest), Some(Position(50)));
        assert_eq!(held.leave(BOB, Position(20), longest), Some(Position(20)));
        assert!(held.has(ALICE, Position(51)) && !held.has(ALICE, Position(50)));
        let none = Refused::default();
        let seconds = |seconds| now + Duration::from_secs(seconds);
        held.choose(&none, seconds(15));
        assert!(held.look(Position(90), 7).is_none());
        // Only the one who left once is due.
        held.choose(&none, seconds(16));
        let look = held.look(Position(90), 7).unwrap();
        assert_eq!((look.after, look.most), (Position(20), 7));
        assert!(held.takes(BOB, Position(21)) && !held.takes(ALICE, Position(60)));
        held.looked(Position(40), 0, Position(90));
        assert_eq!(held.look(Position(90), 7).unwrap().after, Position(40));
        held.looked(Position(60), 3, Position(90));
        assert!(held.look(Position(90), 7).is_none());
        held.choose(&none, seconds(32));
        assert_eq!(held.look(Position(90), 7).unwrap().after, Position(50));
        assert!(held.takes(ALICE, Position(55)) && !held.takes(BOB, Position(55)));
        held.looked(Position(90), 1, Position(90));
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_senders() {
        let (mut held, now) = (Held::default(), Instant::now());
        for number in 0..HELD_SENDERS {
            let user = TimelineId(number as u128);
            assert!(held.leave(user, Position(1), (now, 1.0)).is_some());
        }
        let more = TimelineId(HELD_SENDERS as u128);
        assert!(held.leave(more, Position(1), (now, 1.0)).is_none());
        assert!(held.leave(ALICE, Position(1), (now, 1.0)).is_some());
        assert_eq!(held.len(), HELD_SENDERS);
    }
}
