//! Recipients of whom more messages wait than are kept in memory: theirs go on in the log.
//!
//! Nobody fills the memory alone. What a recipient has beyond a share stays in the log, and is looked for
//! there once the recipient has room again, while the log is followed for all others.

use std::collections::HashMap;

use trunkline_core::ids::UserId;
use trunkline_core::reader::{Among, Look, Place, Users};
use trunkline_core::store::{IdBuildHasher, Position};

use super::WAITING_HOOKS;

/// The maximum number of messages that are kept in memory for one recipient.
pub const PER_RECIPIENT: usize = 256;

/// The maximum for one recipient once half of all places are taken.
const HALF_FULL: usize = 16;

/// Returns how many messages may be kept for one recipient while `all` are kept for all of them.
pub(super) const fn share(all: usize) -> usize {
    match all {
        all if all < WAITING_HOOKS / 2 => PER_RECIPIENT,
        all if all < WAITING_HOOKS / 4 * 3 => HALF_FULL,
        _ => 1,
    }
}

/// Where in the log the messages of recipients go on.
#[derive(Debug, Default)]
pub(super) struct Later {
    /// The position of the last record before the messages that are not kept, by recipient.
    after: HashMap<UserId, Position, IdBuildHasher>,
    /// The position up to which it was last looked. A look begins behind it, up to the end of the round.
    reached: Position,
    /// The position at which the round of looks ends.
    end: Position,
    /// Whether a recipient may have got room since it was last looked.
    is_due: bool,
}

impl Later {
    /// Returns the number of recipients.
    pub(super) fn len(&self) -> usize {
        self.after.len()
    }

    /// Returns whether there is no room for a further recipient. A look that has begun may add some more.
    pub(super) fn is_full(&self) -> bool {
        self.after.len() >= WAITING_HOOKS
    }

    /// Returns whether messages of a recipient are left to the log.
    pub(super) fn has(&self, user: UserId) -> bool {
        self.after.contains_key(&user)
    }

    /// Leaves the messages of a recipient behind a position to the log.
    pub(super) fn leave(&mut self, user: UserId, after: Position) {
        self.after.insert(user, after);
        self.is_due = true;
    }

    /// Notes that a recipient may have room.
    pub(super) const fn wake(&mut self) {
        self.is_due = true;
    }

    /// Returns all recipients and their positions.
    pub(super) fn all(&self) -> impl Iterator<Item = (UserId, Position)> {
        self.after.iter().map(|(user, after)| (*user, *after))
    }

    /// Returns recipients who have room, and the first position at which messages of one of them go on;
    /// `None` if there are none. Nobody has room before half of the share is free: each look reads the log.
    /// Looks go through the log in rounds, up to what `followed` is at the beginning of the round: whoever gets room
    /// behind the last look waits for the next round, and draws nobody back.
    pub(super) fn wanted(
        &mut self,
        kept: impl Fn(UserId) -> usize,
        all: usize,
        followed: Position,
    ) -> Option<Wanted> {
        if !std::mem::take(&mut self.is_due) {
            return None;
        }
        let has_room = |user: UserId| kept(user) * 2 <= share(all);
        let with_room = self.all().filter(|(user, _)| has_room(*user));
        let with_room: Vec<(UserId, Position)> = with_room.collect();
        let places = || with_room.iter().map(|(_, after)| *after);
        let (reached, end) = (self.reached, self.end);
        let ahead = places()
            .filter(|after| (reached..end).contains(after))
            .min();
        let after = match ahead {
            Some(after) => after,
            None => {
                self.end = followed;
                places().min()?
            }
        };
        let users = { with_room.iter() }.filter(|(_, place)| *place >= after);
        let users = users.map(|(user, _)| *user).collect();
        Some(Wanted { users, after })
    }

    /// Returns whether a message that was found at this place is the next one of a wanted recipient. If the
    /// recipient has no room, the message stays in the log, and so do those behind it.
    pub(super) fn takes(&mut self, user: UserId, place: Place, has_room: bool) -> bool {
        let Some(after) = self.after.get_mut(&user) else {
            return false;
        };
        if place.at <= *after {
            // It was kept before.
            return false;
        }
        if !has_room {
            // What the same look finds later lies behind this position: it is looked at again.
            *after = place.before.max(*after);
        }
        has_room
    }

    /// Notes that the log was looked through for these recipients from the first position up to `reached`.
    /// Those who have all of theirs up to `followed` go on with all others.
    pub(super) fn looked(
        &mut self,
        users: impl Iterator<Item = UserId>,
        reached: Position,
        followed: Position,
    ) {
        self.reached = reached;
        for user in users {
            let Some(after) = self.after.get_mut(&user) else {
                continue;
            };
            *after = reached.max(*after);
            if *after >= followed {
                self.after.remove(&user);
            }
        }
        self.is_due = true;
    }
}

