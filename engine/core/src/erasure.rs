//! The erasure of a user: what of the store is the user's, and what has to go.
//!
//! An erasure has these parts. Each can begin again, and then changes nothing that is done:
//!
//! 1. [`Step::Begin`]: the user's commands are refused from here on.
//! 2. Each record of the log is looked at ([`Search::step`]). Messages are redacted, reactions taken back.
//! 3. The user leaves all conversations ([`conversations`]), and the windows through which the user saw large groups
//!    ([`ended_windows`]), contacts, blocks ([`blocked`]), positions of devices and the last-seen time go.
//! 4. Each record is looked at again ([`Search::sets_values`]): old values under the keys that the user's
//!    records have set leave the files ([`Reader::erase_old_values`]).
//! 5. Each record is looked at once more ([`Search::is_leftover`]): what no redaction reaches is overwritten in
//!    the files ([`Reader::erase`]).
//! 6. [`Step::End`]: a new user of the name may begin.
//!
//! Others see the user's messages as recalled, and sequences stay. Names of users and of groups stay, and so
//! do the changes of groups that the user made.

use trunkline_storage::{ReadError, Reader, Record, TimelineId};

use crate::call::Step;
use crate::event::{Body, ERASURE, LAST_SEEN, RecordKind};
use crate::ids::{Ids, UserId};
use crate::state::{
    self, Bucket, Contact, Contacts, Erased, Erasings, Inbox, InboxChunk, InboxEntry, NODE,
};
use trunkline_proto::names::Conversation;

/// An erasure that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The namespace of the user; empty without one.
    pub namespace: String,
    /// The name of the user.
    pub user: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub began: u64,
    /// The number of parts of it that are complete.
    pub complete: u8,
}

/// Returns the erasures under way, in the order in which they began.
///
/// # Errors
/// The store could not be read.
pub fn running(store: &Reader) -> Result<Vec<Running>, ReadError> {
    let value = store.state(Ids(store.key()).erasures())?;
    let list: Erasings = match &value {
        Some(value) => state::decode(value).ok_or(ReadError::NoRecord)?,
        None => Erasings::default(),
    };
    let running = list.0.into_iter().map(|one| Running {
        namespace: one.namespace,
        user: one.user,
        began: one.began,
        complete: one.phase,
    });
    Ok(running.collect())
}

/// Returns when the last erasure of a user ended, in milliseconds since 1970 UTC; `None` if there was none.
///
/// # Errors
/// The store could not be read.
pub fn ended(store: &Reader, user: UserId) -> Result<Option<u64>, ReadError> {
    let value = store.state(Ids(store.key()).erased(user))?;
    let erased = value.and_then(|value| state::decode::<Erased>(&value));
    Ok(erased.map(|erased| erased.at))
}

