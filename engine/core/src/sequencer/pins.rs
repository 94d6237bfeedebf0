//! Pinned messages of groups.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, TimelineId};

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::messages::Messages;
use super::recent::Recent;
use super::refused::{Refused, unreadable};
use super::subject;
use crate::event::RecordKind;
use crate::exchange::Done;
use crate::state::{self, MAX_PINS, Pin, Pins};
use crate::told::Decision;

const NOT_AN_ADMIN: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only owners and admins of the group pin messages",
);

const RECALLED: Refused = Refused::new(
    ErrorCode::Unknown,
    "the message was recalled: it cannot be pinned",
);

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "a group has at most 50 pinned messages: unpin one first",
);

/// A message to pin, or to take from the pinned ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct PinChange {
    /// The sequence of the message.
    pub(super) seq: u64,
    /// Whether to take the message from the pinned ones.
    pub(super) remove: bool,
}

impl Messages {
    /// Pins a message of a group, or takes it from the pinned ones. A repetition changes nothing.
    ///
    /// # Errors
    /// The caller is no owner or admin, or does not see the message; the message is recalled; too many
    /// are pinned; the store could not be read, or it took no record.
    pub(super) fn pin(
        &self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        change: PinChange,
    ) -> Result<Decision, Refused> {
        let PinChange { seq, remove } = change;
        let group = recent.group_of(batch, command)?;
        if !group.role(command.user).manages() {
            return Err(NOT_AN_ADMIN);
        }
        // A pinned message that has expired can still be unpinned.
        if !remove && self.subjects.see(batch, recent, command, seq)? {
            return Err(RECALLED);
        }
        let done = if remove { Done::Unpin } else { Done::Pin };
        let key = batch.ids().pins(command.conversation);
        let mut pins: Pins = batch.decoded(key)?.unwrap_or_default();
        if pins.has(seq) != remove {
            return Ok(Decision::unchanged(done));
        }
        if remove {
            pins.remove(seq);
        } else {
            if pins.0.len() >= MAX_PINS {
                let first = batch.store().first_seq(command.conversation);
                let first = first.map_err(|error| unreadable(&error))?;
                pins.0.retain(|pin| pin.seq >= first);
            }
            if pins.0.len() >= MAX_PINS {
                return Err(TOO_MANY);
            }
            let time = batch.moment().wire;
            pins.0.push(Pin { seq, time });
        }
        let reach = subject::reach(batch, recent, command, seq)?;
        let draft = Draft {
            kind: RecordKind::Group as u8,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: command.body,
            ..Draft::default()
        };
        let mut changes = vec![(key, pins.value())];
        let position = batch.append(&draft, &mut changes)?;
        Ok(Decision::done(done, position, reach.audience()))
    }
}

/// Takes a recalled message from the pinned ones of its group.
///
/// # Errors
/// The store could not be read.
pub(super) fn forget(
    batch: &OpenBatch,
    group: TimelineId,
    seq: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let key = batch.ids().pins(group);
    let Some(mut pins) = batch.decoded::<Pins>(key)? else {
        return Ok(());
    };
    if pins.has(seq) {
        pins.remove(seq);
        changes.push((key, pins.value()));
    }
    Ok(())
}

impl Pins {
    fn has(&self, seq: u64) -> bool {
        self.0.iter().any(|pin| pin.seq == seq)
    }

    fn remove(&mut self, seq: u64) {
        self.0.retain(|pin| pin.seq != seq);
    }

    /// Returns the stored form; empty if nothing is pinned.
    fn value(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        state::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ENG, Fixture};
    use super::super::refused::{NO_MESSAGE, NOT_A_MEMBER};
    use super::*;
    use crate::event::Body;
    use crate::exchange::Action;

    fn pin(fixture: &mut Fixture, user: &str, seq: u64, remove: bool) -> Result<bool, Refused> {
        let body = Body {
            seq,
            change: Some("pinned"),
            ..Body::default()
        };
        let request = fixture.request(user, ENG, Action::Pin { seq, remove }, body);
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let change = PinChange { seq, remove };
        let pinned = fixture.messages.pin(batch, recent, request.asked(), change);
        pinned.map(|decision| decision.outcome.position().is_some())
    }

    fn pinned(fixture: &Fixture) -> Vec<u64> {
        let key = fixture.ids().pins(fixture.ids().group("", "eng"));
        let pins: Pins = fixture.batch.decoded(key).unwrap().unwrap_or_default();
        pins.0.into_iter().map(|pin| pin.seq).collect()
    }

    #[test]
    fn owners_pin_what_they_see_and_a_recall_unpins() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        for _ in 0..3 {
            fixture.send("alice", ENG).unwrap();
        }
        assert_eq!(pin(&mut fixture, "zoe", 1, false), Err(NOT_A_MEMBER));
        assert_eq!(pin(&mut fixture, "bob", 1, false), Err(NOT_AN_ADMIN));
        assert_eq!(pin(&mut fixture, "alice", 4, false), Err(NO_MESSAGE));
        for seq in [2, 1] {
            assert_eq!(pin(&mut fixture, "alice", seq, false), Ok(true));
            assert_eq!(pin(&mut fixture, "alice", seq, false), Ok(false));
        }
        assert_eq!(pin(&mut fixture, "alice", 3, true), Ok(false));
        assert_eq!(pinned(&fixture), [2, 1]);
        fixture.commit();
        let body = Body {
            seq: 2,
            ..Body::default()
        };
        let request = fixture.request("alice", ENG, Action::Recall { seq: 2 }, body);
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let recalled = fixture.messages.recall(batch, recent, request.asked(), 2);
        recalled.unwrap();
        assert_eq!(pinned(&fixture), [1]);
        assert_eq!(pin(&mut fixture, "alice", 2, false), Err(RECALLED));
        assert_eq!(pin(&mut fixture, "alice", 1, true), Ok(true));
        assert_eq!(pinned(&fixture), [0; 0]);
        let key = fixture.ids().pins(fixture.ids().group("", "eng"));
        assert_eq!(fixture.batch.value(key), Ok(None), "no empty value");
    }

    #[test]
    fn a_group_has_so_many_pins() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice"]);
        for seq in 1..=MAX_PINS as u64 + 1 {
            fixture.send("alice", ENG).unwrap();
            let expected = if seq > MAX_PINS as u64 {
                Err(TOO_MANY)
            } else {
                Ok(true)
            };
            assert_eq!(pin(&mut fixture, "alice", seq, false), expected, "{seq}");
        }
        assert_eq!(pin(&mut fixture, "alice", 7, true), Ok(true));
        assert_eq!(pin(&mut fixture, "alice", 51, false), Ok(true));
        assert_eq!(pinned(&fixture).len(), MAX_PINS);
    }
}
