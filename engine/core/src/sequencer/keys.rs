//! Idempotency keys: sends that repeat a stored send.
//!
//! The record of a message has its key, and the store finds the record as long as the key is kept.
//! The sequencer itself keeps only the keys of the batch under construction, which the store does
//! not show yet.

use std::collections::HashMap;

use trunkline_proto::ErrorCode;
use trunkline_storage::{IdBuildHasher, Page, Record, RecordRef, TimelineId};

use super::asked::Asked;
use super::batch::OpenBatch;
use super::refused::{CORRUPT, Refused, unreadable};
use crate::event::Body;

const REUSED: Refused = Refused::new(
    ErrorCode::KeyReused,
    "this key was used for another message: nothing was stored; send with a new key",
);

/// The idempotency keys of the batch under construction.
#[derive(Default)]
pub(super) struct Keys {
    /// The keys, with the places of their records.
    pending: HashMap<TimelineId, RecordRef, IdBuildHasher>,
    /// Whether a back end may have rewritten texts.
    rewrites: bool,
}

impl Keys {
    /// Makes the keys of an empty batch. `rewrites`: a back end may rewrite texts.
    pub(super) fn new(rewrites: bool) -> Self {
        Self {
            rewrites,
            ..Self::default()
        }
    }

    /// Adds a send of the batch under construction.
    pub(super) fn insert(&mut self, key: TimelineId, place: RecordRef) {
        self.pending.insert(key, place);
    }

    /// Forgets the keys of the batch after it was committed or given up.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    /// Returns the stored message that a send with this key repeats; `None` for a first send, and
    /// if the message is no longer kept.
    ///
    /// # Errors
    /// The key belongs to another message, or the store could not be read.
    pub(super) fn repeated(
        &self,
        batch: &OpenBatch,
        command: Asked<'_>,
        key: TimelineId,
    ) -> Result<Option<RecordRef>, Refused> {
        let found = match self.pending.get(&key) {
            Some(place) => Some(*place),
            None => batch
                .store()
                .find(key)
                .map_err(|error| unreadable(&error))?,
        };
        let Some(place) = found else {
            return Ok(None);
        };
        if let Some(record) = batch.record(place.position) {
            return self
                .check_same(batch, command, &record)
                .map(|()| Some(place));
        }
        let mut page = Page::default();
        batch.read_message(place.timeline, place.seq, &mut page)?;
        match page.records().next() {
            // The message of a user of this name who was erased is none of this user's.
            Some(record) if is_erased(&record) => Ok(None),
            Some(record) => self
                .check_same(batch, command, &record)
                .map(|()| Some(place)),
            // Keys and messages expire in files of different windows, and the message expired
            // first. Only the owner of the key can ask, and the promised time is over.
            None => Ok(None),
        }
    }

    /// Checks that a send repeats the send of a record. The content of a recalled or expired message is gone, and
    /// so is the first content of an edited one: only its conversation is compared.
    fn check_same(
        &self,
        batch: &OpenBatch,
        command: Asked<'_>,
        record: &Record<'_>,
    ) -> Result<(), Refused> {
        if record.timeline != command.conversation {
            return Err(REUSED);
        }
        let sent = Body::read(command.body).ok_or(CORRUPT)?;
        let stored = Body::read(record.body).ok_or(CORRUPT)?;
        let is_same = match self.rewrites {
            true => stored.has_media_of(&sent),
            false => stored.has_content_of(&sent),
        };
        // A message without content has expired. One that is due may still have it.
        let is_gone = stored.recalled || stored.text.is_none() && stored.mime.is_none();
        let is_due = stored.extras().is_due(record.time, batch.moment().steady);
        if is_gone || is_due || stored.extras().revision > 0 || is_same {
            Ok(())
        } else {
            Err(REUSED)
        }
    }
}

/// Returns whether a message was erased with its sender.
fn is_erased(record: &Record<'_>) -> bool {
    Body::read(record.body).is_some_and(|body| body.erased)
}

#[cfg(test)]
mod tests {
    use super::super::batch::Moment;
    use super::super::fixture::{AB, Fixture, NOW, Request};
    use super::super::messages::SendTerms;
    use super::*;
    use crate::event::Extras;
    use crate::exchange::{Action, Outcome};

