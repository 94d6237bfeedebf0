//! Who may read a conversation, and what of it.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Page, ReadError, Reader, TimelineId};

use super::answer::{Failure, UNKNOWN, failure};
use crate::exchange::{Access, NOT_A_MEMBER, UNREADABLE};
use crate::ids::{Ids, UserId};
use crate::state::{self, Advance, Direct, Form, Head, Hidden, Member};

/// What the reader finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The first message that the user sees.
    pub(super) first: u64,
    /// The last; 0 where there is none yet.
    pub(super) last: u64,
}

pub(super) const NO_MESSAGE: Failure = (
    ErrorCode::Unknown,
    "the conversation has no message with this sequence",
);
pub(super) const CORRUPT: Failure = UNREADABLE;

impl Access {
    /// Puts the record of a message into `page`, if the user may see the message.
    ///
    /// # Errors
    /// Those of [`Access::check`], or the conversation has no such message that the user sees.
    pub(super) fn find_message(
        &self,
        (store, ids): (&Reader, &Ids),
        seq: u64,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let sight = self.check(store, ids)?;
        if seq < sight.first.max(1) || seq > sight.last {
            return Err(NO_MESSAGE);
        }
        store
            .get(self.conversation, seq, page)
            .map_err(|error| failure(&error))?;
        if page.is_empty() {
            return Err(NO_MESSAGE);
        }
        Ok(())
    }

    /// A stranger gets one answer after the same look-ups, whether the group exists or not.
    ///
    /// # Errors
    /// The user is no member, nothing was said between the two yet, or the store could not be read.
    pub(super) fn check(&self, store: &Reader, ids: &Ids) -> Result<Sight, Failure> {
        let first = if self.group {
            let member: Option<Member> = value(store, ids.member(self.conversation, self.user))?;
            match member.filter(Member::is_in) {
                Some(member) => member.first_seq,
                None => return Err(NOT_A_MEMBER),
            }
        } else {
            1
        };
        let last = store
            .try_last_seq(self.conversation)
            .map_err(|e| failure(&e))?;
        if last == 0 && !self.group {
            return Err(UNKNOWN);
        }
        Ok(Sight { first, last })
    }
}

/// The group itself, of which the caller is a member.
pub(super) fn with_head<T>(
    (store, ids): (&Reader, &Ids),
    group: TimelineId,
    use_it: impl FnOnce(&Head<'_>) -> T,
) -> Result<T, Failure> {
    let value = store
        .state(ids.head(group))
        .map_err(|e| failure(&e))?
        .ok_or(CORRUPT)?;
    let head: Head<'_> = state::decode(&value).ok_or(CORRUPT)?;
    Ok(use_it(&head))
}

/// A member of a group, as the group's roster has it.
pub(super) struct RosterMember {
    pub(super) name: String,
    pub(super) role: state::Role,
    /// When the member joined, in milliseconds since 1970 UTC.
    pub(super) since: u64,
}

/// Returns the members of a group, ordered bytewise by name.
///
/// # Errors
/// The store cannot be read, or has a roster of another version.
pub(super) fn roster(
    (store, ids): (&Reader, &Ids),
    group: TimelineId,
    chunks: u32,
) -> Result<Vec<RosterMember>, Failure> {
    let mut members = Vec::new();
    for number in 0..chunks {
        let key = ids.roster(group, number);
        let Some(value) = store.state(key).map_err(|e| failure(&e))? else {
            continue;
        };
        let roster: state::Roster<'_> = state::decode(&value).ok_or(CORRUPT)?;
        let chunk = roster.members.iter();
        members.extend(chunk.map(|member| RosterMember {
            name: member.user.to_owned(),
            role: member.role,
            since: member.since,
        }));
    }
    members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(members)
}

/// How far both members of a 1:1 conversation have come.
pub(super) fn direct(store: &Reader, conversation: TimelineId) -> Result<Direct, Failure> {
    Ok(value(store, conversation)?.unwrap_or_default())
}

/// What a user is to a group.
pub(super) fn member(store: &Reader, key: TimelineId) -> Result<Member, Failure> {
    Ok(value(store, key)?.unwrap_or_default())
}

/// How far members of a group have come, beside what is known of each alone. To be read behind
/// that: a row may come at any time, and none goes but with its member.
pub(super) fn advance(store: &Reader, group: TimelineId) -> Result<Advance, Failure> {
    Ok(value(store, group)?.unwrap_or_default())
}

/// A value that borrows nothing.
fn value<T>(store: &Reader, key: TimelineId) -> Result<Option<T>, Failure>
where
    T: for<'a> Form<'a> + serde::de::DeserializeOwned,
{
    match store.state(key).map_err(|e| failure(&e))? {
        None => Ok(None),
        Some(value) => state::decode(&value).map(Some).ok_or(CORRUPT),
    }
}

/// The messages that a user deleted in the own view, looked up as they are asked for.
pub(super) struct View<'a> {
    store: &'a Reader,
    ids: &'a Ids,
    user: UserId,
    last: Option<(TimelineId, u64, Hidden)>,
}

impl<'a> View<'a> {
    pub(super) fn new((store, ids): (&'a Reader, &'a Ids), user: UserId) -> Self {
        Self {
            store,
            ids,
            user,
            last: None,
        }
    }

    /// Whether the user deleted this message.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn hides(&mut self, conversation: TimelineId, seq: u64) -> Result<bool, ReadError> {
        let stretch = Hidden::stretch(seq);
        if let Some((of, number, hidden)) = &self.last
            && (*of, *number) == (conversation, stretch)
        {
            return Ok(hidden.has(seq));
        }
        let key = self.ids.hidden(self.user, conversation, stretch);
        let hidden = Hidden::read(self.store.state(key)?.as_deref());
        let hides = hidden.has(seq);
        self.last = Some((conversation, stretch, hidden));
        Ok(hides)
    }
}
