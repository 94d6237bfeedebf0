//! Messages: sends, recalls, edits, deletions and reactions.

mod edit;
mod erase;
mod expire;
mod extras;

use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, Page, RecordRef, Redaction, TimelineId};

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::inboxes::{self, InboxChange, mark_hiding};
use super::keys::Keys;
use super::pins;
use super::reactions::{self, OwnReaction};
use super::recent::Recent;
use super::refused::{CORRUPT, NO_MESSAGE, Refused, Stop};
use super::shares;
use super::subject::{self, Subjects};
use super::tallies;
use crate::cost::Cost;
use crate::event::{Body, RecordKind};
use crate::exchange::{Done, Members, Outcome};
use crate::ids::{Side, UserId};
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::state::{Hidden, InboxEntry};
use crate::told::Decision;

pub(super) use edit::Edit;
use expire::Expiring;

const RECALLED: Refused = Refused::new(
    ErrorCode::Unknown,
    "the message was recalled or has expired: it takes no reactions",
);

const NOT_THE_SENDER: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only its sender recalls a message",
);

const TOO_OLD: Refused = Refused::new(
    ErrorCode::RecallWindowPassed,
    "the message is older than recall_window",
);

/// Decides the commands about messages.
pub(super) struct Messages {
    /// The time in which a sender can recall a message, in milliseconds.
    recall_window: u64,
    /// The time in which a sender can edit a message, in milliseconds.
    edit_window: u64,
    /// The maximum number of members of a group in which authors receive receipts.
    receipt_fanout: usize,
    /// The maximum number of bytes of a message of the gateway.
    message_bytes: usize,
    /// The longest time after which a message may expire, in milliseconds.
    most_ttl: u64,
    keys: Keys,
    expiring: Expiring,
    pub(super) subjects: Subjects,
    metrics: Arc<SequencerMetrics>,
}

/// What a send asks for, besides its body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendTerms {
    /// The id of the idempotency key.
    pub(super) key: Option<TimelineId>,
    /// Whether the message names media that this gateway keeps.
    pub(super) names_media: bool,
    /// Whether the message has extras.
    pub(super) has_extras: bool,
}

/// A reaction that a command sets or removes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReactionChange {
    /// The sequence of the message.
    pub(super) seq: u64,
    /// Whether the command removes the reaction.
    pub(super) remove: bool,
}

impl Messages {
    /// Returns the part under these rules. It counts messages and repeated sends in `metrics`.
    pub(super) fn new(rules: &Messaging, metrics: Arc<SequencerMetrics>) -> Self {
        Self {
            recall_window: rules.recall_window.as_millis() as u64,
            edit_window: rules.edit_window.as_millis() as u64,
            receipt_fanout: rules.receipt_fanout,
            message_bytes: rules.message_bytes,
            most_ttl: rules.most_ttl.as_millis() as u64,
            keys: Keys::new(rules.rewrites),
            expiring: Expiring::default(),
            subjects: Subjects::default(),
            metrics,
        }
    }