    const KEY: TimelineId = TimelineId(77);

    fn request(fixture: &Fixture, conversation: &str, text: &str) -> Request {
        let body = Body {
            text: Some(text),
            ..Body::default()
        };
        fixture.request(
            "alice",
            conversation,
            Action::Send {
                key: Some(KEY),
                names_media: false,
                has_extras: false,
            },
            body,
        )
    }

    #[test]
    fn a_key_finds_its_message_in_the_batch_and_in_the_store() {
        let mut fixture = Fixture::new();
        let first = request(&fixture, AB, "hi");
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let mut keys = Keys::default();
        assert_eq!(keys.repeated(batch, first.asked(), KEY), Ok(None));
        let terms = SendTerms {
            key: Some(KEY),
            ..SendTerms::default()
        };
        let sent = fixture.messages.send(batch, recent, first.asked(), terms);
        let Outcome::Sent(position) = sent.unwrap().outcome else {
            panic!("it is the first");
        };
        let place = RecordRef {
            timeline: first.asked().conversation,
            seq: 1,
            position,
        };
        keys.insert(KEY, place);
        for committed in [false, true] {
            if committed {
                fixture.commit();
                keys.clear();
            }
            for (conversation, text, expected) in [
                (AB, "hi", Ok(Some(position))),
                (AB, "hello", Err(REUSED)),
                ("u:alice:carol", "hi", Err(REUSED)),
            ] {
                let again = request(&fixture, conversation, text);
                let found = keys.repeated(&fixture.batch, again.asked(), KEY);
                let found = found.map(|found| found.map(|place| place.position));
                assert_eq!(found, expected, "{conversation} {text} {committed}");
            }
        }
    }

    #[test]
    fn a_text_that_a_back_end_may_have_rewritten_is_not_compared() {
        let mut fixture = Fixture::new();
        let first = request(&fixture, AB, "rewritten");
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let terms = SendTerms {
            key: Some(KEY),
            ..SendTerms::default()
        };
        let sent = fixture.messages.send(batch, recent, first.asked(), terms);
        let Outcome::Sent(position) = sent.unwrap().outcome else {
            panic!("it is the first");
        };
        fixture.commit();
        let keys = Keys::new(true);
        let found = |conversation: &str| {
            let again = request(&fixture, conversation, "rewritten otherwise");
            let found = keys.repeated(&fixture.batch, again.asked(), KEY);
            found.map(|found| found.map(|place| place.position))
        };
        assert_eq!(found(AB), Ok(Some(position)));
        assert_eq!(found("u:alice:carol"), Err(REUSED));
    }

    #[test]
    fn the_content_of_a_message_that_is_due_is_not_compared() {
        let mut fixture = Fixture::new();
        let extras = Extras {
            ttl: 5_000,
            ..Extras::default()
        };
        let extras = extras.stored();
        let body = Body {
            text: Some("hi"),
            extras: extras.as_deref(),
            ..Body::default()
        };
        let action = Action::Send {
            key: Some(KEY),
            names_media: false,
            has_extras: true,
        };
        let first = fixture.request("alice", AB, action, body);
        let terms = SendTerms {
            key: Some(KEY),
            has_extras: true,
            ..SendTerms::default()
        };
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let sent = fixture.messages.send(batch, recent, first.asked(), terms);
        sent.unwrap();
        fixture.commit();
        for (passed, is_same) in [(4_999, false), (5_000, true)] {
            fixture.batch.set_moment(Moment {
                wire: NOW + passed,
                steady: NOW + passed,
                passed,
            });
            let again = request(&fixture, AB, "hello");
            let found = Keys::default().repeated(&fixture.batch, again.asked(), KEY);
            assert_eq!(found.is_ok(), is_same, "{passed}: {found:?}");
        }
        let other = request(&fixture, "u:alice:carol", "hello");
        let found = Keys::default().repeated(&fixture.batch, other.asked(), KEY);
        assert_eq!(found, Err(REUSED), "of another conversation");
    }
}
