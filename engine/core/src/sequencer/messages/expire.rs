//! Ephemeral messages: they expire some time after they were sent.
//!
//! Reads hide the content of an expired message from the moment on at which it is due. Soon after,
//! a redaction removes it from the store. To find what is due, the record of an ephemeral message
//! names a timeline of the ten seconds in which it expires, beside its recipients.
//!
//! Time is the steady time: nothing expires because of one look at the system clock.

use trunkline_storage::{Draft, Page, Position, ReadError, Record, Redaction, TimelineId};

use super::Messages;
use crate::event::{Body, EXPIRED, both};
use crate::ids::Side;
use crate::sequencer::batch::{Changes, OpenBatch};
use crate::sequencer::recent::Recent;
use crate::sequencer::refused::{Refused, unreadable};
use crate::sequencer::{pins, reactions, shares, tallies};

/// The milliseconds of which all messages that expire are in one timeline.
const SPAN: u64 = 10_000;

/// The number of messages that are cleared at a time.
const AT_ONCE: usize = 32;

/// The number of spans without a message that are looked at at a time.
const SPANS_AT_ONCE: u64 = 256;

/// The number of spans without a message after which the store notes how far it is cleared. A start
/// looks at up to this many spans again.
const NOTED: u64 = 360;

/// How far the expired messages are cleared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiring {
    /// The store was not asked yet.
    #[default]
    Unknown,
    /// There was never an ephemeral message.
    Never,
    /// All messages that expired before this place are cleared.
    Before(Place),
}

/// A place in the order in which messages expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the span.
    span: u64,
    /// The position of the last record of that span that was looked at.
    after: Position,
    /// The first span that the store notes as not cleared.
    noted: u64,
}

impl Expiring {
    /// Returns how far the messages are cleared. Asks the store if it is not known.
    fn place(&mut self, batch: &OpenBatch) -> Result<Option<Place>, Refused> {
        if *self == Self::Unknown {
            let value = batch.value(batch.ids().cleared())?;
            let span = value.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
            *self = span.map_or(Self::Never, |span| Self::Before(Place::of(span)));
        }
        Ok(match *self {
            Self::Before(place) => Some(place),
            _ => None,
        })
    }

    /// Returns the timeline of the span in which a message expires that is due at `due`.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn enter(
        &mut self,
        batch: &OpenBatch,
        due: u64,
        changes: &mut Changes,
    ) -> Result<TimelineId, Refused> {
        let first = match self.place(batch)? {
            Some(place) => place.span,
            None => {
                let span = batch.moment().steady / SPAN;
                changes.push((batch.ids().cleared(), span.to_le_bytes().to_vec()));
                *self = Self::Before(Place::of(span));
                span
            }
        };
        // The time may have gone back over a restart. What is cleared is not looked at again.
        Ok(batch.ids().due((due / SPAN).max(first)))
    }
}

impl Expiring {
    /// Notes that the store did not take the record of a message, nor what belongs to it.
    pub(super) fn not_entered(&mut self) {
        *self = Self::Unknown;
    }
}

impl Place {
    fn of(span: u64) -> Self {
        Self {
            span,
            after: Position::ZERO,
            noted: span,
        }
    }
}

impl Messages {
    /// Forgets what a batch that was given up has changed.
    pub(in crate::sequencer) fn given_up(&mut self) {
        self.expiring = Expiring::Unknown;
    }

    /// Returns whether messages may have expired that are not cleared.
    #[inline]
    pub(in crate::sequencer) fn is_clearing_due(&self, batch: &OpenBatch) -> bool {
        match &self.expiring {
            Expiring::Unknown => true,
            Expiring::Never => false,
            Expiring::Before(place) => (place.span + 1) * SPAN <= batch.moment().steady,
        }
    }

    /// Removes the content of some messages that have expired. Returns whether there may be more. If
    /// the store cannot be read or takes nothing, a later call tries again.
    pub(in crate::sequencer) fn clear_expired(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
    ) -> bool {
        let Ok(Some(place)) = self.expiring.place(batch) else {
            return false;
        };
        let mut place = place;
        let cleared = self.clear_from(batch, recent, &mut place);
        if place.span >= place.noted + NOTED || (cleared == Ok(true) && place.span > place.noted) {
            let value = place.span.to_le_bytes();
            if batch.set(batch.ids().cleared(), &value).is_ok() {
                place.noted = place.span;
            }
        }
        self.expiring = Expiring::Before(place);
        cleared == Ok(true)
    }