    /// Forgets what it knows of the batch, after the batch was committed or given up.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.subjects.clear();
    }

    /// Stores a message. A send with a known key changes nothing: its outcome is the message that
    /// was stored first.
    ///
    /// # Errors
    /// The caller is not a member, the key belongs to another message, the store could not be read
    /// or took no record, or the batch must be committed first.
    #[allow(
        clippy::inline_always,
        reason = "it has one caller, which decides nearly nothing else"
    )]
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        terms: SendTerms,
    ) -> Result<Decision, Stop> {
        let SendTerms {
            key,
            names_media,
            has_extras,
        } = terms;
        // The key comes first: a caller who repeats a send may no longer be a member.
        if let Some(key) = key
            && let Some(place) = self.keys.repeated(batch, command, key)?
        {
            self.metrics.duplicates.one();
            return Ok(Decision::private(Outcome::Duplicate(place)));
        }
        let reach = recent.reach_of_send(batch, command)?;
        let due = match has_extras {
            true => self.check_extras(batch, recent, command)?,
            false => None,
        };
        let conversation = recent.conversation(command.conversation)?;
        let (seq, is_first) = (conversation.next_seq(), conversation.last_seq() == 0);
        let mut changes = Changes::new();
        if let (true, Members::Direct { other, side }) = (is_first, command.members) {
            begin(batch, command, Peer { user: other, side }, &mut changes)?;
        }
        if names_media {
            shares::of_message(batch, command, due, &mut changes)?;
        }
        if has_extras {
            extras::index(batch, command, seq, &mut changes)?;
        }
        tallies::end_stretch(batch, recent, command, seq, &mut changes)?;
        let with_due;
        let fanout = match due {
            None => reach.fanout(),
            Some(due) => {
                let due = self.expiring.enter(batch, due, &mut changes)?;
                with_due = [reach.fanout(), &[due][..]].concat();
                &with_due[..]
            }
        };
        let draft = Draft {
            kind: RecordKind::Message as u8,
            timeline: command.conversation,
            seq,
            fanout,
            body: command.body,
            key,
            ..Draft::default()
        };
        let position = match batch.append(&draft, &mut changes) {
            Ok(position) => position,
            Err(refused) => {
                self.expiring.not_entered();
                return Err(refused.into());
            }
        };
        self.note(batch, recent, command, seq);
        if let Some(key) = key {
            let place = RecordRef {
                timeline: command.conversation,
                seq,
                position,
            };
            self.keys.insert(key, place);
        }
        self.metrics.messages.one();
        Ok(Decision {
            outcome: Outcome::Sent(position),
            audience: reach.audience(),
            cost: Cost::NONE,
            bytes: 0,
        })
    }

    /// Notes in memory that the command's message is in the batch. The conversation and the group
    /// are in memory, because the send has just looked them up.
    #[allow(clippy::inline_always, reason = "it is a part of each send")]
    #[inline(always)]
    fn note(&self, batch: &OpenBatch, recent: &mut Recent, command: Asked<'_>, seq: u64) {
        if let Ok(conversation) = recent.conversation(command.conversation) {
            conversation.stored(seq);
            if let Members::Direct { side, .. } = command.members {
                conversation.wrote(seq, side);
            }
        }
        if let Members::Group = command.members {
            let namespace = command.namespace().unwrap_or_default();
            if let Ok(group) = recent.group(batch, namespace, command.conversation) {
                let authors = group.len() <= self.receipt_fanout;
                group.wrote(seq, command.user, authors);
            }
        }
    }

    /// Recalls a message of the caller: its content is gone for all members. A repeated recall
    /// changes nothing.
    ///
    /// # Errors
    /// The caller does not see the message or did not send it, the message is too old, the store
    /// could not be read, or it took no record. The message may be in the batch: it must be
    /// committed first, because a recall reads it.
    pub(super) fn recall(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<Decision, Stop> {
        let is_recalled = self.subjects.see(batch, recent, command, seq)?;
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
            return Ok(Decision::unchanged(Done::Recall));
        }
        let age = batch.moment().steady.saturating_sub(record.time);
        if age > self.recall_window {
            return Err(TOO_OLD.into());
        }
        let mut rest = Vec::new();
        let extras = message.extras().of_recalled().stored();
        Body {
            extras: extras.as_deref(),
            recalled: true,
            text: None,
            mime: None,
            data: None,
            url: None,
            size: None,
            ..message.clone()
        }
        .write(&mut rest);
        let reach = subject::reach(batch, recent, command, seq)?;
        let draft = Draft {
            kind: RecordKind::Recall as u8,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: command.body,
            redacts: Some(Redaction { seq, body: &rest }),
            ..Draft::default()
        };
        // A recall removes the reactions to the message too.
        let key = batch.ids().reactions(command.conversation, seq);
        let mut changes = tallies::uncount(batch, recent, command, seq)?;
        reactions::remove_all(batch, key, &mut changes)?;
        if let Members::Group = command.members {
            pins::forget(batch, command.conversation, seq, &mut changes)?;
        }
        shares::remove(batch, shares::share(command), &message, &mut changes)?;
        let position = batch.append(&draft, &mut changes)?;
        self.subjects.recall(command.conversation, seq);
        Ok(Decision::done(Done::Recall, position, reach.audience()))
    }

    /// Deletes a message from the caller's own view. A repeated deletion changes nothing.
    ///
    /// # Errors
    /// The caller does not see the message, the store could not be read, or it took no record.
    pub(super) fn delete(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        seq: u64,
    ) -> Result<Decision, Refused> {
        self.subjects.see(batch, recent, command, seq)?;
        let stretch = Hidden::stretch(seq);
        let ids = batch.ids();
        let key = ids.hidden(command.user, command.conversation, stretch);
        let value = batch.value(key)?;
        let mut hidden = Hidden::read(value.as_deref());
        if hidden.has(seq) {
            return Ok(Decision::unchanged(Done::Delete));
        }
        hidden.hide(seq);
        let draft = Draft {
            kind: RecordKind::Delete as u8,
            timeline: command.conversation,
            fanout: &[command.user],
            body: command.body,
            ..Draft::default()
        };
        let mut changes = vec![(key, hidden.bytes().to_vec())];
        mark_hiding(batch, command.user, &mut changes)?;
        let position = batch.append(&draft, &mut changes)?;
        let outcome = Outcome::Done(Done::Delete, Some(position));
        Ok(Decision::private(outcome))
    }

    /// Sets or removes the caller's reaction to a message. The body of the command has the
    /// reaction. A repetition changes nothing.
    ///
    /// # Errors
    /// The caller does not see the message, the message is recalled, it has too many reactions, the
    /// store could not be read, or it took no record.
    pub(super) fn react(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        change: ReactionChange,
    ) -> Result<Decision, Refused> {
        let ReactionChange { seq, remove } = change;
        let is_recalled = self.subjects.see(batch, recent, command, seq)?;
        if is_recalled {
            return Err(RECALLED);
        }
        if !remove {
            recent.check_not_blocked(batch, command)?;
        }
        let body = Body::read(command.body).ok_or(CORRUPT)?;
        let reaction = body.reaction.ok_or(CORRUPT)?;
        let key = batch.ids().reactions(command.conversation, seq);
        let own = OwnReaction {
            user: command.user_name()?,
            reaction,
            remove,
        };
        let mut changes = Changes::new();
        if !reactions::set(batch, key, own, &mut changes)? {
            return Ok(Decision::unchanged(Done::React));
        }
        let reach = subject::reach(batch, recent, command, seq)?;
        let draft = Draft {
            kind: RecordKind::Reaction as u8,
            timeline: command.conversation,
            fanout: reach.fanout(),
            body: command.body,
            ..Draft::default()
        };
        // The value under sequence 0 tells readers that the conversation has reactions at all.
        let any = batch.ids().reactions(command.conversation, 0);
        if batch.value(any)?.is_none() {
            changes.push((any, vec![1]));
        }
        let position = batch.append(&draft, &mut changes)?;
        Ok(Decision::done(Done::React, position, reach.audience()))
    }
}

/// The other user of a 1:1 conversation, and the caller's own side.
#[derive(Clone, Copy)]
struct Peer {
    user: UserId,
    side: Side,
}

/// Adds a new 1:1 conversation to the inboxes of both users.
///
/// # Errors
/// The store could not be read.
fn begin(
    batch: &OpenBatch,
    command: Asked<'_>,
    peer: Peer,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let (own_name, peer_name) = (command.user_name()?, command.peer_name(peer.side)?);
    for (user, with) in [(command.user, peer_name), (peer.user, own_name)] {
        let change = InboxChange {
            entry: Some(InboxEntry::Direct(with)),
            ..InboxChange::default()
        };
        inboxes::update(batch, user, change, changes)?;
        // A user who writes notes to the own account is on both sides.
        if peer.user == command.user {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
