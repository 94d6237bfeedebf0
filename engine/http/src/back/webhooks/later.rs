//! Recipients of whom more messages wait than are kept in memory: theirs go on in the log.
//!
//! Nobody fills the memory alone. What a recipient has beyond a share stays in the log, and is looked for
//! there once the recipient has room again, while the log is followed for all others.

use std::collections::HashMap;

use trunkline_core::ids::UserId;
use trunkline_core::reader::{Look, Place, Recipients};
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
    /// Whether a recipient may have got room since it was last looked.
    is_due: bool,
}

impl Later {
    /// Returns the number of recipients.
    pub(super) fn len(&self) -> usize {
        self.after.len()
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

    /// Returns the recipients who have room, and the first position at which messages of one of them go on;
    /// `None` if there are none. Nobody has room before half of the share is free: each look reads the log.
    pub(super) fn wanted(&mut self, kept: impl Fn(UserId) -> usize, all: usize) -> Option<Wanted> {
        if !std::mem::take(&mut self.is_due) {
            return None;
        }
        let has_room = |user: UserId| kept(user) * 2 <= share(all);
        let with_room = self.all().filter(|(user, _)| has_room(*user));
        let (mut users, mut first) = (Recipients::default(), None::<Position>);
        for (user, after) in with_room {
            users.insert(user);
            first = Some(first.map_or(after, |first| first.min(after)));
        }
        Some(Wanted {
            users,
            after: first?,
        })
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
    pub(super) users: Recipients,
    after: Position,
}

impl Wanted {
    /// Returns the look at the log up to `until`, which ends after `most` messages.
    pub(super) const fn look(&self, until: Position, most: usize) -> Look<'_> {
        Look {
            after: self.after,
            until,
            most,
            only: Some(&self.users),
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
        assert!(later.wanted(|_| 0, 0).is_none());
        later.leave(ALICE, Position(50));
        later.leave(BOB, Position(20));
        assert!(later.has(ALICE) && later.len() == 2);
        // Only who has half of the share free has room.
        let kept = |user| if user == BOB { 129 } else { 128 };
        let wanted = later.wanted(kept, 0).unwrap();
        assert_eq!(wanted.users, Recipients::from_iter([ALICE]));
        let look = wanted.look(Position(90), 7);
        assert_eq!((look.after, look.until), (Position(50), Position(90)));
        // Nothing has changed since, and then somebody got room.
        assert!(later.wanted(|_| 0, 0).is_none());
        later.wake();
        let wanted = later.wanted(|_| 0, 0).unwrap();
        assert_eq!(
            (wanted.users.len(), wanted.look(Position(90), 7).after),
            (2, Position(20))
        );
        // With one place each, only who has nothing has room.
        later.wake();
        assert!(later.wanted(|_| 1, 9_000).is_none());
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