    /// Clears messages from a place on, and moves the place. Returns whether there may be more.
    fn clear_from(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        place: &mut Place,
    ) -> Result<bool, Refused> {
        let (now, mut page) = (batch.moment().steady, Page::default());
        for _ in 0..SPANS_AT_ONCE {
            if (place.span + 1) * SPAN > now {
                return Ok(false);
            }
            let timeline = batch.ids().due(place.span);
            let more = read(batch, timeline, place, &mut page)?;
            let found = page.len();
            for record in page.records() {
                self.remove(batch, recent, &record)?;
                place.after = record.position;
            }
            if !more {
                place.span += 1;
                place.after = Position::ZERO;
            }
            if found > 0 {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Removes the content of a message, if it has any.
    fn remove(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        record: &Record<'_>,
    ) -> Result<(), Refused> {
        let (conversation, seq) = (record.timeline, record.seq);
        let Some(message) = Body::read(record.body) else {
            return Ok(());
        };
        let extras = message.extras();
        let is_gone = message.recalled || message.text.is_none() && message.mime.is_none();
        if is_gone
            || !extras.is_due(record.time, batch.moment().steady)
            || self.subjects.is_recalled_now(conversation, seq)
        {
            return Ok(());
        }
        let author = batch.ids().user(message.namespace, message.user);
        let side = both(message.conversation).map(|(lesser, _)| match lesser == message.user {
            true => Side::Lesser,
            false => Side::Greater,
        });
        let (kept, mut rest) = (extras.of_recalled().stored(), Vec::new());
        Body {
            extras: kept.as_deref(),
            text: None,
            mime: None,
            data: None,
            url: None,
            size: None,
            ..message
        }
        .write(&mut rest);
        let draft = Draft {
            kind: EXPIRED,
            timeline: conversation,
            redacts: Some(Redaction { seq, body: &rest }),
            ..Draft::default()
        };
        let place = (conversation, seq);
        let mut changes = tallies::uncount_expired(batch, recent, place, (author, side))?;
        let key = batch.ids().reactions(conversation, seq);
        reactions::remove_all(batch, key, &mut changes)?;
        if side.is_none() {
            pins::forget(batch, conversation, seq, &mut changes)?;
        }
        let other = both(message.conversation).map(|(lesser, greater)| match side {
            Some(Side::Lesser) => greater,
            _ => lesser,
        });
        let other = other.map(|other| batch.ids().user(message.namespace, other));
        let share = shares::of(author, other, conversation);
        shares::remove(batch, share, message.url, &mut changes)?;
        batch.append(&draft, &mut changes)?;
        Ok(())
    }
}

/// Reads the next records of the span of a place. Returns whether there are more.
fn read(
    batch: &OpenBatch,
    timeline: TimelineId,
    place: &Place,
    page: &mut Page,
) -> Result<bool, Refused> {
    let store = batch.store();
    let head = store.head();
    let read = match store.sync(timeline, place.after, head, AT_ONCE, page) {
        // No sync timeline goes back that far any more.
        Err(ReadError::Expired { oldest }) => store.sync(timeline, oldest, head, AT_ONCE, page),
        other => other,
    };
    read.map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Extras;
    use crate::exchange::Action;
    use crate::sequencer::batch::Moment;
    use crate::sequencer::fixture::{AB, Fixture, NOW};
    use crate::sequencer::messages::SendTerms;

    const TTL: u64 = 5_000;

    fn send(fixture: &mut Fixture) {
        let extras = Extras {
            ttl: TTL,
            ..Extras::default()
        };
        let extras = extras.stored();
        let body = Body {
            text: Some("soon gone"),
            extras: extras.as_deref(),
            ..Body::default()
        };
        let action = Action::Send {
            key: None,
            names_media: false,
            has_extras: true,
        };
        let request = fixture.request("alice", AB, action, body);
        let terms = SendTerms {
            has_extras: true,
            ..SendTerms::default()
        };
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let sent = fixture.messages.send(batch, recent, request.asked(), terms);
        sent.unwrap();
    }

    fn pass(fixture: &mut Fixture, passed: u64) {
        fixture.batch.set_moment(Moment {
            wire: NOW + passed,
            steady: NOW + passed,
            passed,
        });
    }

    fn clear(fixture: &mut Fixture) -> bool {
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let is_due = fixture.messages.is_clearing_due(batch);
        let more = is_due && fixture.messages.clear_expired(batch, recent);
        fixture.commit();
        more
    }

    fn texts(fixture: &Fixture) -> Vec<bool> {
        let id = fixture.ids().direct("", "alice", "bob");
        let mut page = Page::default();
        let last = fixture.batch.store().try_last_seq(id).unwrap();
        let mut has_text = |seq| {
            fixture.batch.read_message(id, seq, &mut page).unwrap();
            let record = page.records().next().unwrap();
            Body::read(record.body).unwrap().text.is_some()
        };
        (1..=last).map(&mut has_text).collect()
    }

    #[test]
    fn what_is_due_is_cleared_once_and_the_rest_stays() {
        let mut fixture = Fixture::new();
        assert!(!clear(&mut fixture), "there is none");
        let count = 2 * AT_ONCE + 1;
        for _ in 0..count {
            send(&mut fixture);
        }
        fixture.send("alice", AB).unwrap();
        fixture.commit();
        pass(&mut fixture, TTL - 1);
        assert!(!clear(&mut fixture));
        assert!(texts(&fixture).iter().all(|has| *has));
        pass(&mut fixture, TTL + SPAN);
        let before = fixture.batch.last_position();
        let mut rounds = 0;
        while clear(&mut fixture) {
            rounds += 1;
        }
        assert!(rounds >= 3, "{rounds}");
        let expected: Vec<_> = (0..=count).map(|n| n == count).collect();
        assert_eq!(texts(&fixture), expected);
        let cleared = fixture.batch.last_position();
        assert!(cleared > before);
        // After a restart nothing is cleared again.
        fixture.messages.given_up();
        while clear(&mut fixture) {}
        assert_eq!(texts(&fixture), expected);
        assert!(!fixture.messages.is_clearing_due(&fixture.batch));
    }
}
