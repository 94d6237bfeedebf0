//! Checks the commands that only read.

use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{self, Conversations, GroupInfo, Reactions, Receipts};
use trunkline_proto::names::is_name;
use trunkline_storage::BadToken;

use super::message::MAX_REACTION_BYTES;
use super::{Ask, BAD_GROUP, Failure, Named, Prepared, check_user};
use crate::exchange::{Access, Cursor, FoundAt, Listing, Query, Range, Search};
use crate::position;
use crate::search::{self, BadQuery};

/// What stands in place of a position for the oldest event that there is.
const OLDEST: &str = "oldest";

impl Ask<'_> {
    /// Checks a request for the events after a position.
    pub(super) fn sync(&self, sync: &message::Sync<'_>) -> Result<Prepared, Failure> {
        let since = match &*sync.since {
            OLDEST => None,
            since => Some(position::since(self.epochs, since)?),
        };
        let limit = self.page(sync.limit, self.limits.page)?;
        Ok(Prepared::Query(Query::Sync {
            user: self.caller.id,
            since,
            limit,
        }))
    }

    /// Checks a request for a page of messages.
    pub(super) fn history(&self, history: &message::History<'_>) -> Result<Prepared, Failure> {
        let limit = self.page(history.limit, 50)?;
        let range = match (history.before, history.after) {
            (None, None) => Range::Newest,
            (Some(before), None) => Range::Before(before),
            (None, Some(after)) => Range::After(after),
            (Some(_), Some(_)) => {
                return Err((
                    ErrorCode::BadRequest,
                    "history takes one of \"before\" and \"after\"",
                ));
            }
        };
        let access = self.access(&history.conversation)?;
        Ok(Prepared::Query(match history.thread {
            None => Query::History {
                access,
                range,
                limit,
            },
            Some(first) => Query::Thread {
                access,
                first,
                range,
                limit,
            },
        }))
    }

    /// Checks a request for one message.
    pub(super) fn get(&self, get: &message::Get<'_>) -> Result<Prepared, Failure> {
        Ok(Prepared::Query(Query::Get {
            access: self.access(&get.conversation)?,
            seq: get.seq,
        }))
    }

    /// Checks a request for the members who have received or read a message.
    pub(super) fn receipts(&self, receipts: &Receipts<'_>) -> Result<Prepared, Failure> {
        let limit = self.page(receipts.limit, 100)?;
        let access = self.access(&receipts.conversation)?;
        let listing = self.listing(&receipts.conversation, receipts.after.as_deref())?;
        Ok(Prepared::Query(Query::Receipts {
            access,
            seq: receipts.seq,
            state: receipts.state,
            listing,
            limit,
        }))
    }

    /// Checks a request for the reactions to a message.
    pub(super) fn reactions(&self, asked: &Reactions<'_>) -> Result<Prepared, Failure> {
        let limit = self.page(asked.limit, 100)?;
        let access = self.access(&asked.conversation)?;
        let after = asked.after.as_deref();
        if after.is_some_and(|after| after.len() > MAX_REACTION_BYTES) {
            return Err((ErrorCode::BadRequest, "\"after\" has at most 64 bytes"));
        }
        let mut listing = self.listing(&asked.conversation, None)?;
        listing.after = after.map(Into::into);
        Ok(Prepared::Query(Query::Reactions {
            access,
            seq: asked.seq,
            reaction: asked.reaction.as_deref().map(Into::into),
            listing,
            limit,
        }))
    }

    /// Checks a request for a page of the caller's conversations.
    pub(super) fn conversations(&self, asked: &Conversations<'_>) -> Result<Prepared, Failure> {
        let limit = self.page(asked.limit, 100)?;
        let after = asked.after.as_deref().filter(|after| !after.is_empty());
        let cursor = after.map(|after| Cursor::parse(self.epochs, after));
        let before = cursor.transpose().map_err(|bad| match bad {
            BadToken::Form => (
                ErrorCode::BadRequest,
                "\"after\" is no cursor that this gateway gave out",
            ),
            BadToken::Foreign => (
                ErrorCode::PositionExpired,
                "\"after\" is not a cursor of this gateway's history: begin with the first page",
            ),
        })?;
        let names = self.caller.names;
        Ok(Prepared::Query(Query::Conversations {
            user: self.caller.id,
            listing: Box::new(Listing {
                namespace: names.namespace().into(),
                user: names.user().into(),
                name: String::new(),
                after: None,
            }),
            before,
            limit,
        }))
    }

    /// Checks a request for messages with words.
    pub(super) fn search(&self, asked: &message::Search<'_>) -> Result<Prepared, Failure> {
        let limit = self.page(asked.limit, 20)?;
        let query = search::Query::parse(&asked.text).map_err(|bad| match bad {
            BadQuery::NoWord => (ErrorCode::BadRequest, bad.text()),
            BadQuery::TooLong | BadQuery::TooManyWords => (ErrorCode::LimitExceeded, bad.text()),
        })?;
        let only = asked.conversation.as_deref();
        let only = only.map(|name| self.access(name)).transpose()?;
        let after = asked.after.as_deref().filter(|after| !after.is_empty());
        let before = after.map(|after| FoundAt::parse(self.epochs, after));
        let before = before.transpose().map_err(|bad| match bad {
            BadToken::Form => (
                ErrorCode::BadRequest,
                "\"after\" is no \"next\" that this gateway gave out",
            ),
            BadToken::Foreign => (
                ErrorCode::PositionExpired,
                "\"after\" is not of this gateway's history: begin with the first page",
            ),
        })?;
        let names = self.caller.names;
        Ok(Prepared::Query(Query::Search(Box::new(Search {
            user: self.caller.id,
            name: names.user().into(),
            namespace: names.namespace().into(),
            only,
            query: Arc::new(query),
            before,
            limit,
        }))))
    }

    /// Checks a request for the name and members of a group.
    pub(super) fn group_info(&self, info: &GroupInfo<'_>) -> Result<Prepared, Failure> {
        if !is_name(&info.group) {
            return Err(BAD_GROUP);
        }
        let limit = self.page(info.limit, 100)?;
        let access = Access {
            user: self.caller.id,
            conversation: self.group(&info.group),
            group: true,
        };
        Ok(Prepared::Query(Query::GroupInfo {
            access,
            listing: self.listing(&info.group, info.after.as_deref())?,
            limit,
        }))
    }

    /// Returns the names for the answer to a request for a list. `after` is the last user of the page
    /// before.
    fn listing(&self, name: &str, after: Option<&str>) -> Result<Box<Listing>, Failure> {
        if let Some(after) = after {
            check_user(after)?;
        }
        let names = self.caller.names;
        Ok(Box::new(Listing {
            namespace: names.namespace().into(),
            user: names.user().into(),
            name: name.into(),
            after: after.map(Into::into),
        }))
    }

    /// Returns the conversation of this name, for the readers to check that the caller is a member.
    fn access(&self, conversation: &str) -> Result<Access, Failure> {
        let (conversation, group) = match self.named(conversation)? {
            Named::Direct { ids, .. } => (ids.conversation, false),
            Named::Group(id) => (id, true),
        };
        Ok(Access {
            user: self.caller.id,
            conversation,
            group,
        })
    }
}
