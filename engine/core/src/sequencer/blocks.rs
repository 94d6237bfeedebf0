//! The users whom a user blocks. Who is blocked gets an error for what would reach the other user, and
//! is not told otherwise.

use trunkline_proto::ErrorCode;
use trunkline_storage::Draft;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::contacts::{self, Wanted};
use super::refused::{CORRUPT, Refused};
use crate::event::{BLOCKS, Body};
use crate::exchange::{BLOCKED, Done, Members, Outcome};
use crate::hub::{BlockChange, BlockFilter};
use crate::ids::UserId;
use crate::state::Contact;
use crate::told::Decision;

/// The maximum number of users whom one user blocks.
const MAX_BLOCKED: usize = 1_000;

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "a user blocks at most 1,000 users: unblock one first",
);

/// The decision about a command that blocks a user, or ends a block.
pub(super) struct BlockDecision {
    pub(super) decision: Decision,
    /// What the command changes; `None` if everything is already as it asks.
    pub(super) change: Option<BlockChange>,
}

/// Lets the caller block the other user of the command, or with `remove` no longer block.
///
/// # Errors
/// The caller would block too many users, the store could not be read, or it took no record.
pub(super) fn change(
    batch: &mut OpenBatch,
    filter: &BlockFilter,
    command: Asked<'_>,
    remove: bool,
) -> Result<BlockDecision, Refused> {
    let Members::Direct { other, .. } = command.members else {
        return Err(CORRUPT);
    };
    let named = Body::read(command.body).ok_or(CORRUPT)?.members;
    let name = *named.first().ok_or(CORRUPT)?;
    let done = if remove { Done::Unblock } else { Done::Block };
    let pair = batch.ids().block(command.user, other);
    if batch.value(pair)?.is_some() != remove {
        return Ok(BlockDecision {
            decision: Decision::unchanged(done),
            change: None,
        });
    }
    batch.name(1);
    let key = command.conversation;
    let mut blocked = contacts::stored(batch, key)?;
    let wanted = Wanted {
        hash: Contact::hash_of(batch.ids(), name),
        name,
        is_contact: !remove,
    };
    contacts::set(&mut blocked, wanted)?;
    if blocked.len() > MAX_BLOCKED && !remove {
        return Err(TOO_MANY);
    }
    let mut changes = contacts::write(blocked, key)?;
    changes.push((pair, if remove { Vec::new() } else { vec![1] }));
    let change = BlockChange {
        blocker: command.user,
        blocked: other,
        begins: !remove,
    };
    let chunk = batch
        .ids()
        .block_filter(BlockFilter::chunk(command.user, other));
    let mut stored = batch.value(chunk)?.unwrap_or_default();
    filter.note(change, &mut stored);
    if stored.iter().all(|count| *count == 0) {
        stored.clear();
    }
    changes.push((chunk, stored));
    let draft = Draft {
        kind: BLOCKS,
        timeline: key,
        body: command.body,
        ..Draft::default()
    };
    batch.append(&draft, &mut changes)?;
    Ok(BlockDecision {
        // No device is told: the record is nobody's event.
        decision: Decision::private(Outcome::Done(done, None)),
        change: Some(change),
    })
}

/// Checks that `other` does not block `user`.
///
/// # Errors
/// The user is blocked, or the store could not be read.
#[inline]
pub(super) fn check(
    batch: &OpenBatch,
    filter: &BlockFilter,
    user: UserId,
    other: UserId,
) -> Result<(), Refused> {
    if filter.may_block(other, user) && batch.value(batch.ids().block(other, user))?.is_some() {
        return Err(Refused::new(BLOCKED.0, BLOCKED.1));
    }
    Ok(())
}
