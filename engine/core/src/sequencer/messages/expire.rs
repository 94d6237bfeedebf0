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
use crate::state::{self, DUE_SPAN as SPAN, Ttls};

/// The number of messages that are cleared at a time.
const AT_ONCE: usize = 32;

/// The number of spans without a message that are looked at at a time.
const SPANS_AT_ONCE: u64 = 256;

/// The number of spans without a message after which the store notes how far it is cleared. A start
/// looks at up to this many spans again.
const NOTED: u64 = 360;

/// The time between two tries while the store cannot be read or takes nothing, in milliseconds.
const REST: u64 = 10_000;

/// The number of tries after which the content of a message is removed without what belongs to it, such as
/// its reactions, if that cannot be read.
const TRIES: u32 = 3;

/// How far the expired messages are cleared, and when the next try is due.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    known: Known,
    /// What the store knows of the messages that wait; `None` if it was not asked yet.
    ttls: Option<Ttls>,
    /// The monotonic time before which nothing is tried again, in milliseconds.
    rests_until: u64,
    /// The number of failed tries since a message was cleared.
    tries: u32,
}

/// How far the expired messages are cleared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Known {
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
struct Place {
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
        if self.known == Known::Unknown {
            let value = batch.value(batch.ids().cleared())?;
            let span = value.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
            self.known = span.map_or(Known::Never, |span| Known::Before(Place::of(span)));
        }
        Ok(match self.known {
            Known::Before(place) => Some(place),
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
                self.known = Known::Before(Place::of(span));
                span
            }
        };
        self.note(batch, due, first * SPAN, changes)?;
        // The time may have gone back over a restart. What is cleared is not looked at again.
        Ok(batch.ids().due((due / SPAN).max(first)))
    }

    /// Notes how long a message lives that is due at `due`, so that a start with a shorter `sync_life` knows
    /// ([`crate::ephemeral`]).
    fn note(
        &mut self,
        batch: &OpenBatch,
        due: u64,
        cleared: u64,
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        let key = batch.ids().waiting_ttls();
        let mut ttls = match self.ttls.take() {
            Some(ttls) => ttls,
            None => batch.decoded(key)?.unwrap_or_default(),
        };
        let ttl = due.saturating_sub(batch.moment().steady);
        if ttls.note(ttl, due, cleared) {
            changes.push((key, state::encode(&ttls)));
        }
        self.ttls = Some(ttls);
        Ok(())
    }

    /// Notes that the store did not take the record of a message, nor what belongs to it.
    pub(super) fn not_entered(&mut self) {
        self.known = Known::Unknown;
        self.ttls = None;
    }

    /// Notes a failed try.
    fn failed(&mut self, batch: &OpenBatch) {
        self.tries = self.tries.saturating_add(1);
        self.rests_until = batch.moment().passed + REST;
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

    fn go_to_next_span(&mut self) {
        self.span += 1;
        self.after = Position::ZERO;
    }
}

impl Messages {
    /// Forgets what a batch that was given up has changed.
    pub(in crate::sequencer) fn given_up(&mut self) {
        self.expiring.not_entered();
    }

    /// Returns whether messages may have expired that are not cleared.
    #[inline]
    pub(in crate::sequencer) fn is_clearing_due(&self, batch: &OpenBatch) -> bool {
        let moment = batch.moment();
        let has_due = match &self.expiring.known {
            Known::Unknown => true,
            Known::Never => false,
            Known::Before(place) => (place.span + 1) * SPAN <= moment.steady,
        };
        has_due && moment.passed >= self.expiring.rests_until
    }

