//! Checks the commands about what is the caller's own: blocked users, and settings of conversations.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Blocked, Settings};

use super::{Ask, Failure, Prepared, Target, check_user};
use crate::event::{Body, Details};
use crate::exchange::{Action, CommandBatch, Members, Part, Query};
use crate::ids::Side;

/// The greatest time that a number of JSON gives exactly, in milliseconds.
const MAX_TIME: u64 = (1 << 53) - 1;

/// What a time of these decades looks like in seconds since 1970. In milliseconds it is a time of 1970 to 1973.
pub const IN_SECONDS: std::ops::Range<u64> = 1_000_000_000..100_000_000_000;

impl Ask<'_> {
    /// Checks that the caller blocks a user, or with `remove` no longer blocks the user.
    pub(super) fn block(
        &self,
        name: &str,
        remove: bool,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        check_user(name)?;
        if name == self.caller.names.user() {
            return Err((ErrorCode::BadRequest, "nobody blocks the own account"));
        }
        let body = Body {
            members: vec![name],
            ..self.body("")
        };
        let target = Target {
            conversation: self.ids.blocked(self.caller.id),
            members: Members::Direct {
                other: self.user(name),
                side: Side::Lesser,
            },
        };
        Ok(self.queue(target, Action::Block { remove }, &body, batch))
    }

    /// Checks a request for the users whom the caller blocks.
    pub(super) fn blocked(&self, asked: &Blocked<'_>) -> Result<Prepared, Failure> {
        if let Some(after) = &asked.after {
            check_user(after)?;
        }
        let part = Part {
            after: asked.after.as_deref().map(Into::into),
            limit: self.page(asked.limit, 100)?,
        };
        Ok(Prepared::Query(Query::Blocked {
            user: self.caller.id,
            part,
        }))
    }

    /// Checks other settings of a conversation.
    pub(super) fn settings(
        &self,
        settings: &Settings<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let &Settings {
            muted_until,
            pinned,
            archived,
            ..
        } = settings;
        if muted_until.is_none() && pinned.is_none() && archived.is_none() {
            let text = "settings needs one of \"muted_until\", \"pinned\" and \"archived\"";
            return Err((ErrorCode::BadRequest, text));
        }
        if muted_until.is_some_and(|until| until > MAX_TIME) {
            let text = "\"muted_until\" is at most 9007199254740991 (2^53-1) milliseconds";
            return Err((ErrorCode::BadRequest, text));
        }
        if muted_until.is_some_and(|until| IN_SECONDS.contains(&until)) {
            let text = "\"muted_until\" is in milliseconds since 1970: this time is in seconds";
            return Err((ErrorCode::BadRequest, text));
        }
        let details = Details {
            muted_until,
            pinned,
            archived,
            ..Details::default()
        };
        let details = details.bytes();
        let body = Body {
            details: Some(&details),
            ..self.body(&settings.conversation)
        };
        self.about(&settings.conversation, Action::Settings, &body, batch)
    }
}
