//! Edits: a sender replaces the content of a message.
//!
//! An edit is a redaction, as a recall is: the record of the edit carries the new body of the message.
//! What was edited away is then overwritten in the files.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Page, Redaction};

use super::Messages;
use crate::event::{Body, Extras, RecordKind, message_bytes};
use crate::exchange::Done;
use crate::fit::reaction_bytes;
use crate::media;
use crate::sequencer::asked::Asked;
use crate::sequencer::batch::{Changes, OpenBatch};
use crate::sequencer::recent::Recent;
use crate::sequencer::refused::{CORRUPT, CommitFirst, NO_MESSAGE, Refused, Stop};
use crate::sequencer::shares;
use crate::sequencer::subject;
use crate::told::Decision;

const NOT_THE_SENDER: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only its sender edits a message",
);

const RECALLED: Refused = Refused::new(
    ErrorCode::Unknown,
    "the message was recalled or has expired: send a new one",
);

const TOO_OLD: Refused = Refused::new(
    ErrorCode::EditWindowPassed,
    "the message is older than edit_window: send a new one",
);

const TOO_LARGE: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "after this edit the message would be longer than limits.message_bytes: make it shorter",
);

/// What an edit asks for, besides its body.
#[derive(Debug, Clone, Copy)]
pub(in crate::sequencer) struct Edit {
    /// The sequence of the message.
    pub(in crate::sequencer) seq: u64,
    /// Whether the new content names media that this gateway keeps.
    pub(in crate::sequencer) names_media: bool,
}

/// Returns the body of the record of an edit: who edited which message, and how often it was edited. The
/// content is in the redaction alone, which a later edit or recall overwrites.
fn written_edit(new: &Body<'_>, seq: u64, revision: u64) -> Vec<u8> {
    let number = Extras {
        revision,
        ..Extras::default()
    };
    let (number, mut own) = (number.stored(), Vec::new());
    Body {
        conversation: new.conversation,
        namespace: new.namespace,
        user: new.user,
        device: new.device,
        seq,
        extras: number.as_deref(),
        ..Body::default()
    }
    .write(&mut own);
    own
}

impl Messages {
    /// Replaces the content of a message of the caller: text, media and `meta`. What else the message
    /// has stays. An edit that changes nothing stores nothing.
    ///
    /// # Errors
    /// The caller does not see the message or did not send it, the message is recalled or too old, the
    /// store could not be read, or it took no record. The message, or an earlier edit of it, may be in
    /// the batch: it must be committed first, because an edit reads the message.
    pub(in crate::sequencer) fn edit(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        edit: Edit,
    ) -> Result<Decision, Stop> {
        let seq = edit.seq;
        let is_recalled = self.subjects.see(batch, recent, command, seq)?;
        if self.subjects.is_edited(command.conversation, seq) {
            return Err(CommitFirst.into());
        }
        let mut page = Page::default();
        batch.read_message(command.conversation, seq, &mut page)?;
        let Some(record) = page.records().next() else {
            batch.check_committed()?;
            return Err(NO_MESSAGE.into());
        };
        let message = Body::read(record.body).ok_or(CORRUPT)?;
        if message.user != command.user_name()? {
            return Err(NOT_THE_SENDER.into());
        }
        if message.recalled || is_recalled {
            return Err(RECALLED.into());
        }
        let moment = batch.moment();
        if moment.steady.saturating_sub(record.time) > self.edit_window {
            return Err(TOO_OLD.into());
        }
        recent.check_may_say(batch, command)?;
        let (new, old) = (Body::read(command.body).ok_or(CORRUPT)?, message.extras());
        let meta = new.extras().meta;
        let is_same = Body {
            extras: message.extras,
            ..new.clone()
        };
        if meta == old.meta && message.has_content_of(&is_same) {
            return Ok(Decision::unchanged(Done::Edit));
        }
        let mut changes = Changes::new();
        // Two URLs may name the same media.
        let [named, before] = [new.url, message.url].map(|url| url.and_then(media::id_in));
        if named != before {
            if edit.names_media {
                let due = (old.ttl > 0).then(|| record.time.saturating_add(old.ttl));
                shares::of_message(batch, command, due, &mut changes)?;
            }
            shares::remove(batch, shares::share(command), &message, &mut changes)?;
        }
        let revision = old.revision + 1;
        let extras = Extras {
            meta,
            edited: Some(moment.wire),
            revision,
            ..old
        };
        let (extras, mut edited) = (extras.stored(), Vec::new());
        let sent = message.happened(&record);
        let after = Body {
            text: new.text,
            mime: new.mime,
            data: new.data,
            url: new.url,
            size: new.size,
            extras: extras.as_deref(),
            time: Some(sent),
            ..message
        };
        let most = self.message_bytes;
        if message_bytes(&after) + reaction_bytes(most) > most {
            return Err(TOO_LARGE.into());
        }
        after.write(&mut edited);
        let own = written_edit(&new, seq, revision);
        let reach = subject::reach(batch, recent, command, seq)?;
        let draft = Draft {
            kind: RecordKind::Edit as u8,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: &own,
            redacts: Some(Redaction { seq, body: &edited }),
            ..Draft::default()
        };
        let position = batch.append(&draft, &mut changes)?;
        self.subjects.edit(command.conversation, seq);
        Ok(Decision::done(Done::Edit, position, reach.audience()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Action, Outcome};
    use crate::sequencer::fixture::{AB, Fixture};

    fn edit(fixture: &mut Fixture, user: &str, seq: u64, text: &str) -> Result<bool, Stop> {
        let body = Body {
            seq,
            text: Some(text),
            ..Body::default()
        };
        let names_media = false;
        let action = Action::Edit { seq, names_media };
        let request = fixture.request(user, AB, action, body);
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let asked = Edit { seq, names_media };
        let edited = fixture
            .messages
            .edit(batch, recent, request.asked(), asked)?;
        Ok(matches!(edited.outcome, Outcome::Done(Done::Edit, Some(_))))
    }

    #[test]
    fn an_edit_waits_for_the_one_before_and_keeps_its_text_out_of_its_own_body() {
        let mut fixture = Fixture::new();
        fixture.send("alice", AB).unwrap();
        assert_eq!(edit(&mut fixture, "alice", 1, "x"), Err(Stop::CommitFirst));
        fixture.commit();
        let of_other = edit(&mut fixture, "bob", 1, "x");
        assert_eq!(of_other, Err(NOT_THE_SENDER.into()));
        assert_eq!(edit(&mut fixture, "alice", 1, "hi"), Ok(false), "the same");
        assert_eq!(edit(&mut fixture, "alice", 1, "first"), Ok(true));
        let position = fixture.batch.last_position();
        let record = fixture.batch.record(position).unwrap();
        let own = Body::read(record.body).unwrap();
        assert_eq!((own.text, own.seq, own.extras().revision), (None, 1, 1));
        assert_eq!(edit(&mut fixture, "alice", 1, "y"), Err(Stop::CommitFirst));
        fixture.commit();
        assert_eq!(edit(&mut fixture, "alice", 1, "second"), Ok(true));
        fixture.commit();
        let mut page = Page::default();
        let id = fixture.ids().direct("", "alice", "bob");
        fixture.batch.read_message(id, 1, &mut page).unwrap();
        let record = page.records().next().unwrap();
        let body = Body::read(record.body).unwrap();
        assert_eq!(body.text, Some("second"));
        assert_eq!(body.extras().revision, 2);
        assert_eq!(body.happened(&record), record.time);
    }
}
