//! Users' own settings of conversations. Only the user's devices are told.

use trunkline_storage::Draft;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::recent::Recent;
use super::refused::{CORRUPT, NO_CONVERSATION, Refused};
use crate::event::{Body, Details, RecordKind};
use crate::exchange::{Done, Members, Outcome};
use crate::state::{self, Settings};
use crate::told::Decision;

/// Changes the caller's own settings of a conversation. A repetition changes nothing.
///
/// # Errors
/// The caller is not a member, the two users have not talked yet, the store could not be read, or it
/// took no record.
pub(super) fn change(
    batch: &mut OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
) -> Result<Decision, Refused> {
    recent.check_member(batch, command)?;
    if let Members::Direct { .. } = command.members
        && recent.conversation(command.conversation)?.last_seq() == 0
    {
        return Err(NO_CONVERSATION);
    }
    let body = Body::read(command.body).ok_or(CORRUPT)?;
    let asked = Details::read(body.details.unwrap_or_default()).ok_or(CORRUPT)?;
    let key = batch.ids().settings(command.user, command.conversation);
    let before: Settings = batch.decoded(key)?.unwrap_or_default();
    let after = Settings {
        muted_until: asked.muted_until.unwrap_or(before.muted_until),
        pinned: asked.pinned.unwrap_or(before.pinned),
        archived: asked.archived.unwrap_or(before.archived),
    };
    if after == before {
        return Ok(Decision::unchanged(Done::Settings));
    }
    let details = Details {
        muted_until: Some(after.muted_until),
        pinned: Some(after.pinned),
        archived: Some(after.archived),
        ..Details::default()
    };
    let details = details.bytes();
    let mut bytes = Vec::new();
    Body {
        details: Some(&details),
        ..body
    }
    .write(&mut bytes);
    let value = if after == Settings::default() {
        Vec::new()
    } else {
        state::encode(&after)
    };
    let mut changes = vec![(key, value)];
    // The list of conversations looks for settings only if there are any.
    let any = batch.ids().any_settings(command.user);
    if batch.value(any)?.is_none() {
        changes.push((any, vec![1]));
    }
    let draft = Draft {
        kind: RecordKind::Settings as u8,
        timeline: command.conversation,
        fanout: &[command.user],
        body: &bytes,
        ..Draft::default()
    };
    let position = batch.append(&draft, &mut changes)?;
    let outcome = Outcome::Done(Done::Settings, Some(position));
    Ok(Decision::private(outcome))
}