    /// Removes the content of some messages that have expired. Returns whether there may be more. If
    /// the store cannot be read or takes nothing, a later call tries again.
    pub(in crate::sequencer) fn clear_expired(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
    ) -> bool {
        let mut place = match self.expiring.place(batch) {
            Ok(Some(place)) => place,
            Ok(None) => return false,
            Err(_) => {
                self.expiring.failed(batch);
                return false;
            }
        };
        let cleared = self.clear_from(batch, recent, &mut place);
        if place.span >= place.noted + NOTED || (cleared == Ok(true) && place.span > place.noted) {
            let value = place.span.to_le_bytes();
            if batch.set(batch.ids().cleared(), &value).is_ok() {
                place.noted = place.span;
            }
        }
        self.expiring.known = Known::Before(place);
        if cleared.is_err() {
            self.expiring.failed(batch);
        }
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
            let more = match read(batch, place, AT_ONCE, &mut page) {
                Ok(more) => more,
                Err(error) if error.is_damage() => return self.clear_each(batch, recent, place),
                Err(error) => return Err(unreadable(&error)),
            };
            let found = page.len();
            self.clear_page(batch, recent, &page, place)?;
            if !more {
                place.go_to_next_span();
            }
            if found > 0 {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Clears the messages of a page, and moves the place.
    fn clear_page(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        page: &Page,
        place: &mut Place,
    ) -> Result<(), Refused> {
        for record in page.records() {
            self.remove(batch, recent, &record)?;
            self.expiring.tries = 0;
            place.after = record.position;
        }
        Ok(())
    }

    /// Clears some messages one by one, and passes those that the disk does not return: no later message
    /// may keep its content because of them. Returns whether there may be more.
    fn clear_each(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        place: &mut Place,
    ) -> Result<bool, Refused> {
        let (mut page, mut damage) = (Page::default(), None);
        for _ in 0..AT_ONCE {
            let more = match read(batch, place, 1, &mut page) {
                Ok(more) => {
                    self.clear_page(batch, recent, &page, place)?;
                    more
                }
                Err(error) if error.is_damage() => {
                    self.metrics.expired_unreadable.one();
                    damage = Some(error);
                    pass(batch, place)?
                }
                Err(error) => return Err(unreadable(&error)),
            };
            if !more {
                place.go_to_next_span();
                break;
            }
        }
        if let Some(error) = damage {
            tracing::error!(
                %error,
                messages = self.metrics.expired_unreadable.get(),
                "the content of messages that have expired stays on the disk, because they cannot be read: check the store with trunkline store verify"
            );
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
        if record.body.is_empty() {
            return Ok(());
        }
        let Some(message) = Body::read(record.body) else {
            self.metrics.expired_unreadable.one();
            return Ok(());
        };
        let extras = message.extras();
        let is_gone = message.recalled || message.text.is_none() && message.mime.is_none();
        if is_gone
            || !extras.is_due(record.time, batch.moment().steady)
            || self.subjects.is_recalling(conversation, seq)
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
            ..message.clone()
        }
        .write(&mut rest);
        let draft = Draft {
            kind: EXPIRED,
            timeline: conversation,
            redacts: Some(Redaction { seq, body: &rest }),
            ..Draft::default()
        };
        let other = both(message.conversation).map(|(lesser, greater)| match side {
            Some(Side::Lesser) => greater,
            _ => lesser,
        });
        let other = other.map(|other| batch.ids().user(message.namespace, other));
        let share = shares::of(author, other, conversation);
        let reactions = batch.ids().reactions(conversation, seq);
        let (place, mut changes) = ((conversation, seq), Changes::new());
        let parts = [
            tallies::uncount_expired(batch, place, author, &mut changes),
            reactions::remove_all(batch, reactions, &mut changes),
            match side {
                Some(_) => Ok(()),
                None => pins::forget(batch, conversation, seq, &mut changes),
            },
            shares::remove(batch, share, &message, &mut changes),
        ];
        let held = recent.conversation(conversation);
        let last = held.map(|held| held.last_seq());
        // What cannot be read stays as it is: the content has to go.
        if self.expiring.tries < TRIES {
            parts.into_iter().collect::<Result<(), _>>()?;
            last?;
        }
        batch.append(&draft, &mut changes)?;
        if let Ok(last) = last {
            tallies::forget_expired(recent, place, last, (author, side));
        }
        Ok(())
    }
}

/// Reads the next records of the span of a place. Returns whether there are more.
fn read(
    batch: &OpenBatch,
    place: &Place,
    limit: usize,
    page: &mut Page,
) -> Result<bool, ReadError> {
    let (store, timeline) = (batch.store(), batch.ids().due(place.span));
    let head = store.head();
    match store.sync(timeline, place.after, head, limit, page) {
        // No sync timeline goes back that far any more.
        Err(ReadError::Expired { oldest }) => store.sync(timeline, oldest, head, limit, page),
        other => other,
    }
}

/// Moves a place past the next record of its span, without reading the record. Returns whether there may be
/// more in the span: nothing more can be found in it if the index of the store is damaged there.
fn pass(batch: &OpenBatch, place: &mut Place) -> Result<bool, Refused> {
    let next = batch
        .store()
        .next_sync(batch.ids().due(place.span), place.after);
    match next {
        Ok(Some(position)) => {
            place.after = position;
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(unreadable(&error)),
    }
}

#[cfg(test)]
mod tests;