/// Recipients who have room for messages that were left to the log.
pub(super) struct Wanted {
    pub(super) users: Users,
    after: Position,
}

impl Wanted {
    /// Returns the look at the log up to `until`, which ends after `most` messages.
    pub(super) const fn look(&self, until: Position, most: usize) -> Look<'_> {
        Look {
            after: self.after,
            until,
            most,
            among: Among::Recipients(&self.users),
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
    fn the_share_of_a_recipient_shrinks_while_places_are_taken() {
        let shares = [0, 4_999, 5_000, 7_499, 7_500, 9_999, 20_000].map(share);
        assert_eq!(shares, [256, 256, 16, 16, 1, 1, 1]);
    }

    #[test]
    fn recipients_with_room_are_looked_for_from_the_first_position_on() {
        let mut later = Later::default();
        assert!(later.wanted(|_| 0, 0, Position(90)).is_none());
        later.leave(ALICE, Position(50));
        later.leave(BOB, Position(20));
        assert!(later.has(ALICE) && later.len() == 2);
        // Only who has half of the share free has room.
        let kept = |user| if user == BOB { 129 } else { 128 };
        let wanted = later.wanted(kept, 0, Position(90)).unwrap();
        assert_eq!(wanted.users, Users::from_iter([ALICE]));
        let look = wanted.look(Position(90), 7);
        assert_eq!((look.after, look.until), (Position(50), Position(90)));
        // Nothing has changed since, and then somebody got room.
        assert!(later.wanted(|_| 0, 0, Position(90)).is_none());
        later.wake();
        let wanted = later.wanted(|_| 0, 0, Position(90)).unwrap();
        assert_eq!(
            (wanted.users.len(), wanted.look(Position(90), 7).after),
            (2, Position(20))
        );
        // With one place each, only who has nothing has room.
        later.wake();
        assert!(later.wanted(|_| 1, 9_000, Position(90)).is_none());
    }

    #[test]
    fn who_gets_room_behind_the_last_look_waits_for_the_next_round() {
        let mut later = Later::default();
        later.leave(ALICE, Position(20));
        later.leave(BOB, Position(50));
        let wanted = later.wanted(|_| 0, 0, Position(90)).unwrap();
        assert_eq!((wanted.users.len(), wanted.after), (2, Position(20)));
        // Alice has no room at 30.
        let next = Place {
            at: Position(30),
            before: Position(29),
        };
        assert!(!later.takes(ALICE, next, false));
        later.looked([BOB].into_iter(), Position(60), Position(90));
        let wanted = later.wanted(|_| 0, 0, Position(90)).unwrap();
        assert_eq!(wanted.users, Users::from_iter([BOB]));
        assert_eq!(wanted.after, Position(60));
        later.looked([BOB].into_iter(), Position(90), Position(90));
        let wanted = later.wanted(|_| 0, 0, Position(90)).unwrap();
        assert_eq!(wanted.users, Users::from_iter([ALICE]));
        assert_eq!(wanted.after, Position(29));
        // A log that grows with each look does not make a round longer.
        later.leave(BOB, Position(85));
        later.looked([ALICE].into_iter(), Position(91), Position(95));
        later.leave(TimelineId(3), Position(5));
        let wanted = later.wanted(|_| 0, 0, Position(99)).unwrap();
        assert_eq!((wanted.users.len(), wanted.after), (3, Position(5)));
    }

    #[test]
    fn there_is_room_for_so_many_recipients() {
        let mut later = Later::default();
        for number in 0..WAITING_HOOKS {
            assert!(!later.is_full());
            later.leave(TimelineId(number as u128), Position(1));
        }
        assert!(later.is_full());
    }

    #[test]
    fn what_has_no_room_is_found_again_and_who_has_all_goes_on_with_the_others() {
        let mut later = Later::default();
        later.leave(ALICE, Position(50));
        later.leave(BOB, Position(20));
        let place = |before: u64, at: u64| Place {
            at: Position(at),
            before: Position(before),
        };
        // What lies before the position of a recipient was kept before.
        assert!(!later.takes(ALICE, place(40, 50), true));
        assert!(later.takes(ALICE, place(50, 52), true));
        // The records between have expired: the look began far before.
        assert!(later.takes(BOB, place(10, 52), true));
        assert!(!later.takes(BOB, place(60, 65), false));
        assert!(!later.takes(TimelineId(3), place(60, 65), true));
        later.looked([ALICE].into_iter(), Position(80), Position(90));
        let mut all: Vec<_> = later.all().collect();
        all.sort_unstable();
        assert_eq!(all, [(ALICE, Position(80)), (BOB, Position(60))]);
        later.looked([ALICE, BOB].into_iter(), Position(90), Position(90));
        assert_eq!(later.len(), 0);
    }
}