/// Gives the names of all conversations that a user ever was in to `each`, some at a time. A group can come
/// twice.
///
/// # Errors
/// The store could not be read, or the error of `each`.
pub fn conversations<E: From<ReadError>>(
    store: &Reader,
    (namespace, user): (&str, &str),
    each: &mut dyn FnMut(Vec<String>) -> Result<(), E>,
) -> Result<(), E> {
    let ids = Ids(store.key());
    let id = ids.user(namespace, user);
    let Some(value) = store.state(ids.inbox(id))? else {
        return Ok(());
    };
    let inbox: Inbox<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
    let names = |places: &[InboxEntry<'_>]| places.iter().map(|place| name(user, place)).collect();
    for number in 0..inbox.chunks {
        // A chunk that a repair gave up may name groups that the user is still in: an erasure that leaves them out
        // would not be complete.
        let value = store.state(ids.inbox_chunk(id, number))?;
        let value = value.ok_or(ReadError::NoRecord)?;
        let chunk: InboxChunk<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
        each(names(&chunk.places))?;
    }
    each(names(&inbox.places))
}

/// Returns the number of stretches in which the closed windows of a user lie. [`Step::Windows`] removes one of
/// them, the last one first. Without closed windows there is one stretch if the open ones have buckets, whose old
/// values go with it. Pieces behind those that the inbox counts belong to them: an erasure by an earlier version left
/// them in the store.
///
/// # Errors
/// The store could not be read, or holds an inbox of another form.
pub fn ended_windows(store: &Reader, (namespace, user): (&str, &str)) -> Result<u64, ReadError> {
    let ids = Ids(store.key());
    let key = ids.inbox(ids.user(namespace, user));
    let Some(value) = store.state(key)? else {
        return Ok(0);
    };
    let inbox: Inbox<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
    let mut pieces = inbox.closed.pieces;
    loop {
        match store.state(ids.closed(key, 0, pieces)) {
            Ok(None) => break,
            Ok(Some(_)) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
        pieces += 1;
    }
    let is_apart = !inbox.closed.rest.is_empty()
        || !inbox.kept.is_empty()
        || inbox.slots > 0
        || inbox.open.buckets() > 0;
    Ok(pieces.div_ceil(NODE).max(is_apart.into()))
}

/// Returns the names of the users whom a user blocks, in any order. Nothing changes the list while the user is
/// being erased, apart from the steps of the erasure.
///
/// # Errors
/// The store could not be read, or holds a list of another form.
pub fn blocked(store: &Reader, (namespace, user): (&str, &str)) -> Result<Vec<String>, ReadError> {
    let ids = Ids(store.key());
    let key = ids.blocked(ids.user(namespace, user));
    let Some(value) = store.state(key)? else {
        return Ok(Vec::new());
    };
    let list: Contacts = state::decode(&value).ok_or(ReadError::NoRecord)?;
    let mut names = Vec::with_capacity(list.users.len());
    for number in 0..list.users.buckets() {
        if let Some(value) = store.state(ids.bucket(key, number))? {
            let bucket: Bucket<Contact> = state::decode(&value).ok_or(ReadError::NoRecord)?;
            names.extend(bucket.entries.into_iter().map(|Contact(name)| name));
        }
    }
    Ok(names)
}

fn name(user: &str, place: &InboxEntry<'_>) -> String {
    match place {
        InboxEntry::Direct(other) => Conversation::between(user, other).text().to_string(),
        InboxEntry::Group(group) => format!("g:{group}"),
    }
}

/// Knows which records are of a user.
pub struct Search<'a> {
    namespace: &'a str,
    user: &'a str,
    id: TimelineId,
    contacts: TimelineId,
}

impl<'a> Search<'a> {
    /// Returns the search for records of this user.
    pub fn new(ids: &Ids, namespace: &'a str, user: &'a str) -> Self {
        let id = ids.user(namespace, user);
        Self {
            namespace,
            user,
            id,
            contacts: ids.contacts(id),
        }
    }

    fn is_own(&self, body: &Body<'_>) -> bool {
        body.user == self.user && body.namespace == self.namespace
    }

    /// Returns the step that a record makes necessary, if there is one.
    pub fn step(&self, record: &Record<'_>) -> Option<Step> {
        let body = Body::read(record.body).filter(|body| self.is_own(body))?;
        let conversation = body.conversation.to_owned();
        match RecordKind::of(record)? {
            RecordKind::Message if !body.erased => Some(Step::Message {
                conversation,
                seq: record.seq,
            }),
            RecordKind::Reaction if !body.removed => Some(Step::Reaction {
                conversation,
                seq: body.seq,
                reaction: body.reaction?.to_owned(),
            }),
            RecordKind::Delete => Some(Step::Hidden {
                conversation,
                seq: body.seq,
            }),
            _ => None,
        }
    }

    /// Returns the device of the user from which a record came, if there is one.
    pub fn device<'r>(&self, record: &Record<'r>) -> Option<&'r str> {
        let body = Body::read(record.body).filter(|body| self.is_own(body))?;
        (!body.device.is_empty()).then_some(body.device)
    }

    /// Returns whether a record may have set values with something of the user. A record whose body is
    /// overwritten counts too: nobody knows any more whose it was.
    pub fn sets_values(&self, record: &Record<'_>) -> bool {
        if record.body.is_empty() || record.timeline == self.contacts || record.timeline == self.id
        {
            return true;
        }
        Body::read(record.body).is_some_and(|body| {
            let is_part = || body.parts().any(|part| part.user == self.user);
            self.is_own(&body)
                || (body.namespace == self.namespace
                    && RecordKind::of(record) == Some(RecordKind::Receipt)
                    && is_part())
        })
    }

    /// Returns whether the body of a record is still the user's in the files, after all
    /// [steps](Self::step), and nobody needs it any more.
    pub fn is_leftover(&self, record: &Record<'_>) -> bool {
        if record.timeline == self.contacts {
            return !record.body.is_empty();
        }
        let Some(body) = Body::read(record.body) else {
            return false;
        };
        match RecordKind::of(record) {
            // Messages are redacted. Others need to know of recalls and of changes of groups.
            Some(RecordKind::Message | RecordKind::Recall | RecordKind::Group) => false,
            // A receipt may have marks of several members.
            Some(RecordKind::Receipt) => {
                let mut parts = body.parts().peekable();
                body.namespace == self.namespace
                    && parts.peek().is_some()
                    && parts.all(|part| part.user == self.user)
            }
            None if record.kind == ERASURE || record.kind == LAST_SEEN => false,
            _ => record.seq == 0 && self.is_own(&body),
        }
    }
}
