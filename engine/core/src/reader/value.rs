//! What the store says to one job of a caller in this process.

use trunkline_proto::ErrorCode;
use trunkline_storage::Reader;

use super::answer::{TOO_LARGE, looked_up};
use super::{Room, ephemeral};
use crate::exchange::{CallAnswer, Failure, Finding, Job, Query};
use crate::fit::fitted;
use crate::owned;

/// A call has no connection that could be told what it missed.
const NO_SESSION: Failure = (
    ErrorCode::UnknownCommand,
    "only a session catches up: use sync",
);

/// Answers a job with a value. A page that a client could not be sent in one message ends as early as
/// it would for a client.
pub(super) fn value(store: &Reader, job: &Job, room: &mut Room) -> CallAnswer {
    room.page.clear();
    let sources = (store, &room.ids);
    match &job.query {
        Query::CatchUp { .. } => return CallAnswer::Failed(NO_SESSION),
        Query::Typing { access, listing } => {
            return found(ephemeral::typing(sources, *access, listing));
        }
        Query::Contacts { user, watch, part } => {
            return found(ephemeral::contacts(sources, *user, (*watch, part)));
        }
        Query::LastSeen { asked } => return found(ephemeral::last_seen(store, asked)),
        _ => {}
    }
    let most = room.most;
    match looked_up(store, job, room) {
        Ok((body, cut)) => match fitted(body, most, &cut) {
            Some(body) => CallAnswer::Reply(owned::reply(body)),
            None => CallAnswer::Failed(TOO_LARGE),
        },
        Err(failure) => CallAnswer::Failed(failure),
    }
}

fn found(finding: Result<Finding, Failure>) -> CallAnswer {
    finding.map_or_else(CallAnswer::Failed, CallAnswer::Found)
}
