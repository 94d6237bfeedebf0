//! Erasing messages and reactions of a user, as a step of the erasure of the user.

use trunkline_storage::{Draft, Page, Redaction};

use super::Messages;
use crate::event::{Body, RecordKind};
use crate::exchange::{Done, Members};
use crate::sequencer::asked::Asked;
use crate::sequencer::batch::{Changes, OpenBatch};
use crate::sequencer::reactions::{self, OwnReaction};
use crate::sequencer::recent::Recent;
use crate::sequencer::refused::{CORRUPT, Refused, Stop};
use crate::sequencer::route::Reach;
use crate::sequencer::{pins, shares, subject, tallies};
use crate::told::Decision;

impl Messages {
    /// Takes the content of a message away, if the user sent it. It reads as recalled, and others are
    /// told so. Neither the age of the message nor a membership matters. A repetition changes nothing,
    /// and so does a message that is not kept.
    ///
    /// # Errors
    /// The store could not be read, or it took no record; or the batch must be committed first.
    pub(in crate::sequencer) fn erase(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<Decision, Stop> {
        let unchanged = Decision::unchanged(Done::Erase);
        let subjects = &self.subjects;
        let conversation = command.conversation;
        if subjects.is_recalling(conversation, seq) || subjects.is_edited(conversation, seq) {
            batch.check_committed()?;
        }
        let mut page = Page::default();
        batch.read_message(command.conversation, seq, &mut page)?;
        let Some(record) = page.records().next() else {
            batch.check_committed()?;
            return Ok(unchanged);
        };
        let message = Body::read(record.body).ok_or(CORRUPT)?;
        if message.erased || message.user != command.user_name()? {
            return Ok(unchanged);
        }
        let mut rest = Vec::new();
        let extras = message.extras().of_recalled().stored();
        Body {
            extras: extras.as_deref(),
            conversation: message.conversation,
            namespace: message.namespace,
            user: message.user,
            recalled: true,
            erased: true,
            time: message.time,
            ..Body::default()
        }
        .write(&mut rest);
        // Who was told of the recall is not told again.
        let reach = match message.recalled {
            true => None,
            false => reach(batch, recent, command, seq)?,
        };
        let mut changes = match message.recalled {
            true => Changes::new(),
            false => tallies::uncount(batch, recent, command, seq)?,
        };
        let key = batch.ids().reactions(command.conversation, seq);
        reactions::remove_all(batch, key, &mut changes)?;
        shares::remove(batch, shares::share(command), &message, &mut changes)?;
        if let Members::Group = command.members {
            pins::forget(batch, command.conversation, seq, &mut changes)?;
        }
        let draft = Draft {
            kind: RecordKind::Recall as u8,
            timeline: command.conversation,
            fanout: reach.as_ref().map_or(&[][..], Reach::fanout),
            body: command.body,
            redacts: Some(Redaction { seq, body: &rest }),
            ..Draft::default()
        };
        let position = batch.append(&draft, &mut changes)?;
        self.subjects.recall(command.conversation, seq);
        Ok(match reach {
            Some(reach) => Decision::done(Done::Erase, position, reach.audience()),
            None => Decision::unchanged(Done::Erase),
        })
    }

    /// Takes a reaction of the user back, as [`react`](Self::react) does, also if the user is no
    /// member any more.
    ///
    /// # Errors
    /// The store could not be read, or it took no record.
    pub(in crate::sequencer) fn erase_reaction(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<Decision, Refused> {
        let body = Body::read(command.body).ok_or(CORRUPT)?;
        let own = OwnReaction {
            user: command.user_name()?,
            reaction: body.reaction.ok_or(CORRUPT)?,
            remove: true,
        };
        let key = batch.ids().reactions(command.conversation, seq);
        let mut changes = Changes::new();
        if !reactions::set(batch, key, own, &mut changes)? {
            return Ok(Decision::unchanged(Done::Erase));
        }
        let reach = reach(batch, recent, command, seq)?;
        let draft = Draft {
            kind: RecordKind::Reaction as u8,
            timeline: command.conversation,
            fanout: reach.as_ref().map_or(&[][..], Reach::fanout),
            body: command.body,
            ..Draft::default()
        };
        let position = batch.append(&draft, &mut changes)?;
        Ok(match reach {
            Some(reach) => Decision::done(Done::Erase, position, reach.audience()),
            None => Decision::unchanged(Done::Erase),
        })
    }
}

/// Returns the recipients of an event about a message, whether or not the user is among them; `None` if
/// the group is unknown.
fn reach(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
) -> Result<Option<Reach>, Refused> {
    Ok(match command.members {
        Members::Direct { other, .. } => Some(subject::direct(batch, command, other, seq)?),
        Members::Group => {
            let groups = recent.groups();
            let group = groups.get(batch, command.namespace()?, command.conversation)?;
            group.map(|group| subject::in_group(batch, group, seq))
        }
    })
}
